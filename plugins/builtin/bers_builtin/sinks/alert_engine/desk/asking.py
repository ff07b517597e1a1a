"""What operators ask of alerts and say about them: how that is read, and what is answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

from bers import Caller, Redactor, Refused, period
from bers_builtin.sinks.alert_engine.alerts import Alert, Status
from bers_builtin.sinks.alert_engine.desk.answers import Answer, ListAlerts, RuleReport
from bers_builtin.sinks.alert_engine.evaluator import Evaluator
from bers_builtin.sinks.alert_engine.life.register import Deed
from bers_builtin.sinks.alert_engine.rules import Severity
from bers_builtin.sinks.alert_engine.watches import Watch
from bers_builtin.sinks.alert_engine.written.ledger import Ledger

_LISTED: Sequence[Status] = ("pending", "active", "acknowledged", "suppressed")
_PRESSING: Sequence[Status] = ("active", "acknowledged", "suppressed", "pending")
_SEVERITIES: Sequence[Severity] = ("info", "warning", "error", "critical")


Chosen: TypeAlias = Callable[[Status, Severity, str], bool]
"""Whether alerts of a status, a severity and a rule are asked for."""


def chosen(ask: ListAlerts) -> Chosen:
    """Which living alerts are asked for; raise Refused where that cannot be read."""
    statuses = choices("status", ask.status, _LISTED, hint="resolved alerts are in GET alerts/history")
    wanted = severities(ask.severity)

    return lambda status, severity, rule: (
        status in statuses and (not wanted or severity in wanted) and ask.rule in ("", rule)
    )


def severities(text: str) -> set[str]:
    """The severities that are asked for; none means all. Raise Refused where one is none."""
    return choices("severity", text, _SEVERITIES)


def seconds(text: str, name: str = "period") -> float:
    """How long a period is; raise Refused where it cannot be read."""
    try:
        return period(text)
    except ValueError as exc:
        raise Refused("bad_request", f"{name}: {exc}") from exc


def reports(evaluator: Evaluator) -> list[RuleReport]:
    """Every rule, with what it makes of things now."""
    living: dict[str, list[Status]] = {}
    for alert in evaluator.register.live.values():
        living.setdefault(alert.rule_id, []).append(alert.status)
    pending = Counter(watch.id for watch, _ in evaluator.register.pending.values())
    watches = evaluator.watches.by_id.values()
    return [_report(watch, living.get(watch.id, []), pending[watch.id]) for watch in watches]


async def find(id: str, evaluator: Evaluator, ledger: Ledger) -> Alert:
    """The alert of an id, if it can be answered; raise Refused where there is none."""
    register = evaluator.register
    for alert in register.live.values():
        if alert.id == id:
            return alert
    if any(series.id == id for _, series in register.pending.values()):
        raise Refused("conflict", f"alert {id!r} is pending", hint="it can be answered once it fires")
    if ended := await ledger.find(id):
        return ended
    active = [alert.id for alert in register.live.values() if alert.status != "suppressed"]
    hint = "GET alerts lists those there are"
    raise Refused("not_found", f"there is no alert {id!r}", hint=hint, known=active[:50])


def assert_lives(alert: Alert, verb: str) -> None:
    """Raise Refused where an alert has ended."""
    if alert.resolution:
        raise Refused("conflict", f"alert {alert.id!r} is resolved", hint=f"nothing is left to {verb}")


def deed(ask: Answer, caller: Caller, redactor: Redactor) -> Deed:
    """Who does something about an alert, by what they say and who they are; raise Refused where nobody is named."""
    operator = operator_of(ask.operator, caller, redactor)
    return Deed(operator, caller.named, redactor.text(ask.notes.strip()), caller.address)


def operator_of(said: str, caller: Caller, redactor: Redactor) -> str:
    """Who does something, by what they say and who they are; raise Refused where nobody is named."""
    principal = "" if caller.principal == "anonymous" else caller.principal
    operator = redactor.text(said.strip()) or principal
    if not operator:
        remedy = 'say who does this, as in {"operator": "admin"}'
        raise Refused("invalid", "nobody said who does this", details=[("operator", remedy)])
    return operator


def choices(name: str, text: str, known: Sequence[str], *, hint: str = "") -> set[str]:
    """Words with commas between; raise Refused where one of them is not known."""
    said = {part.strip(" ") for part in text.split(",")} if text else set[str]()
    for one in sorted(said - set(known)):
        raise Refused("bad_request", f"{name}: {one!r} is none of those there are", hint=hint, known=known)
    return said


def _report(watch: Watch, living: Sequence[Status], pending: int) -> RuleReport:
    rule = watch.rule
    states: Sequence[Status] = [*living, "pending"] if pending else living
    pressing: Sequence[Status] = [status for status in _PRESSING if status in states]
    return RuleReport(
        id=watch.id,
        name=rule.name,
        type=watch.type,
        severity=rule.severity,
        origin="default" if watch.default else "configured",
        state=pressing[0] if pressing else "ok",
        alerts=len(living),
        pending=pending,
        last_value=watch.value,
        last_evaluation=None if watch.evaluated is None else int(watch.evaluated * 1000),
        threshold=watch.threshold,
        unit=watch.unit,
        condition=watch.condition,
        for_ms=round(rule.for_ * 1000),
        window_ms=None if rule.window is None else round(rule.window * 1000),
        keep_firing_for_ms=round(rule.keep_firing_for * 1000),
        min_samples=rule.min_samples,
        where=rule.where,
        labels=rule.labels,
        group=list(watch.group),
        depends_on=rule.depends_on,
        annotations=rule.annotations,
    )
