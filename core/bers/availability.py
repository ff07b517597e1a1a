"""How much of the time this node was there, from heartbeats that outlive it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import msgspec

from bers.clock import JUMP, Jump, Stamp, SteadyClock
from bers.database import Database
from bers.errors import Refused

BEAT = 10.0
"""Seconds between two heartbeats: whoever is killed was there up to so much longer than is counted."""

TARGET = 99.9
"""Per cent; what the runbook promises."""

WINDOW = 30 * 86400.0

LONGEST = 90 * 86400.0
"""The longest window that may be asked for."""

KEEP = LONGEST + 86400.0
"""For how long a spell is remembered after it has ended."""

SPELLS = 2_000
"""How many spells are told apart; beyond, the oldest are counted together."""

GAPS = 50
"""How many gaps one answer tells, the newest."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spells (
    number INTEGER PRIMARY KEY, away REAL NOT NULL, lasted REAL NOT NULL,
    began REAL NOT NULL, ended REAL NOT NULL, settled REAL NOT NULL, boot TEXT NOT NULL, elapsed REAL NOT NULL
)
"""

_LATEST = 253_402_300_799.0
"""The end of the year 9999, in seconds since 1970."""

_SLOTS = """
INSERT INTO spells (away, lasted, began, ended, settled, boot, elapsed)
SELECT coalesce((first - lag(last) OVER (ORDER BY first) - 1) * :beat, 0), (last - first + 1) * :beat,
    first * :beat, (last + 1) * :beat, (last + 1) * :beat, '', 0
FROM (
    SELECT min(slot) AS first, max(slot) AS last
    FROM (SELECT slot, slot - row_number() OVER (ORDER BY slot) AS island FROM heartbeats) GROUP BY island
)
"""
"""From heartbeats as they were once written down: one row for each ten seconds."""

_log = logging.getLogger(__name__)


@dataclass
class _Spell:
    """This node was there without a break; in the order of the table's columns."""

    number: int
    away: float
    """For how many seconds it was not, before."""
    lasted: float
    began: float
    ended: float
    """Both by the wall clock."""
    settled: float
    """What was believed for forgetting as it ended; and the machine's own count, for :class:`bers.clock.Stamp`."""
    boot: str
    elapsed: float


class Gap(msgspec.Struct, rename="camel", frozen=True):
    """This node was not there; times in milliseconds, by the wall clock of then, which may have been set meanwhile."""

    from_: int = msgspec.field(name="from")
    to: int
    duration: int
    """By a clock that nobody sets, where the machine went on."""


class Availability(msgspec.Struct, rename="camel", frozen=True):
    """The share of time with a heartbeat, restarts and gaps included."""

    window: int
    """How far back it looks, in milliseconds: to the first heartbeat at most."""
    percent: float
    target: float
    budget_remaining: float
    """What is left of the error budget, in per cent of it; negative when it is overdrawn."""
    period_ms: int
    """How far back was asked for: what the budget is for."""
    since: int
    """When the first heartbeat was that is remembered, in milliseconds since 1970."""
    budget_minutes: float
    """For how long it may be away in such a period."""
    spent_minutes: float
    left_minutes: float
    gap_count: int
    gaps: list[Gap]
    """The newest of them, newest first."""


class Heartbeats:
    """Every spell in which this node was there without a break, in memory and in the database.

    Only durations are added up, and they are counted by a clock that nobody sets: a wall clock that is set begins a
    new spell, and makes neither a gap nor time that is counted twice.
    """

    def __init__(self, state: Database, clock: SteadyClock, *, most: int = SPELLS) -> None:
        """``most`` is how many spells are told apart."""
        self._state = state
        self._most = most
        self._clock = clock
        self._spells: list[_Spell] = []
        self._begun = False
        self._unwritten = 0
        """The first spell that the database does not know as it is, by number."""
        self._missed = 0.0
        """For how many seconds since the last heartbeat nothing happened in this process."""
        self.before: Stamp | None = None
        """When an earlier process was there last; None where there was none."""

    async def begin(self) -> None:
        """Go on from the last process: for how long this node was away, and what time it believed in."""
        self._spells = await self._state.run(_load)
        if self._spells:
            last = self._spells[-1]
            self.before = ended = Stamp(last.ended, last.boot, last.elapsed)
            self._clock.recall(ended, last.settled)
            self._unwritten = last.number + 1
            self._open(last.number + 1, ended.age(self._clock))
        else:
            self._open(1, 0.0)
        self._begun = True

    async def run(self) -> None:
        """Beat for ever."""
        while True:
            await self._clock.sleep(BEAT)
            await self.try_to_beat()

    async def missed(self, jump: Jump) -> None:
        """Hear of a jump of time: the spell ends where it began, and another begins now."""
        if jump.cause != "step":
            self._missed += jump.seconds
        await self.try_to_beat()

    async def try_to_beat(self) -> None:
        """Beat, where that can be written down: else the next heartbeat says it for both."""
        try:
            await self.beat()
        except (sqlite3.Error, OSError, Refused) as exc:
            _log.warning("a heartbeat could not be written down: %s", exc)

    async def beat(self) -> None:
        """Write down that this node is alive now, and was since the last time, but for what it missed."""
        if not self._begun:
            await self.begin()
        else:
            self._go_on()
        changed = [astuple(spell) for spell in self._spells if spell.number >= self._unwritten]
        oldest, newest = self._spells[0], self._spells[-1].number

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_SCHEMA)
            connection.execute("DELETE FROM spells WHERE number < ?", (oldest.number,))
            connection.executemany("INSERT OR REPLACE INTO spells VALUES (?, ?, ?, ?, ?, ?, ?, ?)", changed)

        await self._state.run(work)
        self._unwritten = newest

    def availability(self, window: float = WINDOW) -> Availability:
        """The availability over so many seconds, or since the first heartbeat where that is less."""
        if not BEAT <= window <= LONGEST:
            raise Refused("invalid", f"window: {window:g} s is out of range; ask for 10s to 90d")
        up = down = 0.0
        gaps: list[Gap] = []
        for number in range(len(self._spells) - 1, -1, -1):
            spell = self._spells[number]
            running = self._running if number == len(self._spells) - 1 else 0.0
            up += min(spell.lasted + running, window - up - down)
            if (missed := min(spell.away, window - up - down)) > 0:
                down += missed
                before = self._spells[number - 1].ended if number else spell.began - spell.away
                gaps.append(Gap(_ms(before), _ms(spell.began), _ms(spell.away)))
            if up + down >= window:
                break
        budget = window * (100.0 - TARGET) / 100.0
        return Availability(
            _ms(up + down),
            round(100.0 * up / (up + down), 4) if down else 100.0,
            TARGET,
            round(100.0 * (1.0 - down / budget), 2),
            _ms(window),
            _ms(self._spells[0].began if self._spells else self._clock.time()),
            round(budget / 60, 3),
            round(down / 60, 3),
            round((budget - down) / 60, 3),
            len(gaps),
            gaps[:GAPS],
        )

    @property
    def _running(self) -> float:
        """For how long the newest spell has gone on since the last heartbeat."""
        return max(0.0, self._clock.elapsed() - self._spells[-1].elapsed - self._missed)

    def _go_on(self) -> None:
        """Let the newest spell last until now; where it was broken, until then, and begin another."""
        last, alive, away = self._spells[-1], self._running, self._missed
        now, passed = Stamp.of(self._clock), self._clock.elapsed() - last.elapsed
        broken = away > 0 or abs(now.wall - last.ended - passed) > JUMP
        last.lasted += alive
        last.ended = last.ended + alive if broken else now.wall
        last.settled, last.elapsed = self._clock.settled(), now.elapsed
        self._missed = 0.0
        if broken:
            self._open(last.number + 1, away)

    def _open(self, number: int, away: float) -> None:
        now = Stamp.of(self._clock)
        self._spells.append(_Spell(number, away, 0.0, now.wall, now.wall, self._clock.settled(), now.boot, now.elapsed))
        age = 0.0
        for at in range(len(self._spells) - 1, -1, -1):
            if age > KEEP:
                del self._spells[: at + 1]
                break
            age += self._spells[at].lasted + self._spells[at].away
        if len(self._spells) > self._most:  # What lay between the oldest two, both of them were away.
            oldest, next = self._spells[:2]
            next.away, next.lasted, next.began = (
                next.away + oldest.away, next.lasted + oldest.lasted, oldest.began,
            )  # fmt: skip
            del self._spells[0]
            self._unwritten = min(self._unwritten, next.number)


def _load(connection: sqlite3.Connection) -> list[_Spell]:
    connection.execute(_SCHEMA)
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'heartbeats'").fetchone():
        connection.execute(_SLOTS, {"beat": BEAT})
        connection.execute("DROP TABLE heartbeats")
    spells: list[_Spell] = []
    for row in connection.execute("SELECT * FROM spells ORDER BY number").fetchall():
        if _is_sound(row):
            spells.append(_Spell(*row))
        else:
            _log.error("heartbeats are damaged, and the availability leaves them out: %r", row)
            connection.execute("DELETE FROM spells WHERE number = ?", row[:1])
    return spells


def _is_sound(row: Sequence[object]) -> bool:
    """Whether a row can be one that was written: no text where a number should be, and no time beyond all times."""
    *numbers, boot, elapsed = row
    return isinstance(boot, str) and all(
        isinstance(one, (int, float)) and 0 <= one <= _LATEST for one in (*numbers, elapsed)
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
