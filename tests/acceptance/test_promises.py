"""What the runbook promises beside its requests: words, thresholds, baselines and logs."""

from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import pytest
from msgspec import Meta

from bers import Batch, Check, Config, Duration, Finding, Interval, SinkSpec, Stage, Status
from bers.testing.server import Server, serving
from tests.integration.processes import at_leisure

Mood = Literal["healthy", "degraded", "unhealthy", "unknown", "broken"]


class MoodyConfig(Config, frozen=True):
    """Find whatever it was told to find."""

    mood: Annotated[Mood, Meta(description="What the check finds; a broken one finds nothing.")]


class Moody(Stage[MoodyConfig]):
    async def write(self, batch: Batch) -> None:
        """Take everything and keep nothing."""

    async def look(self) -> Finding:
        if self.config.mood == "broken":
            raise OSError("nobody answers")
        return Finding(self.config.mood, f"in a {self.config.mood} mood")


MOODY = SinkSpec(
    "moody",
    MoodyConfig,
    Moody,
    checks=(Check("mood", Moody.look, interval=Interval("50ms"), timeout=Duration("1s"), critical=True),),
)
PIPELINES = """
version: 1
health: {{breaker: {{failures: 2, reset_after: 1h}}}}
sinks: {{moody: {{mood: {mood}}}}}
pipelines: {{all: {{sources: [unmapped], sinks: [moody]}}}}
"""

WORDS: list[tuple[Status, Status, int]] = [
    ("healthy", "healthy", 200),
    ("degraded", "degraded", 200),
    ("unhealthy", "unhealthy", 503),
    ("unknown", "unknown", 503),
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("mood", "overall", "code"), WORDS, ids=["c060", "c061", "c062", "c063"])
async def test_c060_c063_each_word_of_the_table_is_reached(
    mood: Status, overall: Status, code: int, tmp_path: Path
) -> None:
    async with serving(tmp_path, PIPELINES.format(mood=mood), specs=[("sink", MOODY)]) as server:
        assert (await server.get("health/mood", "health")).json()["data"]["status"] == mood
        reply = await server.get("health", "health")
        assert (reply.status_code, reply.json()["data"]["overallStatus"]) == (code, overall)
        for path, field in (("health", "overallStatus"), ("health/mood", "status")):
            always = await server.get(f"{path}?always=true", "health")
            assert (always.status_code, always.json()["data"][field]) == (200, overall)


async def test_c064_c065_a_check_that_keeps_failing_opens_its_breaker_and_a_reset_closes_it(tmp_path: Path) -> None:
    async with serving(tmp_path, PIPELINES.format(mood="broken"), specs=[("sink", MOODY)]) as server:
        opened = await _until_breaker(server, "open")
        assert opened["status"] == "unhealthy" and opened["breaker"]["nextAttempt"] > opened["timestamp"]
        assert (await server.get("health")).json()["data"]["severity"] == "critical"
        assert (await server.post("health/circuit-breakers/reset")).json()["data"] == {"reset": ["mood"]}


async def test_c071_c074_c078_c079_percentiles_and_targets_are_those_of_the_runbook(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        durations = {"configuration.resolved": 75.0, "build.finished": 930.0, "deployment.finished": 118_000.0}
        # What this server takes to resolve its own configuration is the machine's affair: it has another label.
        ours = {"outcome": "success", "labels": {"cached": "ours"}}
        await server.emit(
            *({"type": kind, "duration_ms": value, **ours} for kind, value in durations.items()),
            {"type": "validation-completed", "detail": {"coverage": 95.2}},
        )
        await server.until("metrics/test_coverage", lambda data: data["current"] == 95.2)
        resolution = await server.data("metrics/configuration_resolution_time?labels=cached=ours")
        assert (resolution["count"], resolution["max"]) == (1, 75)
        assert resolution["p95"] < 100 == resolution["target"]
        report = await server.data("metrics/report")
        targets = {row["metric"]: row["target"] for row in report["baselines"]}
        assert targets["Build Time"] == 30_000 and targets["Deployment Time"] == 300_000
        assert report["metrics"]["test_coverage"]["target"] == 95
        status = {name: report["metrics"][name]["healthStatus"] for name in ("deployment_performance", "test_coverage")}
        assert status == {"deployment_performance": "healthy", "test_coverage": "healthy"}


async def test_c120_c122_c123_each_event_is_a_line_in_the_log_of_its_source_within_a_second(tmp_path: Path) -> None:
    events = {
        "build": {"id": "l-1", "source": "/ci", "type": "build.finished", "outcome": "success"},
        "environment-resolver": {"id": "l-2", "source": "/ci", "type": "environment.detected", "outcome": "success"},
        "provider-health": {"id": "l-3", "source": "/ci", "type": "provider.initialized", "subject": "api"},
        "monitoring": {"id": "l-4", "source": "/ci", "type": "custom.thing"},
    }
    async with serving(tmp_path) as server:
        await server.emit(*events.values())
        with anyio.fail_after(at_leisure(1.0)):
            for name, event in events.items():
                log = anyio.Path(tmp_path / "logs" / f"{name}.log")
                while f'"id":"{event["id"]}"' not in await log.read_text():
                    await anyio.sleep(0.01)


async def _until_breaker(server: Server, state: str) -> Any:
    with anyio.fail_after(30):
        while True:
            report = (await server.get("health/mood")).json()["data"]
            if report["breaker"]["state"] == state:
                return report
            await anyio.sleep(0.01)
