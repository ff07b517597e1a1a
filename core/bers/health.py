"""Named health checks: made on a schedule, each behind a circuit breaker, and the one word for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal, TypeAlias

import anyio
import msgspec
from anyio.abc import TaskGroup

from bers.checks import Finding, Status
from bers.clock import Clock
from bers.redaction import Redactor

BreakerState: TypeAlias = Literal["closed", "open", "half_open"]
Severity: TypeAlias = Literal["none", "info", "warning", "error", "critical"]


BROKEN = Finding("unhealthy", "the check itself failed", {}, "See the error, and logs/monitoring.log.")

SETTLING = 0.05
"""Seconds between two looks at what is unknown while everything is just starting."""

IMPATIENCE = 1.0
"""Seconds until the next look at something that is unknown."""


class Breaker:
    """Gives a thing that keeps failing a rest: closed, open, half open (Nygard, *Release It!*, 2007)."""

    def __init__(self, clock: Clock, *, failures: int = 5, reset_after: float = 60.0, successes: int = 3) -> None:
        self._clock = clock
        self._threshold = failures
        self._reset_after = reset_after
        self._needed = successes
        self._opened: float | None = None
        self._half_open = False
        self.failures = 0
        """Failures in a row."""
        self._successes = 0
        self.opened_at: float | None = None
        """When it opened, in seconds since 1970."""

    @property
    def state(self) -> BreakerState:
        if self._opened is None:
            return "half_open" if self._half_open else "closed"
        return "open"

    @property
    def wait(self) -> float:
        """Seconds until the next attempt is allowed."""
        if self._opened is None:
            return 0.0
        return max(0.0, self._opened + self._reset_after - self._clock.monotonic())

    def allows(self) -> bool:
        """Whether an attempt may be made now; an open breaker whose rest is over becomes half open by this."""
        if self._opened is not None and not self.wait:
            self._opened, self._half_open, self._successes = None, True, 0
        return self._opened is None

    def succeeded(self) -> None:
        self.failures = 0
        if self._half_open:
            self._successes += 1
            if self._successes >= self._needed:
                self.reset()

    def failed(self) -> None:
        self.failures += 1
        if self._half_open or self.failures >= self._threshold:
            self._opened, self._half_open = self._clock.monotonic(), False
            self.opened_at = self._clock.time()

    def reset(self) -> bool:
        """Close it; False where it was closed already."""
        was = self.state != "closed"
        self._opened, self._half_open, self.failures, self._successes, self.opened_at = None, False, 0, 0, None
        return was


class BreakerReport(msgspec.Struct, rename="camel", frozen=True):
    """A breaker, as REST shows it; times in milliseconds since 1970."""

    state: BreakerState
    failures: int
    opened_at: int | None = None
    next_attempt: int | None = None


class CheckReport(msgspec.Struct, rename="camel", frozen=True):
    """What one check found last; times in milliseconds."""

    name: str
    status: Status
    timestamp: int
    duration: float
    message: str
    critical: bool
    breaker: BreakerReport
    details: Mapping[str, Any] = {}
    error: str | None = None
    remediation: str | None = None


class Summary(msgspec.Struct, rename="camel", frozen=True):
    """How many checks say what; durations in milliseconds."""

    healthy: int
    degraded: int
    unhealthy: int
    unknown: int
    critical: int
    total_checks: int
    avg_response_time: float


@dataclass
class Watch:
    """One check at work on a running thing."""

    name: str
    probe: Callable[[], Awaitable[Finding | None]]
    """Looks; None where this is no moment to look."""
    interval: float
    timeout: float
    critical: bool
    breaker: Breaker
    report: CheckReport | None = None
    basis: object = None
    """What it was made of: a watch made of the same is the same."""
    turn: anyio.Lock = field(default_factory=anyio.Lock)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Cancelled when it is not to be made any more."""


class Health:
    """Every check of this node."""

    def __init__(
        self, clock: Clock, publish: Callable[[CheckReport], Awaitable[None]], redactor: Redactor | None = None
    ) -> None:
        """``publish`` is told what each look found, as ``redactor`` lets it be told."""
        self._redactor = redactor or Redactor()
        self._clock = clock
        self._publish = publish
        self._watches: dict[str, Watch] = {}
        self._group: TaskGroup | None = None
        """Where the checks are made, while they are made regularly."""

    def add(self, watch: Watch) -> None:
        self._watches[watch.name] = watch

    def change(self, watches: Iterable[Watch]) -> None:
        """Make these checks from now on. One that was made on the same basis goes on, with its breaker and report."""
        before, self._watches = self._watches, {}
        for watch in watches:
            known = before.get(watch.name)
            if known and known.basis is not None and known.basis == watch.basis:
                self._watches[watch.name] = before.pop(watch.name)
                continue
            if known:
                watch.report = known.report  # Until the first look, what was known is better than nothing.
            self._watches[watch.name] = watch
            if self._group:
                self._group.start_soon(self._repeat, watch, 0.0)
        for gone in before.values():
            gone.scope.cancel()

    @property
    def names(self) -> Sequence[str]:
        return list(self._watches)

    def report(self, name: str) -> CheckReport:
        """What a check found last. Raise KeyError where there is no such check."""
        watch = self._watches[name]
        if watch.report is None:
            return self._as_report(watch, Finding("unknown", "not looked at yet"), 0.0)
        return msgspec.structs.replace(watch.report, breaker=self._breaker(watch))

    def reports(self) -> list[CheckReport]:
        return [self.report(name) for name in self._watches]

    def reset_breakers(self) -> list[str]:
        """Close every breaker; return the names of the checks whose breaker was not closed."""
        return [watch.name for watch in self._watches.values() if watch.breaker.reset()]

    async def look_at_all(self, *, patience: float = 1.0) -> None:
        """Make every check once, at the same time; what is unknown yet is looked at again, for so many seconds."""
        deadline = self._clock.monotonic() + patience
        waiting = list(self._watches.values())
        while waiting:
            async with anyio.create_task_group() as group:
                for watch in waiting:
                    group.start_soon(self._look, watch)
            waiting = [watch for watch in waiting if watch.report is None or watch.report.status == "unknown"]
            if self._clock.monotonic() >= deadline:
                return
            if waiting:
                await self._clock.sleep(SETTLING)

    async def look(self, names: Iterable[str]) -> None:
        """Make some checks at once, because something has changed that they tell of."""
        for name in names:
            if name in self._watches:
                await self._look(self._watches[name])

    async def run(self) -> None:
        """Make every check again and again, each at its interval."""
        async with anyio.create_task_group() as self._group:
            for watch in self._watches.values():
                self._group.start_soon(self._repeat, watch)
            await anyio.sleep_forever()

    async def _repeat(self, watch: Watch, first: float | None = None) -> None:
        """Look again and again, for the first time after so many seconds, or else after an interval."""
        with watch.scope:
            while True:
                known = watch.report is not None and watch.report.status != "unknown"
                # What is unknown is looked at again soon: just after the start, most things are.
                pause = watch.interval if known else min(watch.interval, IMPATIENCE)
                await self._clock.sleep(pause if first is None else first)
                first = None
                await self._look(watch)

    async def _look(self, watch: Watch) -> None:
        async with watch.turn:
            if not watch.breaker.allows():
                return
            started = perf_counter()
            try:
                with anyio.fail_after(watch.timeout):
                    finding = await watch.probe()
                if finding is None:
                    return
                watch.report = self._as_report(watch, finding, (perf_counter() - started) * 1000)
                watch.breaker.succeeded()
            except Exception as exc:
                watch.breaker.failed()
                timed_out = isinstance(exc, TimeoutError)
                error = f"no answer within {watch.timeout:g} s" if timed_out else f"{type(exc).__name__}: {exc}"
                watch.report = self._as_report(watch, BROKEN, (perf_counter() - started) * 1000, error)
        await self._publish(watch.report)

    def _as_report(self, watch: Watch, finding: Finding, duration: float, error: str | None = None) -> CheckReport:
        return CheckReport(
            watch.name,
            finding.status,
            int(self._clock.time() * 1000),
            round(duration, 3),
            self._redactor.text(finding.message),
            watch.critical,
            self._breaker(watch),
            self._redactor.value(finding.details),
            self._redactor.text(error) if error else None,
            finding.remediation or None,
        )

    def _breaker(self, watch: Watch) -> BreakerReport:
        breaker = watch.breaker
        opened = int(breaker.opened_at * 1000) if breaker.opened_at is not None else None
        next = int((self._clock.time() + breaker.wait) * 1000) if breaker.state == "open" else None
        return BreakerReport(breaker.state, breaker.failures, opened, next)


def overall(reports: Sequence[CheckReport]) -> Status:
    """One word for all checks."""
    critical = {report.status for report in reports if report.critical}
    if "unhealthy" in critical:
        return "unhealthy"
    if "unknown" in critical:
        return "unknown"
    return "healthy" if all(report.status == "healthy" for report in reports) else "degraded"


def severity(reports: Sequence[CheckReport]) -> Severity:
    """How bad it is: ``critical`` where a critical check is unhealthy."""
    statuses = {report.status for report in reports}
    if any(report.critical and report.status == "unhealthy" for report in reports):
        return "critical"
    if "unhealthy" in statuses:
        return "error"
    return "warning" if "degraded" in statuses else "info" if "unknown" in statuses else "none"


def summarize(reports: Sequence[CheckReport]) -> Summary:
    counts = Counter(report.status for report in reports)
    critical = sum(report.critical and report.status == "unhealthy" for report in reports)
    average = sum(report.duration for report in reports) / len(reports) if reports else 0.0
    return Summary(
        counts["healthy"],
        counts["degraded"],
        counts["unhealthy"],
        counts["unknown"],
        critical,
        len(reports),
        round(average, 3),
    )
