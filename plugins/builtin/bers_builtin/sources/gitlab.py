"""GitLab's webhooks: deployments, pipelines, jobs, merged merge requests and pushes, as events."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from msgspec import Meta

from bers import (
    Config,
    ConfigError,
    Context,
    Delivery,
    Format,
    Interval,
    Refused,
    Secret,
    SourceSpec,
    Stage,
    format_duration,
    hookimpl,
)
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

SIGNING = "whsec_"
"""What a signing token begins with; others are sent along as they are."""


class GitlabConfig(Config, frozen=True):
    """Take GitLab's webhooks at `ingest/gitlab`: deployments, pipelines, jobs, merge requests and pushes."""

    secrets: Annotated[
        tuple[Secret, ...],
        Meta(
            min_length=1,
            description="The secret tokens and signing tokens (`whsec_...`) of the webhooks, as `${env:NAME}` or "
            "`${file:PATH}`. What proves one of them is taken, so that one can take over from another.",
        ),
    ]
    tolerance: Annotated[
        Interval, Meta(description="How far the time of a signature may lie from now, before or behind.")
    ] = Interval("5m")
    pipelines: Annotated[
        Mapping[str, Kind],
        Meta(
            description="What pipelines are, by patterns of their name, or of what started them (`schedule`, "
            "`merge_request_event`; `*` is anything): `build`, `validation`, `deployment`, or `pipelinerun`, of which "
            "nothing is measured. The first that fits says it; others are builds."
        ),
    ] = {}
    environments: Annotated[
        Mapping[str, str],
        Meta(description="What environments are called here, by patterns of their names there: `prod/*: production`."),
    ] = {}
    pushes_merge: Annotated[
        bool,
        Meta(
            description="Whether a push to the default branch is a merged change: for teams that merge without merge "
            "requests, and for lead times from the first commit of a merge. Leave merge request events out then."
        ),
    ] = False


class Gitlab(Stage[GitlabConfig]):
    def __init__(self, config: GitlabConfig, context: Context) -> None:
        super().__init__(config, context)
        self._keys = [_key(secret.reveal(), n) for n, secret in enumerate(config.secrets) if _signs(secret)]
        self._tokens = [secret.reveal().encode() for secret in config.secrets if not _signs(secret)]
        self._readers = {
            "deployment": self._deployment,
            "pipeline": self._pipeline,
            "build": self._job,
            "merge_request": self._merge_request,
            "push": self._push,
        }

    def verify(self, delivery: Delivery) -> None:
        """Raise Refused unless it is signed with one of the signing tokens, or has one of the others with it."""
        headers = delivery.headers
        if self._keys and "webhook-signature" in headers:
            self._check_signature(delivery)
            return
        sent = headers.get("x-gitlab-token", "").encode("latin-1", "replace")  # As it was on the wire.
        good = [hmac.compare_digest(sent, token) for token in self._tokens]
        if not any(good):
            hint = "the webhook in GitLab and this source have to have the same secret token or signing token"
            what = "the token in X-Gitlab-Token is wrong" if sent else "it has neither a signature nor X-Gitlab-Token"
            raise Refused("unauthenticated", what, hint=hint)

    def _check_signature(self, delivery: Delivery) -> None:
        headers, tolerance = delivery.headers, float(self.config.tolerance)
        seconds = headers.get("webhook-timestamp", "")
        if not seconds.isdecimal() or len(seconds) > 16 or abs(int(seconds) - delivery.now) > tolerance:
            hint = "the clocks of GitLab and of this server differ, or somebody sends again what was sent before"
            message = f"webhook-timestamp is not within {format_duration(tolerance)} of now"
            raise Refused("unauthenticated", message, hint=hint)
        signed = f"{headers.get('webhook-id', '')}.{seconds}.".encode() + delivery.body
        expected = [base64.b64encode(hmac.digest(key, signed, "sha256")) for key in self._keys]
        sent = [one.removeprefix("v1,").encode() for one in headers["webhook-signature"].split() if one[:3] == "v1,"]
        good = [hmac.compare_digest(mine, theirs) for mine in expected for theirs in sent[:10]]
        if not any(good):
            hint = "the webhook in GitLab and this source have to have the same signing token"
            raise Refused("unauthenticated", "webhook-signature is wrong", hint=hint)

    def decode(self, delivery: Delivery) -> Iterator[Mapping[str, Any]]:
        body = payload(delivery)
        kind = body.text("object_kind")
        if not kind:
            raise ValueError("object_kind is missing")
        reader = self._readers.get(kind)
        if reader is None:  # Nothing is measured of it.
            return
        project, id = body["project"], delivery.headers.get("webhook-id", "")
        for event in reader(body):
            whole = {
                "source": project.text("web_url") or body["repository"].text("homepage") or "https://gitlab.com",
                "service": project.text("name", 200),
                "origin": f"gitlab/{kind}",
                **event,
                "vcs": said(repository=project.text("path_with_namespace")) | event.get("vcs", {}),
                "data": said(delivery=(id or delivery.headers.get("x-gitlab-event-uuid", ""))[:100])
                | event.get("data", {}),
            }
            yield said(**whole)

    def _deployment(self, body: Part) -> Iterator[Mapping[str, Any]]:
        status, id = body.text("status"), body.text("deployment_id")
        what = _STATUSES.get(status)
        if what is None:
            return
        # The short one is all that is told, but for the address of the commit.
        _, _, revision = body.text("commit_url").partition("/commit/")
        named = body.text("environment")
        yield {
            "id": f"deployment/{id}/{status}",
            "type": f"deployment.{what}",
            "time": body.when("status_changed_at"),
            "subject": f"deployment/{id}",
            "environment": translated(named, self.config.environments)[:100],
            "version": body.text("ref", 200),
            "vcs": said(revision=revision or body.text("short_sha"), ref=body.text("ref")),
            "run": said(system="gitlab", job=body.text("deployable_id"), url=body.text("deployable_url")),
            "labels": said(tier=body.text("environment_tier", 200)),
            **_outcome(what, status),
        }

    def _pipeline(self, body: Part) -> Iterator[Mapping[str, Any]]:
        pipeline, commit = body["object_attributes"], body["commit"]
        status, id = pipeline.text("status"), pipeline.text("id")
        what = _STATUSES.get(status)
        if what is None:
            return
        name, why = pipeline.text("name", 200), pipeline.text("source", 200)
        kind = kind_of([name, why], self.config.pipelines)
        created, finished = pipeline.when("created_at"), pipeline.when("finished_at")
        queued, seconds = pipeline.number("queued_duration"), pipeline.number("duration")
        started = created + queued if created is not None and queued is not None else None
        # A pipeline that is tried again ends again, and at another time.
        end = f"/{finished:.0f}" if what == "finished" and finished is not None else ""
        yield {
            "id": f"pipeline/{id}/{what}{end}",
            "type": f"{kind}.{what}",
            "time": {"queued": created, "started": started, "finished": finished}[what],
            "subject": f"pipeline/{id}",
            "vcs": said(
                revision=pipeline.text("sha"),
                ref=pipeline.text("ref"),
                change=body["merge_request"].text("iid"),
                committed_at=commit.when("timestamp"),
            ),
            "run": said(system="gitlab", pipeline=name, id=id, url=pipeline.text("url")),
            "labels": said(pipeline=name, event=why),
            **_outcome(what, status, seconds),
        }

    def _job(self, body: Part) -> Iterator[Mapping[str, Any]]:
        status, id = body.text("build_status"), body.text("build_id")
        what = _STATUSES.get(status)
        if what is None:
            return
        begin, end = body.when("build_started_at"), body.when("build_finished_at")
        reason = body.text("build_failure_reason", 4096)
        yield {
            "id": f"job/{id}/{what}",
            "type": f"taskrun.{what}",
            "time": {"queued": body.when("build_created_at"), "started": begin, "finished": end}[what],
            "subject": f"job/{id}",
            "service": body["project"].text("name", 200) or body["repository"].text("name", 200),
            "reason": reason if status == "failed" and reason != "unknown_failure" else None,
            "vcs": said(revision=body.text("sha"), ref=body.text("ref")),
            "run": said(
                system="gitlab",
                pipeline=body.text("build_stage"),
                # `commit.id` is the id of the pipeline as well.
                id=body.text("pipeline_id") or body["commit"].text("id"),
                job=body.text("build_name"),
                attempt=1 + int(body.number("retries_count") or 0),
            ),
            "labels": said(allow_failure="true" if body.is_true("build_allow_failure") else None),
            **_outcome(what, status, body.number("build_duration"), taken(begin, end)),
        }

    def _merge_request(self, body: Part) -> Iterator[Mapping[str, Any]]:
        change = body["object_attributes"]
        if change.text("action") != "merge":
            return
        iid, commit = change.text("iid"), change["last_commit"]
        merged = change.when("merged_at") or change.when("updated_at")
        yield {
            "id": f"merge_request/{iid}/merged",
            "type": "change.merged",
            "time": merged,
            "subject": f"merge_request/{iid}",
            "duration_ms": taken(change.when("created_at"), merged),
            "vcs": said(
                revision=change.text("merge_commit_sha") or commit.text("id"),
                ref=change.text("target_branch"),
                change=iid,
                committed_at=commit.when("timestamp"),
            ),
            "data": said(head=commit.text("id"), url=change.text("url")),
        }

    def _push(self, body: Part) -> Iterator[Mapping[str, Any]]:
        ref, before, after = body.text("ref"), body.text("before", 64), body.text("after", 64)
        if ref != f"refs/heads/{body['project'].text('default_branch')}" or not after.strip("0"):
            return
        yield {
            "id": f"push/{before}..{after}",
            "type": "change.merged" if self.config.pushes_merge else "change.pushed",
            "subject": f"push/{after}",
            "vcs": said(
                revision=after,
                ref=ref.removeprefix("refs/heads/"),
                base_revision=before,
                # What takes time is the way of its first commit; the last one may be the merge itself.
                committed_at=first_commit(body),
            ),
            "data": said(commits=body.number("total_commits_count")),
        }


_STATUSES: Mapping[str, str] = {
    **dict.fromkeys(("created", "waiting_for_resource", "preparing", "pending", "blocked"), "queued"),
    "running": "started",
    **dict.fromkeys(("success", "failed", "canceled", "skipped"), "finished"),
}


def _outcome(what: str, status: str, seconds: float | None = None, otherwise: float | None = None) -> dict[str, Any]:
    """How something ended, and how long that took, in seconds as GitLab counts or else in milliseconds."""
    if what != "finished":
        return {}
    return said(outcome=status, duration_ms=seconds * 1000 if seconds is not None else otherwise)


def _signs(secret: Secret) -> bool:
    return secret.reveal().startswith(SIGNING)


def _key(secret: str, number: int) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(SIGNING), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ConfigError(
            f"what follows {SIGNING!r} is no base64; copy the signing token as GitLab shows it",
            path=f"secrets[{number}]",
        )
    return key


def _verify(config: GitlabConfig, _: object) -> None:
    check_secrets(config.secrets)
    for number, secret in enumerate(config.secrets):
        if _signs(secret):
            _key(secret.reveal(), number)


GITLAB = SourceSpec(
    "gitlab",
    GitlabConfig,
    Gitlab,
    formats=(
        Format(
            "gitlab",
            Gitlab.decode,
            "Webhooks of GitLab, with one of the secret tokens of this source, or signed with a signing token.",
            Gitlab.verify,
        ),
    ),
    verify=_verify,
    hint=lambda config, _: short_secrets(config.secrets),
)


@hookimpl
def bers_sources() -> Iterable[SourceSpec[Any]]:
    return [GITLAB]
