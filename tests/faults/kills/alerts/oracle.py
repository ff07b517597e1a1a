"""What a receiver was told, what REST says, and what the databases hold, against each other and what was due."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bers import Event
from tests.faults.kills.alerts.operators import Alert, Promise
from tests.faults.kills.alerts.receiver import Receipt
from tests.faults.kills.alerts.services import FOR, Due, Subject
from tests.faults.kills.oracle import details

MOST_OFF = 1.0
"""Seconds by which a rule's `for` may be off, kills included."""


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
    promises: Sequence[Promise]


def faults(account: Account) -> list[str]:
    """What is wrong; nothing, if all is well."""
    told = _told(account.receipts)
    by_alert: dict[str, list[Told]] = {}
    for one in told:
        by_alert.setdefault(one.alert["id"], []).append(one)
    events = details(account.data / "metrics.db")
    found = [
        *_numbers(told, events, account.data / "state.db"),
        *_bodies(account.receipts),
        *(fault for id, steps in by_alert.items() for fault in _life(id, steps)),
        *_history(account.history, by_alert),
        *_audit(account.data / "state.db", account.promises),
    ]
    occurrences = Counter[Subject]()
    for steps in by_alert.values():
        occurrences[_subject(steps[0].alert)] += 1
    slow, off = _slow(account.due, events, by_alert.values())
    due = {**account.due.occurrences, **dict.fromkeys(slow, 1)}
    found += [
        f"{key}: told {occurrences[key]} times, due {due.get(key, 0)} times"
        for key in sorted({*occurrences, *due})
        if occurrences[key] != due.get(key, 0)
    ]
    return [*found, *off]


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
            first[one.id] = Told(int(one.id.rpartition("-")[2]), kind, event["data"]["data"])
    return list(first.values())


def _numbers(told: Sequence[Told], events: Sequence[Event], state: Path) -> list[str]:
    """Every transition that was committed has a number: none is missing at either end."""
    with closing(sqlite3.connect(state)) as connection:
        (last,) = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'alert_outbox'").fetchone()
        (waiting,) = connection.execute("SELECT count(*) FROM alert_outbox").fetchone()
    committed = set(range(1, last + 1))
    kept = [int(one.id.rpartition("-")[2]) for one in events if one.type.startswith("alert.")]
    found = [f"{waiting} transitions wait to be told"] if waiting else []
    for who, numbers in (("the receiver", [one.number for one in told]), ("the store", kept)):
        if missing := committed - {*numbers}:
            found.append(f"{who} was not told of {len(missing)} transitions of {last}, as {sorted(missing)[:5]}")
        if strange := {*numbers} - committed:
            found.append(f"{who} was told of {sorted(strange)[:5]}, which nobody committed")
        if len(numbers) > len({*numbers}):
            found.append(f"{who} was told of {len(numbers) - len({*numbers})} transitions under two ids")
    return found


def _bodies(receipts: Iterable[Receipt]) -> list[str]:
    """What is told again says the same."""
    bodies: dict[str, set[bytes]] = {}
    for one in receipts:
        bodies.setdefault(one.id, set()).add(one.body)
    return [f"{id} was told in {len(some)} ways" for id, some in bodies.items() if len(some) > 1]


def _life(id: str, steps: Sequence[Told]) -> list[str]:
    """Firing first, resolved last, each once, and in between what people did."""
    kinds = [one.kind for one in steps]
    found = [
        f"alert {id}: {kind} was told {kinds.count(kind)} times"
        for kind in ("firing", "resolved")
        if kinds.count(kind) != 1
    ]
    if [one.number for one in steps] != sorted(one.number for one in steps) or (kinds[0], kinds[-1]) != (
        "firing",
        "resolved",
    ):
        found.append(f"alert {id} was told in this order: {[(one.number, one.kind) for one in steps]}")
    return found


def _history(history: Iterable[Alert], by_alert: Mapping[str, Sequence[Told]]) -> list[str]:
    """What REST says of every alert is what was told last."""
    known = {alert["id"]: alert for alert in history}
    found = [f"alert {id} was told, and REST does not know it" for id in by_alert.keys() - known.keys()]
    for id, alert in known.items():
        steps = by_alert.get(id, ())
        if alert["status"] != "resolved":
            found.append(f"alert {id} of {_subject(alert)} is {alert['status']} when all is over")
        if not steps:
            found.append(f"alert {id} of {_subject(alert)} is in the history, and nobody was told")
        elif (alert["acknowledgment"] is not None) != any(one.kind == "acknowledged" for one in steps):
            found.append(f"alert {id}: acknowledged is {alert['acknowledgment']}, told {[one.kind for one in steps]}")
        elif steps[-1].alert["resolution"] != alert["resolution"]:
            found.append(f"alert {id}: resolved as {alert['resolution']}, told {steps[-1].alert['resolution']}")
    return found


def _audit(state: Path, promises: Iterable[Promise]) -> list[str]:
    """Whatever somebody did is in the audit, once."""
    with closing(sqlite3.connect(state)) as connection:
        rows = Counter(connection.execute("SELECT alert, action FROM alert_audit").fetchall())
    wanted = {(one.alert["id"], one.action) for one in promises if _is_by_hand(one)}
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
