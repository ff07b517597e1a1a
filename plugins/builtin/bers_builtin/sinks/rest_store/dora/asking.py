"""The question for DORA's figures: read what was told and is not known yet, join it, and answer."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from functools import partial
from sys import intern

import anyio
import msgspec
from msgspec.structs import replace

from bers import Context, Database, Refused, format_duration

from .. import asked, details
from ..config import RestStoreConfig
from ..details import EventRow
from ..pace import Pace
from . import figures
from .answers import SERVICES, AskDora, Counts, Covered, DoraAnswer, Flag
from .days import DAY, by_service
from .figures import Span
from .ledger import Ledger, Place
from .memory import Memory
from .portions import portions
from .told import DEPLOYED, TYPES, Told, read

SLICE = 500
"""How many records are read before others may read."""
MOST = 200_000
"""How many records one answer is made of at most: the newest."""
KEPT = 30_000
"""How many records are kept in memory from one answer to the next, at most: some 70 MB."""
IDLE = 900.0
"""Seconds after which they are let go of if nobody has asked."""
NEWS = 20_000
"""How many new records are waited with; more are read anew together with all others."""
DAYS = 31
"""Up to how many days a point of the series is a day, where nobody says."""

_TYPES = frozenset(TYPES)


class Dora:
    """Answers from what is committed. One answer is made at a time, because each may hold many records."""

    def __init__(
        self,
        database: Database,
        config: RestStoreConfig,
        context: Context,
        era: Callable[[], object] = lambda: None,
        most: int = MOST,
        kept: int = KEPT,
    ) -> None:
        """``era`` is another whenever records were deleted before their time, or the file is another."""
        self._database = database
        self._config = config
        self._context = context
        self._era = era
        self._most = most
        self._kept = kept
        self._turn = anyio.Lock()
        self._memory: Memory | None = None
        self._useless: list[Memory] = []
        self._asked = 0.0
        self.kept = min(details.keep(type, config) for type in TYPES)
        """Seconds for which everything is kept that the figures are made of."""

    def heard(self, rows: Iterable[EventRow]) -> None:
        """Note which records were committed: the next answer reads those alone."""
        if self._memory is not None:
            self._memory.news += [(source, id) for source, id, type, *_ in rows if type in _TYPES]
            if len(self._memory.news) > NEWS:
                self._discard()

    async def rest(self) -> None:
        """Let go of what nobody has asked for lately, and of what is of no use any more."""
        async with self._turn:  # An answer may be made of it just now.
            if self._context.clock.monotonic() - self._asked > IDLE:
                self._discard()
            await self._let_go(Pace())

    async def _let_go(self, pace: Pace) -> None:
        while self._useless:
            await self._useless.pop().clear(pace)

    async def answer(self, ask: AskDora) -> DoraAnswer:
        period = asked.seconds(ask.period)
        if period > self.kept:
            kept = format_duration(self.kept)
            raise Refused(
                "bad_request",
                f"period: {ask.period} is longer than the {kept} for which deployments and incidents are kept",
                hint=f"ask for {kept} or less, or raise `lasting_keep` of the store; `lasting` has to name "
                "deployment.*, service.*, incident.* and change.*",
            )
        async with self._turn:
            self._asked = self._context.clock.monotonic()
            try:
                return await self._answer(ask, period)
            except BaseException:
                self._discard()  # It may have been given up half way.
                raise

    def _discard(self) -> None:
        if self._memory is not None:
            self._useless.append(self._memory)
        self._memory = None

    async def _answer(self, ask: AskDora, period: float) -> DoraAnswer:
        now, pace, config = self._context.clock.time(), Pace(), self._config.dora
        since, memory, shared = await self._read(now, pace)
        span = Span(now - period, now, since)
        before = Span(span.start - period, span.start, since)

        def make() -> Ledger:
            return Ledger(self._place(ask.environment), config)

        book = await memory.ledger(ask.environment, make, pace)
        days = await book.days.between(book.deployments, span.start, span.end, pace)
        tallies = await by_service(days.values(), ask.service, pace)
        tally = figures.together(tallies)
        days_before = await book.days.between(book.deployments, before.start, before.end, pace)
        earlier = figures.together(await by_service(days_before.values(), ask.service, pace))
        step = ask.step or ("1d" if period <= DAYS * DAY else "1w")
        answer = DoraAnswer(
            timestamp=round(now * 1000),
            period=ask.period,
            period_ms=round(period * 1000),
            from_=round(span.start * 1000),
            to=round(now * 1000),
            service=ask.service or None,
            environments=sorted(tally.environments),
            coverage=Covered(
                since=round(since * 1000),
                percent=min(100.0, span.covered / period * 100),
                retention_ms=round(self.kept * 1000),
            ),
            counts=Counts(
                deployments=tally.deployments,
                succeeded=tally.succeeded,
                failed=tally.failed,
                incidents=figures.detected(book.incidents, span, ask.service),
            ),
            metrics=figures.figures(book, span, ask.service, tally, (earlier, before), config, shared),
            step=step,
            series=figures.series(days, span, DAY if step == "1d" else 7 * DAY, ask.service),
            service_count=len(tallies),
            services=figures.services(tallies, span.days, figures.sources_of(book, ask.service), SERVICES),
        )
        if memory is not self._memory:
            await self._let_go(pace)
        return answer

    def _place(self, named: str) -> Place:
        known: dict[str, bool] = {}

        def here(environment: str) -> bool:
            if environment not in known:
                known[environment] = environment == named if named else self._config.dora.is_production(environment)
            return known[environment]

        return here

    async def _read(self, now: float, pace: Pace) -> tuple[float, Memory, set[Flag]]:
        """Since when there are records, the records, and what is to be said of them.

        They are remembered where nothing is to be said of them, and they are not too many.
        """
        known, oldest = self._memory, now - self.kept
        if known is not None and known.era == self._era() and now >= known.now:
            known.now = now
            since = await self._database.read(lambda connection: details.began(connection, DEPLOYED, oldest, now))
            if await self._read_news(known, pace):
                return since, known, set()
        self._discard()
        await self._let_go(pace)
        new = Memory(self.kept, self._era())
        self._memory = new  # From now on it is told what is committed, and what it reads meanwhile it knows.
        new.now = now
        since, flags = await self._read_all(new, now, pace)
        if flags or len(new) > self._kept:
            self._discard()
        return since, new, flags

    async def _read_news(self, known: Memory, pace: Pace) -> bool:
        """Read what came since; False where it cannot be told in full, or becomes too much."""
        while known.news:
            names = [name for name in dict.fromkeys(known.news[:SLICE]) if not known.knows(name)]
            del known.news[:SLICE]
            for expires, body in await self._database.read(partial(details.by_name, names=names)):
                if (told := _decoded(body)) is None:
                    return False
                known.add(told, expires)
                await pace()
        await known.advance(pace)
        return len(known) <= min(self._kept, self._most)

    async def _read_all(self, memory: Memory, now: float, pace: Pace) -> tuple[float, set[Flag]]:
        oldest = now - self.kept

        def begin(connection: sqlite3.Connection) -> tuple[float, float]:
            return (
                details.began(connection, DEPLOYED, oldest, now),
                details.newest_since(connection, TYPES, oldest, now, self._most),
            )

        since, cut = await self._database.read(begin)
        flags: set[Flag] = set() if cut == oldest else {"too_many_records"}
        for type in TYPES:
            after = cut, 0
            while rows := await self._database.read(partial(details.slice_of, type=type, after=after, limit=SLICE)):
                for portion in portions(rows):
                    for time, _, expires, body in portion:
                        if (told := _decoded(body)) is not None:
                            memory.add(told, expires)
                        elif time <= now < expires:
                            flags.add("unreadable_records")
                    await pace()
                after = rows[-1][0], rows[-1][1]
        await memory.advance(pace)
        return max(since, cut), flags


def _decoded(body: bytes) -> Told | None:
    """The event, with one text for what thousands of records say alike; None where the disk has damaged it."""
    try:
        told = read(body)
    except (msgspec.MsgspecError, ValueError):
        return None
    return replace(
        told,
        source=intern(told.source),
        type=intern(told.type),
        service=told.service and intern(told.service),
        environment=told.environment and intern(told.environment),
    )
