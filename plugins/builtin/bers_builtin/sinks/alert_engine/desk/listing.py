"""Single alerts, their logs, the alerts that are alive, and those of a period, page by page."""

from __future__ import annotations

from collections.abc import Generator
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias

from bers import Caller, Refused, Reply
from bers_builtin.sinks.alert_engine.alerts import Alert, Moment
from bers_builtin.sinks.alert_engine.desk import asking
from bers_builtin.sinks.alert_engine.desk.answers import AskAlert, Found, ListAlerts, ListHistory
from bers_builtin.sinks.alert_engine.life.drafting import began
from bers_builtin.sinks.alert_engine.life.register import Register
from bers_builtin.sinks.alert_engine.slices import in_slices
from bers_builtin.sinks.alert_engine.watches import Series, Watch
from bers_builtin.sinks.alert_engine.written.log import Entry

if TYPE_CHECKING:
    from bers_builtin.sinks.alert_engine.engine import AlertEngine

_Place: TypeAlias = tuple[int, str, Alert | tuple[Watch, Series]]
"""When an alert fired last, as a number that falls, its id, and the alert, or what makes it while it is pending."""

_by_age = itemgetter(0, 1)

_SORTED = 1000  # How many are sorted together.


async def get_alert(stage: AlertEngine, ask: AskAlert, caller: Caller) -> Alert:
    """One alert, whatever became of it."""
    async with stage.books.sound() as evaluator:
        for watch, series in evaluator.register.pending.values():
            if series.id == ask.id:
                return evaluator.register.pending_alert(watch, series, evaluator.moment)
        return await asking.find(ask.id, evaluator, stage.books.ledger)


async def get_log(stage: AlertEngine, ask: AskAlert, caller: Caller) -> list[Entry]:
    """Every step in the life of an alert, the oldest first. One that is pending has none yet."""
    await get_alert(stage, ask, caller)
    return await stage.books.ledger.log(ask.id)


async def list_alive(stage: AlertEngine, ask: ListAlerts, caller: Caller) -> Reply[list[Alert]]:
    """The living alerts of some statuses, the newest first."""
    is_chosen = asking.chosen(ask)
    async with stage.books.sound() as evaluator:
        page, total = await in_slices(_choosing(evaluator.register, is_chosen, ask.limit, evaluator.moment))
    return Reply(page, {"meta": Found(total, ask.limit)})


async def list_history(stage: AlertEngine, ask: ListHistory, caller: Caller) -> Reply[list[Alert]]:
    """Every alert that was alive in a period, the newest first."""
    severities = asking.severities(ask.severity)
    since = int((stage.context.clock.time() - asking.seconds(ask.period)) * 1000)
    found = await stage.books.ledger.history(
        since, rule=ask.rule, severities=severities, after=_read(ask.after), limit=ask.limit + 1
    )
    is_more = len(found) > ask.limit
    page = found[: ask.limit]
    return Reply(page, {"next": _place(page[-1]) if is_more else None})


def _choosing(
    register: Register, is_chosen: asking.Chosen, limit: int, moment: Moment
) -> Generator[None, None, tuple[list[Alert], int]]:
    """The first alerts that are chosen, and how many there are, alert by alert."""
    pieces, places = list[list[_Place]](), list[_Place]()

    def put(place: _Place) -> None:
        places.append(place)
        if len(places) == _SORTED:
            pieces.append(sorted(places, key=_by_age))
            places.clear()

    for alert in list(register.live.values()):
        if is_chosen(alert.status, alert.severity, alert.rule):
            put((-alert.fired_at, alert.id, alert))
        yield
    for watch, series in list(register.pending.values()):
        if is_chosen("pending", watch.severity(series), watch.rule.name):
            put((-began(series, moment), series.id, (watch, series)))
        yield
    pieces.append(sorted(places, key=_by_age))
    page: list[Alert] = []
    for _, _, one in islice(merge(*pieces, key=_by_age), limit):
        page.append(one if isinstance(one, Alert) else register.pending_alert(*one, moment))
        yield
    return page, sum(map(len, pieces))


def _read(text: str) -> tuple[int, str]:
    """The place in the history that was handed back; without one its beginning, which is the newest."""
    if not text:
        return 2**62, ""
    fired, _, id = text.partition("-")
    if not fired.isdecimal() or len(fired) > 18 or not id:
        raise Refused(
            "bad_request", f"after: {text[:80]!r} is no place in the history; hand back `next` as it was told"
        )
    return int(fired), id


def _place(alert: Alert) -> str:
    return f"{alert.fired_at}-{alert.id}"
