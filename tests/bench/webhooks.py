"""What a webhook of GitHub waits for its answer: with sinks that work, and beside one that never takes a batch.

    python tests/bench/webhooks.py [--deliveries 1000]

Each delivery is signed, has a connection that is open already, and waits for the one before. The answer comes when the
event survives a crash. GitHub's patience is 10 s.
"""

from __future__ import annotations

import argparse
import hmac
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio

from bers import Batch, Config, SinkSpec, Stage
from bers.testing.server import Server, serving

SECRET = "a secret that is long enough"


class NoConfig(Config, frozen=True):
    """Nothing to configure."""


class Stuck(Stage[NoConfig]):
    """Takes a batch, and is never done with it."""

    async def write(self, batch: Batch) -> None:
        await anyio.sleep_forever()


STUCK = SinkSpec("stuck", NoConfig, Stuck)


async def main(deliveries: int) -> None:
    changes: list[tuple[tuple[str, ...], Any]] = [
        (("sources", "github"), {"secrets": [SECRET]}),
        (("supervision",), {"write_within": "10m", "close_within": "100ms"}),
    ]
    stuck: list[tuple[tuple[str, ...], Any]] = [
        (("sinks", "stuck"), {}),
        (("pipelines", "stuck"), {"sources": ["build"], "sinks": ["stuck"]}),
    ]
    for round in range(2):
        for name, more in (("all sinks work", []), ("one sink stands still", stuck)):
            with tempfile.TemporaryDirectory() as folder:
                async with serving(Path(folder), changes=[*changes, *more], specs=[("sink", STUCK)]) as server:
                    waits = sorted([await _deliver(server, number) for number in range(deliveries)])
            p50, p99 = waits[deliveries // 2], waits[deliveries * 99 // 100]
            print(f"round {round + 1}, {name:21}: p50 {p50:6.2f} ms, p99 {p99:6.2f} ms, longest {waits[-1]:6.2f} ms")


async def _deliver(server: Server, number: int) -> float:
    """Milliseconds until the answer was there."""
    run = {
        "id": number,
        "name": "CI",
        "run_attempt": 1,
        "head_branch": "main",
        "run_started_at": "2026-11-23T08:00:00Z",
        "updated_at": "2026-11-23T08:01:30Z",
        "conclusion": "success",
    }
    repository = {"name": "app", "full_name": "acme/app", "html_url": "https://github.com/acme/app"}
    body = json.dumps({"action": "completed", "repository": repository, "workflow_run": run}).encode()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "workflow_run",
        "X-Hub-Signature-256": "sha256=" + hmac.new(SECRET.encode(), body, "sha256").hexdigest(),
    }
    began = time.perf_counter()
    reply = await server.post("ingest/github", content=body, headers=headers)
    took = (time.perf_counter() - began) * 1000
    assert (reply.status_code, reply.json()["data"]["accepted"]) == (202, 1), reply.text
    return took


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python tests/bench/webhooks.py")
    parser.add_argument("--deliveries", type=int, default=1000)
    anyio.run(main, parser.parse_args().deliveries)
