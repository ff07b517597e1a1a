"""What became of every check: spans of equal status, in memory and in the database, through restarts and crashes."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple

import anyio

from bers import disk
from bers.checks import Status
from bers.checksums import summed
from bers.clock import Jump, Stamp, SteadyClock
from bers.database import Database
from bers.errors import Refused
from bers.health.spans import CheckHistory, Line, Share, Span, history, share
from bers.units import format_duration

PERIODS: Mapping[str, float] = {"24h": 86400.0, "7d": 7 * 86400.0, "30d": 30 * 86400.0}
"""For which a check's report tells its availability."""

SHORTEST = 10.0
LONGEST = 90 * 86400.0
"""The periods that may be asked for, in seconds."""

KEEP = LONGEST + 86400.0
"""For how long a span is remembered after it has ended."""

MOST = 500
"""How many spans of one check are remembered; a check that changes more often is flapping, and loses its oldest."""

FRESH = 1.0
"""For how many seconds shares are told again as they were worked out."""

OVERALL = "overall"
"""The one word for all has a history of its own."""

_LENGTH = 200
"""How many characters of a message are kept."""

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS health_spans (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL, because TEXT NOT NULL,
    message TEXT NOT NULL, away REAL NOT NULL, began REAL NOT NULL, lasted REAL, boot TEXT NOT NULL,
    elapsed REAL NOT NULL,
    {summed("number, name, status, because, message, away, began, lasted, boot, elapsed")}
)
"""
_COLUMNS = "number, name, status, because, message, away, began, lasted, boot, elapsed"
_STATUSES = ("healthy", "degraded", "unhealthy", "unknown")
_LATEST = 253_402_300_799.0
"""The end of the year 9999, in seconds since 1970."""

_UNREADABLE = (sqlite3.Error, OSError, Refused)

_log = logging.getLogger(__name__)


class History:
    """Only durations are added up, and they are counted by a clock that nobody sets: a wall clock that is set makes
    neither an outage nor time that is counted twice, and the time in which this node was not there is a gap.
    """

    def __init__(self, state: Database, clock: SteadyClock, *, most: int = MOST) -> None:
        """``most`` is how many spans of one check are remembered."""
        self._state = state
        self._clock = clock
        self._most = most
        self._spans: dict[str, list[Span]] = {}
        self._number = 0
        self._unwritten: dict[int, Span] = {}
        self._forgotten: list[int] = []
        self._begun = self._closed = False
        self._last: Stamp | None = None
        """When the last process was there last."""
        self._owed = False
        """Whether what became of checks before could not be read yet: nothing is written over it."""
        self._turn = anyio.Lock()
        """Held by whoever reads or writes the rows."""
        self._shares: dict[str, tuple[Span, float, Mapping[str, Share]]] = {}
        """What was worked out last, and of which newest span at which moment: 500 of them take a millisecond."""

    async def begin(self, last: Stamp | None) -> None:
        """Go on from the last process, which was there until ``last``; what it did not see ended, ended then."""
        self._last = last
        try:
            await self._recall()
        except _UNREADABLE as exc:
            _log.warning("what became of checks before cannot be read yet: %s", exc)
            self._owed = True
        self._begun = True
        await self.save()

    def note(self, name: str, status: Status, message: str, because: str = "") -> bool:
        """Hear how a check is from now on; return whether it was another way before."""
        if self._closed:
            return False  # A look that was under way when the node began to stop.
        spans = self._spans.setdefault(name, [])
        last = spans[-1] if spans else None
        if last and last.lasted is None:
            if (last.status, last.because) == (status, because):
                return False
            self._close(last)
        self._open(name, status, message, because, last.end.age(self._clock) if last else 0.0)
        return True

    def end(self, name: str) -> None:
        """Hear that a check is not made any more."""
        if (spans := self._spans.get(name)) and spans[-1].lasted is None:
            self._close(spans[-1])

    async def close(self) -> None:
        """Hear that none is made any more, and write that down."""
        self._closed = True
        for name in self._spans:
            self.end(name)
        await self.save()

    async def missed(self, jump: Jump) -> None:
        """Hear of a jump of time: spans end where it began, and others begin now."""
        lost = 0.0 if jump.cause == "step" else jump.seconds
        for name, spans in self._spans.items():
            last = spans[-1]
            if last.lasted is None:
                self._close(last, lost)
                self._open(name, last.status, last.message, last.because, lost)
        await self.save()

    async def save(self) -> bool:
        """Write down what is not yet; False where that cannot be at present, and has to be tried again."""
        async with self._turn:
            if self._owed:
                try:
                    await self._recall()
                except _UNREADABLE:
                    return False
                self._owed = False
            return await self._write()

    async def _recall(self) -> None:
        """Read what became of checks before, and put it in front of what was noted since."""
        found, last, noted = await self._state.run(_load), self._last, self._spans
        highest = max((span.number for span in found), default=0)
        self._number += highest
        self._spans, self._unwritten, self._forgotten = {}, {}, []
        for span in found:
            if span.lasted is None:
                there = last is not None and last.boot == span.boot
                span.lasted = max(0.0, last.elapsed - span.elapsed) if last and there else 0.0
                self._unwritten[span.number] = span
            self._spans.setdefault(span.check, []).append(span)
        for name, spans in noted.items():
            if before := self._spans.get(name):
                spans[0].away = max(0.0, before[-1].end.age(self._clock) - self._clock.elapsed() + spans[0].elapsed)
            self._spans[name] = [*(before or ()), *spans]
            for span in spans:
                span.number += highest
                self._unwritten[span.number] = span
        for name in self._spans:
            self._prune(name)

    async def _write(self) -> bool:
        if not self._begun or not (self._unwritten or self._forgotten):
            return True
        rows = [astuple(span) for span in self._unwritten.values()]
        forgotten = [(number,) for number in self._forgotten]

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_SCHEMA)
            connection.executemany("DELETE FROM health_spans WHERE number = ?", forgotten)
            connection.executemany(
                f"INSERT OR REPLACE INTO health_spans ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
            )

        written, self._unwritten = self._unwritten, {}
        gone, self._forgotten = self._forgotten, []
        try:
            await self._state.run(work)
        except (sqlite3.Error, OSError, Refused) as exc:
            self._put_back(written, gone)
            if not disk.disk_fault(exc):
                _log.warning("what became of checks could not be written down: %s", exc)
            return False
        except BaseException:
            self._put_back(written, gone)
            raise
        return True

    def _put_back(self, written: Mapping[int, Span], gone: Sequence[int]) -> None:
        """Neither was written after all."""
        self._forgotten = [*gone, *self._forgotten]
        left = {**written, **self._unwritten}
        self._unwritten = {number: span for number, span in left.items() if number not in set(self._forgotten)}

    # What it amounts to.

    def since(self, name: str) -> float | None:
        """When a check came to the status that it has, in seconds since 1970."""
        spans = self._spans.get(name)
        return _first(spans).began if spans else None

    def last(self, name: str) -> Span | None:
        """The newest span of a check, of whichever process."""
        spans = self._spans.get(name)
        return spans[-1] if spans else None

    def shares(self, name: str) -> Mapping[str, Share]:
        """How available a check was, at most a second ago."""
        line = self._line(name)
        if not line.spans:
            return {}
        newest, known = line.spans[-1], self._shares.get(name)
        if known and known[0] is newest and 0 <= line.elapsed - known[1] < FRESH:
            return known[2]
        shares = {word: share(line, period) for word, period in PERIODS.items()}
        self._shares[name] = newest, line.elapsed, shares
        return shares

    def share(self, name: str, period: float) -> Share:
        """How available a check was in the last so many seconds."""
        return share(self._line(name), _bounded(period))

    def story(self, name: str, period: float, limit: int) -> CheckHistory:
        """What became of a check in the last so many seconds, with the newest times one by one."""
        return history(name, self._line(name), _bounded(period), limit)

    def _line(self, name: str) -> Line:
        spans = self._spans.get(name, [])
        quiet = spans[-1].end.age(self._clock) if spans and spans[-1].lasted is not None else 0.0
        return Line(spans, self._clock.elapsed(), self._clock.time(), quiet)

    # How spans begin, end and are forgotten.

    def _open(self, name: str, status: Status, message: str, because: str, away: float) -> None:
        self._number += 1
        now = Stamp.of(self._clock)
        span = Span(self._number, name, status, because, message[:_LENGTH], away, now.wall, None, now.boot, now.elapsed)
        self._spans[name] = [*self._spans.get(name, []), span]
        self._unwritten[span.number] = span
        self._prune(name)

    def _close(self, span: Span, lost: float = 0.0) -> None:
        span.lasted = max(0.0, self._clock.elapsed() - span.elapsed - lost)
        self._unwritten[span.number] = span

    def _prune(self, name: str) -> None:
        spans, elapsed = self._spans[name], self._clock.elapsed()
        keep, age = 0, 0.0
        for span in reversed(spans):
            if age > KEEP or keep == self._most:
                break
            keep += 1
            age += span.length(elapsed) + span.away
        for span in spans[: len(spans) - keep]:
            self._unwritten.pop(span.number, None)
            self._forgotten.append(span.number)
        self._spans[name] = spans[len(spans) - keep :]


def _first(spans: Sequence[Span]) -> Span:
    """The oldest of those that have the status of the newest, without a break."""
    found = spans[-1]
    for span in reversed(spans[:-1]):
        if (span.status, span.because) != (found.status, found.because):
            break
        found = span
    return found


def _bounded(period: float) -> float:
    if not SHORTEST <= period <= LONGEST:
        raise Refused("invalid", f"period: {format_duration(period)} is out of range; ask for 10s to 90d")
    return period


def _load(connection: sqlite3.Connection) -> list[Span]:
    connection.execute(_SCHEMA)
    spans: list[Span] = []
    for row in connection.execute(f"SELECT {_COLUMNS} FROM health_spans ORDER BY number").fetchall():
        if _is_sound(row):
            spans.append(Span(*row))
        else:
            _log.error("what became of a check is damaged, and left out: %r", row)
            connection.execute("DELETE FROM health_spans WHERE number = ?", row[:1])
    return spans


def _is_sound(row: Sequence[object]) -> bool:
    """Whether a row can be one that was written: no text where a number should be, and no time beyond all times."""
    number, name, status, because, message, away, began, lasted, boot, elapsed = row
    texts: Callable[[object], bool] = lambda one: isinstance(one, str)  # noqa: E731
    numbers = (away, began, elapsed, 0.0 if lasted is None else lasted)
    return (
        isinstance(number, int)
        and all(map(texts, (name, because, message, boot)))
        and status in _STATUSES
        and all(isinstance(one, (int, float)) and 0 <= one <= _LATEST for one in numbers)
    )
