"""Builds: how long they take, how often they succeed, and what they produce."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from msgspec import Meta

from bers import Config, Emit, Event, Interval, Metric, SourceSpec, Stage, Table, hookimpl
from bers_builtin.sources._assets import sizes
from bers_builtin.sources._runs import SUCCEEDED, Runs, Span, followers, labelled, names, score


class BuildConfig(Config, frozen=True):
    """Measure builds from the events that build tools send: time, outcome, phases, bundle, dependencies, cache."""

    lost_after: Annotated[
        Interval,
        Meta(
            description="How long to wait for the finish of a build that has started. Then `build.lost` is told; "
            "a finish that comes later still counts."
        ),
    ] = Interval("60s")


class BuildSource(Stage[BuildConfig]):
    def receive(self, event: Event, table: Table) -> Sequence[Event]:
        measures, parts = NAMES.read(event)
        if event.type == "build.finished":
            measures.setdefault("build_total", 1.0)
            score(measures, "build_success_rate", event.outcome)
        assets = [
            labelled(event, "bundle_asset_size", {"asset": name, "kind": kind}, size)
            for name, found in sizes(event).items()
            for kind, size in found.items()
        ]
        return [*RUNS.join(event, measures, table), *followers(event, parts), *assets]

    async def run(self, emit: Emit) -> None:
        await RUNS.watch(self.context, emit, self.config.lost_after, "build.measured")


RUNS = Runs(
    Span("build_queue_time", "build.queued", "build.started", own=False),
    Span(
        "build_performance",
        "build.started",
        "build.finished",
        outcomes=SUCCEEDED,
        lost="build.lost",
        active="build_active",
    ),
)

NAMES = names(
    {
        "queue": "build_queue_time",
        "bundle.initial": "bundle_initial_size",
        "bundle.assets": "bundle_asset_count",
        "dependencies.resolve": "dependency_resolution_time",
        "dependencies.install": "dependency_install_time",
        "cache.hit_rate": "build_cache_hit_rate",
    },
    parts={
        f"{name}.{kind}": ("bundle_size_total", "kind", kind)
        for name in ("bundle", "bundle.size")
        for kind in ("raw", "gzip", "brotli")
    },
    bare={"bundle.size": ("bundle_size_total", "kind", "raw")},
    families={"phase": ("build_phase_time", "phase")},
)

METRICS = (
    Metric(
        "build_performance",
        "ms",
        "Time from the start of a build to its finish; builds that fail do not count.",
        target=30_000,
        labels=("environment",),
        title="Build Time",
    ),
    Metric("build_queue_time", "ms", "Time that a build waits between being queued and being started."),
    Metric("build_active", "{build}", "Builds that have started and not finished.", better="neither"),
    Metric("build_total", "{build}", "Builds that have finished.", better="neither", labels=("outcome", "environment")),
    Metric("build_success_rate", "%", "Share of builds that succeed; cancelled ones do not count.", better="higher"),
    Metric("build_phase_time", "ms", "Time that one phase of a build takes.", labels=("phase",)),
    Metric("bundle_size_total", "By", "Size of everything that a build delivers.", labels=("kind",)),
    Metric("bundle_initial_size", "By", "Size of what a page loads first."),
    Metric(
        "bundle_asset_size",
        "By",
        "Size of one file that a build delivers, of its 50 largest; hashes in names are `*`.",
        labels=("asset", "kind"),
    ),
    Metric("bundle_asset_count", "{asset}", "Files that a build delivers."),
    Metric(
        "dependency_resolution_time",
        "ms",
        "Time to find out which versions of which packages are needed.",
        labels=("tool",),
    ),
    Metric(
        "dependency_install_time",
        "ms",
        "Time to download and install the packages that are needed.",
        labels=("tool",),
    ),
    Metric("build_cache_hit_rate", "%", "Share of a build's work that its cache spares.", target=60, better="higher"),
)

BUILD = SourceSpec("build", BuildConfig, BuildSource, claims=("build.*", "artifact.*"), metrics=METRICS, log="build")


@hookimpl
def bers_sources() -> Iterable[SourceSpec[Any]]:
    return [BUILD]
