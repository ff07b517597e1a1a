"""The story of one alert: every step of its life, the events that led to it, and who was told."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from bers import Caller, Event, Refused, format_value
from bers_builtin.sinks.alert_engine.alerts import Alert
from bers_builtin.sinks.alert_engine.desk import listing
from bers_builtin.sinks.alert_engine.desk.answers import AskAlert
from bers_builtin.sinks.alert_engine.watches import Watch
from bers_builtin.sinks.alert_engine.written.log import Entry

if TYPE_CHECKING:
    from bers_builtin.sinks.alert_engine.engine import AlertEngine

FIRST, LAST = 10, 10
"""How many of the events behind an alert are told: the first ones, and the last."""

PATIENCE = 5.0
"""Seconds that events are looked for."""

_SLACK = 1.0  # Seconds that a batch may be on its way from the intake.

Where: TypeAlias = Literal["journal", "store", "nowhere"]


class Behind(msgspec.Struct, rename="camel", frozen=True):
    """An event that the rule read. Times in milliseconds since 1970."""

    time: int
    received: int
    id: str
    source: str
    type: str
    subject: str
    position: int
    """Where it stands in the journal; 0 where that is not known."""
    says: str


class AlertStory(msgspec.Struct, rename="camel", frozen=True):
    """One alert, why it is, and what became of it."""

    alert: Alert
    condition: str
    """What its rule watches for; empty where the rule is no more."""
    log: list[Entry]
    events: list[Behind]
    """What its rule read of its labels while it led to the alert, and until it was over; the oldest first."""
    left_out: int
    """How many more there were, between the first ones and the last."""
    found_in: Where
    """Where the events were found."""
    cut: bool
    """Whether there was no time to look through all."""
    told: list[dict[str, Any]]
    """What channels were to be told of it, and what became of that, as `GET deliveries` says."""


async def tell_story(engine: AlertEngine, ask: AskAlert, caller: Caller) -> AlertStory:
    """Everything that is known of an alert; raise Refused where there is none."""
    alert = await listing.get_alert(engine, ask, caller)
    log = await engine.books.ledger.log(alert.id)
    watch = engine.books.evaluator.watches.by_id.get(alert.rule_id)
    first, last = list[Behind](), deque[Behind](maxlen=LAST)
    count, cut = 0, False
    where: Where = "nowhere"
    if watch:
        since, until = _span(alert, watch, log)
        deadline = engine.context.clock.monotonic() + PATIENCE
        async with aclosing(engine.context.recorded.read(since, until)) as pieces:
            async for events in pieces:
                for event in events:
                    if (says := _reads(watch, event, alert.labels)) is not None:
                        count += 1
                        (first if len(first) < FIRST else last).append(_behind(event, says))
                if cut := engine.context.clock.monotonic() > deadline:
                    break
        where = "journal" if count else where
    found = [*first, *last]
    if not found and (kept := await _kept(engine, alert)):
        found, where = [_behind(kept, _said(watch, kept))], "store"
    count = max(count, len(found))
    condition = watch.condition if watch else ""
    told = await _told(engine, alert.id)
    return AlertStory(alert, condition, log, found, count - len(found), where, cut, told)


def _span(alert: Alert, watch: Watch, log: Sequence[Entry]) -> tuple[float, float]:
    """When events came that led to the alert, or were read while it lived."""
    began = min([alert.timestamp, *(one.time for one in log[:1])])
    end = alert.resolution.timestamp if alert.resolution else alert.updated_at
    return began / 1000 - (watch.rule.window or 0.0) - _SLACK, end / 1000 + 0.001


def _reads(watch: Watch, event: Event, labels: Mapping[str, str]) -> str | None:
    """What of an event the rule reads, if it reads it for an alert with these labels."""
    measured = watch.rule.metric in event.measures if watch.rule.metric else False
    if not (measured or event.type in watch.rule.events or _ends(watch, event)) or not watch.wants(event):
        return None
    return _said(watch, event) if _are(watch, event, labels) else None


def _are(watch: Watch, event: Event, labels: Mapping[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in watch.labels_of(event))


def _ends(watch: Watch, event: Event) -> bool:
    return watch.rule.clears is not None and watch.rule.clears.matches(event.type, event.outcome)


def _said(watch: Watch | None, event: Event) -> str:
    if watch and watch.rule.metric in event.measures:
        return f"{watch.rule.metric} is {format_value(event.measures[watch.rule.metric], watch.unit)}"
    said = event.outcome or "it happened"
    return f"{said}: {event.reason[:200]}" if event.reason else said


def _behind(event: Event, says: str) -> Behind:
    received = int((event.received or event.time) * 1000)
    return Behind(int(event.time * 1000), received, event.id, event.source, event.type, event.subject, event.seq, says)


async def _kept(engine: AlertEngine, alert: Alert) -> Event | None:
    """The event that brought it last, as the store keeps it."""
    asked = {"id": alert.metadata.get("event", ""), "source": alert.metadata.get("source", ""), "limit": 1}
    if not asked["id"]:
        return None
    try:
        records: Sequence[Mapping[str, Any]] = await engine.context.call("GET", "records", asked)
    except Refused:
        return None  # Nobody keeps details here.
    for record in records:
        return msgspec.convert({**record, "time": record["timestamp"] / 1000}, Event)
    return None


async def _told(engine: AlertEngine, alert: str) -> list[dict[str, Any]]:
    """What channels say that they were to tell of it, where any says so."""
    try:
        found: list[dict[str, Any]] = await engine.context.call("GET", "deliveries", {"subject": alert})
    except Refused:
        return []
    return found
