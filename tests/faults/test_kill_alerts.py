"""Whoever was answered about an alert can rely on it, and whoever is told is told everything, however often we die."""

import os
from pathlib import Path

import pytest

from tests.faults.kills.alerts import oracle
from tests.faults.kills.alerts.campaign import Campaign

LONG = bool(os.environ.get("BERS_TEST_LONG"))
KILLS = 500 if LONG else 25
SETTLE_EVERY = 50


@pytest.mark.parametrize("seed", [1, 2] if LONG else [1])
def test_alerts_acknowledgements_and_notifications_outlive_kills(seed: int, tmp_path: Path) -> None:
    with Campaign(tmp_path / "node", seed) as campaign:
        for kill in range(1, KILLS + 1):
            campaign.kill()
            if kill % SETTLE_EVERY == 0 or kill == KILLS:
                assert campaign.settle() == []
        assert campaign.kills.total() == KILLS
        told = {one.id for one in campaign.receiver.receipts if one.taken}
        assert len(told) > 100 and len(campaign.promises.made) > 50, "there was something to lose"
        refused = [one for one in campaign.receiver.receipts if not one.taken]
        assert len(refused) > 20 and oracle.repeated(campaign.receiver.receipts) > 0
