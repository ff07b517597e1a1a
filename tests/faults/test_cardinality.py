"""An emitter that offers a hundred thousand of everything: it is capped and named, and nobody else notices."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil

from tests.acceptance.conftest import Operator
from tests.integration.processes import Stopwatch, at_leisure, configure, started

LONG = bool(os.environ.get("BERS_TEST_LONG"))
MANY = 100_000 if LONG else 12_000
AT_ONCE = 1_000
CULPRIT = "/ci/misbehaving"
MOST = 1_000
"""How many values of a label there may be, as it is shipped."""
GROWTH = 96 << 20
"""What all of it may take of memory; the newest events are in it, which the bus keeps up to 16 MiB of."""
ALERTS = """  alert-engine:
    rules: [{name: Slow Phase, metric: build_phase_time, above: 1s, where: {phase: mine}}]
"""


def letters(number: int) -> str:
    """A number in letters, as names are made of."""
    return "".join(chr(97 + number // 26**place % 26) for place in range(5))


def event(number: int, type: str, **fields: Any) -> dict[str, Any]:
    return {"id": f"{type}-{number}", "source": CULPRIT, "type": type, "time": time.time(), **fields}


OFFERS: dict[str, Callable[[int], dict[str, Any]]] = {
    "labels": lambda n: event(
        n, "build.measured", labels={"phase": f"p{n}"}, measures={"build_phase_time": 10.0}
    ),
    "environments": lambda n: event(n, "build.finished", environment=f"pr-{n}", duration_ms=10.0, outcome="success"),
    "sources": lambda n: event(n, "environment.detected", outcome="success") | {"source": f"/loose/{n}"},
    "subjects": lambda n: event(n, "build.started", subject=f"run-{n}"),
    "types": lambda n: event(n, f"custom.{letters(n)}"),
    "measures": lambda n: event(n, "custom.thing", measures={f"m_{letters(n)}": 1.0}),
}  # fmt: skip


def test_a_hundred_thousand_of_everything_is_capped_and_named_and_nobody_else_notices(tmp_path: Path) -> None:
    configure(tmp_path, {"  alert-engine: {}": ALERTS})
    with started(tmp_path) as server, httpx2.Client(timeout=60) as client:
        process = psutil.Process(server.process.pid)
        neighbours, health = 0, list[float]()
        for offer in OFFERS.values():  # Everything has run once, and little is filled.
            hand_in(server, client, [offer(-n) for n in range(1, 200)])
        before, took = process.memory_info().rss, dict[str, int]()
        for what, offer in OFFERS.items():
            for first in range(0, MANY, AT_ONCE):
                hand_in(server, client, [offer(first + n) for n in range(AT_ONCE)])
                neighbours += neighbour(server, client, neighbours)
                watch = Stopwatch(process.pid)
                reply = client.get(server.url("health", "health"))
                assert reply.status_code == 200, [
                    check for check in reply.json()["data"]["checks"] if check["status"] != "healthy"
                ]
                health.append(watch.seconds())
            took[what] = process.memory_info().rss - before
        print({what: f"{size >> 20} MiB" for what, size in took.items()}, f"health within {max(health):.3f} s", end=" ")
        assert max(took.values()) < GROWTH, took
        assert sorted(health)[len(health) * 9 // 10] < at_leisure(0.5)

        # Those of everybody else are exact.
        found = server.until("metrics/test_suite_duration?period=1h", lambda data: data["count"] == neighbours)
        assert (found["min"], found["max"], found["average"]) == (7.0, 7.0, 7.0)
        assert alarm(server, client) < at_leisure(1.0), "and alerts are on time"

        # What is beyond is one series, and every sample is in it.
        phases = server.until("metrics/build_phase_time?period=1h", lambda data: data["count"] == MANY + 200)
        assert phases["seriesCount"] <= MOST + 1
        assert server.data("metrics/build_phase_time?period=1h&labels=phase%3Dmine")["max"] == 5000, (
            "there is room for others"
        )
        (other,) = [line for line in phases["series"] if line["labels"] == {"phase": "other"}]
        assert sum(point[1] for point in other["points"]) >= MANY + 199 - MOST

        # The culprit is named wherever somebody might look.
        status = server.data("dashboard/status")["details"]["intake"]
        assert status["folded"]["phase"] >= MANY - MOST
        culprits = {(one["source"], one["metric"], one["label"]): one["values"] for one in status["culprits"]}
        assert culprits[CULPRIT, "build_phase_time", "phase"] >= MANY - MOST
        assert any(key[::2] == (CULPRIT, "environment") and count >= MANY - MOST for key, count in culprits.items())
        hand_in(server, client, [OFFERS["labels"](MANY)])  # It is told of while it goes on.
        why = f"'{CULPRIT}' sends too many values of label"
        check = server.until("health/metrics-collector", lambda check: why in check["message"], seconds=at_leisure(15))
        assert check["status"] == "degraded"
        page = client.get(server.url("/metrics")).text
        assert f'bers_intake_culprit_values{{source="{CULPRIT}",metric="build_phase_time",label="phase"}}' in page
        logs = "".join(
            path.read_text() for path in (tmp_path / "logs").glob("monitoring.log*")
        )  # It may be rolled over.
        warned = [line for line in logs.splitlines() if "more values of label 'phase'" in line]
        assert len(warned) == 1 and CULPRIT in warned[0], "once, and not a hundred thousand times"
        assert all(size <= 1_001 for size in sizes(server)), "what is counted by name is bounded"


def neighbour(server: Operator, client: httpx2.Client, count: int) -> int:
    """Somebody who behaves."""
    hand_in(
        server,
        client,
        [
            {
                "id": f"n-{count}", "source": "/ci/good", "type": "testsuiterun.finished", "subject": f"t-{count}",
                "outcome": "success", "duration": 7, "labels": {"suite": "unit"},
            }
        ],
    )  # fmt: skip
    return 1


def alarm(server: Operator, client: httpx2.Client) -> float:
    """Hand in a breach; return after how many seconds its alert is there."""
    breach = {
        "id": "alarm", "source": "/ci/good", "type": "build.measured", "labels": {"phase": "mine"},
        "measures": {"build_phase_time": 5000},
    }  # fmt: skip
    hand_in(server, client, [breach])
    watch = Stopwatch(server.process.pid)
    server.until("alerts", lambda alerts: any(alert["rule"] == "Slow Phase" for alert in alerts))
    return watch.seconds()


def hand_in(server: Operator, client: httpx2.Client, events: list[dict[str, Any]]) -> None:
    reply = client.post(server.url("ingest"), content=json.dumps(events), headers={"Content-Type": "application/json"})
    assert reply.status_code == 202 and reply.json()["data"]["accepted"] == len(events), reply.text


def sizes(server: Operator) -> Iterator[int]:
    """Of everything that status tells by name."""
    report = server.data("dashboard/status")
    yield len(report["unmapped"])
    for details in report["details"].values():
        yield from (value.count(",") + 1 for value in map(json.dumps, details.values()))
