"""Whoever was answered about an alert can rely on it, and whoever is told is told everything, however often we die."""

import os
from pathlib import Path

import pytest

from tests.faults.kills.alerts import oracle
from tests.faults.kills.alerts.campaign import Campaign
from tests.faults.kills.alerts.forms import PLAIN, SPARING
from tests.faults.kills.alerts.operators import Line

LONG = bool(os.environ.get("BERS_TEST_LONG"))
SETTLE_EVERY = 50

SPARED = {"suppressed", "flapping", "escalated", "acknowledged"}
"""What there has to be to spare people; when that is, chance decides."""


class Happened:
    """What happened to alerts by now. Of those that are over nobody asks again: that would keep the node busy."""

    def __init__(self) -> None:
        self.kinds = set[str]()
        self._over = set[str]()

    def see(self, line: Line) -> set[str]:
        for alert in line.get("alerts/history?period=7d&limit=10000"):
            if alert["id"] not in self._over:
                self.kinds |= {entry["kind"] for entry in line.get(f"alerts/{alert['id']}/log")}
                if alert["status"] == "resolved":
                    self._over.add(alert["id"])
        return self.kinds


def has_enough(campaign: Campaign) -> bool:
    """Whether there was something to lose for everybody."""
    receipts = list(campaign.receiver.receipts)
    told = len({one.id for one in receipts if one.taken})
    refused = sum(not one.taken for one in receipts)
    others = [len({two.id for two in one.receipts if two.taken}) for one in campaign.channels() if one.name != "second"]
    return (
        told > 100
        and refused > 20
        and oracle.repeated(receipts) > 0
        and len(campaign.promises.made) > 50
        and min(others) > 10
    )


def killed(campaign: Campaign, kills: int) -> None:
    """Kill so often, and look at everything now and then."""
    for kill in range(1, kills + 1):
        campaign.kill()
        if kill % SETTLE_EVERY == 0 or kill == kills:
            assert campaign.settle() == []
    assert campaign.kills.total() == kills


@pytest.mark.parametrize("seed", [1, 2] if LONG else [1])
def test_alerts_acknowledgements_and_notifications_outlive_kills(seed: int, tmp_path: Path) -> None:
    with Campaign(tmp_path / "node", seed, PLAIN) as campaign:
        killed(campaign, 500 if LONG else 25)
        if not has_enough(campaign):  # On a busy machine not much was told by now.
            campaign.work_until(lambda _: has_enough(campaign))
            assert campaign.settle() == []
        told = {one.id for one in campaign.receiver.receipts if one.taken}
        assert len(told) > 100 and len(campaign.promises.made) > 50, "there was something to lose"
        refused = [one for one in campaign.receiver.receipts if not one.taken]
        assert len(refused) > 20 and oracle.repeated(campaign.receiver.receipts) > 0
        others = {one.name: len({two.id for two in one.receipts if two.taken}) for one in campaign.channels()}
        assert others.pop("second") == 0 and min(others.values()) > 10, others


def test_c103_nothing_vanishes_and_nothing_critical_is_kept_back_where_people_are_spared(tmp_path: Path) -> None:
    with Campaign(tmp_path / "node", 3, SPARING) as campaign:
        killed(campaign, 500 if LONG else 15)
        happened = Happened()
        campaign.work_until(lambda line: happened.see(line) >= SPARED, rush=True)
        assert campaign.settle() == []
        assert {one.name for one in campaign.channels() if one.receipts} == {"digest", "second", "team", "pager"}
