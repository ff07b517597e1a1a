"""The environment resolver on real project directories."""

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from bers import Caller, Context, Event, Full, Nothing, Refused
from bers.testing import VirtualClock, check_spec, run_receive, step
from bers_builtin.sources import environment_resolver
from bers_builtin.sources.environment_resolver import ENVIRONMENT_RESOLVER
from bers_builtin.sources.environment_resolver.command import env
from bers_builtin.sources.environment_resolver.config import EnvironmentResolverConfig
from bers_builtin.sources.environment_resolver.detection import Detection
from bers_builtin.sources.environment_resolver.resolution import Resolution
from bers_builtin.sources.environment_resolver.resolver import Resolver
from bers_builtin.sources.environment_resolver.source import EnvironmentResolver

BERS = str(Path(sys.executable).with_name("bers"))
CANARY = "canary-0f3c9a77"


def configured(root: Path, **options: Any) -> EnvironmentResolverConfig:
    config = step(ENVIRONMENT_RESOLVER, root=str(root), **options).config
    assert isinstance(config, EnvironmentResolverConfig)
    return config


def resolver(root: Path, environ: Mapping[str, str] | None = None, hostname: str = "box", **options: Any) -> Resolver:
    environ = {} if environ is None else environ
    return Resolver(configured(root, **options), environ=environ, hostname=hostname)


def detected(root: Path, environ: Mapping[str, str] | None = None, hostname: str = "box", **options: Any) -> Detection:
    return resolver(root, environ, hostname, **options).detect()


def resolved(root: Path, environ: Mapping[str, str] | None = None, **options: Any) -> Resolution:
    one = resolver(root, environ, **options)
    return one.resolve(one.detect().environment, 0.0)[0]


def write(root: Path, **files: str) -> None:
    """Files by name, an underscore in front standing for a dot; old enough to be cached at once."""
    for name, text in files.items():
        path = root / (name.replace("__", "-").replace("_", "."))
        path.write_text(text)
        os.utime(path, (1_600_000_000, 1_600_000_000))


def picasso(root: Path, document: Any) -> None:
    (root / "picasso.config.json").write_text(json.dumps(document))


def faults(resolution: Resolution) -> list[tuple[str, str]]:
    return [(fault.severity, fault.path) for fault in resolution.faults]


@asynccontextmanager
async def opened(
    root: Path, environ: Mapping[str, str] | None = None, **options: Any
) -> AsyncGenerator[tuple[EnvironmentResolver, VirtualClock]]:
    clock = VirtualClock()
    environ = {} if environ is None else environ
    async with EnvironmentResolver(configured(root, **options), Context("resolver", clock=clock), environ) as stage:
        yield stage, clock


# Detection


@pytest.mark.parametrize(
    ("environ", "environment", "confidence"),
    [
        ({"PICASSO_ENV": "staging"}, "staging", "high"),
        ({"BUILD_ENV": "PROD"}, "production", "high"),
        ({"NODE_ENV": "development"}, "development", "medium"),
        ({"NODE_ENV": "test"}, "test", "medium"),
        ({"PICASSO_ENV": "dev", "NODE_ENV": "development"}, "development", "high"),
    ],
)
def test_c113_variables_name_the_environment(
    tmp_path: Path, environ: dict[str, str], environment: str, confidence: str
) -> None:
    found = detected(tmp_path, environ)

    assert (found.environment, found.source, found.confidence) == (environment, "env", confidence)
    assert found.conflicts == []


def test_c114_the_configuration_file_beats_the_variables_and_the_contradiction_is_told(tmp_path: Path) -> None:
    picasso(tmp_path, {"environment": "staging"})

    found = detected(tmp_path, {"PICASSO_ENV": "development"})

    assert (found.environment, found.source, found.confidence) == ("staging", "config_file", "high")
    assert found.conflicts == ["picasso.config.json says staging, but PICASSO_ENV says development"]


def test_c114_a_dotenv_file_names_the_environment(tmp_path: Path) -> None:
    write(tmp_path, _env="PICASSO_ENV=staging", _env_local="PICASSO_ENV=development")

    found = detected(tmp_path)

    assert (found.environment, found.source, found.confidence) == ("development", "dotenv", "medium")


def test_variables_that_disagree_are_a_conflict(tmp_path: Path) -> None:
    found = detected(tmp_path, {"PICASSO_ENV": "staging", "NODE_ENV": "development"})

    assert found.environment == "staging"
    assert found.conflicts == ["PICASSO_ENV says staging, but NODE_ENV says development"]


def test_a_staging_build_in_production_mode_is_no_conflict(tmp_path: Path) -> None:
    assert detected(tmp_path, {"PICASSO_ENV": "staging", "NODE_ENV": "production"}).conflicts == []


def test_a_word_that_is_no_environment_is_a_conflict_even_where_something_else_answers(tmp_path: Path) -> None:
    found = detected(tmp_path, {"PICASSO_ENV": "prodution"}, fallback="production")

    assert (found.environment, found.confidence) == ("production", "low")
    assert found.conflicts == [
        "PICASSO_ENV: 'prodution' is no environment; allowed: development, staging, production, test"
    ]


def test_a_configuration_file_that_is_not_json_is_a_conflict(tmp_path: Path) -> None:
    (tmp_path / "picasso.config.json").write_text("{environment: ")

    assert detected(tmp_path, fallback="test").conflicts == ["picasso.config.json: it is not JSON"]


def test_host_names_and_build_systems_are_asked_where_nothing_better_answers(tmp_path: Path) -> None:
    rules = [{"match": "^staging[.-]", "environment": "staging"}]

    assert detected(tmp_path, hostname="staging-7", hostname_rules=rules).source == "hostname"
    assert detected(tmp_path, {"VERCEL_ENV": "production"}, hostname_rules=rules).source == "build_context"
    assert detected(tmp_path, {"VERCEL_ENV": "preview"}, fallback="test").conflicts == []


def test_answers_of_one_rank_that_differ_give_none(tmp_path: Path) -> None:
    found = detected(tmp_path, {"VERCEL_ENV": "production", "CI_ENVIRONMENT_TIER": "staging"}, fallback="production")

    assert found.environment is None
    assert found.reason == (
        "build_context gives no single answer: CI_ENVIRONMENT_TIER says staging, VERCEL_ENV says production"
    )


def test_a21_nothing_and_no_fallback_is_no_answer(tmp_path: Path) -> None:
    found = detected(tmp_path)

    assert (found.environment, found.candidates) == (None, [])
    assert found.reason == "nothing names an environment, and no fallback is configured"


def test_the_order_is_the_operators(tmp_path: Path) -> None:
    picasso(tmp_path, {"environment": "staging"})

    assert detected(tmp_path, {"NODE_ENV": "test"}, order=["env", "config_file"]).environment == "test"


# Resolution


def test_layers_are_merged_and_each_value_knows_where_it_comes_from(tmp_path: Path) -> None:
    write(
        tmp_path,
        _env="A=1\nB=1\nC=1\nD=1",
        _env_local="A=2\nB=2\nC=2",
        _env_staging="A=3\nB=3",
        _env_staging_local="A=4",
    )

    found = resolved(tmp_path, {"PICASSO_ENV": "staging", "D": "9"}, reveal=["A", "B", "C", "D"])

    assert {key: (one.value, one.origin) for key, one in found.values.items()} == {
        "A": ("4", ".env.staging.local"),
        "B": ("3", ".env.staging"),
        "C": ("2", ".env.local"),
        "D": ("9", "process"),
    }
    assert list(found.values["A"].overrides) == [".env.staging", ".env.local", ".env"]
    assert list(found.files) == [".env.staging.local", ".env.staging", ".env.local", ".env"]


@pytest.mark.parametrize(("dialect", "value"), [("vite", "staging"), ("dotenv-flow", "staging"), ("next", "local")])
def test_dialects_disagree_about_env_local(tmp_path: Path, dialect: str, value: str) -> None:
    write(tmp_path, _env_local="A=local", _env_staging="A=staging")

    found = resolved(tmp_path, {"PICASSO_ENV": "staging"}, dialect=dialect, reveal=["A"])

    assert found.values["A"].value == value


def test_values_are_masked_unless_they_may_be_shown(tmp_path: Path) -> None:
    write(tmp_path, _env=f"TOKEN={CANARY}\nPORT=80")

    found = resolved(tmp_path, fallback="test", reveal=["PORT"])

    assert (found.values["PORT"].value, found.values["TOKEN"].value) == ("80", None)
    assert (found.values["TOKEN"].length, len(found.values["TOKEN"].sha256)) == (len(CANARY), 8)


def test_what_cannot_be_read_is_a_fault_and_the_rest_is_resolved(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".env.local")
    (tmp_path / ".env.test").symlink_to("/etc/hostname")
    write(tmp_path, _env="A=1")

    found = resolved(tmp_path, fallback="test")

    assert faults(found) == [("error", ".env.test"), ("warning", ".env.local")]
    assert list(found.values) == ["A"]


# Validation


def test_required_variables_and_pointers(tmp_path: Path) -> None:
    picasso(tmp_path, {"api": {"urls": ["https://x.example"]}, "none": None})
    required = ["TOKEN", "HOME_DIR", "/api/urls/0", "/api/urls/1", "/none"]

    found = resolved(tmp_path, {"TOKEN": "t"}, fallback="test", required=required)

    assert [path for _, path in faults(found)] == [
        "HOME_DIR",
        "picasso.config.json#/api/urls/1",
        "picasso.config.json#/none",
    ]


def test_rules_of_production(tmp_path: Path) -> None:
    picasso(
        tmp_path,
        {"$schema": "http://json-schema.org/x", "api": "http://api.example", "list": [{"u": "wss://x.example"}]},
    )
    write(
        tmp_path, _env="DATABASE_URL=postgres://127.0.0.1/x\nDB_HOST=localhost:5432\nAPI_TOKEN=changeme\nHOST=localhost"
    )

    assert faults(resolved(tmp_path, fallback="production")) == [
        ("error", "DATABASE_URL"),
        ("error", "DB_HOST"),
        ("error", "API_TOKEN"),
        ("error", "picasso.config.json#/api"),
    ]
    assert faults(resolved(tmp_path, fallback="staging")) == []
    assert len(faults(resolved(tmp_path, fallback="production", rules=["https"]))) == 1


def test_the_file_must_name_the_environment_that_was_detected(tmp_path: Path) -> None:
    picasso(tmp_path, {"environment": "staging"})

    found = resolved(tmp_path, {"PICASSO_ENV": "test"}, order=["env", "config_file"])

    assert faults(found) == [("error", "picasso.config.json#/environment")]


def test_the_schema_is_checked_with_pointers_and_without_values(tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": ["api"],
        "properties": {"environment": {}, "port": {"type": "integer"}, "key": {"maxLength": 3}},
    }
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    picasso(tmp_path, {"environment": "test", "port": CANARY, "key": CANARY, "extra": CANARY})

    found = resolved(tmp_path, schema="schema.json")

    assert sorted((fault.path, fault.message) for fault in found.faults) == [
        ("picasso.config.json#", "'api' is a required property"),
        ("picasso.config.json#", "the schema knows no extra"),
        ("picasso.config.json#/key", "the schema wants maxLength 3"),
        ("picasso.config.json#/port", 'the schema wants type "integer"'),
    ]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("{", "it is not JSON"),
        ("[]", "it is not a JSON Schema, which is an object"),
        ('{"type": 7}', "it is not a JSON Schema; see /type in it"),
        (
            '{"$ref": "https://x.example/s"}',
            "it refers to 'https://x.example/s', which is not in it; other files are not fetched",
        ),
        (None, "there is no such schema; correct the option `schema`"),
    ],
)
def test_a_schema_that_cannot_be_used_is_an_error(tmp_path: Path, schema: str | None, message: str) -> None:
    picasso(tmp_path, {"environment": "test"})
    if schema:
        (tmp_path / "schema.json").write_text(schema)

    (fault,) = resolved(tmp_path, schema="schema.json").faults

    assert (fault.severity, fault.path, fault.message) == ("error", "schema.json", message)


def test_without_jsonschema_the_fault_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    (tmp_path / "schema.json").write_text("{}")
    picasso(tmp_path, {"environment": "test"})

    (fault,) = resolved(tmp_path, schema="schema.json").faults

    assert "bers-monitoring[schema]" in fault.message


# The cache


def test_the_second_look_is_a_hit_and_an_edit_is_seen_on_the_next(tmp_path: Path) -> None:
    write(tmp_path, _env="A=1")
    one = resolver(tmp_path, reveal=["A"])
    assert one.resolve("test", 0.0)[1] is False

    took = list[float]()
    for _ in range(5):
        start = time.thread_time()  # What other processes take is not our fault, nor is what is collected meanwhile.
        assert one.resolve("test", 1.0)[1] is True
        took.append(time.thread_time() - start)
    assert min(took) < 0.01

    (tmp_path / ".env").write_text("A=2")
    again, cached = one.resolve("test", 2.0)
    assert (cached, again.values["A"].value) == (False, "2")


def test_edits_within_one_tick_of_the_file_systems_clock_are_seen(tmp_path: Path) -> None:
    one = resolver(tmp_path, reveal=["A"])
    for number in range(10, 60):
        (tmp_path / ".env").write_text(f"A={number}")
        assert one.resolve("test", 0.0)[0].values["A"].value == str(number)


def test_a_file_that_appears_a_variable_and_age_end_a_hit(tmp_path: Path) -> None:
    write(tmp_path, _env="A=1")
    environ = {"A": "5"}
    one = resolver(tmp_path, environ, ttl="10s")

    def cached(now: float) -> bool:
        return one.resolve("test", now)[1]

    assert [cached(0), cached(9.9), cached(10), cached(11)] == [False, True, False, True]
    write(tmp_path, _env_test_local="A=2")
    assert [cached(12), cached(13)] == [False, True]
    environ["A"] = "6"
    assert [cached(14), cached(15)] == [False, True]


# The source


async def test_it_looks_at_once_and_every_interval(tmp_path: Path) -> None:
    write(tmp_path, _env="A=1")
    seen: list[Event] = []
    send, receive = anyio.create_memory_object_stream[Sequence[Event]](10)

    async def emit(events: Sequence[Event], *, durable: bool = False) -> None:
        await send.send(events)

    with send, receive, anyio.fail_after(30):
        async with opened(tmp_path, {"PICASSO_ENV": "staging"}) as (stage, clock), anyio.create_task_group() as group:
            group.start_soon(stage.run, emit)
            seen += await receive.receive()
            await clock.advance(29)
            assert receive.statistics().current_buffer_used == 0
            await clock.advance(1)
            seen += await receive.receive()
            cleared = await stage.clear_cache(Nothing(), Caller())
            assert (cleared.cleared, cleared.generation) == (1, 1)
            seen += await receive.receive()  # It looks again at once.
            group.cancel_scope.cancel()

    assert [event.type for event in seen[:2]] == ["environment.detected", "configuration.resolved"]
    assert seen[0].labels == {"source": "env", "confidence": "high"}
    assert set(seen[0].measures) == {"environment_detection_time", "environment_detection_total", "error_rate"}
    assert (seen[0].outcome, seen[0].data["environment"]) == ("success", "staging")
    resolutions = seen[1::2]
    assert [event.labels["cached"] for event in resolutions] == ["false", "true", "false"]
    assert [event.measures["cache_hit_rate"] for event in resolutions] == [0.0, 100.0, 0.0]
    assert all(0 < event.measures["configuration_resolution_time"] < 1000 for event in resolutions)
    assert resolutions[0].measures["configuration_valid"] == 100.0
    assert all(event.measures["error_rate"] == 0.0 for event in seen)


async def test_the_first_resolution_with_a_schema_does_not_wait_for_the_library(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text('{"required": ["environment"]}')
    picasso(tmp_path, {"environment": "test"})
    before = set(sys.modules)

    async with opened(tmp_path, schema="schema.json") as (stage, _):
        assert "jsonschema" in sys.modules
        loaded = set(sys.modules)
        _, event = await stage.look()

    assert event.outcome == "success"
    assert not {name for name in set(sys.modules) - loaded if name.startswith("jsonschema.")} - before


async def test_c015_c016_a_fresh_folder_with_a_fallback_is_healthy(tmp_path: Path) -> None:
    async with opened(tmp_path, fallback="production") as (stage, _):
        assert (await stage.check_detection()).status == "unknown"
        await stage.look()
        detection, configuration = await stage.check_detection(), await stage.check_configuration()

    assert (detection.status, detection.details["confidence"]) == ("healthy", "low")
    assert (configuration.status, configuration.details["configured"]) == ("healthy", 0)


async def test_c015_a21_three_failures_in_a_row_are_unhealthy_and_an_answer_heals(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    async with opened(tmp_path, environ) as (stage, _):
        stati: list[str] = []
        detection, _ = await stage.look()
        stati.append((await stage.check_detection()).status)
        for _ in range(3):
            await stage.look()
            stati.append((await stage.check_detection()).status)
        environ["PICASSO_ENV"] = "test"
        await stage.look()
        stati.append((await stage.check_detection()).status)

    assert stati == ["degraded", "degraded", "unhealthy", "unhealthy", "healthy"]
    assert (detection.outcome, detection.measures) == (
        "failure",
        {"environment_detection_total": 1.0, "error_rate": 100.0},
    )


async def test_c015_a_conflict_is_degraded_and_says_which(tmp_path: Path) -> None:
    async with opened(tmp_path, {"PICASSO_ENV": "staging", "NODE_ENV": "development"}) as (stage, _):
        await stage.look()
        finding = await stage.check_detection()

    assert (finding.status, finding.message) == ("degraded", "PICASSO_ENV says staging, but NODE_ENV says development")


async def test_c016_errors_are_unhealthy_and_warnings_degraded(tmp_path: Path) -> None:
    async with opened(tmp_path, fallback="production") as (stage, _):
        write(tmp_path, _env="just words")
        await stage.look()
        assert (await stage.check_configuration()).status == "degraded"
        write(tmp_path, _env="API_URL=http://api.example")
        _, event = await stage.look()
        finding = await stage.check_configuration()

    assert (finding.status, finding.details["errors"]) == ("unhealthy", 1)
    assert (event.outcome, event.measures["configuration_valid"], event.measures["error_rate"]) == (
        "failure",
        0.0,
        100.0,
    )


async def test_c168_a_project_is_never_called_well_before_its_environments_were_compared(tmp_path: Path) -> None:
    write(tmp_path, _env_staging="API=1\nDEBUG=1", _env_production="API=2")
    said: list[str] = []
    async with opened(tmp_path, fallback="production", compare=["staging", "production"]) as (stage, _):
        async with anyio.create_task_group() as group:

            async def ask_all_the_time() -> None:
                while True:
                    said.append((await stage.check_configuration()).status)
                    await anyio.lowlevel.checkpoint()

            group.start_soon(ask_all_the_time)
            await stage.look()
            group.cancel_scope.cancel()
        finding = await stage.check_configuration()

    assert set(said) == {"unknown"}
    assert (finding.status, finding.details["drift"]) == ("unhealthy", {"production/staging": 1})


async def test_c168_what_cannot_be_read_is_no_drift(tmp_path: Path) -> None:
    write(tmp_path, _env_staging="API=1")
    (tmp_path / ".env.production").symlink_to("/etc/hostname")  # It leaves the project: it is not read.
    async with opened(tmp_path, fallback="staging", compare=["staging", "production"]) as (stage, _):
        events = await stage.look()
        finding = await stage.check_configuration()

    assert [(event.type, event.outcome) for event in events[2:]] == [("configuration.compared", "error")]
    assert not events[2].measures
    assert finding.status == "degraded"
    assert finding.message == "the environments cannot be compared: .env.production could not be read"


async def test_a_bus_that_is_full_does_not_end_it(tmp_path: Path) -> None:
    send, receive = anyio.create_memory_object_stream[None](10)

    async def emit(events: Sequence[Event], *, durable: bool = False) -> None:
        await send.send(None)
        raise Full("the journal is at its quota")

    with send, receive, anyio.fail_after(30):
        async with opened(tmp_path, fallback="test") as (stage, clock), anyio.create_task_group() as group:
            group.start_soon(stage.run, emit)
            await receive.receive()
            await clock.advance(30)
            await receive.receive()
            group.cancel_scope.cancel()

    assert (await stage.check_detection()).status == "healthy"


async def test_a_root_that_is_gone_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    async with opened(tmp_path / "gone", fallback="test") as (stage, _):
        events = await stage.look()
        finding = await stage.check_configuration()

    assert [(event.outcome, event.measures["error_rate"]) for event in events] == [("error", 100.0), ("error", 100.0)]
    assert finding.status == "unhealthy"
    assert "no directory; correct the option `root`" in finding.message


async def test_secrets_appear_nowhere(tmp_path: Path) -> None:
    write(tmp_path, _env=f"PASSWORD={CANARY}\n{CANARY}\nAPI_URL=http://user:{CANARY}@localhost/\nNODE_ENV={CANARY}")
    (tmp_path / "schema.json").write_text('{"properties": {"key": {"type": "integer"}}}')
    picasso(tmp_path, {"key": CANARY, "apiKey": CANARY, "environment": CANARY})
    environ = {"PICASSO_ENV": CANARY, "TOKEN": CANARY}
    options = {"fallback": "production", "schema": "schema.json", "required": ["TOKEN"], "reveal": []}

    async with opened(tmp_path, environ, **options) as (stage, _):
        events = await stage.look()
        report = await stage.report(Nothing(), Caller())
        findings = [await stage.check_detection(), await stage.check_configuration()]

    assert len(report.faults) >= 3
    assert list(report.values) == ["API_URL", "NODE_ENV", "PASSWORD", "TOKEN"]
    told = msgspec.json.encode([events, report, findings]).decode()
    assert "canary" not in told


async def test_the_report_is_refused_until_there_is_one(tmp_path: Path) -> None:
    async with opened(tmp_path, {"PICASSO_ENV": "test"}) as (stage, _):
        with pytest.raises(Refused) as caught:
            await stage.report(Nothing(), Caller())
        assert caught.value.reason == "unavailable"
        await stage.look()
        report = msgspec.to_builtins(await stage.report(Nothing(), Caller()))

    assert report["detectedAt"] == 1_700_000_000_000
    assert report["candidates"][0]["accepted"] is True


async def test_b9_measures_of_others_get_the_catalogues_names() -> None:
    detected = Event(
        "1",
        "ci",
        "environment.detected",
        1.0,
        outcome="success",
        duration_ms=12.0,
        data={"source": "env", "confidence": "high"},
    )
    resolved = Event(
        "2",
        "ci",
        "configuration.resolved",
        1.0,
        measures={"configuration.resolution.time": 75.0},
        data={"cached": True, "valid": False},
    )
    failed = Event("3", "ci", "environment.detected", 1.0, outcome="failure", duration_ms=12.0)

    seen = await run_receive(ENVIRONMENT_RESOLVER, [detected, resolved, failed])

    assert [dict(event.measures) for event in seen] == [
        {"environment_detection_time": 12.0, "environment_detection_total": 1.0, "error_rate": 0.0},
        {"configuration_resolution_time": 75.0, "cache_hit_rate": 100.0, "configuration_valid": 0.0},
        {"environment_detection_total": 1.0, "error_rate": 100.0},
    ]
    assert [dict(event.labels) for event in seen] == [{"source": "env", "confidence": "high"}, {"cached": "true"}, {}]


async def test_receiving_our_own_events_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as (stage, _):  # Detection fails here, resolution does not.
        events = await stage.look()

    assert await run_receive(ENVIRONMENT_RESOLVER, events) == list(events)


async def test_it_keeps_what_every_stage_promises() -> None:
    await check_spec(ENVIRONMENT_RESOLVER)
    assert list(environment_resolver.bers_sources()) == [ENVIRONMENT_RESOLVER]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fallback": "qa"}, "fallback: 'qa' is not allowed"),
        ({"hostname_rules": [{"match": "(", "environment": "test"}]}, "no regular expression"),
        ({"hostname_rules": [{"match": "x", "environment": "qa"}]}, r"hostname_rules\[0\].environment: 'qa'"),
        ({"allowed": ["local"]}, "'local' cannot name an environment"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        step(ENVIRONMENT_RESOLVER, **options)


# The command


def run_command(*args: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    bare = {key: value for key, value in os.environ.items() if key not in ("PICASSO_ENV", "BUILD_ENV", "NODE_ENV")}
    command = [BERS, "env", "detect", *args]
    return subprocess.run(command, capture_output=True, text=True, env={**bare, **(env or {})}, check=False)


def test_c008_the_command_prints_json(tmp_path: Path) -> None:
    write(tmp_path, _env="API_URL=https://api.example")

    done = run_command("--root", str(tmp_path), env={"PICASSO_ENV": "staging"})

    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert answer.pop("detectionTime") > 0
    assert answer == {"environment": "staging", "source": "env", "confidence": "high", "validationErrors": []}


def test_c008_the_command_fails_where_detection_does(tmp_path: Path) -> None:
    done = run_command("--root", str(tmp_path))

    assert (done.returncode, json.loads(done.stdout)["environment"]) == (1, None)
    assert done.stderr == "nothing names an environment, and no fallback is configured\n"


def test_the_command_fails_where_the_configuration_is_invalid(tmp_path: Path) -> None:
    picasso(tmp_path, {"environment": "production", "api": "http://api.example"})

    done = run_command("--root", str(tmp_path))

    assert done.returncode == 1
    assert json.loads(done.stdout)["validationErrors"][0]["path"] == "picasso.config.json#/api"


def test_the_command_explains_as_a_table_or_as_json(tmp_path: Path) -> None:
    write(tmp_path, _env="NODE_ENV=test")
    env = {"PICASSO_ENV": "stage"}

    lines = run_command("--root", str(tmp_path), "--explain", env=env).stdout.splitlines()
    answer = json.loads(run_command("--root", str(tmp_path), "--explain", "--json", env=env).stdout)

    assert lines[1].split() == ["env", "PICASSO_ENV", "stage", "staging", "yes", "'stage'", "is", "an", "alias"]
    assert lines[3:] == [
        "staging, by env, confidence high",
        "conflict: PICASSO_ENV says staging, but .env:NODE_ENV says test",
    ]
    assert [one["name"] for one in answer["candidates"]] == ["PICASSO_ENV", ".env:NODE_ENV"]


def test_on_a_terminal_the_table_is_drawn(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [BERS, "env", "detect", "--root", str(tmp_path), "--fallback", "test", "--explain"]
    with subprocess.Popen(command, stdout=theirs, env={**os.environ, "COLUMNS": "100"}) as process:
        assert process.wait(60) == 0
    os.close(theirs)
    drawn = os.read(ours, 1 << 16).decode()
    os.close(ours)

    assert drawn.startswith("┏")


def test_an_unknown_root_is_one_line_on_stderr(tmp_path: Path) -> None:
    done = run_command("--root", str(tmp_path / "gone"))

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "is no directory" in done.stderr


def test_the_command_is_offered() -> None:
    assert list(env.commands) == ["detect"]
