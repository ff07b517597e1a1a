"""Single alerts, their logs, and the alerts of a period, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bers import Caller, Refused, Reply
from bers_builtin.sinks.alert_engine.alerts import Alert
from bers_builtin.sinks.alert_engine.desk import asking
from bers_builtin.sinks.alert_engine.desk.answers import AskAlert, ListHistory
from bers_builtin.sinks.alert_engine.written.log import Entry

if TYPE_CHECKING:
    from bers_builtin.sinks.alert_engine.engine import AlertEngine


async def get_alert(stage: AlertEngine, ask: AskAlert, caller: Caller) -> Alert:
    """One alert, whatever became of it."""
    async with stage.books.sound() as evaluator:
        for alert in evaluator.register.pending_alerts(evaluator.moment):
            if alert.id == ask.id:
                return alert
        return await asking.find(ask.id, evaluator, stage.books.ledger)


async def get_log(stage: AlertEngine, ask: AskAlert, caller: Caller) -> list[Entry]:
    """Every step in the life of an alert, the oldest first. One that is pending has none yet."""
    await get_alert(stage, ask, caller)
    return await stage.books.ledger.log(ask.id)


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
