"""The oracle of the kills of alerts finds each fault that it is there to find."""

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.faults.kills.alerts import oracle
from tests.faults.kills.alerts.campaign import Campaign
from tests.faults.kills.alerts.operators import Alert, Promises
from tests.faults.kills.alerts.receiver import Receipt

Change = Callable[[list[Receipt], list[Any]], object]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    with Campaign(tmp_path_factory.mktemp("oracle") / "node", seed=4) as campaign:
        for _ in range(3):
            campaign.kill()
        assert campaign.settle() == []
    return campaign


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


def forgotten(known: dict[str, Alert], id: str) -> dict[str, Alert]:
    return {key: alert for key, alert in known.items() if key != id}


def acknowledged_by_another(known: dict[str, Alert], id: str) -> dict[str, Alert]:
    return {**known, id: {**known[id], "acknowledgment": {**known[id]["acknowledgment"], "operator": "another"}}}


def pending_again(known: dict[str, Alert], id: str) -> dict[str, Alert]:
    return {**known, id: {**known[id], "status": "pending"}}
