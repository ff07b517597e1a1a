"""Monitoring can be started from a program, with the runbook's own keys and units."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from bers import ConfigError, plugins, start_production_monitoring
from bers.config import Plan, load
from bers.config.runbook import KEYS

CATALOGUE = plugins.load(installed=False)
FREE = {"dashboardPort": 0, "healthPort": 0, "metricsPort": 0}


def planned(path: str, value: Any) -> Plan:
    """The shipped plan with one key of the runbook's dictionary laid over it."""
    known: Any = KEYS
    for key in path.split("."):
        known = known[key]
    return load(None, CATALOGUE, changes=known(value), environ={})


def config(plan: Plan, kind: str, key: str) -> Any:
    return getattr(plan.stages, kind)[key].config


CHANGES: Mapping[str, tuple[Any, Callable[[Plan], Any], Any]] = {
    "environment": ("staging", lambda plan: plan.settings.environment, "staging"),
    "deployment.dashboardPort": (8080, lambda plan: plan.settings.server.control, 8080),
    "deployment.healthPort": (8081, lambda plan: plan.settings.server.health, 8081),
    "deployment.metricsPort": (8082, lambda plan: plan.settings.server.metrics, 8082),
    "deployment.host": ("0.0.0.0", lambda plan: plan.settings.server.host, "0.0.0.0"),
    "deployment.logLevel": ("debug", lambda plan: plan.settings.log.level, "debug"),
    "deployment.logFolder": ("x", lambda plan: plan.settings.log.folder, "x"),
    "deployment.dataDir": ("x", lambda plan: plan.settings.data_dir, "x"),
    "performance.targets.configurationResolution": (
        75, lambda plan: plan.metrics["configuration_resolution_time"].target, 75.0),
    "performance.targets.providerInitialization": (
        25, lambda plan: plan.metrics["provider_initialization_time"].target, 25.0),
    "performance.targets.buildTime": (20_000, lambda plan: plan.metrics["build_performance"].target, 20_000.0),
    "performance.targets.deploymentTime": (
        60_000, lambda plan: plan.metrics["deployment_performance"].target, 60_000.0),
    "performance.targets.testCoverage": (90, lambda plan: plan.metrics["test_coverage"].target, 90.0),
    "performance.targets.errorRate": (2, lambda plan: plan.metrics["error_rate"].target, 2.0),
    "performance.optimization.sampling.adaptive": (
        False, lambda plan: config(plan, "processors", "sampling").adaptive, False),
    "performance.optimization.sampling.rate": (0.5, lambda plan: config(plan, "processors", "sampling").rate, 0.5),
    "performance.optimization.sampling.thresholdTrigger": (
        350, lambda plan: config(plan, "processors", "sampling").threshold_trigger, 0.35),
    "monitoring.metricsGranularity": (
        2500, lambda plan: (config(plan, "sources", "host").interval, config(plan, "processors", "windows").window),
        (2.5, 2.5)),
    "monitoring.retentionPolicies.realtime": (
        600, lambda plan: config(plan, "processors", "retention").realtime, 600.0),
    "monitoring.retentionPolicies.shortTerm": (
        120, lambda plan: config(plan, "processors", "retention").short_term, 7200.0),
    "monitoring.retentionPolicies.mediumTerm": (
        2, lambda plan: config(plan, "processors", "retention").medium_term, 172_800.0),
    "monitoring.retentionPolicies.longTerm": (
        60, lambda plan: config(plan, "processors", "retention").long_term, 5_184_000.0),
    "monitoring.dashboardRefreshInterval": (2000, lambda plan: config(plan, "sinks", "dashboard").refresh, 2.0),
    "alerting.deduplication.enabled": (
        False, lambda plan: config(plan, "sinks", "alert-engine").deduplication.enabled, False),
    "alerting.deduplication.window": (
        60_000, lambda plan: config(plan, "sinks", "alert-engine").deduplication.window, 60.0),
    "alerting.rateLimiting.maxAlerts": (
        3, lambda plan: config(plan, "sinks", "alert-engine").rate_limiting.max_alerts, 3),
    "alerting.rateLimiting.window": (
        1_234_567, lambda plan: config(plan, "sinks", "alert-engine").rate_limiting.window, 1234.567),
    "deduplication.enabled": (
        False, lambda plan: config(plan, "sinks", "alert-engine").deduplication.enabled, False),
    "deduplication.window": (
        60_000, lambda plan: config(plan, "sinks", "alert-engine").deduplication.window, 60.0),
    "rateLimiting.maxAlerts": (3, lambda plan: config(plan, "sinks", "alert-engine").rate_limiting.max_alerts, 3),
    "rateLimiting.window": (
        60_000, lambda plan: config(plan, "sinks", "alert-engine").rate_limiting.window, 60.0),
}  # fmt: skip


NUMBERS = {
    "environment": "c085",
    "deployment.dashboardPort": "c086",
    "deployment.logLevel": "c087",
    "performance.targets.configurationResolution": "c088",
    "monitoring.metricsGranularity": "c089",
    "monitoring.retentionPolicies.realtime": "c090",
    "monitoring.retentionPolicies.shortTerm": "c091",
    "performance.optimization.sampling.adaptive": "c092",
    "performance.optimization.sampling.rate": "c093",
    "performance.optimization.sampling.thresholdTrigger": "c094",
    "monitoring.dashboardRefreshInterval": "c095",
    "deduplication.enabled": "c096",
    "deduplication.window": "c097",
    "rateLimiting.maxAlerts": "c098",
    "rateLimiting.window": "c099",
}
"""The promise that each of the runbook's own keys is."""


@pytest.mark.parametrize("path", CHANGES, ids=lambda path: f"{NUMBERS.get(path, 'ours')}-{path}")
def test_each_key_changes_what_the_runbook_says(path: str) -> None:
    value, look, expected = CHANGES[path]
    assert look(planned(path, value)) == expected
    assert look(load(None, CATALOGUE, environ={})) != expected


def leaves(keys: Any, path: str) -> list[str]:
    """The whole path of every key that is no map."""
    if not isinstance(keys, Mapping):
        return [path]
    return [leaf for key in keys for leaf in leaves(keys[key], f"{path}.{key}" if path else str(key))]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def test_every_key_is_tested() -> None:
    assert leaves(KEYS, "") == list(CHANGES)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"enviroment": "x"},
            ("enviroment: unknown key 'enviroment'; did you mean 'environment'? "
             "Known: alerting, deduplication, deployment, environment, monitoring, performance, rateLimiting"),
        ),
        (
            {"deployment": {"dashbordPort": 1}},
            ("deployment.dashbordPort: unknown key 'dashbordPort'; did you mean 'dashboardPort'? "
             "Known: dashboardPort, dataDir, healthPort, host, logFolder, logLevel, metricsPort"),
        ),
        ({"deployment": 5}, "deployment: expected a dictionary, got 5"),
        ({"monitoring": {"metricsGranularity": "1s"}},
         'monitoring.metricsGranularity: expected a number, got "1s"'),
        ({"monitoring": {"retentionPolicies": {"realtime": "5"}}},
         'monitoring.retentionPolicies.realtime: expected a number, got "5"'),
        ({"monitoring": {"retentionPolicies": {"realtime": None}}},
         "monitoring.retentionPolicies.realtime: expected a number, got null"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused_at_once_with_what_is(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as info:
        start_production_monitoring(config)
    assert str(info.value) == message


@pytest.mark.parametrize("order", [1, -1])
def test_a17_a_key_in_both_spellings_is_told_and_the_one_at_the_top_counts(
    order: int, caplog: pytest.LogCaptureFixture
) -> None:
    given = {
        "deduplication": {"window": 60_000},
        "alerting": {"deduplication": {"window": 90_000, "enabled": False}, "rateLimiting": {"maxAlerts": 3}},
    }
    handle = start_production_monitoring(dict([*given.items()][::order]))
    assert [record.getMessage() for record in caplog.records] == [
        ("'deduplication.window' is given twice: at the top, which counts, and as 'alerting.deduplication.window'; "
         "remove one")
    ]  # fmt: skip
    engine = config(load(None, plugins.load(), changes=handle._changes), "sinks", "alert-engine")  # pyright: ignore[reportPrivateUsage]
    assert (engine.deduplication.window, engine.deduplication.enabled) == (60.0, False)
    assert engine.rate_limiting.max_alerts == 3


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as info:
        start_production_monitoring({"a": 1, "deployment": {"b": 1}, "monitoring": []})
    assert [fault.path for fault in info.value.faults] == ["a", "deployment.b", "monitoring"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def overall(port: int) -> Any:
    async with httpx2.AsyncClient() as client:
        for _ in range(200):
            reply = await client.get(f"http://127.0.0.1:{port}/api/monitoring/health")
            if reply.json()["success"]:
                return reply.json()["data"]
            await anyio.sleep(0.01)
    raise AssertionError("it never answered")


async def test_it_is_started_by_await_and_stopped_once_or_twice(folder: Path) -> None:
    handle = await start_production_monitoring({"environment": "staging", "deployment": FREE})
    assert set(handle.ports) == {"health", "metrics", "control"}
    assert (await overall(handle.ports["health"]))["environment"] == "staging"
    assert (folder / ".bers" / "bers.pid").read_text().startswith(f"{os.getpid()}\n")
    await handle.stop()
    await handle.stop()
    async with httpx2.AsyncClient() as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(f"http://127.0.0.1:{handle.ports['health']}/livez")


async def test_it_runs_for_a_block_with_the_file_of_the_folder_under_what_was_given(folder: Path) -> None:
    (folder / "pipelines.yaml").write_text(
        "environment: mine\nserver: {health: 0, metrics: 0, control: 1}\nsources: {build: {}}\n"
    )
    async with start_production_monitoring({"deployment": {"dashboardPort": 0}}) as handle:
        assert (await overall(handle.ports["control"]))["environment"] == "mine"
        assert handle.ports["control"] > 1


async def test_two_on_one_folder_are_refused(folder: Path) -> None:
    async with start_production_monitoring({"deployment": FREE}):
        with pytest.raises(ConfigError) as info:
            await start_production_monitoring({"deployment": FREE})
        assert f"data_dir: '.bers' is in use by process {os.getpid()}" in str(info.value)


async def test_a_value_that_the_plan_refuses_is_told_before_anything_starts(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"processors\.sampling\.rate: is out of range; write at most 1"):
        await start_production_monitoring({"performance": {"optimization": {"sampling": {"rate": 2}}}})
    assert not (folder / ".bers").exists()


async def test_a_file_that_is_named_must_be_there(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.yaml: \$: cannot be read: No such file or directory"):
        await start_production_monitoring(path=folder / "missing.yaml")
