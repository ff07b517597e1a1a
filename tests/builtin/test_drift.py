"""Settings that one environment has and another lacks: as deployments tell, and as files of a project say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bers import ConfigError, Context, Event, Outcome, Table
from bers.testing import VirtualClock, run_receive, step
from bers_builtin.sources._drift import MAX_KEYS
from bers_builtin.sources.deployment import DEPLOYMENT, DeploymentConfig, DeploymentSource
from bers_builtin.sources.environment_resolver import ENVIRONMENT_RESOLVER
from bers_builtin.sources.environment_resolver.config import EnvironmentResolverConfig
from bers_builtin.sources.environment_resolver.source import EnvironmentResolver


def told(environment: str, time: float = 0.0, *, what: str = "modified", service: str = "chat", **data: Any) -> Event:
    return Event(
        f"{service}/{environment}/{time}",
        "/cd",
        f"environment.{what}",
        time,
        environment=environment,
        service=service,
        data=data,
    )


async def drifts(*events: Event) -> Sequence[tuple[str, float]]:
    """The pairs that were compared, in order, and how many settings one of them lacks."""
    out = await run_receive(DEPLOYMENT, events)
    return [
        (event.labels["pair"], event.measures["environment_drift_count"])
        for event in out
        if "environment_drift_count" in event.measures
    ]


async def test_c168_each_environment_is_compared_with_the_others_of_its_service() -> None:
    assert await drifts(
        told("staging", 1, configuration={"url": "x", "cache": {"ttl": 5, "size": 3}}),
        told("production", 2, configuration={"url": "y", "cache": {"ttl": 9}, "debug": False}),
        told("test", 3, service="other", keys=["a"]),
        told("development", 4, keys=["url", "cache.ttl", "cache.size"]),
        told("production", 5, configuration={"url": "y", "cache": {"ttl": 9, "size": 0}}),
    ) == [
        ("production/staging", 2),
        ("development/staging", 0),
        ("development/production", 2),
        ("production/staging", 0),
        ("development/production", 0),
    ]


async def test_what_is_not_told_is_not_compared() -> None:
    assert await drifts(told("staging", 1), told("production", 2, keys=["a"]), told("test", 3, configuration=7)) == []
    many = [str(n) for n in range(MAX_KEYS + 1)]
    assert await drifts(told("staging", 1, keys=many), told("production", 2, keys=["a"])) == []


async def test_an_environment_that_is_gone_is_not_compared() -> None:
    gone = told("staging", 2, what="deleted")
    assert await drifts(told("staging", 1, keys=["a"]), gone, told("production", 3, keys=[])) == []
    assert await drifts(gone, told("staging", 1, keys=["a"]), told("production", 3, keys=[])) == []


async def test_old_news_that_comes_late_changes_nothing() -> None:
    now = [told("staging", 5, keys=["a"]), told("production", 6, keys=["a"])]
    assert await drifts(*now, told("staging", 1, keys=["a", "b"])) == await drifts(*now) == [("production/staging", 0)]


def test_a_restart_that_reads_what_was_stored_knows_the_same() -> None:
    source, came, stored = DeploymentSource(DeploymentConfig(), Context("deployment")), Table(), Table()
    for event in [told("staging", 1, keys=["a"]), told("production", 2, keys=[]), told("staging", 3, what="deleted")]:
        source.receive(source.receive(event, came)[0], stored)
    assert came.dump() == stored.dump() and len(came)


async def looked(folder: Path, environ: Mapping[str, str], **options: Any) -> tuple[EnvironmentResolver, list[Event]]:
    config = step(ENVIRONMENT_RESOLVER, root=str(folder), fallback="test", **options).config
    assert isinstance(config, EnvironmentResolverConfig)
    stage = EnvironmentResolver(config, Context("environment-resolver", clock=VirtualClock()), environ)
    return stage, [event for event in await stage.look() if event.type == "configuration.compared"]


async def test_c168_the_files_of_a_projects_environments_are_compared(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("NAME=chat\n")
    (tmp_path / ".env.staging").write_text("API=https://a\nDEBUG=1\n")
    (tmp_path / ".env.production").write_text("API=https://b\n")
    (tmp_path / ".env.development").write_text("API=x\nDEBUG=1\n")
    compare = ["development", "staging", "production"]
    stage, events = await looked(tmp_path, {"DEBUG": "0", "PATH": "/bin"}, compare=compare)
    found = {event.labels["pair"]: (event.outcome, dict(event.measures)) for event in events}
    wrong: tuple[Outcome, dict[str, float]]
    wrong = ("failure", {"environment_drift_count": 1, "cross_environment_validation": 0})
    assert found == {
        "development/staging": ("success", {"environment_drift_count": 0, "cross_environment_validation": 100}),
        "development/production": wrong,
        "production/staging": wrong,
    }
    assert events[2].data == {"missing": {"production": ["DEBUG"], "staging": []}}
    finding = await stage.check_configuration()
    assert (finding.status, finding.details["drift"]["production/staging"]) == ("unhealthy", 1)
    assert "DEBUG, which production lacks" in finding.message
    assert [event.measures for event in await run_receive(ENVIRONMENT_RESOLVER, events)] == [
        event.measures for event in events
    ]


async def test_what_differs_between_lesser_environments_degrades(tmp_path: Path) -> None:
    (tmp_path / ".env.staging").write_text("DEBUG=1\n")
    stage, _ = await looked(tmp_path, {}, compare=["development", "staging"])
    assert (await stage.check_configuration()).status == "degraded"


async def test_nothing_is_compared_unless_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / ".env.staging").write_text("DEBUG=1\n")
    stage, events = await looked(tmp_path, {})
    assert events == [] and (await stage.check_configuration()).status == "healthy"


@pytest.mark.parametrize("compare", [["staging"], ["staging", "staging"], ["staging", "moon"]])
def test_a_comparison_needs_two_environments_that_there_are(compare: list[str]) -> None:
    with pytest.raises((ConfigError, ValueError)):
        step(ENVIRONMENT_RESOLVER, compare=compare)
