"""Each example of the guide to alerts does what it is there for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from bers import plugins
from tests.builtin import test_alert_engine
from tests.builtin.test_alert_engine import Rig
from tests.docs.test_pages import blocks

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "alert.md"
METRICS = plugins.load(installed=False).metrics()

# No commit in between: a virtual clock does not wait for the database's thread.
engine = partial(test_alert_engine.engine, metrics=METRICS, defaults=True, commit_every="30d")


def examples() -> Mapping[str, Mapping[str, Any]]:
    """The entries of `rules:` and `slos:` on the page, by name."""
    section = PAGE.read_text(encoding="utf-8").split("## Write rules")[1].split("\n## ")[0]
    lists = [yaml.safe_load(block.text) for block in blocks(section) if block.text.startswith("- name:")]
    return {one["name"]: one for entries in lists for one in entries}


EXAMPLES = examples()


async def slow_build(rig: Rig) -> None:
    await rig.happen("build.finished", measures={"build_performance": 20_001.0}, environment="production")


async def slow_suites(rig: Rig) -> None:
    for _ in range(5):
        await rig.happen("testsuiterun.finished", measures={"test_suite_duration": 601_000.0})


async def many_changes(rig: Rig) -> None:
    for _ in range(11):
        await rig.happen("change.merged", measures={"change_total": 1.0})


async def three_rollbacks(rig: Rig) -> None:
    for _ in range(3):
        await rig.happen("deployment.rolledback", service="chat")


async def failed_night(rig: Rig) -> None:
    await rig.happen("custom.nightly", "error")


async def rotated_key(rig: Rig) -> None:
    await rig.happen("custom.key-rotated")


async def failing_suites(rig: Rig) -> None:
    for _ in range(3):
        await rig.happen("testsuiterun.finished", "failure")


async def no_builds(rig: Rig) -> None:
    await rig.clock.advance(3600)
    await rig.happen("build.finished", "failure")
    await rig.clock.advance(3600)


async def silent_host(rig: Rig) -> None:
    await rig.measure("system_cpu_usage", 5.0)
    await rig.clock.advance(300)


async def slower_build(rig: Rig) -> None:
    for seconds in [1.0] * 10 + [1.21]:
        await rig.happen("build.finished", "success", measures={"build_performance": seconds * 1000})


async def slow_deployment(rig: Rig) -> None:
    await rig.measure("deployment_performance", 601_000.0)


async def bad_builds(rig: Rig) -> None:
    for number in range(10):
        await rig.happen("build.finished", "failure" if number < 2 else "success", environment="production")


async def slow_resolutions(rig: Rig) -> None:
    for number in range(20):
        await rig.measure("configuration_resolution_time", 101.0 if number < 2 else 50.0)


SCENES: Sequence[tuple[str, Callable[[Rig], Awaitable[None]], str]] = [
    ("Builds Slow", slow_build, "Builds Slow"),
    ("Suites Slow", slow_suites, "Suites Slow"),
    ("Many Changes", many_changes, "Many Changes"),
    ("Rollbacks Pile Up", three_rollbacks, "Rollbacks Pile Up"),
    ("Nightly Job Failed", failed_night, "Nightly Job Failed"),
    ("Key Was Rotated", rotated_key, "Key Was Rotated"),
    ("Suites Keep Failing", failing_suites, "Suites Keep Failing"),
    ("No Builds", no_builds, "No Builds"),
    ("Host Is Silent", silent_host, "Host Is Silent"),
    ("Build Slower Than Usual", slower_build, "Build Slower Than Usual"),
    ("Deployments Slow", slow_deployment, "Deployments Slow"),
    ("Builds Succeed", bad_builds, "Builds Succeed: Burn Rate 1h"),
    ("Configuration Resolved In Time", slow_resolutions, "Configuration Resolved In Time: Burn Rate 30m"),
]


@pytest.mark.parametrize(("name", "scene", "alert"), SCENES, ids=[name for name, *_ in SCENES])
async def test_the_example_fires(name: str, scene: Callable[[Rig], Awaitable[None]], alert: str) -> None:
    rules, slos = ((), [EXAMPLES[name]]) if "objective" in EXAMPLES[name] else ([EXAMPLES[name]], ())
    async with engine(rules=rules, slos=slos) as rig:
        assert await rig.names() == []
        await scene(rig)
        assert alert in await rig.names()


def test_every_example_is_tried() -> None:
    assert sorted(EXAMPLES) == sorted(name for name, *_ in SCENES)
