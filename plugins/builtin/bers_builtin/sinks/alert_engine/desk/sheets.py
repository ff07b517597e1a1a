"""Lists of alerts as tables: when each fired first, and all that is known of it."""

from __future__ import annotations

from msgspec.structs import fields

from bers import Reply, Sheet, rfc3339
from bers_builtin.sinks.alert_engine.alerts import Alert
from bers_builtin.sinks.alert_engine.desk.answers import ListAlerts, ListHistory

_COLUMNS = [one.name for one in fields(Alert) if one.name != "timestamp"]
_MILLISECONDS = {"fired_at", "updated_at"}


def alive(_: ListAlerts, reply: Reply[list[Alert]]) -> Sheet:
    return _sheet("alerts", reply.data)


def history(ask: ListHistory, reply: Reply[list[Alert]]) -> Sheet:
    return _sheet(f"alerts-{ask.period}", reply.data, reply.beside.get("next") or "")


def _sheet(name: str, alerts: list[Alert], after: str = "") -> Sheet:
    return Sheet(
        name,
        ["time", "time_ms", *(f"{one}_ms" if one in _MILLISECONDS else one for one in _COLUMNS)],
        (
            [rfc3339(alert.timestamp / 1000), alert.timestamp, *(getattr(alert, one) for one in _COLUMNS)]
            for alert in alerts
        ),
        after,
    )
