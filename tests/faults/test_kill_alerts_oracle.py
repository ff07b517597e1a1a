"""The oracle of the kills of alerts finds each fault that it is there to find."""

import re
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.faults.kills.alerts import channels, oracle, sparing
from tests.faults.kills.alerts.campaign import Campaign
from tests.faults.kills.alerts.forms import CRITICAL, ESCALATED_AFTER
from tests.faults.kills.alerts.operators import Alert, Line, Promises
from tests.faults.kills.alerts.receiver import Receipt

Change = Callable[[list[Receipt], list[Any]], object]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    with Campaign(tmp_path_factory.mktemp("oracle") / "node", seed=4) as campaign:
        for _ in range(3):
            campaign.kill()
        campaign.work_until(lambda line: has_all(campaign, line))
        assert campaign.settle() == []
    return campaign


def has_all(campaign: Campaign, line: Line) -> bool:
    """Whether there is everything that a test takes away; chance, and how busy the machine is, decide when."""
    alerts = line.get("alerts/history?period=7d&limit=10000")
    told = [alert for alert in alerts if alert["told"]]
    critical = any(alert["rule"] == CRITICAL for alert in told)  # The pager hears of no other.
    answered = any(one.action == "acknowledge" for one in campaign.promises.made)
    return critical and answered and any(alert["acknowledgment"] for alert in told)


def kind(one: Receipt) -> str:
    text: str = msgspec.json.decode(one.body)["type"]
    return text


def take_away(which: str) -> Change:
    def change(receipts: list[Receipt], history: list[Any]) -> None:
        gone = next(one.id for one in receipts if one.taken and which in kind(one))
        receipts[:] = [one for one in receipts if one.id != gone]

    return change


def tell_backwards(receipts: list[Receipt], history: list[Any]) -> None:
    receipts.reverse()


def tell_under_another_id(receipts: list[Receipt], history: list[Any]) -> None:
    one = next(one for one in receipts if one.taken and "firing" in kind(one))
    receipts.append(one._replace(id=f"again/{one.id}"))


def tell_otherwise(receipts: list[Receipt], history: list[Any]) -> None:
    receipts.append(receipts[0]._replace(body=receipts[0].body + b" "))


def forget_an_alert(receipts: list[Receipt], history: list[Any]) -> None:
    history.pop()


def forget_an_acknowledgement(receipts: list[Receipt], history: list[Any]) -> None:
    at = next(n for n, alert in enumerate(history) if alert["acknowledgment"])
    history[at] = {**history[at], "acknowledgment": None}


def leave_one_alive(receipts: list[Receipt], history: list[Any]) -> None:
    history[0] = {**history[0], "status": "active"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (take_away("firing"), "was not told of 1 events"),
        (take_away("resolved"), "does not begin once and end once"),
        (take_away("acknowledged"), "and its log says"),
        (tell_backwards, "was told in this order"),
        (tell_under_another_id, "under two ids"),
        (tell_otherwise, "was told in 2 ways"),
        (forget_an_alert, "REST does not know it|has 0 alerts, and 1 are due"),
        (forget_an_acknowledgement, "acknowledged (is|as) None"),
        (leave_one_alive, "is active when all is over"),
    ],
)
def test_a_fault_is_found(change: Change, said: str, campaign: Campaign) -> None:
    account = campaign.account
    receipts, history = list(account.receipts), list(account.history)
    change(receipts, history)
    found = oracle.faults(account._replace(receipts=receipts, history=history))
    assert any(re.search(said, fault) for fault in found), found


def test_a_database_that_was_set_aside_is_found(campaign: Campaign, tmp_path: Path) -> None:
    for name in ("state.db", "state.db.damaged-20261126T215120Z"):
        (tmp_path / name).touch()
    assert oracle.faults(campaign.account._replace(data=tmp_path)) == [
        "state.db.damaged-20261126T215120Z was set aside"
    ]


def test_a_promise_that_is_broken_is_found(campaign: Campaign) -> None:
    known: dict[str, Alert] = {alert["id"]: alert for alert in campaign.account.history}
    silences = {
        one.id: {"comment": one.comment, "ends": one.ends * 1000, "state": "expired"}
        for one in campaign.promises.silences
    }
    for change in (forgotten, acknowledged_by_another, pending_again):
        promises = Promises(made=list(campaign.promises.made), seen=dict(campaign.promises.seen))
        promises.check(known, silences)
        assert promises.broken == []
        id = next(one.alert["id"] for one in promises.made if one.action == "acknowledge")
        promises.check(change(known, id), silences)
        assert promises.broken != [], change


# Channels of other kinds


def lost(receipts: list[Receipt], kind: str) -> list[Receipt]:
    gone = next(one.id for one in receipts if one.taken and kind in one.body.decode())
    return [one for one in receipts if one.id != gone]


@pytest.mark.parametrize("name", ["digest", "team", "pager"])
def test_what_a_channel_was_not_told_or_told_otherwise_is_found(name: str, campaign: Campaign) -> None:
    (channel,) = [one for one in campaign.account.channels if one.name == name]
    history, logs = campaign.account.history, campaign.account.logs
    assert list(channels.faults(channel, history, logs)) == []
    told = [one for one in channel.receipts if one.taken]
    for receipts, said in (
        (lost(told, "firing"), "and is due as"),
        (lost(told, "resolved"), "and is due as"),
        (told[::-1], "and is due as"),
        ([*told, told[0]._replace(body=told[0].body + b" ")], "was told as"),
    ):
        found = list(channels.faults(channel._replace(receipts=receipts), history, logs))
        assert any(said in fault for fault in found), found
    if name != "pager":  # What it is told is named by the id alone.
        again = [*told, told[0]._replace(id="again")]
        assert any("under two ids" in one for one in channels.faults(channel._replace(receipts=again), history, logs))


NUMBERS = count(1)


def entry(seconds: float, kind: str, word: str = "breach", to: str = "active") -> dict[str, Any]:
    return {
        "seq": next(NUMBERS),
        "time": 1000 * seconds,
        "kind": kind,
        "to": to,
        "reason": {"word": word},
        "told": True,
    }


OVER = entry(9.0, "resolved", "recovered", "resolved")
LATE = ESCALATED_AFTER + sparing.MOST_LATE + 0.6
"""Longer than anybody may wait while a node is up."""


@pytest.mark.parametrize(
    ("rule", "log", "said"),
    [
        ("Down", [entry(0, "suppressed", "rate_limit", "suppressed"), OVER], "is critical, and was kept back"),
        ("Crash", [entry(0, "firing"), entry(0.5, "escalated")], "was handed on after 0.500 s"),
        ("Crash", [entry(0, "firing"), OVER], "had waited for 9.000 s, 9.000 s of them with a node, and was not"),
        ("Crash", [entry(19.5, "firing"), entry(24.5 + LATE, "resolved")],
         f"had waited for {5 + LATE:.3f} s, {LATE:.3f} s of them with"),
        ("Crash", [entry(19.5, "firing"), entry(25.5, "resolved")], None),
        ("Crash", [entry(0, "firing"), entry(1, "escalated"), entry(2, "escalated")], "was handed on 2 times"),
        ("Crash", [entry(0, "flapping"), entry(0, "flapping")], "was said to flap while it did"),
        ("Crash", [entry(0, "flapping"), OVER], "resolved because of .* while it flapped"),
        ("Crash", [entry(0, "repeated", "steady")], "while it did not flap"),
        ("Down", [], "was said to be down 2 times, and its alerts counted 1"),
        ("Crash", [entry(n / 10, "firing") for n in range(6)], "and 5 had just before it"),
        ("Crash", [entry(0, "firing"), entry(1, "escalated"), entry(2, "flapping"),
                   entry(9, "resolved", "steady", "resolved")], None),
    ],
)  # fmt: skip
def test_a_fault_of_who_spares_people_is_found(rule: str, log: list[Any], said: str | None) -> None:
    alert = {"id": "a", "rule": rule, "labels": {"subject": "s"}, "count": 1}
    downs = {"s": 2 if said and "down 2" in said else 1} if rule == "Down" else {}
    found = list(sparing.faults([alert], {"a": log}, downs, [sparing.Outage(20, 25)]))
    assert any(re.search(said, fault) for fault in found) if said else found == [], found


# What somebody was promised


def forgotten(known: dict[str, Alert], id: str) -> dict[str, Alert]:
    return {key: alert for key, alert in known.items() if key != id}


def acknowledged_by_another(known: dict[str, Alert], id: str) -> dict[str, Alert]:
    return {**known, id: {**known[id], "acknowledgment": {**known[id]["acknowledgment"], "operator": "another"}}}


def pending_again(known: dict[str, Alert], id: str) -> dict[str, Alert]:
    return {**known, id: {**known[id], "status": "pending"}}
