"""What differs between two plans: which stages are opened anew, which pipelines start again, and what cannot change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import msgspec

from bers.config import Declared, Plan
from bers.config.located import steps_of
from bers.errors import Fault
from bers.plain import as_object
from bers.stages import DurableSpec

LIVE = (
    "health",
    "intake.body_within",
    "intake.events_per_second",
    "intake.forget_after",
    "intake.journal.max_age",
    "intake.journal.max_bytes",
    "intake.journal.when_full",
    "intake.max_body",
    "intake.max_event",
    "intake.max_events",
    "intake.max_inflated",
    "intake.snapshot_every",
    "log.events",
    "log.keep",
    "log.level",
    "log.max_bytes",
    "metrics",
    "stop_within",
)
"""The settings that a running node can change, each with everything below it. Every other needs a restart."""


class Turnover(msgspec.Struct, frozen=True):
    """What comes, changes and goes of one kind, by key."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def coming(self) -> tuple[str, ...]:
        """What is opened: what is new, and what is changed."""
        return (*self.added, *self.changed)

    @property
    def going(self) -> tuple[str, ...]:
        """What is closed: what is changed, and what is gone."""
        return (*self.changed, *self.removed)


class Changes(msgspec.Struct, frozen=True):
    """What differs between the configuration that was in place and the one that came."""

    sources: Turnover = Turnover()
    processors: Turnover = Turnover()
    sinks: Turnover = Turnover()
    pipelines: Turnover = Turnover()
    """Changed is also a pipeline of which only a processor or a sink is: it starts again at its position."""
    settings: tuple[str, ...] = ()
    """Paths, as in ``log.level``."""

    @property
    def nothing(self) -> bool:
        return self == Changes()


def compare(old: Plan, new: Plan, *, reopened: Collection[str] = ()) -> Changes:
    """What has to be done to get from one plan to the other. ``reopened`` are sinks that are opened anew anyway."""
    settings = tuple(_differing(old.settings, new.settings))
    targets = any(path.startswith("metrics.") for path in settings)

    def stages(kind: str) -> Turnover:
        before: Mapping[str, Declared] = getattr(old.stages, kind)
        after: Mapping[str, Declared] = getattr(new.stages, kind)
        again = reopened if kind == "sinks" else ()
        return _turnover(before, after, lambda key: key in again or not _same(before[key], after[key], targets))

    sources, processors, sinks = stages("sources"), stages("processors"), stages("sinks")

    def touched(name: str) -> bool:
        before, after = old.pipelines[name], new.pipelines[name]
        return (
            before.processors != after.processors
            or set(before.sources) != set(after.sources)
            or set(before.sinks) != set(after.sinks)
            or bool(set(after.processors) & set(processors.changed))
            or bool(set(after.sinks) & set(sinks.changed))
        )

    pipelines = _turnover(old.pipelines, new.pipelines, touched)
    return Changes(sources, processors, sinks, pipelines, settings)


def refused(changes: Changes, old: Plan, new: Plan) -> list[Fault]:
    """Every setting that differs and that a running node cannot change."""
    return [
        new.fault(steps_of(path), "cannot be changed while the server runs; change it back, or run `bers restart`")
        for path in changes.settings
        if _declares(path, old, new) or not any(path == live or path.startswith(f"{live}.") for live in LIVE)
    ]


def _declares(path: str, old: Plan, new: Plan) -> bool:
    """Whether a path is in `metrics` and says what a metric is, rather than what is to be reached: who folds and keeps
    its values knew it when they were opened.
    """
    section, _, rest = path.partition(".")
    if section != "metrics":
        return False
    name = rest.partition(".")[0]
    before, after = (plan.settings.metrics.get(name) for plan in (old, new))
    return (before and before.own) != (after and after.own)


def alone(declared: Declared) -> bool:
    """Whether no second instance of a stage may be open beside it: the old one is closed before the new one opens."""
    return declared.spec.alone or isinstance(declared.spec, DurableSpec)


def _same(before: Declared, after: Declared, targets: bool) -> bool:
    """Whether a stage may stay as it is; ``targets`` says whether those of metrics differ."""
    if targets and after.spec.reads_targets:
        return False
    return (
        before.spec is after.spec
        and before.source is after.source
        and before.config == after.config
        and before.delivery == after.delivery
        and before.primary == after.primary
    )


def _turnover(before: Mapping[str, Any], after: Mapping[str, Any], differs: Callable[[str], bool]) -> Turnover:
    return Turnover(
        tuple(key for key in after if key not in before),
        tuple(key for key in after if key in before and differs(key)),
        tuple(key for key in before if key not in after),
    )


def _differing(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """The paths at which two settings differ."""
    one, other = _fields(before), _fields(after)
    if one is None or other is None:
        if before != after:
            yield path
        return
    for key in {**one, **other}:
        yield from _differing(one.get(key), other.get(key), f"{path}.{key}" if path else key)


def _fields(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, msgspec.Struct):
        return {field.encode_name: getattr(value, field.name) for field in msgspec.structs.fields(value)}
    return as_object(value)
