"""GitHub's webhooks: deployments, workflow runs and jobs, merged pull requests, pushes and checks, as events."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from msgspec import Meta

from bers import Config, Context, Delivery, Format, Refused, Secret, SourceSpec, Stage, hookimpl
from bers_builtin.sources._payloads import (
    Kind,
    Part,
    check_secrets,
    first_commit,
    kind_of,
    payload,
    said,
    short_secrets,
    taken,
    translated,
)

HEADER = "x-hub-signature-256"


class GithubConfig(Config, frozen=True):
    """Take GitHub's webhooks at `ingest/github`: deployments, workflow runs, merged pull requests and pushes."""

    secrets: Annotated[
        tuple[Secret, ...],
        Meta(
            min_length=1,
            description="The secrets of the webhooks, as `${env:NAME}` or `${file:PATH}`. What is signed with any of "
            "them is taken, so that one can take over from another.",
        ),
    ]
    workflows: Annotated[
        Mapping[str, Kind],
        Meta(
            description="What runs of a workflow are, by patterns of its name (`*` is anything): `build`, "
            "`validation`, `deployment`, or `pipelinerun`, of which nothing is measured. The first that fits says it; "
            "others are builds."
        ),
    ] = {}
    environments: Annotated[
        Mapping[str, str],
        Meta(description="What environments are called here, by patterns of their names there: `prod-*: production`."),
    ] = {}
    pushes_merge: Annotated[
        bool,
        Meta(
            description="Whether a push to the default branch is a merged change: for teams that merge without pull "
            "requests, and for lead times from the first commit of a merge. Leave pull request events out then."
        ),
    ] = False


class Github(Stage[GithubConfig]):
    def __init__(self, config: GithubConfig, context: Context) -> None:
        super().__init__(config, context)
        self._readers = {
            "deployment": self._deployment,
            "deployment_status": self._deployment_status,
            "workflow_run": self._workflow_run,
            "workflow_job": self._workflow_job,
            "pull_request": self._pull_request,
            "push": self._push,
            "check_run": self._check_run,
        }

    def verify(self, delivery: Delivery) -> None:
        """Raise Refused unless the body was signed with one of the secrets."""
        sent = delivery.headers.get(HEADER, "").encode()
        if not sent:
            hint = "set a secret at the webhook in GitHub, and the same in `secrets` of this source"
            raise Refused("unauthenticated", "the header X-Hub-Signature-256 is missing", hint=hint)
        good = [hmac.compare_digest(sent, _signature(secret, delivery.body)) for secret in self.config.secrets]
        if not any(good):
            hint = "the webhook in GitHub and this source have to have the same secret"
            raise Refused("unauthenticated", "the signature in X-Hub-Signature-256 is wrong", hint=hint)

    def decode(self, delivery: Delivery) -> Iterator[Mapping[str, Any]]:
        kind = delivery.headers.get("x-github-event", "")
        if not kind:
            raise ValueError("the header X-GitHub-Event is missing")
        body = payload(delivery)
        reader = self._readers.get(kind)
        if reader is None:  # A ping, or what nothing is measured of.
            return
        repository = body["repository"]
        for event in reader(body):
            whole = {
                "source": repository.text("html_url") or "https://github.com",
                "service": repository.text("name", 200),
                "origin": f"github/{kind}",
                **event,
                "vcs": said(repository=repository.text("full_name")) | event.get("vcs", {}),
                "data": said(delivery=delivery.headers.get("x-github-delivery", "")[:100]) | event.get("data", {}),
            }
            yield said(**whole)

    def _deployment(self, body: Part) -> Iterator[Mapping[str, Any]]:
        deployment = body["deployment"]
        if body.text("action") == "created":
            yield self._deploying(body, deployment) | {
                "id": f"deployment/{deployment.text('id')}",
                "type": "deployment.queued",
                "time": deployment.when("created_at"),
            }

    def _deployment_status(self, body: Part) -> Iterator[Mapping[str, Any]]:
        status, deployment = body["deployment_status"], body["deployment"]
        state = status.text("state")
        what = _STATES.get(state)
        if what is None:  # It became inactive, because another took its place.
            return
        named = status.text("environment") or deployment.text("environment")
        yield self._deploying(body, deployment, named) | {
            "id": f"deployment_status/{status.text('id')}",
            "type": f"deployment.{what}",
            "time": status.when("created_at"),
            **(said(outcome=state, reason=_reason(status, state)) if what == "finished" else {}),
        }

    def _deploying(self, body: Part, deployment: Part, environment: str = "") -> dict[str, Any]:
        named = environment or deployment.text("environment")
        run = body["workflow_run"]
        task = deployment.text("task", 100)
        return {
            "subject": f"deployment/{deployment.text('id')}",
            "environment": translated(named, self.config.environments)[:100],
            "version": deployment.text("ref", 200),
            "vcs": said(
                revision=deployment.text("sha"),
                ref=deployment.text("ref"),
                committed_at=run["head_commit"].when("timestamp"),
            ),
            "run": _run(run),
            "labels": said(kind="rollback" if "rollback" in task.lower() else None),
            "data": said(task=task if task != "deploy" else None, creator=deployment["creator"].text("login", 100)),
        }

    def _workflow_run(self, body: Part) -> Iterator[Mapping[str, Any]]:
        run = body["workflow_run"]
        what = _ACTIONS.get(body.text("action"))
        if what is None:
            return
        kind = kind_of([run.text("name"), run.text("path")], self.config.workflows)
        id = f"run/{run.text('id')}/{run.text('run_attempt') or '1'}"
        ended = what == "finished"
        yield {
            "id": f"{id}/{what}",
            "type": f"{kind}.{what}",
            "time": run.when("created_at" if what == "queued" else "updated_at"),
            "subject": id,
            "vcs": said(
                revision=run.text("head_sha"),
                ref=run.text("head_branch"),
                change=next((one.text("number") for one in run.each("pull_requests")), ""),
                committed_at=run["head_commit"].when("timestamp"),
            ),
            "run": _run(run),
            "labels": said(workflow=run.text("name", 200), event=run.text("event", 200)),
            **(
                said(
                    outcome=run.text("conclusion"),
                    duration_ms=taken(run.when("run_started_at"), run.when("updated_at")),
                )
                if ended
                else {}
            ),
        }

    def _workflow_job(self, body: Part) -> Iterator[Mapping[str, Any]]:
        job = body["workflow_job"]
        what = _ACTIONS.get(body.text("action"))
        if what is None:
            return
        begin, end = job.when("started_at"), job.when("completed_at")
        yield {
            "id": f"job/{job.text('id')}/{what}",
            "type": f"taskrun.{what}",
            "time": {"queued": job.when("created_at"), "started": begin, "finished": end}[what],
            "subject": f"job/{job.text('id')}",
            "vcs": said(revision=job.text("head_sha"), ref=job.text("head_branch")),
            "run": said(
                system="github",
                pipeline=job.text("workflow_name"),
                id=job.text("run_id"),
                job=job.text("name"),
                attempt=_attempt(job),
                url=job.text("html_url"),
            ),
            **(said(outcome=job.text("conclusion"), duration_ms=taken(begin, end)) if what == "finished" else {}),
        }

    def _pull_request(self, body: Part) -> Iterator[Mapping[str, Any]]:
        change = body["pull_request"]
        if body.text("action") != "closed" or not change.is_true("merged"):
            return
        base, number = change["base"], change.text("number")
        yield {
            "id": f"pull/{number}/merged",
            "type": "change.merged",
            "time": change.when("merged_at"),
            "subject": f"pull/{number}",
            "duration_ms": taken(change.when("created_at"), change.when("merged_at")),
            "vcs": said(
                revision=change.text("merge_commit_sha"), ref=base.text("ref"), base_revision=base.text("sha"),
                change=number,
            ),
            "data": said(
                head=change["head"].text("sha"), commits=change.number("commits"), url=change.text("html_url")
            ),
        }  # fmt: skip

    def _push(self, body: Part) -> Iterator[Mapping[str, Any]]:
        repository, ref, after = body["repository"], body.text("ref"), body.text("after")
        if ref != f"refs/heads/{repository.text('default_branch')}" or body.is_true("deleted"):
            return
        head = body["head_commit"]
        yield {
            "id": f"push/{body.text('before', 64)}..{after[:64]}",
            "type": "change.merged" if self.config.pushes_merge else "change.pushed",
            "time": repository.when("pushed_at") or head.when("timestamp"),
            "subject": f"push/{after[:64]}",
            "vcs": said(
                revision=after, ref=ref.removeprefix("refs/heads/"), base_revision=body.text("before"),
                # What takes time is the way of its first commit; the last one may be the merge itself.
                committed_at=first_commit(body) or head.when("timestamp"),
            ),
            "data": said(commits=sum(1 for _ in body.each("commits")) or None),
        }  # fmt: skip

    def _check_run(self, body: Part) -> Iterator[Mapping[str, Any]]:
        check = body["check_run"]
        # GitHub's own jobs are checks too, and told of as jobs.
        if body.text("action") != "completed" or check["app"].text("slug") == "github-actions":
            return
        begin, end = check.when("started_at"), check.when("completed_at")
        yield {
            "id": f"check/{check.text('id')}/finished",
            "type": "taskrun.finished",
            "time": end,
            "subject": f"check/{check.text('id')}",
            "outcome": check.text("conclusion") or None,
            "duration_ms": taken(begin, end),
            "vcs": said(revision=check.text("head_sha")),
            "run": said(
                system=check["app"].text("slug") or "github", id=check.text("id"), job=check.text("name"),
                url=check.text("html_url"),
            ),
        }  # fmt: skip


_ACTIONS: Mapping[str, str] = {
    "requested": "queued",
    "queued": "queued",
    "in_progress": "started",
    "completed": "finished",
}
_STATES: Mapping[str, str] = {
    **dict.fromkeys(("pending", "queued", "waiting"), "queued"),
    "in_progress": "started",
    **dict.fromkeys(("success", "failure", "error"), "finished"),
}


def _signature(secret: Secret, body: bytes) -> bytes:
    return b"sha256=" + hmac.digest(secret.reveal().encode(), body, "sha256").hex().encode()


def _run(run: Part) -> dict[str, Any]:
    if not run:
        return {}
    return said(
        system="github", pipeline=run.text("name"), id=run.text("id"), attempt=_attempt(run), url=run.text("html_url")
    )


def _attempt(run: Part) -> int:
    return int(run.number("run_attempt") or 1)


def _reason(status: Part, state: str) -> str:
    return status.text("description", 4096) if state != "success" else ""


def _verify(config: GithubConfig, _: object) -> None:
    check_secrets(config.secrets)


GITHUB = SourceSpec(
    "github",
    GithubConfig,
    Github,
    formats=(
        Format(
            "github",
            Github.decode,
            "Webhooks of GitHub, signed with one of the secrets of this source.",
            Github.verify,
            media=("application/json", "application/x-www-form-urlencoded"),
        ),
    ),
    verify=_verify,
    hint=lambda config, _: short_secrets(config.secrets),
)


@hookimpl
def bers_sources() -> Iterable[SourceSpec[Any]]:
    return [GITHUB]
