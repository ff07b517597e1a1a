"""An event that a durable sink never takes stops nobody and is one dead letter, however often the node is killed."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.ledger import written

NODE = Path(__file__).with_name("poisoned.py")
ROOT = Path(__file__).parents[2]
LONG = bool(os.environ.get("BERS_TEST_LONG"))
KILLS = 300 if LONG else 10
SEEDS = [1, 2, 3, 4] if LONG else [1]


def batches(rng: random.Random, sent: int) -> list[str]:
    """Ids of one batch: now and then there is poison among them, sometimes a lot."""
    share = rng.choice([0.0, 0.05, 0.05, 0.5])
    return [f"{'poison' if rng.random() < share else 'e'}-{sent}-{n}" for n in range(rng.randrange(1, 20))]


def poisonous(sent: Sequence[Sequence[str]]) -> Sequence[str]:
    return [one for batch in sent for one in batch if one.startswith("poison")]


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, NODE, folder, *arguments],
        cwd=folder,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_poison_is_kept_once_and_everything_else_is_delivered_once(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    sent: list[list[str]] = []
    unacknowledged: dict[int, bytes] = {}
    for kill in range(KILLS + 1):
        with start(tmp_path) as node:
            assert node.stdin and node.stdout
            assert node.stdout.readline() == b"ready\n"
            for line in unacknowledged.values():
                os.write(node.stdin.fileno(), line)
            deadline = time.monotonic() + (rng.uniform(0.0, 0.4) if kill < KILLS else 0)
            # On a busy machine there is not much by now: the last, that nobody kills, is given the rest.
            while time.monotonic() < deadline or (kill == KILLS and len(poisonous(sent)) <= 100):
                sent.append(batches(rng, len(sent)))
                unacknowledged[len(sent)] = f"{len(sent)} {' '.join(sent[-1])}\n".encode()
                os.write(node.stdin.fileno(), unacknowledged[len(sent)])
                time.sleep(0.002)
            if kill < KILLS:
                node.kill()
            node.stdin.close()
            for receipt in node.stdout.read().splitlines(keepends=True):
                if receipt.endswith(b"\n"):
                    unacknowledged.pop(int(receipt), None)
    assert not unacknowledged
    with start(tmp_path, "--drain") as node:
        letters, _ = node.communicate(timeout=60)
    assert node.returncode == 0
    everything = [one for batch in sent for one in batch]
    poison = poisonous(sent)
    assert len(poison) > 100
    assert sorted(letters.decode().split()) == sorted(poison)
    kept = [one for one in written(tmp_path / "ledger.db") if one.startswith("e-")]
    assert sorted(kept) == sorted(set(everything) - set(poison))
