"""Emitters and their server are killed at any moment, and the metrics are as if nobody ever had been."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from tests.faults.emitter_kills import METRICS, compare, events

LONG = bool(os.environ.get("BERS_TEST_LONG"))
EVENTS, KILLS, PAUSE = (10_000, 60, 0.005) if LONG else (900, 8, 0.01)


@pytest.mark.parametrize("seed", [1, 2] if LONG else [1])
def test_the_metrics_are_those_of_an_undisturbed_run(seed: int, tmp_path: Path) -> None:
    told = events(EVENTS, Random(seed), 0.0)
    assert len({one["time"] for one in told}) < 0.8 * len({one["id"] for one in told}), "many happen at one moment"
    calm, killed = compare(tmp_path, count=EVENTS, kills=KILLS, seed=seed, pause=PAUSE)
    assert killed.killed + killed.restarted >= KILLS * 0.8
    assert killed.killed and killed.restarted
    assert {row[0] for row in calm.windows} == METRICS
    assert sum(int(str(row[4])) for row in calm.windows) > EVENTS
    assert killed.windows == calm.windows
