"""GitLab's webhooks: a token or a signature proves them, and everything documented becomes what it means."""

import base64
import json
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from time import time
from typing import Any

import msgspec
import pytest
import standardwebhooks

from bers import ConfigError, Context, Delivery, Refused, plugins
from bers import config as configuration
from bers.config.located import parse
from bers.schemas import decode
from bers.testing import check_format
from bers.testing.server import Server, serving
from bers_builtin.sources.gitlab import GITLAB, Gitlab, GitlabConfig
from tests.unit.test_web import error

TOKEN, SIGNING = "a token that is long enough", "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
SHIPPED = Path(__file__).parents[2] / "pipelines.yaml"
NUMBERS = count(1000)
SHA, BEFORE, MERGE = "1" * 40, "2" * 40, "3" * 40
NOW = 1_795_420_800.0  # 2026-11-23T08:00:00Z

PROJECT = {
    "id": 1, "name": "App", "web_url": "https://gitlab.example/acme/app", "path_with_namespace": "acme/app",
    "default_branch": "main",
}  # fmt: skip


def deployment(status: str, **more: Any) -> dict[str, Any]:
    return {
        "object_kind": "deployment", "status": status, "status_changed_at": "2026-11-23 09:05:00 +0100",
        "deployment_id": 15, "deployable_id": 796, "deployable_url": "https://gitlab.example/acme/app/-/jobs/796",
        "environment": "prod/eu", "environment_tier": "production", "project": PROJECT, "short_sha": SHA[:8],
        "ref": "v1.5.0", "commit_url": f"https://gitlab.example/acme/app/-/commit/{SHA}", **more,
    }  # fmt: skip


def pipeline(status: str, **more: Any) -> dict[str, Any]:
    return {
        "object_kind": "pipeline",
        "object_attributes": {
            "id": 31, "iid": 3, "name": "Pipeline for branch main", "ref": "main", "sha": SHA, "source": "push",
            "status": status, "created_at": "2026-11-23 08:00:00 UTC", "finished_at": "2026-11-23 08:01:13 UTC",
            "duration": 63, "queued_duration": 10, "url": "https://gitlab.example/acme/app/-/pipelines/31", **more,
        },
        "merge_request": {"iid": 12}, "project": PROJECT,
        "commit": {"id": SHA, "timestamp": "2026-11-23T07:00:00+00:00"},
    }  # fmt: skip


def job(status: str, **more: Any) -> dict[str, Any]:
    return {
        "object_kind": "build", "ref": "main", "sha": SHA, "build_id": 1977, "build_name": "test",
        "build_stage": "verify", "build_status": status, "build_created_at": "2026-11-23 08:00:00 UTC",
        "build_started_at": "2026-11-23T08:00:05Z", "build_finished_at": "2026-11-23 08:00:35 UTC",
        "build_duration": 30.5, "build_queued_duration": 5.0, "build_allow_failure": False,
        "build_failure_reason": "script_failure", "retries_count": 1, "pipeline_id": 2366, "project_name": "Acme / App",
        "commit": {"id": 2366, "sha": SHA, "duration": None},
        "repository": {"name": "App", "homepage": "https://gitlab.example/acme/app"}, "project": PROJECT, **more,
    }  # fmt: skip


def merge_request(**more: Any) -> dict[str, Any]:
    return {
        "object_kind": "merge_request", "project": PROJECT,
        "object_attributes": {
            "iid": 12, "action": "merge", "created_at": "2026-11-23 07:00:00 UTC", "state": "merged",
            "updated_at": "2026-11-23T08:00:00Z", "merge_commit_sha": MERGE, "target_branch": "main",
            "url": "https://gitlab.example/acme/app/-/merge_requests/12",
            "last_commit": {"id": SHA, "timestamp": "2026-11-23T07:30:00Z"}, **more,
        },
    }  # fmt: skip


def push(**more: Any) -> dict[str, Any]:
    return {
        "object_kind": "push", "ref": "refs/heads/main", "before": BEFORE, "after": SHA, "checkout_sha": SHA,
        "commits": [
            {"id": BEFORE, "timestamp": "2026-11-22T08:00:00Z"}, {"id": SHA, "timestamp": "2026-11-23T07:00:00Z"},
        ],
        "total_commits_count": 2, "project": PROJECT, **more,
    }  # fmt: skip


def stage(**options: Any) -> Gitlab:
    settings = msgspec.convert({"secrets": [TOKEN]} | options, GitlabConfig, dec_hook=decode)
    return Gitlab(settings, Context("gitlab"))


def read(body: Any, **options: Any) -> list[dict[str, Any]]:
    """What a webhook becomes, as the documents that the door is given."""
    delivery = Delivery({"x-gitlab-event-uuid": "d-1"}, json.dumps(body).encode(), "application/json", NOW)
    return [dict(one) for one in stage(**options).decode(delivery)]


# What is told.


@pytest.mark.parametrize(
    ("status", "type", "outcome"),
    [
        ("created", "deployment.queued", None),
        ("blocked", "deployment.queued", None),
        ("running", "deployment.started", None),
        ("success", "deployment.finished", "success"),
        ("failed", "deployment.finished", "failed"),
        ("canceled", "deployment.finished", "canceled"),
    ],
)
def test_every_status_of_a_deployment_is_told(status: str, type: str, outcome: str | None) -> None:
    (event,) = read(deployment(status), environments={"prod/*": "production"})
    assert (event["id"], event["type"], event.get("outcome")) == (f"deployment/15/{status}", type, outcome)
    assert (event["subject"], event["environment"], event["labels"]) == (
        "deployment/15", "production", {"tier": "production"},
    )  # fmt: skip
    assert event["time"] == NOW + 300
    assert event["vcs"] == {"repository": "acme/app", "revision": SHA, "ref": "v1.5.0"}  # Not the short one.
    assert event["source"] == "https://gitlab.example/acme/app"


def test_without_the_address_of_its_commit_a_deployment_has_the_short_revision() -> None:
    (event,) = read(deployment("success", commit_url=None))
    assert (event["vcs"]["revision"], event["environment"]) == (SHA[:8], "prod/eu")


def test_a_pipeline_is_a_build_with_the_time_that_it_ran() -> None:
    queued, started, finished = (read(pipeline(status))[0] for status in ("pending", "running", "failed"))
    assert [(one["type"], one["time"]) for one in (queued, started, finished)] == [
        ("build.queued", NOW), ("build.started", NOW + 10), ("build.finished", NOW + 73),
    ]  # fmt: skip
    assert (finished["outcome"], finished["duration_ms"]) == ("failed", 63_000.0)
    assert finished["vcs"] == {
        "repository": "acme/app", "revision": SHA, "ref": "main", "change": "12", "committed_at": NOW - 3600,
    }  # fmt: skip
    assert (finished["run"]["id"], finished["labels"]["event"]) == ("31", "push")


def test_a_pipeline_that_is_tried_again_ends_again() -> None:
    first, second = read(pipeline("failed")), read(pipeline("failed", finished_at="2026-11-23 08:09:00 UTC"))
    assert first[0]["id"] != second[0]["id"]
    assert first[0]["subject"] == second[0]["subject"]


@pytest.mark.parametrize(("source", "type"), [("schedule", "validation.started"), ("push", "build.started")])
def test_the_configuration_says_what_a_pipeline_is(source: str, type: str) -> None:
    (event,) = read(pipeline("running", source=source), pipelines={"Schedule": "validation"})
    assert event["type"] == type


def test_a_job_is_a_task_of_its_pipeline() -> None:
    (event,) = read(job("failed"))
    assert (event["type"], event["outcome"], event["reason"], event["duration_ms"]) == (
        "taskrun.finished", "failed", "script_failure", 30_500.0,
    )  # fmt: skip
    assert event["run"] == {"system": "gitlab", "pipeline": "verify", "id": "2366", "job": "test", "attempt": 2}
    (old,) = read(job("success", pipeline_id=None, project=None, build_duration=None, build_allow_failure=True))
    assert (old["run"]["id"], old["source"], old["labels"]) == (
        "2366", "https://gitlab.example/acme/app", {"allow_failure": "true"},
    )  # fmt: skip
    assert old["duration_ms"] == 30_000.0
    assert "reason" not in old


def test_a_merge_is_a_change_that_was_committed_when_its_last_commit_was() -> None:
    (event,) = read(merge_request())
    assert (event["type"], event["time"], event["duration_ms"]) == ("change.merged", NOW, 3_600_000.0)
    assert event["vcs"] == {
        "repository": "acme/app", "revision": MERGE, "ref": "main", "change": "12", "committed_at": NOW - 1800,
    }  # fmt: skip


def test_a_push_has_the_time_of_its_first_commit_and_may_be_a_merge() -> None:
    (event,) = read(push())
    assert (event["type"], event["vcs"]["committed_at"]) == ("change.pushed", NOW - 86_400)
    assert read(push(), pushes_merge=True)[0]["type"] == "change.merged"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-23 08:00:00 UTC", NOW),
        ("2026-11-23 09:00:00 +0100", NOW),
        ("2026-11-23 03:00:00 -0500", NOW),
        ("2026-11-23T08:00:00Z", NOW),
        ("2026-11-23T09:00:00.5+01:00", NOW + 0.5),
        ("2026-11-23 08:00:00", None),  # Nobody knows where.
        ("yesterday", None),
        (None, None),
    ],
)
def test_a_time_is_read_in_each_of_gitlabs_notations(text: str | None, seconds: float | None) -> None:
    (event,) = read(deployment("success", status_changed_at=text))
    assert event.get("time") == seconds


@pytest.mark.parametrize(
    "body",
    [
        {"object_kind": "note"},
        deployment("unheard of"),
        pipeline("manual"),
        job("manual"),
        merge_request(action="open"),
        push(ref="refs/heads/topic"),
        push(after="0" * 40),
    ],
)
def test_what_nothing_is_measured_of_is_no_event(body: Any) -> None:
    assert read(body) == []


# Who is believed.


def signed(body: bytes, secret: str = SIGNING, at: float = NOW, id: str = "msg-1") -> dict[str, str]:
    """The headers of a webhook, as Standard Webhooks' own library signs it."""
    moment = datetime.fromtimestamp(at, UTC)
    signature = standardwebhooks.Webhook(secret).sign(id, moment, body.decode())
    return {"webhook-id": id, "webhook-timestamp": str(int(at)), "webhook-signature": signature}


def refused(headers: Mapping[str, str], *secrets: str, body: bytes = b"{}", **options: Any) -> str:
    """Why a webhook is not believed; empty where it is."""
    try:
        stage(secrets=[*secrets], **options).verify(Delivery(headers, body, "application/json", NOW))
    except Refused as exc:
        return str(exc) if exc.reason == "unauthenticated" else exc.reason
    return ""


def test_a_token_is_one_of_the_secrets() -> None:
    assert refused({"x-gitlab-token": TOKEN}, "former", TOKEN) == ""
    assert refused({"x-gitlab-token": "wrong"}, TOKEN) == "the token in X-Gitlab-Token is wrong"
    assert refused({"x-gitlab-token": "wröng"}, TOKEN) == "the token in X-Gitlab-Token is wrong"
    assert refused({}, TOKEN) == "it has neither a signature nor X-Gitlab-Token"
    assert refused({"x-gitlab-token": SIGNING}, SIGNING)  # That one is never sent.


def test_a_signature_is_over_id_time_and_body() -> None:
    good = signed(b"{}")
    assert refused(good, SIGNING) == refused(good, OTHER, SIGNING) == refused(good, TOKEN, SIGNING) == ""
    two = good | {"webhook-signature": f"v1,AAAA v1a,xyz {good['webhook-signature']}"}
    assert refused(two, SIGNING) == ""
    for changed in (
        good | {"webhook-id": "msg-2"},
        good | {"webhook-timestamp": str(int(NOW) + 1)},
        good | {"webhook-signature": ""},
        good | {"webhook-signature": good["webhook-signature"].removeprefix("v1,")},
        signed(b"{}", OTHER),
        signed(b"{ }"),
    ):
        assert refused(changed, SIGNING) == "webhook-signature is wrong"
    # Who signs is held to it, even where a token would do.
    assert refused(signed(b"{ }") | {"x-gitlab-token": TOKEN}, TOKEN, SIGNING) == "webhook-signature is wrong"


@pytest.mark.parametrize(("off", "good"), [(-301, False), (-299, True), (299, True), (301, False)])
def test_a_signature_is_not_believed_for_long(off: int, good: bool) -> None:
    why = refused(signed(b"{}", at=NOW + off), SIGNING)
    assert why == ("" if good else "webhook-timestamp is not within 5m of now")
    assert refused(signed(b"{}", at=NOW + off), SIGNING, tolerance="10m") == ""


@pytest.mark.parametrize("stamp", ["", "x", "-1", "1e9", "9" * 400])
def test_a_time_that_is_none_is_not_believed(stamp: str) -> None:
    assert refused(signed(b"{}") | {"webhook-timestamp": stamp}, SIGNING).startswith("webhook-timestamp is not within")


@pytest.fixture(scope="module")
async def server(home: Path) -> AsyncGenerator[Server]:
    options = {"secrets": [TOKEN, SIGNING]}
    async with serving(home, changes=[(("sources", "gitlab"), options)]) as found:
        yield found


async def deliver(server: Server, body: Any, *, query: str = "", **headers: str) -> Any:
    content = json.dumps(body).encode()
    sent = {"Content-Type": "application/json", "X-Gitlab-Event-UUID": f"u-{next(NUMBERS)}", **headers}
    if not headers:
        sent["X-Gitlab-Token"] = TOKEN
    return await server.post(f"ingest/gitlab{query}", content=content, headers=sent)


async def counts(reply: Any) -> tuple[int, int]:
    assert reply.status_code == 202, reply.text
    return reply.json()["data"]["accepted"], reply.json()["data"]["duplicates"]


async def test_what_is_proven_is_taken_once_and_measured(server: Server) -> None:
    body = pipeline("success", id=next(NUMBERS), duration=61)
    content = json.dumps(body).encode()
    assert error(await deliver(server, body, **{"X-Gitlab-Token": "wrong"}), 401)["code"] == "unauthenticated"
    assert error(await deliver(server, body, **signed(content, OTHER, time())), 401)
    assert error(await deliver(server, body, **signed(content, at=time() - 3600)), 401)
    assert await counts(await deliver(server, body, **signed(content, at=time()))) == (1, 0)
    assert await counts(await deliver(server, body)) == (0, 1)  # Sent again, proven in another way.
    await server.until("metrics/build_performance", lambda data: data["current"] == 61_000)


async def test_a_deployment_is_measured_with_its_tier(server: Server) -> None:
    for status, moment in (("running", "2026-11-23 08:00:00 UTC"), ("success", "2026-11-23 09:04:00 +0100")):
        assert await counts(await deliver(server, deployment(status, status_changed_at=moment))) == (1, 0)
    data = await server.until("metrics/deployment_performance", lambda data: data["current"] is not None)
    assert data["current"] == 240_000


async def test_a_test_of_a_hook_without_an_event_is_answered(server: Server) -> None:
    assert await counts(await deliver(server, {"object_kind": "tag_push"})) == (0, 0)
    found = error(await deliver(server, {"kind": "none"}), 400)
    assert found["message"] == "the body is not what gitlab sends: object_kind is missing"


def test_a_signing_token_that_is_none_stops_the_start() -> None:
    for secrets, fault in (("[whsec_abc]", "what follows 'whsec_' is no base64"), ('[""]', "it is empty")):
        text = SHIPPED.read_text(encoding="utf-8").replace("sources:", f"sources:\n  gitlab: {{secrets: {secrets}}}", 1)
        with pytest.raises(ConfigError, match=fault):
            configuration.plan(parse(text, "pipelines.yaml"), plugins.load(installed=False))


async def test_whatever_it_is_sent_it_reads_or_says_what_is_wrong() -> None:
    headers = {"x-gitlab-event-uuid": "d-1", "x-gitlab-token": TOKEN}
    bodies = (deployment("success"), pipeline("failed"), job("success"), merge_request())
    told = [Delivery(headers, json.dumps(body).encode(), "application/json", NOW) for body in bodies]
    documents = await check_format(GITLAB, "gitlab", *told, secrets=[TOKEN])
    assert {one["type"] for one in documents} >= {"build.finished", "deployment.finished"}
