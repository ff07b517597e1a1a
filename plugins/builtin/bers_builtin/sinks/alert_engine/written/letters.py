"""What a step is as an event: ``alert.*``, ``silence.*``, and ``incident.*`` where an alert's rule says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bers import Context, Event
from bers_builtin.sinks.alert_engine.written.ledger import Letter

_DEPLOYING = ("deployment.", "service.")


def as_event(letter: Letter, context: Context) -> Event:
    """The event that a row of the outbox stands for; the row's number is its id, however often it is handed in."""
    alert = msgspec.json.decode(letter.body, type=dict[str, Any])
    if letter.kind.startswith("silence."):
        return context.event(letter.kind, id=f"t-{letter.seq}", time=letter.time, subject=alert["id"], data=alert)
    labels = {"rule": alert["rule"], "severity": alert["severity"]}
    if letter.kind.startswith("incident."):
        event = _incident(letter, alert, labels, context)
    else:
        if letter.kind == "escalated":
            labels["contact"] = alert["escalation"]["contact"]
        event = context.event(
            f"alert.{letter.kind}",
            id=f"t-{letter.seq}",
            time=letter.time,
            subject=alert["id"],
            labels=labels,
            data=alert,
        )
    return msgspec.structs.replace(event, environment=alert["environment"] or event.environment)


def _incident(letter: Letter, alert: Mapping[str, Any], labels: Mapping[str, str], context: Context) -> Event:
    """An incident is called what its alert is called; of a deployment's event it says which deployment it came of."""
    seen: Mapping[str, str] = alert["metadata"]
    is_deployment = str(alert["type"]).startswith(_DEPLOYING)
    return context.event(
        letter.kind,
        id=f"t-{letter.seq}",
        time=letter.time,
        subject=alert["id"],
        service=alert["labels"].get("service"),
        reason=alert["message"],
        labels=labels,
        data={"alert": alert["id"], "title": alert["title"]}
        | ({"cause": seen["subject"]} if is_deployment and seen.get("subject") else {}),
    )
