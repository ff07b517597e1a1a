"""Five times more than can be taken: memory stays within its budget, others are told to wait, alerts are on time."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import psutil

from tests.acceptance.conftest import Operator
from tests.integration.processes import Stopwatch, at_leisure, configure, started

FLOOD = Path(__file__).with_name("flood.py")
LONG = bool(os.environ.get("BERS_TEST_LONG"))
SECONDS = 120.0 if LONG else 15.0
SENDERS = 40
EVENTS = 4_000
BUDGET = 256 << 20
RULE = """  alert-engine:
    rules: [{name: Slow Phase, metric: build_phase_time, above: 1s}]
    rate_limiting: {max_alerts: 10000}
"""


def alarm(server: Operator, client: httpx2.Client, n: int) -> float:
    """Hand in a breach, again where it is refused; return how many seconds after it was taken its alert is there."""
    event = {
        "id": f"alarm-{n}", "source": "/alarm", "type": "build.measured", "labels": {"phase": f"alarm-{n}"},
        "measures": {"build_phase_time": 5000},
    }  # fmt: skip
    deadline = time.monotonic() + at_leisure(20)
    while (reply := client.post(server.url("ingest"), json=event)).status_code == 429:
        assert int(reply.headers["retry-after"]) >= 1
        assert time.monotonic() < deadline, "it was never taken"
        time.sleep(0.02)
    assert reply.status_code == 202, reply.text
    taken, deadline = Stopwatch(server.process.pid), time.monotonic() + at_leisure(20)
    while not any(f"alarm-{n}" in json.dumps(one) for one in client.get(server.url("alerts")).json()["data"]):
        assert time.monotonic() < deadline, "it never fired"
        time.sleep(0.02)
    return taken.seconds()


def test_b11_five_times_overload_stays_within_the_budget_and_alerts_stay_on_time(tmp_path: Path) -> None:
    configure(tmp_path, {"  alert-engine: {}": RULE}, more="intake: {memory: 256MiB}\n")
    with started(tmp_path) as server:
        process = psutil.Process(server.process.pid)
        idle = process.memory_info().rss
        command = [sys.executable, str(FLOOD), server.url("/"), str(SENDERS), str(SECONDS), str(EVENTS)]
        peak, health, alarms = 0, list[float](), list[float]()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as flood, httpx2.Client(timeout=30) as client:
            try:
                while flood.poll() is None:
                    peak = max(peak, process.memory_info().rss)
                    watch = Stopwatch(process.pid)
                    assert client.get(server.url("health", "health")).status_code in (200, 503)
                    health.append(watch.seconds())
                    alarms.append(alarm(server, client, len(alarms)))
                assert flood.stdout
                found: dict[str, Any] = json.loads(flood.stdout.read())
            finally:
                flood.kill()
        print(f"{idle >> 20} MiB idle, {peak >> 20} MiB at most, {found};", end=" ")
        print(f"health within {max(health):.2f} s, {len(alarms)} alerts within {max(alarms):.2f} s")
        assert peak <= BUDGET * 1.1
        assert found["429"] > 0 and found["accepted"] > 0
        assert found.keys() <= {"202", "429", "accepted", "reset"}
        # A sender that had no processor for 15 s finds its connection closed, as it may be.
        assert found.get("reset", 0) <= found["429"] / 100
        assert max(health) <= at_leisure(1.0)
        assert max(alarms) <= at_leisure(1.0)
        assert len(alarms) >= 3
