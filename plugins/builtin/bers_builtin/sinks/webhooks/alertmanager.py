"""Alerts as Alertmanager has them: as it sends them to webhooks (version 4), and as it is sent them itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from bers import Account, Notice, rfc3339

_NEVER = "0001-01-01T00:00:00Z"
"""What Alertmanager calls the end of what has none yet."""

_FIRES_FOR = 30 * 86400.0
"""Seconds after which Alertmanager takes an alert for resolved of which we tell it nothing more."""

_TEST_FOR = 60.0


def webhook(notice: Notice, external_url: str) -> dict[str, Any]:
    """What Alertmanager would send to a receiver named like the channel."""
    alerts = [_alert(account, external_url) for account in notice.accounts]
    group = {_name(name): value for name, value in (notice.group or {}).items()}
    if notice.group is None:
        group = {"alertname": alerts[0]["labels"]["alertname"]}
    inside = ", ".join(f"{name}={_quoted(value)}" for name, value in sorted(group.items()))
    return {
        "version": "4",
        "groupKey": f"{{}}:{{{inside}}}",
        "truncatedAlerts": 0,
        "status": "resolved" if notice.is_over else "firing",
        "receiver": notice.channel,
        "groupLabels": group,
        "commonLabels": _common(alert["labels"] for alert in alerts),
        "commonAnnotations": _common(alert["annotations"] for alert in alerts),
        "externalURL": external_url,
        "alerts": alerts,
    }


def posted(notice: Notice, external_url: str) -> list[dict[str, Any]]:
    """What Prometheus would send to Alertmanager's /api/v2/alerts.

    Alertmanager ends an alert of which it hears nothing. We tell it of changes alone, so what fires is said to end
    weeks from now, and ended when it does.
    """
    return [_posted(account, external_url) for account in notice.accounts]


def _posted(account: Account, external_url: str) -> dict[str, Any]:
    lasts = _FIRES_FOR if account.is_alert and account.event.type != "alert.test" else _TEST_FOR
    ends = account.event.time if account.is_over else account.event.time + lasts
    alert = {
        "labels": _labels(account),
        "annotations": _annotations(account),
        "startsAt": rfc3339(_began(account)),
        "endsAt": rfc3339(ends),
    }
    return alert | ({"generatorURL": _link(account, external_url)} if external_url else {})


def _alert(account: Account, external_url: str) -> dict[str, Any]:
    return {
        "status": "resolved" if account.is_over else "firing",
        "labels": _labels(account),
        "annotations": _annotations(account),
        "startsAt": rfc3339(_began(account)),
        "endsAt": rfc3339(account.event.time) if account.is_over else _NEVER,
        "generatorURL": _link(account, external_url),
        "fingerprint": str(account.event.data.get("fingerprint") or account.event.subject or account.event.id),
    }


def _labels(account: Account) -> dict[str, str]:
    """What an alert is known by: the same when it fires and when it is resolved."""
    event = account.event
    own = [(_name(name), value) for name, value in account.labels.items() if name not in ("rule", "contact")]
    known = [
        ("alertname", event.labels.get("rule") or event.type),
        ("severity", account.severity),
        ("environment", event.environment or ""),
        ("service", event.service or ""),
    ]
    return {name: value for name, value in (*own, *known) if value}


def _annotations(account: Account) -> dict[str, str]:
    own = {_name(name): value for name, value in account.annotations.items()}
    told = {"summary": account.title, "description": account.message, "alert_id": account.event.subject}
    return {name: value for name, value in (told | own).items() if value}


def _began(account: Account) -> float:
    began = account.event.data.get("firedAt")
    return began / 1000 if isinstance(began, int | float) else account.event.time


def _link(account: Account, external_url: str) -> str:
    return f"{external_url.rstrip('/')}/#alert={account.event.subject}" if external_url else ""


def _common(each: Iterable[Mapping[str, str]]) -> dict[str, str]:
    first, *others = each
    return {name: value for name, value in first.items() if all(one.get(name) == value for one in others)}


def _name(text: str) -> str:
    """A name as labels of Prometheus may have it."""
    name = re.sub(r"[^a-zA-Z0-9_]", "_", text)
    name = f"_{name}" if name[:1].isdigit() else name or "_"
    return "alertname" if name == "rule" else name


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
