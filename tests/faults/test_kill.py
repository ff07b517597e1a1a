"""What an emitter was told is safe is counted exactly once by every durable sink, however often the node is killed."""

import os
from pathlib import Path

import pytest

from tests.faults.kills.campaign import Campaign

LONG = bool(os.environ.get("BERS_TEST_LONG"))
KILLS, REAL = (500, 0.3) if LONG else (25, 0.15)
"""How many kills, and which share of them hits `bers start`."""
SETTLE_EVERY = 50


@pytest.mark.parametrize("seed", [1, 2] if LONG else [1])
def test_what_was_acknowledged_is_counted_once_by_every_durable_sink(seed: int, tmp_path: Path) -> None:
    campaign = Campaign(tmp_path / "node", seed)
    for kill in range(1, KILLS + 1):
        campaign.kill(lean=campaign.rng.random() >= REAL)
        if kill == KILLS:  # On a busy machine not much was sent by now.
            campaign.feed_until(lambda: len(campaign.truth.ids) > 1000 and transitions(campaign) > 20)
        if kill % SETTLE_EVERY == 0 or kill == KILLS:
            assert campaign.settle() == []
    assert campaign.kills.total() == KILLS
    assert len(campaign.truth.ids) > 1000 and sum(emitter.repeated for emitter in campaign.emitters) > 1000
    assert transitions(campaign) > 20


def transitions(campaign: Campaign) -> int:
    return sum(map(len, list(campaign.truth.alerts.values())))
