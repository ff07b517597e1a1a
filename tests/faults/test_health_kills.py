"""A node that is killed again and again neither forgets an outage that it told of, nor takes its own death for one."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from bers.health.spans import PAUSE
from tests.acceptance.conftest import Operator
from tests.integration.processes import at_leisure, started

LIVES = 25 if os.environ.get("BERS_TEST_LONG") else 4
SOON = at_leisure(10.0)
CONFIGURATION = """
server: {{health: 0, metrics: 0, control: 0}}
access: {{rate: {{per_second: 100000, burst: 100000}}}}
sinks: {{rest-store: {{}}}}
pipelines: {{p: {{sources: [unmapped], sinks: [rest-store]}}}}
health:
  breaker: {{failures: 100000}}
  flapping: {{changes: 1000}}
  checks: {{door: {{tcp: {{address: "127.0.0.1:{port}"}}, interval: 50ms}}}}
"""


class Door:
    """A port that takes connections, or does not."""

    def __init__(self) -> None:
        # Bound and never listening: the port stays ours while the door is closed. Else the system might give it to
        # somebody else, or to whoever knocks, who would then be connected with himself.
        self._reserved = self._bound(0)
        self.port: int = self._reserved.getsockname()[1]
        self._socket = self._listening()
        self.open = True

    def turn(self) -> None:
        if self.open:
            self._socket.close()
        else:
            self._socket = self._listening()
        self.open = not self.open

    def close(self) -> None:
        self._socket.close()
        self._reserved.close()

    def _listening(self) -> socket.socket:
        found = self._bound(self.port)
        found.listen(1000)
        return found

    @staticmethod
    def _bound(port: int) -> socket.socket:
        found = socket.socket()
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(("127.0.0.1", port))
        return found


@contextmanager
def door() -> Generator[Door]:
    one = Door()
    try:
        yield one
    finally:
        one.close()


def seen(node: Operator, door: Door) -> None:
    """Wait until the node says how the door is."""
    wanted = "healthy" if door.open else "unhealthy"
    deadline = time.monotonic() + SOON
    while node.get("health/door").json()["data"]["status"] != wanted:
        assert time.monotonic() < deadline, f"the door is still not {wanted}"


def begun(node: Operator) -> float:
    """When a node began, and not before: it has looked at nothing until then."""
    asked = time.monotonic()
    return asked - float(node.data("health")["uptime"]) / 1000


def test_outages_survive_kills_and_a_dead_node_is_no_outage(tmp_path: Path) -> None:
    random, first = Random(7), time.monotonic()
    ended, gone = 0, list[float]()
    killed: float | None = None
    looked = asked = first
    found: dict[str, Any] = {}
    with door() as one:
        (tmp_path / "pipelines.yaml").write_text(CONFIGURATION.format(port=one.port))
        for life in range(LIVES + 1):
            if killed and life == 1:
                # On a fast machine all others are shorter than a pause, and so no gap at all.
                time.sleep(max(0.0, killed + 2 * PAUSE - time.monotonic()))
            with started(tmp_path) as node:
                seen(node, one)
                gone += [begun(node) - killed] if killed else []
                looked = looked if killed else time.monotonic()
                for _ in range(random.randint(1, 3) if life < LIVES else not one.open):
                    one.turn()
                    seen(node, one)
                    ended += one.open
                asked = time.monotonic()
                found = node.data("health/door/history?period=1h&limit=1000")
                killed = time.monotonic()
    lived = killed - first if killed else 0.0
    seconds = {name: float(found[name]) / 1000 for name in ("upMs", "downtimeMs", "unknownMs", "absentMs", "knownMs")}
    statuses = [span["status"] for span in found["spans"]]
    assert statuses[0] == "healthy" and {"absent", "unhealthy"} <= set(statuses)
    assert found["outages"] >= ended > 0
    # Whatever it did not see is counted on neither side: not up, though the door was open for most of it.
    assert seconds["absentMs"] >= max(2 * PAUSE, sum(gone) - LIVES * PAUSE)
    assert seconds["upMs"] + seconds["downtimeMs"] <= lived - seconds["absentMs"] + 1.0
    # All of the time is there, once, but for the deaths that were no gap.
    assert abs(sum(seconds.values()) - 2 * seconds["knownMs"]) < 0.1
    assert asked - looked - LIVES * PAUSE - 0.1 <= seconds["knownMs"] <= lived
