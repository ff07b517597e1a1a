"""What a receiver was told, what REST says, and what the databases hold, against each other and what was due."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bers import Event
from tests.faults.kills.alerts import channels, sparing
from tests.faults.kills.alerts.forms import Form
from tests.faults.kills.alerts.operators import Alert, Promise, Promises
from tests.faults.kills.alerts.receiver import Receipt
from tests.faults.kills.alerts.services import FOR, Due, Subject
from tests.faults.kills.oracle import details, set_aside

MOST_OFF = 1.0
"""Seconds by which a rule's `for` may be off, kills included."""


MAY_FLAP = frozenset({"Down", "Failing"})
"""Rules of which one subject has many alerts; those that come and go are held together."""


class Told(NamedTuple):
    """A transition, as a receiver has it."""

    number: int
    kind: str
    alert: Alert


class Account(NamedTuple):
    """What there is to compare, when all is over."""

    data: Path
    due: Due
    receipts: Sequence[Receipt]
    history: Sequence[Alert]
    logs: Mapping[str, Sequence[Mapping[str, Any]]]
    """What REST says happened to each alert."""
    promises: Promises
    form: Form
    channels: Sequence[channels.Channel]
    outages: Sequence[sparing.Outage]


def faults(account: Account) -> list[str]:
    """What is wrong; nothing, if all is well."""
    if aside := set_aside(account.data):
        return aside  # Numbers go on at those of milliseconds then: there is nothing to count them by.
    told = _told(account.receipts)
    by_alert: dict[str, list[Told]] = {}
    for one in told:
        by_alert.setdefault(one.alert["id"], []).append(one)
    events = details(account.data / "metrics.db")
    slow, off = _slow(account.due, events, by_alert.values())
    due = {**account.due.occurrences, **dict.fromkeys(slow, 1)}
    occurred = Counter(_subject(alert) for alert in account.history)
    return [
        *_numbers(told, events, account.data / "state.db"),
        *_bodies(account.receipts),
        *(fault for id, steps in by_alert.items() for fault in _life(id, steps)),
        *(fault for alert in account.history for fault in _ended(alert, by_alert, account.logs[alert["id"]])),
        *(f"alert {id} was told, and REST does not know it" for id in by_alert.keys() - account.logs.keys()),
        *_audit(account.data / "state.db", account.promises),
        *_silenced(account),
        *(
            f"{key} has {occurred[key]} alerts, and {due.get(key, 0)} are due"
            for key in sorted({*occurred, *due})
            if not _is_due(occurred[key], due.get(key, 0), may_flap=account.form.spares and key[0] in MAY_FLAP)
        ),
        *off,
        *(fault for one in account.channels for fault in channels.faults(one, account.history, account.logs)),
        *(
            sparing.faults(account.history, account.logs, account.due.downs, account.outages)
            if account.form.spares
            else ()
        ),
    ]


def repeated(receipts: Iterable[Receipt]) -> int:
    """How many attempts told again what was taken already, as whoever sent them could not know."""
    taken = Counter(one.id for one in receipts if one.taken)
    return taken.total() - len(taken)


def _told(receipts: Iterable[Receipt]) -> list[Told]:
    """What was taken, once each, in the order in which it came first."""
    first: dict[str, Told] = {}
    for one in receipts:
        if one.taken and one.id not in first:
            event = msgspec.json.decode(one.body)
            kind = event["type"].removeprefix("io.bers.alert.").removesuffix(".v1")
            first[one.id] = Told(_number(one.id), kind, event["data"]["data"])
    return list(first.values())


def _numbers(told: Sequence[Told], events: Sequence[Event], state: Path) -> list[str]:
    """Every event of the engine that was committed has a number: none is missing at either end."""
    with closing(sqlite3.connect(state)) as connection:
        (last,) = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'alert_outbox'").fetchone()
        (waiting,) = connection.execute("SELECT count(*) FROM alert_outbox").fetchone()
    # A node that lives long enough beats, and a beat is nothing of an alert's.
    ours = [one for one in events if one.source == "bers:alert-engine" and one.type != "watchdog.beat"]
    committed = set(range(1, last + 1))
    alerts = {_number(one.id) for one in ours if one.type.startswith("alert.")}
    found = [f"{waiting} events wait to be told"] if waiting else []
    for who, numbers, due in (
        ("the receiver", [one.number for one in told], alerts),
        ("the store", [_number(one.id) for one in ours], committed),
    ):
        if missing := due - {*numbers}:
            found.append(f"{who} was not told of {len(missing)} events of {len(due)}, as {sorted(missing)[:5]}")
        if strange := {*numbers} - due:
            found.append(f"{who} was told of {sorted(strange)[:5]}, which nobody committed")
        if len(numbers) > len({*numbers}):
            found.append(f"{who} was told of {len(numbers) - len({*numbers})} events under two ids")
    return found


def _is_due(occurred: int, due: int, *, may_flap: bool) -> bool:
    return 0 < occurred <= due if may_flap else occurred == due


def _number(id: str) -> int:
    return int(id.rpartition("-")[2])


def _bodies(receipts: Iterable[Receipt]) -> list[str]:
    """What is told again says the same."""
    bodies: dict[str, set[bytes]] = {}
    for one in receipts:
        bodies.setdefault(one.id, set()).add(one.body)
    return [f"{id} was told in {len(some)} ways" for id, some in bodies.items() if len(some) > 1]


def _life(id: str, steps: Sequence[Told]) -> Iterable[str]:
    """Firing first, resolved last, each once; before it that it is suppressed, and in between what people did.

    What was suppressed for all of its life is told as that, and as nothing else.
    """
    kinds = [one.kind for one in steps]
    numbers = [one.number for one in steps]
    while kinds[:1] == ["suppressed"]:
        kinds.pop(0)
    if kinds and (kinds[0], kinds[-1], kinds.count("firing"), kinds.count("resolved")) != ("firing", "resolved", 1, 1):
        yield f"alert {id} does not begin once and end once: {kinds}"
    if numbers != sorted(numbers):
        yield f"alert {id} was told in this order: {[(one.number, one.kind) for one in steps]}"


def _ended(alert: Alert, by_alert: Mapping[str, Sequence[Told]], log: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """An alert is over, its log has no gap, and what the log says was told is what the receiver was told, in order."""
    name = f"alert {alert['id']} of {_subject(alert)}"
    if alert["status"] != "resolved":
        yield f"{name} is {alert['status']} when all is over"
    steps = by_alert.get(alert["id"], ())
    if [one.kind for one in steps] != (said := [entry["kind"] for entry in log if entry["told"]]):
        yield f"{name} was told as {[one.kind for one in steps]}, and its log says {said}"
    if alert["told"] and (not steps or steps[-1].alert["resolution"] != alert["resolution"]):
        yield f"{name} was resolved as {alert['resolution']}, and told as {steps[-1:]}"
    if any(before["to"] != after["from"] for before, after in pairwise(log)):
        yield f"{name} has a log with a gap: {[(entry['from'], entry['to']) for entry in log]}"
    if (alert["acknowledgment"] is not None) != any(entry["kind"] == "acknowledged" for entry in log):
        yield f"{name}: acknowledged as {alert['acknowledgment']}, and its log says {[one['kind'] for one in log]}"


def _silenced(account: Account) -> Iterable[str]:
    """Nobody was told that an alert fires while it was silenced."""
    for silence in account.promises.silences:
        for alert in account.history:
            for entry in account.logs[alert["id"]] if alert["rule"] == silence.rule else ():
                if entry["kind"] == "firing" and silence.begins * 1000 < entry["time"] < silence.ends * 1000:
                    yield f"alert {alert['id']} fired at {entry['time']}, while it was silenced by {silence}"


def _audit(state: Path, promises: Promises) -> list[str]:
    """Whatever somebody did is in the audit, once."""
    query = "SELECT target, action FROM audit_chain WHERE action LIKE 'alerts/%' OR action LIKE 'silences/%'"
    with closing(sqlite3.connect(state)) as connection:
        rows = Counter(connection.execute(query).fetchall())
    wanted = {(one.alert["id"], f"alerts/{one.action}") for one in promises.made if _is_by_hand(one)}
    wanted |= {(one.id, "silences/create") for one in promises.silences}
    return [
        f"{action} of {id} is {rows[id, action]} times in the audit"
        for id, action in {*wanted, *rows}
        if rows[id, action] != 1
    ]


def _slow(due: Due, events: Iterable[Event], told: Iterable[Sequence[Told]]) -> tuple[set[Subject], list[str]]:
    """The services whose alert is due because they were slow for long enough, by when it was taken; and what is off."""
    taken = {one.id: one.received for one in events if one.type == "service-is.measured"}
    fired = {
        alert["labels"]["subject"]: alert["metadata"]["event"]
        for steps in told
        if (alert := steps[0].alert)["rule"] == "Slow"
    }
    expected, wrong = set[Subject](), list[str]()
    for subject, samples in due.samples.items():
        since: float | None = None
        for sample in samples:
            at = taken[sample.id]
            since = (at if since is None else since) if sample.slow else None
            waited = 0.0 if since is None else at - since
            if sample.id == fired.get(subject):
                expected.add(("Slow", subject))
                if waited < FOR - MOST_OFF:
                    wrong.append(f"{subject} fired after {waited:.3f} s, and not after {FOR:g} s")
                break
            if waited > FOR + MOST_OFF:
                expected.add(("Slow", subject))
                wrong.append(f"{subject} was slow for {waited:.3f} s, and had not fired")
                break
    return expected, wrong


def _is_by_hand(promise: Promise) -> bool:
    """Whether the answer says that it was done by hand, and not that it had ended by itself before."""
    return promise.action == "acknowledge" or promise.alert["resolution"]["operator"] is not None


def _subject(alert: Mapping[str, Any]) -> Subject:
    return alert["rule"], alert["labels"]["subject"]
