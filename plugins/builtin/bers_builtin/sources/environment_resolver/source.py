"""The source: looks at the project at once and then every interval, and says what it found and how long it took."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Self, TypeVar

import anyio
import msgspec
from anyio import CapacityLimiter, to_thread

from bers import Caller, Context, Emit, Event, Finding, Full, Nothing, Refused, Stage, Table
from bers_builtin.sources._drift import Pair, compare_all
from bers_builtin.sources._pace import Pace
from bers_builtin.sources.environment_resolver.config import EnvironmentResolverConfig, Origin
from bers_builtin.sources.environment_resolver.detection import Candidate, Confidence, Detection
from bers_builtin.sources.environment_resolver.look import (
    MAX_LISTED,
    Compared,
    Detected,
    Look,
    Resolved,
    Timed,
    listed,
    tell,
)
from bers_builtin.sources.environment_resolver.resolution import Value
from bers_builtin.sources.environment_resolver.resolver import Resolver
from bers_builtin.sources.environment_resolver.validation import Fault, load_jsonschema

FAILURES = 3
"""So many failures in a row are consistent."""

T = TypeVar("T")


class Cleared(msgspec.Struct, frozen=True, rename="camel"):
    """What clearing the cache did."""

    cleared: int
    """How many resolutions were forgotten."""
    generation: int
    """How often the cache was cleared since the start."""


class EnvironmentReport(msgspec.Struct, frozen=True, rename="camel"):
    """What the last look found; values are masked unless `reveal` lists their variable."""

    environment: str | None
    source: Origin | None
    confidence: Confidence | None
    detected_at: int
    """Milliseconds since 1970."""
    detection_time: float
    """Milliseconds."""
    candidates: Sequence[Candidate]
    conflicts: Sequence[str]
    root: str
    dialect: str
    files: Sequence[str]
    """The files that were read, strongest first."""
    values: Mapping[str, Value]
    valid: bool | None
    faults: Sequence[Fault]
    resolution_time: float | None
    """Milliseconds; null where resolution failed."""
    cached: bool | None
    generation: int
    drift: Mapping[str, Mapping[str, Sequence[str]]]
    """What environments lack that others set, by the pair of both: the first 20 variables of each."""


class EnvironmentResolver(Stage[EnvironmentResolverConfig]):
    def __init__(
        self, config: EnvironmentResolverConfig, context: Context, environ: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(config, context)
        self._resolver = Resolver(config, environ=environ)
        # A hung file system keeps its thread; it must not take those of others.
        self._threads = CapacityLimiter(2)
        self._pace = Pace(context.clock, config.interval)
        self._failures = 0
        self._last: Look | None = None

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        if self.config.schema:
            await to_thread.run_sync(load_jsonschema)
        yield self

    async def run(self, emit: Emit) -> None:
        while True:
            try:
                await emit(await self.look())
            except Full as exc:  # The next look tells more than this one.
                self.context.logger.warning("a look at the environment was not taken: %s", exc)
            await self._pace.pause()

    async def look(self) -> Sequence[Event]:
        """Detect, resolve and compare once; return what there is to tell of it."""
        detected = await self._detect()
        resolved = await self._resolve(detected.detection.environment)
        compared = await self._compare()
        self._failures = 0 if detected.detection.environment else self._failures + 1
        self._last = Look(detected, resolved, compared)
        return tell(self._last, self.context.event)

    def receive(self, event: Event, table: Table) -> Sequence[Event]:
        """Name the measures as the catalogue does. Our own events have them already."""
        measures = {name.replace(".", "_"): value for name, value in event.measures.items()}
        labels = dict(event.labels)
        counts = event.type in ("environment.detected", "configuration.resolved")
        if counts and event.outcome in ("success", "failure", "error", "timeout"):
            measures.setdefault("error_rate", 0.0 if event.outcome == "success" else 100.0)
        if event.type == "environment.detected":
            measures.setdefault("environment_detection_total", 1.0)
            _set_time(event, measures, "environment_detection_time")
            for name in ("source", "confidence"):
                if isinstance(event.data.get(name), str):
                    labels.setdefault(name, event.data[name])
        elif event.type == "configuration.resolved":
            _set_time(event, measures, "configuration_resolution_time")
            if isinstance(event.data.get("cached"), bool):
                labels.setdefault("cached", str(event.data["cached"]).lower())
            if labels.get("cached") in ("true", "false"):
                measures.setdefault("cache_hit_rate", 100.0 if labels["cached"] == "true" else 0.0)
            if isinstance(event.data.get("valid"), bool):
                measures.setdefault("configuration_valid", 100.0 if event.data["valid"] else 0.0)
        return [msgspec.structs.replace(event, measures=measures, labels=labels)]

    async def clear_cache(self, ask: Nothing, caller: Caller) -> Cleared:
        cleared = self._resolver.clear()
        self._pace.hurry()
        return Cleared(cleared, self._resolver.generation)

    async def report(self, ask: Nothing, caller: Caller) -> EnvironmentReport:
        if self._last is None:
            raise Refused("unavailable", "the first detection is not done yet", hint="Ask again in a second.")
        (at, detection, timed), (resolution, cached, resolving), compared = self._last
        return EnvironmentReport(
            environment=detection.environment,
            source=detection.source,
            confidence=detection.confidence,
            detected_at=round(at * 1000),
            detection_time=timed.ms,
            candidates=detection.candidates,
            conflicts=detection.conflicts,
            root=str(self._resolver.root),
            dialect=self.config.dialect,
            files=resolution.files if resolution else (),
            values=resolution.values if resolution else {},
            valid=resolution.valid if resolution else None,
            faults=resolution.faults if resolution else (),
            resolution_time=resolving.ms if resolution else None,
            cached=cached if resolution else None,
            generation=self._resolver.generation,
            drift={
                pair.name: {name: list(lacks[:MAX_LISTED]) for name, lacks in pair.missing.items()}
                for pair in compared.pairs
            },
        )

    async def check_detection(self) -> Finding:
        if self._last is None:
            return Finding("unknown", "the environment was not looked for yet")
        at, detection, timed = self._last.detected
        details = {
            "environment": detection.environment,
            "source": detection.source,
            "confidence": detection.confidence,
            "detectionTime": round(timed.ms, 3),
            "ageSeconds": round(max(0.0, self.context.clock.time() - at), 3),
            "consecutiveFailures": self._failures,
            "conflicts": list(detection.conflicts),
        }
        if self._failures:
            return Finding(
                "unhealthy" if self._failures >= FAILURES else "degraded",
                f"detection failed {self._failures} times in a row: {timed.reason}",
                details,
                "Set PICASSO_ENV, or the option `fallback`; `bers env detect --explain` shows what was asked.",
            )
        if detection.conflicts:
            return Finding(
                "degraded", detection.reason, details, "Make them agree; `bers env detect --explain` shows all of them."
            )
        return Finding(
            "healthy", f"{detection.environment}, by {detection.source}, confidence {detection.confidence}", details
        )

    async def check_configuration(self) -> Finding:
        if self._last is None:
            return Finding("unknown", "the configuration was not resolved yet")
        _, (resolution, cached, resolving), compared = self._last
        if resolution is None:
            message = f"the configuration cannot be resolved: {resolving.reason}"
            return Finding("unhealthy", message, {"configured": None})
        errors = resolution.errors
        drifted = [pair for pair in compared.pairs if pair.count]
        configured = len(resolution.files) + bool(self.config.schema) + len(self.config.required)
        details = {
            "configured": configured,
            "environment": resolution.environment,
            "files": list(resolution.files),
            "keys": len(resolution.values),
            "errors": len(errors),
            "warnings": len(resolution.faults) - len(errors),
            "faults": listed(resolution),
            "cached": cached,
            "drift": {pair.name: pair.count for pair in compared.pairs},
        }
        if errors:
            message = f"{len(errors)} errors, the first at {errors[0].path}: {errors[0].message}"
            return Finding("unhealthy", message, details, "Correct what `faults` lists.")
        if compared.timed.outcome != "success":
            message = f"the environments cannot be compared: {compared.timed.reason}"
            return Finding("degraded", message, details, "Let their files be read, or take them out of `compare`.")
        if drifted:
            worst = max(drifted, key=lambda pair: ("production" in pair.missing, pair.count))
            message = f"{worst.name}: {worst.count} variables are set in one alone, as {_lacking(worst)}"
            return Finding(
                "unhealthy" if "production" in worst.missing else "degraded",
                message,
                details,
                "Set them in both, or in neither; GET environment-resolver lists them.",
            )
        if resolution.faults:
            first = resolution.faults[0]
            message = f"{len(resolution.faults)} warnings, the first at {first.path}: {first.message}"
            return Finding("degraded", message, details, "Correct what `faults` lists.")
        if not configured:
            return Finding("healthy", "there is no configuration to be wrong", details)
        return Finding("healthy", f"valid in {resolution.environment or 'no environment'}", details)

    async def _detect(self) -> Detected:
        detection, timed = await self._work(self._resolver.detect)
        if detection is None:
            detection = Detection(None, None, None, (), ())
        elif detection.environment is None:
            timed = timed._replace(outcome="failure", reason=detection.reason)
        return Detected(self.context.clock.time(), detection, timed)

    async def _resolve(self, environment: str | None) -> Resolved:
        now = self.context.clock.monotonic()
        found, timed = await self._work(lambda: self._resolver.resolve(environment, now))
        if found is None:
            return Resolved(None, False, timed)
        resolution, cached = found
        if not resolution.valid:
            timed = timed._replace(outcome="failure", reason=f"{len(resolution.errors)} errors in the configuration")
        return Resolved(resolution, cached, timed)

    async def _compare(self) -> Compared:
        """Find what the files of one environment set, and those of another do not."""
        if not self.config.compare:
            return Compared((), Timed(0.0, "success"))
        now = self.context.clock.monotonic()

        def resolved() -> Sequence[Pair]:
            found = {one: self._resolver.resolve(one, now)[0] for one in self.config.compare}
            if unread := {name for resolution in found.values() for name in resolution.unread}:
                raise OSError(f"{', '.join(sorted(unread))} could not be read")
            return compare_all({one: resolution.set_by_files for one, resolution in found.items()})

        pairs, timed = await self._work(resolved)
        return Compared(pairs or (), timed)

    async def _work(self, work: Callable[[], T]) -> tuple[T | None, Timed]:
        """Do file work in a thread; say how long the work itself took, or why it failed."""

        def timed() -> tuple[T, float]:
            start = perf_counter()
            return work(), (perf_counter() - start) * 1000

        start = perf_counter()
        try:
            with anyio.fail_after(self.config.timeout):
                result, ms = await to_thread.run_sync(timed, abandon_on_cancel=True, limiter=self._threads)
        except TimeoutError:
            reason = f"the file system did not answer within {self.config.timeout}"
            return None, Timed((perf_counter() - start) * 1000, "timeout", reason)
        except OSError as exc:
            return None, Timed((perf_counter() - start) * 1000, "error", str(exc))
        return result, Timed(ms, "success")


def _set_time(event: Event, measures: dict[str, float], name: str) -> None:
    if event.duration_ms is not None and event.outcome in (None, "success"):
        measures.setdefault(name, event.duration_ms)


def _lacking(pair: Pair) -> str:
    """One variable that one of them lacks."""
    return next(f"{lacks[0]}, which {name} lacks" for name, lacks in pair.missing.items() if lacks)
