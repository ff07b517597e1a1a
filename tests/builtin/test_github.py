"""GitHub's webhooks: what is signed is taken once, and everything documented becomes what it means."""

import hmac
import json
import shutil
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import msgspec
import pytest

from bers import Batch, Config, ConfigError, Context, Delivery, SinkSpec, Stage, config, plugins
from bers.config.located import parse
from bers.schemas import decode
from bers.testing import check_format
from bers.testing.server import Server, serving
from bers_builtin.sources.github import GITHUB, Github, GithubConfig
from tests.unit.test_web import error


class StuckConfig(Config, frozen=True):
    """Take a batch, and never be done with it."""


SECRET, FORMER = "a secret that is long enough", "the one before, not yet gone"
NUMBERS = count(1000)
SHIPPED = Path(__file__).parents[2] / "pipelines.yaml"
REPOSITORY = {
    "id": 1, "name": "app", "full_name": "acme/app", "html_url": "https://github.com/acme/app",
    "default_branch": "main", "pushed_at": 1_795_420_800,
}  # fmt: skip
SHA, MERGE, BASE = "1" * 40, "2" * 40, "3" * 40


def run(**more: Any) -> dict[str, Any]:
    return {
        "id": next(NUMBERS), "name": "CI", "path": ".github/workflows/ci.yml", "run_attempt": 1, "event": "push",
        "head_branch": "main", "head_sha": SHA, "html_url": "https://github.com/acme/app/actions/runs/7",
        "created_at": "2026-11-23T08:00:00Z", "run_started_at": "2026-11-23T08:00:00Z",
        "updated_at": "2026-11-23T08:01:30Z", "conclusion": None, "pull_requests": [{"number": 12}],
        "head_commit": {"id": SHA, "timestamp": "2026-11-23T09:00:00+02:00"}, **more,
    }  # fmt: skip


def deployment(**more: Any) -> dict[str, Any]:
    return {
        "id": next(NUMBERS), "sha": SHA, "ref": "v1.5.0", "task": "deploy", "environment": "prod-eu",
        "created_at": "2026-11-23T08:00:00Z", "creator": {"login": "ada"}, **more,
    }  # fmt: skip


def status(state: str, **more: Any) -> dict[str, Any]:
    return {
        "id": next(NUMBERS), "state": state, "environment": "prod-eu", "description": "too bad",
        "created_at": "2026-11-23T08:05:00Z", **more,
    }  # fmt: skip


CONFIG: dict[str, Any] = {
    "secrets": [SECRET, FORMER],
    "workflows": {"e2e*": "validation", "*/deploy.yml": "deployment", "Nightly": "pipelinerun"},
    "environments": {"prod-*": "production"},
}


def read(kind: str, body: Any, **options: Any) -> list[dict[str, Any]]:
    """What a webhook becomes, as the documents that the door is given."""
    settings = msgspec.convert(CONFIG | options, GithubConfig, dec_hook=decode)
    headers = {"x-github-event": kind, "x-github-delivery": "d-1"}
    delivery = Delivery(headers, json.dumps({"repository": REPOSITORY, **body}).encode(), "application/json", 0.0)
    return [dict(one) for one in Github(settings, Context("github")).decode(delivery)]


# What is told.


@pytest.mark.parametrize(
    ("conclusion", "outcome"),
    [("success", "success"), ("failure", "failure"), ("cancelled", "cancelled"), ("timed_out", "timed_out"),
     ("skipped", "skipped"), ("neutral", "neutral"), ("stale", "stale"), ("startup_failure", "startup_failure")],
)  # fmt: skip
def test_a_workflow_run_is_a_build(conclusion: str, outcome: str) -> None:
    (event,) = read("workflow_run", {"action": "completed", "workflow_run": run(id=7, conclusion=conclusion)})
    assert event == {
        "source": "https://github.com/acme/app",
        "service": "app",
        "origin": "github/workflow_run",
        "id": "run/7/1/finished",
        "type": "build.finished",
        "time": 1_795_420_890.0,
        "subject": "run/7/1",
        "outcome": outcome,
        "duration_ms": 90_000.0,
        "vcs": {
            "repository": "acme/app", "revision": SHA, "ref": "main", "change": "12",
            "committed_at": 1_795_417_200.0,
        },
        "run": {
            "system": "github", "pipeline": "CI", "id": "7", "attempt": 1,
            "url": "https://github.com/acme/app/actions/runs/7",
        },
        "labels": {"workflow": "CI", "event": "push"},
        "data": {"delivery": "d-1"},
    }  # fmt: skip


def test_a_second_attempt_is_another_build() -> None:
    first, second = (
        read("workflow_run", {"action": "in_progress", "workflow_run": run(id=7, run_attempt=n)})[0] for n in (1, 2)
    )
    assert (first["type"], first["subject"], second["subject"]) == ("build.started", "run/7/1", "run/7/2")
    assert second["run"]["attempt"] == 2


@pytest.mark.parametrize(
    ("name", "path", "type"),
    [
        ("CI", "ci.yml", "build.queued"),
        ("E2E nightly", "x.yml", "validation.queued"),
        ("Ship it", ".github/workflows/deploy.yml", "deployment.queued"),
        ("nightly", "x.yml", "pipelinerun.queued"),
    ],
)
def test_the_configuration_says_what_a_workflow_is(name: str, path: str, type: str) -> None:
    (event,) = read("workflow_run", {"action": "requested", "workflow_run": run(name=name, path=path)})
    assert event["type"] == type


def test_a_job_is_a_task_of_its_run() -> None:
    job = {
        "id": 5, "run_id": 7, "run_attempt": 2, "workflow_name": "CI", "name": "compile", "head_sha": SHA,
        "head_branch": "main", "conclusion": "failure", "html_url": "https://github.com/x",
        "created_at": "2026-11-23T08:00:00Z", "started_at": "2026-11-23T08:00:10Z",
        "completed_at": "2026-11-23T08:00:40Z",
    }  # fmt: skip
    told = {action: read("workflow_job", {"action": action, "workflow_job": job})[0]
            for action in ("queued", "in_progress", "completed")}  # fmt: skip
    assert [(one["type"], one["time"]) for one in told.values()] == [
        ("taskrun.queued", 1_795_420_800.0),
        ("taskrun.started", 1_795_420_810.0),
        ("taskrun.finished", 1_795_420_840.0),
    ]  # fmt: skip
    assert (told["completed"]["outcome"], told["completed"]["duration_ms"]) == ("failure", 30_000.0)
    assert told["completed"]["run"]["attempt"] == 2
    assert "outcome" not in told["in_progress"]


@pytest.mark.parametrize(
    ("state", "type", "outcome"),
    [
        ("pending", "deployment.queued", None),
        ("queued", "deployment.queued", None),
        ("waiting", "deployment.queued", None),
        ("in_progress", "deployment.started", None),
        ("success", "deployment.finished", "success"),
        ("failure", "deployment.finished", "failure"),
        ("error", "deployment.finished", "error"),
    ],
)
def test_every_state_of_a_deployment_is_told(state: str, type: str, outcome: str | None) -> None:
    body = {"action": "created", "deployment_status": status(state, id=3), "deployment": deployment(id=2)}
    (event,) = read("deployment_status", {**body, "workflow_run": run(id=7)})
    assert (event["id"], event["type"], event.get("outcome")) == ("deployment_status/3", type, outcome)
    assert (event["environment"], event["subject"], event["version"]) == ("production", "deployment/2", "v1.5.0")
    assert event.get("reason") == (None if outcome in (None, "success") else "too bad")
    assert (event["vcs"]["revision"], event["vcs"]["committed_at"]) == (SHA, 1_795_417_200.0)
    assert event["run"]["id"] == "7"


def test_a_deployment_that_takes_something_back_says_so() -> None:
    told = {"action": "created", "deployment": deployment(task="deploy:rollback")}
    (event,) = read("deployment", told)
    assert (event["type"], event["labels"]) == ("deployment.queued", {"kind": "rollback"})


CHANGE = {
    "number": 12, "merged": True, "merged_at": "2026-11-23T08:00:00Z", "created_at": "2026-11-23T07:00:00Z",
    "merge_commit_sha": MERGE, "commits": 3, "html_url": "https://github.com/acme/app/pull/12",
    "head": {"sha": SHA, "ref": "topic"}, "base": {"sha": BASE, "ref": "main"},
}  # fmt: skip


def test_a_merged_pull_request_is_a_change() -> None:
    (event,) = read("pull_request", {"action": "closed", "pull_request": CHANGE})
    assert (event["type"], event["id"], event["time"]) == ("change.merged", "pull/12/merged", 1_795_420_800.0)
    assert event["vcs"] == {
        "repository": "acme/app", "revision": MERGE, "ref": "main", "base_revision": BASE, "change": "12",
    }  # fmt: skip
    assert event["duration_ms"] == 3_600_000.0
    assert event["data"]["head"] == SHA  # What was built was this, and not the merge.


PUSH = {
    "ref": "refs/heads/main", "before": BASE, "after": SHA, "deleted": False,
    "head_commit": {"id": SHA, "timestamp": "2026-11-23T09:00:00+02:00"},
    "commits": [{"id": BASE, "timestamp": "2026-11-22T08:00:00Z"}, {"id": SHA, "timestamp": "2026-11-23T07:00:00Z"}],
}  # fmt: skip


def test_a_push_has_the_time_of_its_first_commit_and_may_be_a_merge() -> None:
    (event,) = read("push", PUSH)
    assert (event["type"], event["time"]) == ("change.pushed", 1_795_420_800.0)
    assert (event["vcs"]["revision"], event["vcs"]["committed_at"], event["data"]["commits"]) == (
        SHA,
        1_795_334_400.0,
        2,
    )
    assert read("push", PUSH, pushes_merge=True)[0]["type"] == "change.merged"


def test_a_check_of_somebody_else_is_a_task() -> None:
    check = {
        "id": 9, "name": "coverage", "head_sha": SHA, "conclusion": "success", "app": {"slug": "codecov"},
        "started_at": "2026-11-23T08:00:00Z", "completed_at": "2026-11-23T08:00:02Z",
    }  # fmt: skip
    (event,) = read("check_run", {"action": "completed", "check_run": check})
    assert (event["type"], event["duration_ms"], event["run"]["system"]) == ("taskrun.finished", 2000.0, "codecov")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("ping", {"zen": "Keep it logically awesome.", "hook_id": 1}),
        ("star", {"action": "created"}),
        ("workflow_run", {"action": "unheard-of", "workflow_run": {}}),
        ("deployment_status", {"deployment_status": {"state": "inactive"}, "deployment": {}}),
        ("pull_request", {"action": "closed", "pull_request": CHANGE | {"merged": False}}),
        ("pull_request", {"action": "opened", "pull_request": CHANGE}),
        ("push", PUSH | {"ref": "refs/heads/topic"}),
        ("push", PUSH | {"deleted": True}),
        ("check_run", {"action": "completed", "check_run": {"app": {"slug": "github-actions"}}}),
    ],
)
def test_what_nothing_is_measured_of_is_no_event(kind: str, body: Any) -> None:
    assert read(kind, body) == []


# Who is believed.


@pytest.fixture(scope="module")
async def server(home: Path) -> AsyncGenerator[Server]:
    async with serving(home, changes=[(("sources", "github"), CONFIG)]) as found:
        yield found


async def deliver(
    server: Server, kind: str, body: Any, *, secret: str = SECRET, delivery: str = "", query: str = "", **headers: str
) -> Any:
    content = json.dumps({"repository": REPOSITORY, **body}).encode()
    sent = {
        "Content-Type": "application/json",
        "X-GitHub-Event": kind,
        "X-GitHub-Delivery": delivery or f"d-{next(NUMBERS)}",
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), content, "sha256").hexdigest(),
    }
    return await server.post(f"ingest/github{query}", content=content, headers=sent | headers)


async def counts(reply: Any) -> tuple[int, int]:
    assert reply.status_code == 202, reply.text
    return reply.json()["data"]["accepted"], reply.json()["data"]["duplicates"]


async def test_what_is_signed_with_any_of_the_secrets_is_taken_and_nothing_else(server: Server) -> None:
    body = {"action": "completed", "workflow_run": run(conclusion="success")}
    assert error(await deliver(server, "workflow_run", body, secret="wrong"), 401)["code"] == "unauthenticated"
    for header in ("", "sha256=", "sha1=abc", "sha256=ä"):
        reply = await deliver(server, "workflow_run", body, **{"X-Hub-Signature-256": header.encode()})  # type: ignore[arg-type]
        found = error(reply, 401)
        assert "X-Hub-Signature-256" in found["message"]
    for secret in (SECRET, FORMER):
        body = {"action": "completed", "workflow_run": run(conclusion="success")}
        assert await counts(await deliver(server, "workflow_run", body, secret=secret)) == (1, 0)
    await server.until("metrics/build_performance", lambda data: data["current"] == 90_000)


async def test_a_body_that_was_changed_on_its_way_is_refused(server: Server) -> None:
    body = {"action": "completed", "workflow_run": run(conclusion="success")}
    content = json.dumps(body).encode()
    signature = "sha256=" + hmac.new(SECRET.encode(), content, "sha256").hexdigest()
    headers = {"X-GitHub-Event": "workflow_run", "X-Hub-Signature-256": signature, "Content-Type": "application/json"}
    reply = await server.post("ingest/github", content=content.replace(b"success", b"failure"), headers=headers)
    assert error(reply, 401)["message"] == "the signature in X-Hub-Signature-256 is wrong"


async def test_a_redelivery_is_a_duplicate_whatever_it_calls_itself(server: Server) -> None:
    body = {"action": "completed", "workflow_run": run(conclusion="success")}
    assert await counts(await deliver(server, "workflow_run", body, delivery="one")) == (1, 0)
    assert await counts(await deliver(server, "workflow_run", body, delivery="one")) == (0, 1)
    # The header is not signed: whoever sends again what he overheard may call it as he likes.
    assert await counts(await deliver(server, "workflow_run", body, delivery="another")) == (0, 1)


async def test_a_form_is_signed_as_it_was_sent(server: Server) -> None:
    body = {"repository": REPOSITORY, "action": "completed", "workflow_run": run(conclusion="success")}
    content = urlencode({"payload": json.dumps(body)}).encode()
    headers = {
        "Content-Type": "application/x-www-form-urlencoded", "X-GitHub-Event": "workflow_run",
        "X-Hub-Signature-256": "sha256=" + hmac.new(SECRET.encode(), content, "sha256").hexdigest(),
    }  # fmt: skip
    assert await counts(await server.post("ingest/github", content=content, headers=headers)) == (1, 0)


async def test_a_ping_is_answered_and_what_is_none_of_github_is_refused(server: Server) -> None:
    assert await counts(await deliver(server, "ping", {"zen": "Design for failure."})) == (0, 0)
    found = error(await deliver(server, "", {}), 400)
    assert found["message"] == "the body is not what github sends: the header X-GitHub-Event is missing"
    signed = {"X-Hub-Signature-256": "sha256=" + hmac.new(SECRET.encode(), b"[1]", "sha256").hexdigest()}
    reply = await server.post("ingest/github", content=b"[1]", headers=signed | {"X-GitHub-Event": "push"})
    assert error(reply, 400)["message"].startswith("the body is not what github sends: Expected `object`")


async def test_a_deployment_from_its_beginning_to_its_end_is_measured(server: Server) -> None:
    about = deployment()
    for state, moment in (("success", "2026-11-23T08:05:00Z"), ("in_progress", "2026-11-23T08:01:00Z")):
        body = {"deployment_status": status(state, created_at=moment), "deployment": about}
        assert await counts(await deliver(server, "deployment_status", body)) == (1, 0)
    data = await server.until("metrics/deployment_performance", lambda data: data["current"] is not None)
    assert data["current"] == 240_000  # The end was told before the beginning.


async def test_a_dry_run_tells_which_metrics_a_webhook_would_write(server: Server) -> None:
    body = {"action": "completed", "workflow_run": run(conclusion="failure")}
    data = (await deliver(server, "workflow_run", body, query="?dry_run=1")).json()["data"]
    assert data["fates"] == [{"event": 0, "source": "build"}]
    assert {(one["metric"], one["value"]) for one in data["metrics"]} == {
        ("build_total", 1.0),
        ("build_success_rate", 0.0),
    }
    assert await counts(await deliver(server, "workflow_run", body)) == (1, 0)


async def test_no_key_is_asked_for_where_a_signature_is(home: Path) -> None:
    access = [(("access", "enabled"), True), (("access", "key"), "k" * 32), (("sources", "github"), CONFIG)]
    async with serving(home / "closed", changes=access) as server:
        body = {"action": "completed", "workflow_run": run(conclusion="success")}
        assert await counts(await deliver(server, "workflow_run", body)) == (1, 0)
        assert error(await deliver(server, "workflow_run", body, secret="wrong"), 401)
        assert error(await server.get("ingest/github"), 401)
        assert error(await server.post("ingest", [{"type": "a.b"}]), 401)


class Stuck(Stage[StuckConfig]):
    async def write(self, batch: Batch) -> None:
        await anyio.sleep_forever()


async def test_the_answer_waits_for_no_sink(home: Path) -> None:
    stuck = SinkSpec("stuck", StuckConfig, Stuck)
    changes: list[tuple[tuple[str, ...], Any]] = [
        (("sources", "github"), CONFIG),
        (("sinks", "stuck"), {}),
        (("supervision",), {"write_within": "1m", "close_within": "100ms"}),
        (("pipelines", "stuck"), {"sources": ["build"], "sinks": ["stuck"]}),
    ]
    async with serving(home / "stuck", changes=changes, specs=[("sink", stuck)]) as server:
        for _ in range(20):
            body = {"action": "completed", "workflow_run": run(conclusion="success")}
            with anyio.fail_after(10):  # GitHub's patience, with each.
                assert await counts(await deliver(server, "workflow_run", body)) == (1, 0)


async def test_a_redelivery_counts_as_what_is_remembered_says(tmp_path: Path) -> None:
    """A store whose database is made anew has what the journal has, and a redelivery is a duplicate still."""
    github = [(("sources", "github"), CONFIG)]
    now = datetime.now(UTC).isoformat()  # Details of what is long past are not kept.
    body = {"action": "completed", "workflow_run": run(conclusion="success", run_started_at=now, updated_at=now)}

    async def redelivered(forgotten: list[Path]) -> tuple[tuple[int, int], int]:
        for path in forgotten:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        async with serving(tmp_path, changes=github) as server:
            taken = await counts(await deliver(server, "workflow_run", body))
            with anyio.fail_after(30):
                while not (found := (await server.get("records?type=build.finished")).json()["data"]):
                    await anyio.sleep(0.02)
        return taken, len(found)

    store = [tmp_path / ".bers" / f"metrics.db{end}" for end in ("", "-wal", "-shm")]
    assert await redelivered([]) == ((1, 0), 1)
    assert await redelivered(store) == ((0, 1), 1)
    assert await redelivered([tmp_path / ".bers"]) == ((1, 0), 1)


async def test_a_key_is_asked_for_where_nobody_could_look_at_a_signature(home: Path) -> None:
    access = [(("access", "enabled"), True), (("access", "key"), "k" * 32)]
    async with serving(home / "undeclared", changes=access) as server:
        assert error(await deliver(server, "ping", {}), 401)["message"] == "a key is asked for here"
        assert error(await deliver(server, "ping", {}, Authorization=f"Bearer {'k' * 32}"), 503)


def plan(secrets: str) -> list[str]:
    text = SHIPPED.read_text(encoding="utf-8").replace("sources:", f"sources:\n  github: {secrets}", 1)
    return [str(one) for one in config.plan(parse(text, "pipelines.yaml"), plugins.load(installed=False)).warnings]


def test_an_empty_secret_stops_the_start_and_a_short_one_is_warned_of() -> None:
    for options, fault in (('{secrets: [""]}', "it is empty"), ("{secrets: []}", "secrets"), ("{}", "secrets")):
        with pytest.raises(ConfigError, match=fault):
            plan(options)
    (warning,) = [one for one in plan("{secrets: [short]}") if "github" in one]
    assert warning.startswith("sources.github.secrets[0]: it has fewer than 16 characters; make one with ")
    assert not any("github" in one for one in plan(f"{{secrets: [{SECRET}]}}"))  # No pipeline need name it.


def signed(one: Delivery) -> Delivery:
    signature = "sha256=" + hmac.new(SECRET.encode(), one.body, "sha256").hexdigest()
    return one._replace(headers={**one.headers, "x-hub-signature-256": signature})


async def test_whatever_it_is_sent_it_reads_or_says_what_is_wrong() -> None:
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("workflow_run", {"action": "completed", "workflow_run": run(conclusion="success")}),
        ("deployment_status", {"deployment": deployment(), "deployment_status": status("failure")}),
        ("deployment", {"deployment": deployment()}),
    ]
    told = [
        signed(
            Delivery(
                {"x-github-event": kind, "x-github-delivery": "d-1"},
                json.dumps({"repository": REPOSITORY, **body}).encode(),
                "application/json",
                1_795_420_900.0,
            )
        )
        for kind, body in bodies
    ]
    documents = await check_format(GITHUB, "github", *told, sign=signed, **CONFIG)
    assert {one["type"] for one in documents} >= {"build.finished", "deployment.finished"}
