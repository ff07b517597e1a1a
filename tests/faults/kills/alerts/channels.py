"""What channels of other kinds were told, against what the logs of alerts say that they are to be told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from tests.faults.kills.alerts.operators import Alert
from tests.faults.kills.alerts.receiver import Receipt

Log = Sequence[Mapping[str, Any]]

NEWS = frozenset({"firing", "acknowledged", "unacknowledged", "escalated", "repeated", "flapping", "resolved"})
"""What a channel is told of that asks for nothing else."""


class Heard(NamedTuple):
    """A transition, as a channel has it."""

    event: str
    kind: str
    alert: str


class Channel(NamedTuple):
    """Who is told, and what of it is to be compared."""

    name: str
    receipts: Sequence[Receipt]
    heard: Callable[[Receipt], Sequence[Heard]]
    due: Callable[[Alert, Log], Log]
    """Of the steps of an alert that are told, those that it is told."""


def faults(channel: Channel, history: Sequence[Alert], logs: Mapping[str, Log]) -> Iterator[str]:
    """What is wrong with a channel: told otherwise, twice under two ids, not at all, or what it is not to be told."""
    name = channel.name
    bodies, first = dict[str, bytes](), dict[str, Receipt]()
    for one in channel.receipts:
        if bodies.setdefault(one.id, one.body) != one.body:
            yield f"{name}: {one.id} was told as {bodies[one.id]!r} and as {one.body!r}"
        if one.taken:
            first.setdefault(one.id, one)
    under, told = dict[str, str](), dict[str, list[str]]()
    for one in first.values():
        for heard in channel.heard(one):
            if (before := under.setdefault(heard.event, one.id)) != one.id:
                yield f"{name}: {heard} was told under two ids, {before} and {one.id}"
            else:
                told.setdefault(heard.alert, []).append(heard.kind)
    for alert in history:
        entries = [entry for entry in logs[alert["id"]] if entry["told"] and entry["kind"] in NEWS]
        due = [entry["kind"] for entry in channel.due(alert, entries)]
        if (kinds := told.pop(alert["id"], [])) != due:
            yield f"{name}: alert {alert['id']} of {alert['rule']} was told as {kinds}, and is due as {due}"
    if told:
        yield f"{name}: was told of alerts that REST does not know: {told}"


# Who hears of what


def everything(alert: Alert, log: Log) -> Log:
    return log


def critical(alert: Alert, log: Log) -> Log:
    return log if alert["severity"] == "critical" else ()


def once_escalated(alert: Alert, log: Log) -> Log:
    """All that follows once it was handed on."""
    return log[next((n for n, entry in enumerate(log) if entry["kind"] == "escalated"), len(log)) :]


# How each says it


def of_webhook(one: Receipt) -> Sequence[Heard]:
    whole = b"[%b]" % one.body if one.body.startswith(b"{") else one.body
    events = msgspec.json.decode(whole, type=list[dict[str, Any]])
    return [Heard(event["id"], _kind(event["type"]), event["subject"]) for event in events]


def of_message(one: Receipt) -> Sequence[Heard]:
    event, kind, alert = one.body.decode().partition("\n")[0].split(" ")
    return [Heard(event, _kind(kind), alert)]


def of_program(one: Receipt) -> Sequence[Heard]:
    kind, alert = one.body.decode().split("\t")
    return [Heard(one.id, _kind(kind), alert)]


def _kind(type: str) -> str:
    return type.removeprefix("io.bers.").removesuffix(".v1").removeprefix("alert.")
