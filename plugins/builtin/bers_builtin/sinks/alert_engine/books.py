"""The engine's memory and its tables, kept as one: conclusions are written down with the positions they follow from."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial

import anyio

from bers import BersError, Context, Positions, Refused, Unwritable, disk_fault
from bers_builtin.sinks._disk import AGAIN, persist
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.evaluator import Evaluator
from bers_builtin.sinks.alert_engine.slices import in_slices, letting_go
from bers_builtin.sinks.alert_engine.written.ledger import AT_HAND, Ledger, Letter

DISK_REMEDY = "Make room on the disk of the data directory, or let this server write there; it tries again by itself."

_IDLE_COMMIT = 1.0  # Seconds that a position alone may wait to be written.


class Books:
    """Whoever changes something holds the turn until it is committed, together with the positions that led to it."""

    def __init__(self, config: AlertConfig, context: Context) -> None:
        self._config = config
        self._context = context
        self.evaluator = Evaluator(config, context.metrics, context.clock)
        self.ledger = Ledger(context.state, context.stage_id, context.audit)
        self.turn = anyio.Lock()
        self.letters = anyio.Event()
        """Set when there is something to tell; replaced by whoever tells."""
        self.told = 0
        """The last row of the outbox that is safe elsewhere; its row goes when the disk has nothing more urgent."""
        self._untold: Sequence[Letter] | None = None
        """What there was to tell when something was written down last; nothing where that has to be read."""
        self._positions = Positions(context.state, context.stage_id)
        self._seen: dict[tuple[str, int], int] = {}
        self._held: dict[tuple[str, int], int] = {}
        self._dirty = anyio.Event()
        self._committed = 0.0
        self.ahead = False
        """Whether memory may hold what the database does not: after a commit that failed, until all is read back."""
        self.unwritten: tuple[float, str] | None = None
        """Since when, by the monotonic clock, and why the disk does not let us write; what was concluded waits."""

    @property
    def committed(self) -> float:
        """When anything was written down last, on the monotonic clock."""
        return self._committed

    @property
    def readers(self) -> Collection[tuple[str, int]]:
        """Who reads for us, each with its partition."""
        return self._seen.keys()

    @asynccontextmanager
    async def sound(self) -> AsyncGenerator[Evaluator]:
        """Hold the turn, and look at what is written down; raise Refused where memory holds anything else.

        Nobody is told what is not written down: who changes something here commits before saying so.
        """
        async with self.turn:
            if self.unwritten:
                raise Refused("unavailable", f"alerts cannot be written down: {self.unwritten[1]}", hint=DISK_REMEDY)
            if self.ahead:
                raise Refused("unavailable", "alerts are read back after a failed commit", hint="ask again in a moment")
            yield self.evaluator

    @asynccontextmanager
    async def thinking(self) -> AsyncGenerator[Evaluator]:
        """Let the evaluator conclude, holding the turn; if it stops half way, all is read back before it goes on."""
        self.ahead = True
        yield self.evaluator
        self.ahead = False

    async def load(self) -> None:
        """Go on from what was written down, and from nothing else."""
        reopenable = self._context.clock.settled() - self._config.deduplication.window
        memory = await self.ledger.load(resolved_since=int(reopenable * 1000))
        await in_slices(self.evaluator.restoring(memory))
        await in_slices(letting_go(memory.live, memory.resolved, memory.series, memory.courses))
        self._seen, self._held, self._untold = {}, {}, None
        self.ahead = False
        self._committed = self._context.clock.monotonic()

    async def begin(self, reader: str, partition: int, begin: int) -> int:
        position = await self._positions.begin(reader, partition, begin)
        self._seen[reader, partition] = self._held[reader, partition] = position
        return position

    def assert_knows(self, reader: str, partition: int) -> None:
        if self.ahead or (reader, partition) not in self._seen:
            me = self._context.stage_id
            raise BersError(f"{me!r} lost what it read; ask for its position, and begin there")

    def saw(self, reader: str, partition: int, end: int) -> None:
        """Note how far was read; it is written down with what followed from it."""
        self._seen[reader, partition] = end

    async def tidy_up(self) -> None:
        """Leave nothing in the outbox that is safe elsewhere; where the disk refuses, it is told again, as a repeat."""
        try:
            await self.ledger.sent(self.told)
        except Exception as exc:
            if not disk_fault(exc):
                raise

    async def untold(self, limit: int, *, anew: bool = False) -> Sequence[Letter]:
        """What is to be told next, in order; ``anew`` says to read it behind whatever is being written now."""
        if self._untold is not None and not anew:
            return [letter for letter in self._untold if letter.seq > self.told]
        self._untold = before = list[
            Letter
        ]()  # Before we look: whoever writes meanwhile puts all there is in its place.
        try:
            letters = await persist(partial(self.ledger.unsent, limit, self.told), self._context.clock)
        except BaseException:
            self._untold = None
            raise
        if len(letters) == limit:
            self._untold = None
        elif self._untold is before:
            self._untold = letters  # What the bus does not take is asked for again.
        return letters

    def later(self) -> None:
        """Let what was concluded be committed by and by."""
        self._dirty.set()

    async def commit(self) -> None:
        """Make durable what was concluded, with the positions it leads to; holding the turn, or alone."""
        with anyio.CancelScope(shield=True):  # What is written and what is remembered stay together.
            await self._commit_all([(*key, end) for key, end in self._seen.items() if end > self._held[key]])

    async def commit_or_wait(self) -> None:
        """Commit; where the disk does not let us, let what was concluded wait in memory, and try again by and by."""
        try:
            await self.commit()
        except Unwritable as exc:
            self._context.logger.debug("alerts wait to be written down: %s", exc)

    async def commit_regularly(self) -> None:
        clock = self._context.clock
        while True:
            await self._dirty.wait()
            await clock.sleep(max(0.01, self._config.commit_every))
            async with self.turn:
                due = self.evaluator.has_news or clock.monotonic() - self._committed >= _IDLE_COMMIT
                if due and not self.ahead:
                    await self.commit_or_wait()
            if self.unwritten:
                await clock.sleep(AGAIN)

    async def _commit_all(self, moves: Sequence[tuple[str, int, int]]) -> None:
        if not (moves or self.evaluator.has_news):
            return

        def move(connection: sqlite3.Connection) -> None:
            for reader, partition, end in moves:
                self._positions.move(connection, reader, partition, end)

        clock, logger = self._context.clock, self._context.logger
        self.ahead = True
        try:
            changes = await in_slices(self.evaluator.gathering())
            letters = await self.ledger.commit(changes, move, self.told)
        except Exception as exc:
            if not (why := disk_fault(exc)):
                raise
            # Nothing of it was taken, and nothing is forgotten: memory is ahead by what waits, and knows that.
            self.ahead = False
            self._dirty.set()
            if self.unwritten is None:
                logger.error("alerts cannot be written down, and wait in memory: %s", why)
            self.unwritten = (self.unwritten[0] if self.unwritten else clock.monotonic(), why)
            raise Unwritable(f"alerts cannot be written down: {why}") from exc
        self.ahead = False
        if self.unwritten:
            self.unwritten = None
            logger.warning("alerts are written down again")
        for reader, partition, end in moves:
            self._positions.moved(reader, partition, end)
            self._held[reader, partition] = end
        if self.evaluator.register.transitions or self.evaluator.register.suppressions.has_news:
            self._untold = letters if len(letters) < AT_HAND else None
            self.letters.set()
        await in_slices(self.evaluator.writing_off())
        await in_slices(letting_go(changes.series, changes.forgotten, changes.courses, changes.alerts))
        if self._dirty.is_set():  # Somebody waits for one that is not.
            self._dirty = anyio.Event()
        self._committed = clock.monotonic()
