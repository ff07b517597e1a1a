"""Runs: builds, suites and deployments, each joined of the events that began and ended it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from bers import Context, Database, Event, Reply

from . import asked, details, running
from .answers import After, Record, Where, up_to
from .bounds import Heavy
from .looking import looking
from .losses import Losses
from .pace import Pace
from .reading_on import read_on
from .run_types import IS_RUN, KINDS, WAYS, RunKind, RunState

MOST = 200
"""How many runs may be asked for at most."""
RUNNING = 100
"""How many runs that go on are told at most."""
_BRIEF = frozenset({"failed", "flaky", "timeline", "runner", "command", "parent"})
"""What a list tells of a run's data."""
_PARTS = ("phase", "kind", "status")
"""Labels of what is measured of parts of a run, as they stand in the ids of those events."""

_WORTH: Mapping[RunState, int] = {"running": 0, "lost": 1, "ended": 2}
"""Of the events of one run, the one that says most is told."""

_Row: TypeAlias = tuple[Any, ...]


class AskRuns(msgspec.Struct):
    """Which runs are wanted."""

    kind: Annotated[RunKind, Meta(description="Builds, suites and validations, or deployments.")] = "build"
    id: Annotated[
        str,
        Meta(
            max_length=1000,
            description="Only the runs of this id, of any kind and whole: their subject, or the event's id where it "
            "had none. Nothing else matters then.",
        ),
    ] = ""
    state: Annotated[
        Literal["", "running", "ended"], Meta(description="Only those that are running, or only those that have ended.")
    ] = ""
    where: Where = ""
    limit: Annotated[
        int, Meta(description=f"How many that have ended at most, up to {MOST}.", extra_json_schema=up_to(MOST))
    ] = 30
    after: After = ""
    whole: Annotated[bool, Meta(description="Tell all of each one's data: sizes of files, what was slow.")] = False


class RunTold(msgspec.Struct, rename="camel", kw_only=True):
    """A run: when it began and ended, in ms since 1970, and the event that says how it is, without secrets."""

    id: str
    kind: RunKind
    name: str
    """What is built, tested or deployed again and again, whatever each run of it is called."""
    state: RunState
    started_at: int | None
    ended_at: int | None
    event: Record
    parts: list[Record]
    """Measures of its phases, kinds of sizes and statuses of tests, with the labels that say of which."""


class Runs:
    """Answers from what is committed."""

    def __init__(self, database: Database, losses: Losses, context: Context, heavy: Heavy) -> None:
        """``heavy`` gives turns to those who look by conditions."""
        self._database = database
        self._losses = losses
        self._context = context
        self._heavy = heavy

    async def answer(self, ask: AskRuns) -> Reply[list[RunTold]]:
        if ask.id:
            found = await self._database.read(lambda connection: _of_id(connection, ask.id, self._now))
            runs = await self._told(_joined(found), whole=True)
            return Reply(runs, {"next": None})
        limit = asked.number(ask.limit, "limit", MOST)
        ways, runs, more = WAYS[ask.kind], list[RunTold](), None
        async with looking(ask.where, self._heavy) as look:
            if ask.state != "ended" and not ask.after:
                begin = partial(_running, losses=self._losses, types=ways.begin, now=self._now)
                begun, _ = await read_on(self._database, begin, look, details.place(""), RUNNING)
                runs = await self._told(_joined(begun), whole=ask.whole)
            if ask.state != "running":
                read = partial(_ended, losses=self._losses, types=ways.end, now=self._now)
                ended, more = await read_on(self._database, read, look, details.place(ask.after), limit)
                runs += await self._told(_joined(ended), whole=ask.whole)
        return Reply(runs, {"next": more})

    @property
    def _now(self) -> float:
        return self._context.clock.time()

    async def _told(self, events: Sequence[Event], *, whole: bool) -> list[RunTold]:
        over = [event for event in events if _state(event) != "running"]
        rows = await self._database.read(lambda connection: [_parts(connection, event) for event in over])
        parts = {id(event): own for event, own in zip(over, rows, strict=True)}
        pace, told = Pace(), list[RunTold]()
        for event in events:
            told.append(_run(event, list(_sound(parts.get(id(event), ()))), whole=whole))
            await pace()
        return told


def name_of(event: Event) -> str:
    labels = event.labels
    named = labels.get("suite") or labels.get("build") or event.service or labels.get("name")
    run = event.run
    return named or (run and (run.job or run.pipeline)) or event.subject.rpartition("/")[0] or event.subject or event.id


def _run(event: Event, parts: Sequence[Event], *, whole: bool) -> RunTold:
    state = _state(event)
    record = details.told(event)
    if not whole:
        record["data"] = {key: value for key, value in record.get("data", {}).items() if key in _BRIEF}
    ended = None if state == "running" else round(event.time * 1000)
    taken = event.duration_ms
    started = round(event.time * 1000) if state == "running" else None
    return RunTold(
        id=event.subject or event.id,
        kind=KINDS[event.type],
        name=name_of(event),
        state=state,
        started_at=started if taken is None else round(event.time * 1000 - taken),
        ended_at=ended,
        event=record,
        parts=[{"measures": dict(part.measures), "labels": dict(part.labels)} for part in parts],
    )


def _joined(events: Iterable[Event]) -> list[Event]:
    """One event for each run, in the order given: how it ended stands before that it was lost, or that it began."""
    found: dict[tuple[str, str], Event] = {}
    for event in events:
        name = (event.source, event.subject or event.id)
        if name not in found or _WORTH[_state(event)] > _WORTH[_state(found[name])]:
            found[name] = event
    return list(found.values())


def _state(event: Event) -> RunState:
    """How a run is, by one of its events."""
    match event.type.partition(".")[2]:
        case "started":
            return "running"
        case "lost":
            return "lost"
        case _:
            return "ended"


def _of_id(connection: sqlite3.Connection, id: str, now: float) -> list[Event]:
    rows = connection.execute(
        f"SELECT * FROM events WHERE {IS_RUN} AND subject = ? AND expires > ? ORDER BY time DESC LIMIT 1000", (id, now)
    ).fetchall()
    for source in () if rows else details.sources(connection):
        rows += connection.execute(
            f"SELECT * FROM events WHERE {IS_RUN} AND source = ? AND id = ? AND subject = '' AND expires > ?",
            (source, id, now),
        ).fetchall()
    return list(_sound(rows))


def _running(
    connection: sqlite3.Connection,
    *,
    losses: Losses,
    types: Sequence[str],
    texts: Sequence[bytes],
    after: details.Place,
    limit: int,
    now: float,
) -> details.Read:
    """The newest that have begun and not ended, behind a place. Few do, so that each can be looked into."""
    rows = running.newest(connection, types, since=now - running.LATELY, now=now, limit=limit, after=after)
    found = details.sound(connection, losses, rows, limit)
    return found, found[-1][0] if len(found) == limit else None


def _ended(
    connection: sqlite3.Connection,
    *,
    losses: Losses,
    types: Sequence[str],
    texts: Sequence[bytes],
    after: details.Place,
    limit: int,
    now: float,
) -> details.Read:
    """The newest that have ended behind a place; one that was lost and came after all is told by its end alone."""
    found, more = details.newest_of(connection, losses, types, texts=texts, now=now, limit=limit, after=after)
    told = [(place, None if body and b".lost" in body and _came(connection, place) else body) for place, body in found]
    return told, more


def _came(connection: sqlite3.Connection, place: details.Place) -> bool:
    """Whether what was lost has ended after all."""
    return (
        connection.execute(
            "SELECT 1 FROM events AS lost WHERE source = ? AND id = ? AND type LIKE '%.lost' AND EXISTS ("
            f"SELECT 1 FROM events WHERE {IS_RUN} AND subject = lost.subject AND source = lost.source "
            "AND type = replace(lost.type, '.lost', '.finished'))",
            place[1:],
        ).fetchone()
        is not None
    )


def _parts(connection: sqlite3.Connection, event: Event) -> list[_Row]:
    """What follows from its end about its parts, as it is stored."""
    return [
        row
        for part in _PARTS
        for row in connection.execute(
            "SELECT * FROM events WHERE source = ? AND id > ? AND id < ? LIMIT 100",
            (event.source, f"{event.id}/{part}/", f"{event.id}/{part}0"),
        ).fetchall()
    ]


def _sound(rows: Iterable[_Row]) -> Iterator[Event]:
    """Those that are what was written."""
    return (details.decoded(row[6]) for row in rows if details.is_sound(row))
