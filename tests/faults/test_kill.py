"""What an emitter was told is safe is counted exactly once by every durable sink, however often the node is killed."""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bers_builtin.sinks.rest_store import read_windows

NODE = Path(__file__).with_name("node.py")
LONG = bool(os.environ.get("BERS_TEST_LONG"))
KILLS = 500 if LONG else 15
SEEDS = [1, 2, 3, 4] if LONG else [1, 2]


class Emitter:
    """Sends batches of events, and sends again what was not acknowledged."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.events: list[dict[str, Any]] = []
        self.unacknowledged: dict[int, bytes] = {}
        self.sent = 0
        self.kills = 0

    def next_batch(self) -> int:
        """Halves of builds in random order, of which the second halves complete a measurement."""
        builds = range(self.sent * 10, self.sent * 10 + 10)
        batch: list[dict[str, Any]] = []
        for n in builds:
            batch.append(event(f"s-{n}", "build.started", 1000 + n, n))
            batch.append(event(f"f-{n}", "build.finished", 1000 + n + n % 7, n) | {"outcome": "success"})
        self.rng.shuffle(batch)
        self.events += batch
        self.sent += 1
        self.unacknowledged[self.sent] = b"%d %b\n" % (self.sent, msgspec.json.encode(batch))
        return self.sent

    def use(self, folder: Path, *, seconds: float, kill: bool = True) -> None:
        """Feed a node for some time, kill it, and note what it had acknowledged by then."""
        with subprocess.Popen([sys.executable, NODE, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as node:
            assert node.stdin and node.stdout
            assert node.stdout.readline() == b"ready\n"
            deadline = time.monotonic() + seconds
            for line in self.unacknowledged.values():
                os.write(node.stdin.fileno(), line)
            while time.monotonic() < deadline:
                os.write(node.stdin.fileno(), self.unacknowledged[self.next_batch()])
                time.sleep(0.001)
            if kill:
                node.kill()
                self.kills += 1
            node.stdin.close()
            for receipt in node.stdout.read().splitlines(keepends=True):
                if receipt.endswith(b"\n"):
                    self.unacknowledged.pop(int(receipt), None)


def event(id: str, kind: str, time: float, build: int) -> dict[str, Any]:
    return {"id": id, "source": "/ci", "type": kind, "time": time, "subject": f"b{build}"}


def expected(events: list[dict[str, Any]]) -> Counter[float]:
    """How many measurements fall into each window of 10 s."""
    return Counter(one["time"] // 10 * 10 for one in events if one["type"] == "build.finished")


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_acknowledged_is_counted_once_by_every_durable_sink(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    emitter = Emitter(rng)
    for _ in range(KILLS):
        emitter.use(tmp_path, seconds=rng.uniform(0.0, 0.5))
    emitter.use(tmp_path, seconds=0, kill=False)
    assert not emitter.unacknowledged
    subprocess.run([sys.executable, NODE, tmp_path, "--drain"], check=True)
    assert emitter.kills == KILLS and len(emitter.events) > 1000
    for name in ("quick.db", "slow.db"):
        windows = [one for one in read_windows(tmp_path / name) if one.metric == "build_performance"]
        assert {window.start: window.count for window in windows} == expected(emitter.events)
        assert sum(window.sum for window in windows) == 1000 * sum(n % 7 for n in range(emitter.sent * 10))
