"""What builds, test runs and deployments share: measures to rename, two ends to join, an end that may never come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from bers import Context, Emit, Event, Full, Outcome, Table, format_duration

Part: TypeAlias = tuple[str, str, str]
"""A metric and the label that one measure has for itself: ``("bundle_size_total", "kind", "gzip")``."""

ANY: frozenset[Outcome | None] = frozenset({None, "success", "failure", "error", "cancel", "timeout", "skip"})
SUCCEEDED: frozenset[Outcome | None] = frozenset({None, "success"})
"""CDEvents finishes builds without an outcome: what is not known to have failed is measured."""
COMPLETED: frozenset[Outcome | None] = frozenset({None, "success", "failure"})

_SHARES: Mapping[Outcome | None, float] = {"success": 100.0, "failure": 0.0, "error": 0.0, "timeout": 0.0}
_SLICE = 500
_PER_SECOND = 10_000.0
"""How many remembered events are looked at each second, at most: a full table is looked at less often."""

V = TypeVar("V")


@dataclass(frozen=True)
class Names:
    """What emitters call their measures, and what the catalogue calls them. A dot may be written as an underscore."""

    whole: Mapping[str, str]
    """Measures of the event as it is."""
    parts: Mapping[str, Part]
    """Measures with a label of their own, which become an event of their own."""
    bare: Mapping[str, Part]
    """The same, unless the event itself has that label."""
    families: Mapping[str, tuple[str, str]]
    """``phase.X`` as a metric and the label that has X as its value."""

    def read(self, event: Event) -> tuple[dict[str, float], dict[Part, float]]:
        """Rename the measures of an event: those of the whole, and those with a label of their own."""
        measures: dict[str, float] = {}
        parts: dict[Part, float] = {}
        for name, value in event.measures.items():
            if metric := self.whole.get(name):
                measures.setdefault(metric, value)
            elif part := self.parts.get(name):
                parts[part] = value
            elif part := self.bare.get(name):
                if part[1] in event.labels:
                    measures.setdefault(part[0], value)
                else:
                    parts.setdefault(part, value)
            else:
                family, _, rest = name.partition(".")
                if rest and family in self.families:
                    parts[*self.families[family], rest] = value
                else:
                    measures[name] = value
        return measures, parts


def names(
    whole: Mapping[str, str],
    parts: Mapping[str, Part] | None = None,
    bare: Mapping[str, Part] | None = None,
    families: Mapping[str, tuple[str, str]] | None = None,
) -> Names:
    return Names(_spelled(whole), _spelled(parts or {}), _spelled(bare or {}), families or {})


def score(measures: dict[str, float], metric: str, outcome: Outcome | None) -> None:
    """Measure success: as the emitter says, else 100 or 0, so that the mean over many is the rate; or not at all."""
    share = measures.pop("success_rate", _SHARES.get(outcome))
    if share is not None:
        measures.setdefault(metric, share)


def followers(event: Event, parts: Mapping[Part, float]) -> list[Event]:
    """An event for each measure with a label of its own, because labels belong to a whole event."""
    return [
        _follower(
            event,
            f"{event.id}/{label}/{value}",
            cause=event,
            measures={metric: number},
            labels={**event.labels, label: value},
        )
        for (metric, label, value), number in parts.items()
    ]


def labelled(event: Event, metric: str, labels: Mapping[str, str], value: float) -> Event:
    """An event for a measure with several labels of its own."""
    name = "/".join(labels.values())
    return _follower(
        event, f"{event.id}/{name}", cause=event, measures={metric: value}, labels={**event.labels, **labels}
    )


@dataclass(frozen=True)
class Span:
    """The time between two events of one subject, and the metric it is measured as."""

    metric: str
    begin: str
    end: str
    outcomes: frozenset[Outcome | None] = ANY
    """With which outcomes of the end it is measured."""
    own: bool = True
    """Whether the ``duration_ms`` of the end is this time."""
    lost: str = ""
    """The type of the event that says that the end never came; empty where nobody waits for it."""
    active: str = ""
    """The metric that counts those that have begun and not ended."""
    clue: str = ""
    """The type of the event that says in its data what is ``running``: where it was, if the end never comes."""


class Runs:
    """Joins what happened to one subject, in whatever order it is told."""

    def __init__(self, *spans: Span, same: Mapping[str, str] | None = None) -> None:
        """``same`` has the types that mean what another does; each type ends, and begins, at most one span."""
        self._same = same or {}
        self._begins = {span.begin: span for span in spans}
        self._ends = {span.end: span for span in spans}
        self._losses = {span.lost: span for span in spans if span.lost}
        self._clues = {span.clue: span for span in spans if span.clue}
        self._active = [span.active for span in spans if span.active]
        self._watched = tuple(f"\t{span.begin}" for span in spans if span.lost or span.active)

    def join(self, event: Event, measures: dict[str, float], table: Table) -> list[Event]:
        """Return the event with these measures and the time that it ends.

        Where the end was told before the beginning, the time between follows from the beginning.
        """
        role = self._same.get(event.type, event.type)
        ended, begun = self._ends.get(role), self._begins.get(role)
        if not ended and not begun:
            if event.subject and (span := self._losses.get(role)):
                self._lose(event, span, table)
            elif event.subject and (span := self._clues.get(role)):
                _note(event, span, table)
            return [event if measures == event.measures else replace(event, measures=measures)]
        run, taken = f"{event.source}\t{event.subject}\t", None
        if ended:
            taken = _taken(ended, event, measures, _recall(table, run, ended.begin) if event.subject else None)
            if ended.own:
                event = replace(event, measures=measures, duration_ms=taken)
        if measures != event.measures:
            event = replace(event, measures=measures)
        if not event.subject:
            return [event]
        if begun and role != event.type and table.get(run + role) and not table.get(run + begun.end):
            return [event]  # It was told before that this has begun: reported, after it was detected.
        table.put(run + role, _remembered(event, taken) if begun or taken is None else _over(event, taken))
        if ended and ended.lost:
            table.discard(run + ended.lost)
        if ended and ended.clue:
            table.discard(run + ended.clue)
        if ended and taken is not None and ended.begin not in self._ends:
            table.discard(run + ended.begin)  # They are joined: nobody asks when it began any more.
        if begun:
            return [event, *_belated(event, begun, run, table)]
        return [event]

    async def watch(self, context: Context, emit: Emit, lost_after: float, measured: str) -> None:
        """Tell who has not ended in so many seconds, and, whenever it changes, how many have begun and not ended."""
        counts: dict[str, float] = {}
        since: dict[int, float] = {}
        tries = Counter[int]()
        while True:
            # By a clock that nobody sets, and from when we could have been told: a restart makes nobody lost.
            now = context.clock.monotonic()
            since, alive, late = await self._waiting(context.table, since, now, lost_after)
            overdue = {_name(begin) for _, begin in late}
            tries = Counter({name: tries[name] for name in overdue})
            events = [
                _loss(context, *one, lost_after, tries[_name(one[1])]) for one in late if tries[_name(one[1])] < 2
            ]
            found = {metric: float(alive[metric]) for metric in self._active}
            if found != counts:
                events.append(context.event(measured, measures=found))
            if events:
                try:
                    await emit(events)
                except Full:  # Again in a second; nobody was told anything.
                    pass
                else:
                    counts = found
                    tries.update(overdue)
            await context.clock.sleep(max(1.0, len(context.table) / _PER_SECOND))

    async def _waiting(
        self, table: Table, since: Mapping[int, float], now: float, lost_after: float
    ) -> tuple[dict[int, float], Counter[str], list[tuple[Span, Event]]]:
        """Look at those that have begun, and neither ended nor were given up.

        Since when each waits, how many are not late by metric, and those that are. There may be a hundred thousand, so
        of the others nothing but their name is kept.
        """
        waiting: dict[int, float] = {}
        alive = Counter[str]()
        late: list[tuple[Span, Event]] = []
        known = table.keys()
        # Only the keys are copied: a pair each, of a hundred thousand, would hold up the loop.
        for number, key in enumerate(list(known), 1):
            if not number % _SLICE:
                await checkpoint()
            if not key.endswith(self._watched):
                continue
            run, _, role = key.rpartition("\t")
            span = self._begins[role]
            if f"{run}\t{span.end}" in known or f"{run}\t{span.lost}" in known:
                continue
            if (begin := _recall(table, f"{run}\t", role)) is None:
                continue
            name = _name(begin)
            began = waiting[name] = since.get(name, now)
            if span.lost and now - began >= lost_after:
                late.append((span, begin))
            else:
                alive[span.active] += 1
        return waiting, alive, late

    @staticmethod
    def _lose(event: Event, span: Span, table: Table) -> None:
        run = f"{event.source}\t{event.subject}\t"
        if table.get(run + span.begin) is not None and table.get(run + span.end) is None:
            table.put(run + span.lost, _over(event, None))


def _note(event: Event, span: Span, table: Table) -> None:
    """Remember where a run is that has not ended, as far as the newest event that says so."""
    key, running = f"{event.source}\t{event.subject}\t{span.clue}", event.data.get("running")
    if not isinstance(running, list) or table.get(f"{event.source}\t{event.subject}\t{span.end}"):
        return
    if (known := table.get(key)) and known.time > event.time:
        return
    names = ", ".join(map(str, running))[:300]  # pyright: ignore[reportUnknownArgumentType]
    table.put(key, Event("", "", "", event.time, subject=event.subject, reason=names, received=event.received))


def _taken(span: Span, end: Event, measures: dict[str, float], begin: Event | None) -> float | None:
    """The milliseconds that an event ends, told or joined; measured if its outcome allows that."""
    taken = measures.pop(span.metric, None)
    if span.own and end.duration_ms is not None:
        taken = end.duration_ms
    if taken is None and begin is not None and begin.time <= end.time:
        taken = (end.time - begin.time) * 1000
    if taken is not None and end.outcome in span.outcomes:
        measures[span.metric] = taken
    return taken


def _belated(begin: Event, span: Span, run: str, table: Table) -> Sequence[Event]:
    if span.lost or span.active:
        for later in (span.end, span.lost):
            if (known := table.get(run + later)) and known.time < begin.time:
                table.discard(run + later)  # It told of an earlier run with the same subject.
    end = _recall(table, run, span.end)
    if end is None or end.duration_ms is not None or end.time < begin.time:
        return ()
    taken = (end.time - begin.time) * 1000
    table.put(run + span.end, _remembered(end, taken))
    if end.outcome not in span.outcomes:
        return ()
    return [_follower(end, f"{end.id}/measured", cause=begin, measures={span.metric: taken}, labels=end.labels)]


def _remembered(event: Event, taken: float | None) -> Event:
    """What joining needs of an event, and no more: there may be many. Its source and type are in its key."""
    return Event(
        event.id,
        "",
        "",
        event.time,
        subject=event.subject,
        environment=event.environment,
        outcome=event.outcome,
        duration_ms=taken,
        service=event.service,
        labels=event.labels,
        weight=event.weight,
        received=event.received,
    )


def _over(event: Event, taken: float | None) -> Event:
    """What is needed of an end that nothing follows from any more: when it was, and that it was."""
    return Event("", "", "", event.time, subject=event.subject, duration_ms=taken, received=event.received)


def _recall(table: Table, run: str, role: str) -> Event | None:
    """What is remembered of a run, as it was but for what joining does not need."""
    event = table.get(run + role)
    return event and replace(event, source=run[: -len(event.subject) - 2], type=role)


def _follower(event: Event, id: str, *, cause: Event, measures: dict[str, float], labels: Mapping[str, str]) -> Event:
    return Event(
        id,
        event.source,
        f"{event.type.partition('.')[0]}.measured",
        event.time,
        subject=event.subject,
        environment=event.environment,
        service=event.service,
        measures=measures,
        labels=labels,
        weight=event.weight,
        cause=cause.id,
        received=cause.received,
    )


def _loss(context: Context, span: Span, begin: Event, lost_after: float, tries: int) -> Event:
    """Told by the source of the run itself: that is who its subject belongs to."""
    clue = context.table.get(f"{begin.source}\t{begin.subject}\t{span.clue}") if span.clue else None
    seen = clue.reason if clue else None
    event = context.event(
        span.lost,
        # A subject that was lost before, and is used again, would be taken for a repeat.
        id=f"{begin.id if tries else begin.subject}/lost",
        subject=begin.subject,
        outcome="error",
        reason=f"lost: no finish within {format_duration(lost_after)}" + (f"; last seen in {seen}" if seen else ""),
        labels=begin.labels,
    )
    return replace(event, source=begin.source, environment=begin.environment, service=begin.service)


def _name(event: Event) -> int:
    """What an event is known by while this process lasts: the names of a hundred thousand would take 25 MB."""
    return hash((event.source, event.id))


def _spelled(names: Mapping[str, V]) -> Mapping[str, V]:
    return {spelling: value for name, value in names.items() for spelling in (name, name.replace(".", "_"))}
