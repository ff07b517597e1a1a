"""What follows from a look: whether it is believed, what is told of it, and what is remembered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import anyio
import msgspec

from bers.checks import Finding, Status
from bers.clock import Clock
from bers.health.history import OVERALL, History
from bers.health.reports import BECAUSE, CheckReport, Confirming, overall
from bers.health.rests import Resting, Rests
from bers.health.watch import Watch
from bers.redaction import Redactor

AGAIN = 1.0
"""Seconds until what could not be written down is tried once more."""

PATIENCE = 1.0
"""Seconds that a change waits to be written down before it is told: a disk that hangs keeps nobody from looking."""

Publish: TypeAlias = Callable[[CheckReport, CheckReport | None], Awaitable[None]]
"""Tells what a look found, and what was told of that check before."""


class Look(NamedTuple):
    """What came of a look."""

    finding: Finding
    duration: float = 0.0
    """Milliseconds."""
    error: str = ""
    """Why there was no answer."""


def held(because: str) -> Look:
    """What comes of not looking, because another check says that there is no use in it."""
    return Look(Finding("unknown", f"unknown because of {because!r}, which is unhealthy", {BECAUSE: because}))


class Conclusions:
    """Draws them for every check of a board."""

    def __init__(
        self,
        clock: Clock,
        publish: Publish,
        redactor: Redactor,
        history: History | None,
        rests: Rests | None,
        watches: Callable[[], Mapping[str, Watch]],
    ) -> None:
        self._clock = clock
        self._publish = publish
        self._redactor = redactor
        self._history = history
        self._rests = rests
        self._watches = watches
        self._unwritten = anyio.Event()
        self._written = anyio.Event()
        """Set when what is noted now was written down; another one is for what is noted later."""
        self._writing = False

    def report(self, watch: Watch) -> CheckReport:
        """What it found last, with what became of it before."""
        report = watch.report or self._as_report(watch, Look(Finding("unknown", "not looked at yet")), "unknown")
        known, name = self._history, watch.name
        since = known.since(name) if known and watch.report else None
        return msgspec.structs.replace(
            report,
            breaker=watch.breaker.report,
            since=round(since * 1000) if since is not None else None,
            availability=known.shares(name) if known else {},
        )

    async def conclude(self, watch: Watch, look: Look) -> None:
        """Believe in what a look found, or not yet; note it, and tell of what has changed."""
        before = watch.damper.status if watch.report else None
        because = BECAUSE in look.finding.details
        if because or (watch.report and watch.report.because):
            watch.damper.settle(look.finding.status)  # Nobody looked, so there is nothing that it could swing from.
        status = watch.damper.see(look.finding.status)
        if watch.flapping:
            if before and status != before and "unknown" not in (before, status):
                watch.flapping.changed(before, status)
            watch.flapping.look()
        if not because:
            if look.error:
                watch.breaker.failed(self._redactor.text(look.error))
            else:
                watch.breaker.succeeded()
        report, told = self._as_report(watch, look, status), watch.told
        noted = self._note(report)
        self._keep_rest(watch, report)
        if noted and self._writing:
            with anyio.move_on_after(PATIENCE):
                await self._written.wait()
        watch.report = report
        if told is None or _differs(told, report):
            watch.told = report
            await self._publish(report, told)

    # What is remembered.

    async def recall(self) -> None:
        """Go on with the rests that an earlier process gave to what does not answer."""
        if not self._rests:
            return
        for name, resting in (await self._rests.load()).items():
            watch = self._watches().get(name)
            if watch is None or watch.digest != resting.digest:
                self._rests.drop([name])
                continue
            watch.rest = resting.rest
            watch.breaker.recall(resting.rest)
            watch.damper.settle("unhealthy")
            finding = Finding("unhealthy", resting.message, resting.details, resting.remediation or "")
            report = self._as_report(watch, Look(finding, error=resting.error or ""), "unhealthy")
            watch.report = watch.told = msgspec.structs.replace(report, timestamp=resting.timestamp)
            self._note(watch.report)

    def forget(self, watches: Iterable[Watch]) -> None:
        """Hear that these are not made any more, or others of their names."""
        for gone in watches:
            if gone.name not in self._watches() and self._history:
                self._history.end(gone.name)
            self.rested(gone)

    def rested(self, watch: Watch) -> None:
        """Hear that it is not given a rest any more."""
        watch.rest = None
        if self._rests:
            self._rests.drop([watch.name])
            self._unwritten.set()

    async def save(self) -> bool:
        """Write down what is to be remembered; False where that cannot be at present."""
        history = self._history is None or await self._history.save()
        rests = self._rests is None or await self._rests.save()
        return history and rests

    async def run(self) -> None:
        """Write it down for ever: beside the checks, as a disk may keep one waiting."""
        self._writing = self._history is not None
        while True:
            await self._unwritten.wait()
            self._unwritten = anyio.Event()
            written, self._written = self._written, anyio.Event()
            if await self.save():
                written.set()
            else:
                await self._clock.sleep(AGAIN)
                self._unwritten.set()

    async def close(self) -> None:
        """Write down that no check is made any more."""
        if self._history:
            await self._history.close()
        await self.save()

    def _note(self, report: CheckReport) -> bool:
        """Put it into the history, and the one word for all; return whether one of them is another."""
        if not self._history:
            return False
        changed = self._history.note(report.name, report.status, report.message, report.because)
        watches = self._watches()
        others = [watch.report for name, watch in watches.items() if watch.report and name != report.name]
        known = [*others, report]
        if len(known) == len(watches):
            word = overall(known)
            changed = self._history.note(OVERALL, word, _why(known, word)) or changed
        if changed:
            self._unwritten.set()
        return changed

    def _keep_rest(self, watch: Watch, report: CheckReport) -> None:
        """Remember that its breaker is not closed any more, or closed again."""
        rest = watch.breaker.rest
        if rest == watch.rest or not self._rests:
            return
        if rest is None:
            self.rested(watch)
            return
        watch.rest = rest
        told = report.timestamp, report.message, report.error, report.remediation, report.details
        self._rests.put(watch.name, Resting(watch.digest, rest, *told))
        self._unwritten.set()

    # What is told.

    def _as_report(self, watch: Watch, look: Look, status: Status) -> CheckReport:
        finding = look.finding
        message = self._redactor.text(finding.message)
        report = CheckReport(
            watch.name,
            finding.status,
            int(self._clock.time() * 1000),
            round(look.duration, 3),
            message,
            watch.critical,
            watch.breaker.report,
            self._redactor.value(finding.details),
            self._redactor.text(look.error) if look.error else None,
            finding.remediation or (watch.remediation if finding.status != "healthy" else "") or None,
            watch.description,
            list(watch.depends_on),
            flapping=watch.flapping is not None and watch.flapping.flaps,
            counts_as=watch.flapping.worst if watch.flapping else None,
        )
        if status == finding.status:
            return report
        confirming = Confirming(finding.status, message, watch.damper.looks, watch.damper.needed)
        known = watch.report or msgspec.structs.replace(
            report, message="not certain yet", error=None, remediation=None, details={}
        )
        return msgspec.structs.replace(
            known, status=status, timestamp=report.timestamp, duration=report.duration, breaker=report.breaker,
            flapping=report.flapping, counts_as=report.counts_as, confirming=confirming,
        )  # fmt: skip


def _differs(told: CheckReport, report: CheckReport) -> bool:
    """Whether there is something new to tell: of what flaps, only that it does, and that it does so no more."""
    if told.flapping or report.flapping:
        return told.flapping != report.flapping
    return (told.status, told.breaker.state, told.because) != (report.status, report.breaker.state, report.because)


def _why(reports: Sequence[CheckReport], word: Status) -> str:
    """Why the one word for all is what it is."""
    if word == "healthy":
        return "every check is healthy"
    return ", ".join(f"{one.name} is {one.word}" for one in reports if one.word != "healthy" and not one.because)
