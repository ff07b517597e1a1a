"""The question for DORA's figures: read what was told, slice by slice, join it, and answer."""

from __future__ import annotations

import sqlite3
from functools import partial
from sys import intern

import anyio
import msgspec
from msgspec.structs import replace

from bers import Context, Database, Refused, format_duration

from .. import asked, details
from ..config import RestStoreConfig
from ..pace import Pace
from . import figures, ledger
from .answers import SERVICES, AskDora, Counts, Covered, DoraAnswer, Flag
from .figures import DAY, Span
from .portions import drop, portions
from .told import DEPLOYED, TYPES, Told, read

SLICE = 500
"""How many records are read before others may use the database."""
MOST = 200_000
"""How many records one answer is made of at most: the newest."""
DAYS = 31
"""Up to how many days a point of the series is a day, where nobody says."""


class Dora:
    """Answers from what is committed. One answer is made at a time, because each may hold many records."""

    def __init__(self, database: Database, config: RestStoreConfig, context: Context, most: int = MOST) -> None:
        self._database = database
        self._config = config
        self._context = context
        self._most = most
        self._turn = anyio.Lock()
        self.kept = min(details.keep(type, config) for type in TYPES)
        """Seconds for which everything is kept that the figures are made of."""

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
            return await self._answer(ask, period)

    async def _answer(self, ask: AskDora, period: float) -> DoraAnswer:
        now, pace, config = self._context.clock.time(), Pace(), self._config.dora
        since, told, shared = await self._told(now)
        span = Span(now - period, now, since)
        before = Span(span.start - period, span.start, since)
        known: dict[str, bool] = {}

        def here(environment: str) -> bool:
            if environment not in known:
                named = ask.environment
                known[environment] = environment == named if named else config.is_production(environment)
            return known[environment]

        book = await ledger.join(told, here, config, pace)
        found = figures.chosen(book, span, ask.service)
        tallies = await figures.count(found, pace)
        tally = figures.together(tallies)
        earlier = figures.together(await figures.count(figures.chosen(book, before, ask.service), pace))
        step = ask.step or ("1d" if period <= DAYS * DAY else "1w")
        answer = DoraAnswer(
            timestamp=round(now * 1000),
            period=ask.period,
            period_ms=round(period * 1000),
            from_=round(span.start * 1000),
            to=round(now * 1000),
            service=ask.service or None,
            environments=sorted({one.environment for one in found}),
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
            series=await figures.series(found, span, DAY if step == "1d" else 7 * DAY, pace),
            service_count=len(tallies),
            services=figures.services(tallies, span.days, figures.sources_of(book, ask.service), SERVICES),
        )
        del found
        await drop(book.deployments, pace)
        await drop(told, pace)
        return answer

    async def _told(self, now: float) -> tuple[float, list[Told], set[Flag]]:
        """Since when there are records, the records, and what is to be said of them."""
        oldest = now - self.kept

        def begin(connection: sqlite3.Connection) -> tuple[float, float]:
            return (
                details.began(connection, DEPLOYED, oldest, now),
                details.newest_since(connection, TYPES, oldest, now, self._most),
            )

        since, cut = await self._database.run(begin)
        flags: set[Flag] = set() if cut == oldest else {"too_many_records"}
        found: list[Told] = []
        pace = Pace()
        for type in TYPES:
            after = cut, 0
            while rows := await self._database.run(
                partial(details.slice_of, type=type, after=after, now=now, limit=SLICE)
            ):
                for portion in portions(rows):
                    readable = [told for _, _, body in portion if (told := _read(body))]
                    if len(readable) < len(portion):
                        flags.add("unreadable_records")
                    found += readable
                    await pace()
                after = rows[-1][0], rows[-1][1]
        return max(since, cut), found, flags


def _read(body: bytes) -> Told | None:
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
