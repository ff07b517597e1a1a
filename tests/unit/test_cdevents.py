"""CDEvents 0.3, 0.4 and 0.5: every type of each, in the shape of its version, is the event that it means."""

import json
from typing import Any, Literal, TypeAlias, get_args

import pytest

from bers import Event, Outcome, Run, Vcs
from bers.decoding import Decoder
from tests.unit.test_cloudevents import NOW, read

Spec: TypeAlias = Literal["0.3.0", "0.4.1", "0.5.1", "0.6.0-draft"]

# The subjects and predicates of the specification, each with what its content holds at most there.
PLACE = {"environment": {"id": "dev", "source": "kube-1"}}
SUITE = {**PLACE, "testSuite": {"id": "e2e", "name": "End to end"}}
CASE = {**PLACE, "testCase": {"id": "login", "version": "1.0", "type": "integration"}, "testSuiteRun": {"id": "run-1"}}
RUN = {"pipelineName": "release", "LINK": "https://ci.example/1"}
TASK = {"taskName": "compile", "pipelineRun": {"id": "run-1", "source": "/ci"}, "LINK": "https://ci.example/1"}
REPOSITORY = {"repository": {"id": "acme/app", "source": "https://git.example"}}
RELEASE = {**PLACE, "artifactId": "pkg:oci/app@sha256:1"}
INCIDENT = {**PLACE, "description": "slow", "service": {"id": "chat"}, "artifactId": "pkg:oci/app@sha256:1"}
END = {"outcome": "END", "errors": "it broke"}
TYPES: list[tuple[str, dict[str, Any], Outcome | None]] = [
    ("artifact.packaged", {"change": {"id": "c-1"}, "sbom": {"LINK": "https://sbom.example"}}, None),
    ("artifact.signed", {"signature": "abc"}, None),
    ("artifact.published", {"user": "bot"}, None),
    ("artifact.downloaded", {"user": "bot"}, None),
    ("artifact.deleted", {"user": "bot"}, None),
    ("branch.created", REPOSITORY, None),
    ("branch.deleted", REPOSITORY, None),
    ("build.queued", {}, None),
    ("build.started", {}, None),
    ("build.finished", {"artifactId": "pkg:oci/app@sha256:1"}, None),
    ("change.created", {**REPOSITORY, "description": "a change"}, None),
    ("change.reviewed", REPOSITORY, None),
    ("change.merged", REPOSITORY, None),
    ("change.abandoned", REPOSITORY, None),
    ("change.updated", REPOSITORY, None),
    ("environment.created", {"name": "dev", "LINK": "https://dev.example"}, None),
    ("environment.modified", {"name": "dev", "LINK": "https://dev.example"}, None),
    ("environment.deleted", {"name": "dev"}, None),
    ("incident.detected", INCIDENT, None),
    ("incident.reported", {**INCIDENT, "ticketURI": "https://tickets.example/1"}, None),
    ("incident.resolved", INCIDENT, None),
    ("pipelinerun.queued", RUN, None),
    ("pipelinerun.started", RUN, None),
    ("pipelinerun.finished", RUN | END, "failure"),
    ("repository.created", {"name": "app", "owner": "acme", "LINK": "https://git.example/acme/app"}, None),
    ("repository.modified", {"name": "app", "owner": "acme", "LINK": "https://git.example/acme/app"}, None),
    ("repository.deleted", {"name": "app", "owner": "acme"}, None),
    ("service.deployed", RELEASE, "success"),
    ("service.upgraded", RELEASE, "success"),
    ("service.rolledback", RELEASE, None),
    ("service.removed", PLACE, None),
    ("service.published", PLACE, None),
    ("taskrun.started", TASK, None),
    ("taskrun.finished", TASK | END, "failure"),
    ("testcaserun.queued", CASE, None),
    ("testcaserun.started", CASE, None),
    ("testcaserun.finished", {**CASE, "outcome": "END", "severity": "high", "reason": "it broke"}, "failure"),
    ("testcaserun.skipped", {**CASE, "reason": "not today"}, "skip"),
    ("testoutput.published", {"outputType": "report", "format": "text/xml", "testCaseRun": {"id": "1"}}, None),
    ("testsuiterun.queued", SUITE, None),
    ("testsuiterun.started", SUITE, None),
    ("testsuiterun.finished", {**SUITE, "outcome": "END", "severity": "high", "reason": "it broke"}, "failure"),
    ("ticket.created", {"summary": "slow", "creator": "ada", "LINK": "https://tickets.example/1"}, None),
    ("ticket.updated", {"summary": "slow", "creator": "ada", "LINK": "https://tickets.example/1"}, None),
    ("ticket.closed", {"summary": "slow", "resolution": "done", "LINK": "https://tickets.example/1"}, None),
    ("approval.created", {"LINK": "https://ci.example/1"}, None),
]
SINCE: dict[str, str] = {"ticket": "0.4", "approval": "0.6", "testcaserun.skipped": "0.4"}
VERSIONS: dict[Spec, str] = {"0.3.0": "0.1.1", "0.4.1": "0.2.0", "0.5.1": "0.3.0", "0.6.0-draft": "0.4.0-draft"}
WORDS: dict[Spec, dict[str, str]] = {
    # What finishes says so; a test does it in words of its own until 0.5.
    "0.3.0": {"END": "failure", "TEST": "fail"},
    "0.4.1": {"END": "failure", "TEST": "fail"},
    "0.5.1": {"END": "failure", "TEST": "failure"},
    "0.6.0-draft": {"END": "failure", "TEST": "failure"},
}


def document(kind: str, content: dict[str, Any], spec: Spec, **more: Any) -> dict[str, Any]:
    """A whole CDEvent, in the shape of that version."""
    subject, new = kind.partition(".")[0], spec >= "0.5"
    said = json.dumps(content).replace('"LINK"', '"uri"' if new else '"url"')
    said = said.replace('"END"', f'"{WORDS[spec]["TEST" if kind.startswith("test") else "END"]}"')
    context = {
        "specversion" if new else "version": spec,
        "id": "271069a8-fc18-44f1-b38f-9d70a1695819",
        "source": "/ci/main",
        "type": f"dev.cdevents.{kind}.{VERSIONS[spec]}",
        "timestamp": "2023-11-14T22:13:20Z",
        **(
            {}
            if spec < "0.4"
            else {"chainId": "4c8cb7dd-3448-41de-8768-eec704e2829b", "schemaUri": "https://s.example"}
        ),
        **more.pop("context", {}),
    }
    about = {"id": f"{subject}-1", "source": "/ci/main", "content": json.loads(said)}
    return {"context": context, "subject": about if new else {**about, "type": subject}, **more}


CONFORMING = [
    (spec, kind, content, end)
    for spec in get_args(Spec)
    for kind, content, end in TYPES
    if spec[:3] >= SINCE.get(kind, SINCE.get(kind.partition(".")[0], "0.3"))
]


@pytest.mark.parametrize(("spec", "kind", "content", "end"), CONFORMING)
async def test_every_type_of_every_version_is_what_it_means(
    spec: Spec, kind: str, content: dict[str, Any], end: Outcome | None
) -> None:
    whole = document(kind, content, spec)
    carried = {
        "specversion": "1.0", "id": whole["context"]["id"], "source": "/ci/main", "type": whole["context"]["type"],
        "data": whole,
    }  # fmt: skip
    bare, inside = await read(whole, "application/json"), await read(carried)
    assert bare == inside  # Not every library says the time of the CloudEvent.
    assert (bare.type, bare.outcome, bare.origin) == (kind, end, f"cdevents/{spec}")
    assert (bare.id, bare.source, bare.subject, bare.time) == (
        "271069a8-fc18-44f1-b38f-9d70a1695819", "/ci/main", f"{kind.partition('.')[0]}-1", 1.7e9,
    )  # fmt: skip
    assert bare.chain == (None if spec < "0.4" else "4c8cb7dd-3448-41de-8768-eec704e2829b")
    if end == "failure":
        assert bare.reason == "it broke"
    if "environment" in content:
        assert bare.environment == "dev"


def test_the_table_has_what_the_versions_have() -> None:
    assert [sum(one[0] == spec for one in CONFORMING) for spec in get_args(Spec)] == [41, 45, 45, 46]


async def of(kind: str, content: Any = None, **more: Any) -> Event:
    return await read(document(kind, content or {}, "0.5.1", **more), "application/json")


async def test_what_has_a_field_of_its_own_is_there_and_the_rest_is_kept() -> None:
    task = await of("taskrun.finished", TASK | {"outcome": "error", "colour": "red"})
    assert task.run == Run(pipeline="", job="compile", id="run-1", url="https://ci.example/1")
    assert task.data["content"]["colour"] == "red"
    merged = await of("change.merged", REPOSITORY)
    assert merged.vcs == Vcs(repository="acme/app", change="change-1")
    suite = await of("testsuiterun.finished", {**SUITE, "outcome": "success", "severity": "low"})
    assert suite.labels == {"suite": "e2e", "severity": "low"}
    assert (await of("artifact.signed")).artifact == "artifact-1"
    assert ((await of("service.removed", PLACE)).service, (await of("environment.deleted")).environment) == (
        "service-1", "environment-1",
    )  # fmt: skip
    assert (await of("incident.detected", INCIDENT)).service == "chat"


async def test_figures_of_somebodys_own_are_measures() -> None:
    custom = {"bers": {"tests": 415, "failed": 2, "skipped": 7, "duration_ms": 18_200, "coverage": {"lines": 95.2},
                       "from": "1.5.0", "odd name": 3}}  # fmt: skip
    suite = await of("testsuiterun.finished", {**SUITE, "outcome": "failure"}, customData=custom)
    assert suite.duration_ms == 18_200
    assert suite.measures == {"tests.total": 415, "tests.failed": 2, "tests.skipped": 7, "coverage.lines": 95.2}
    assert (suite.data["from"], suite.data["odd name"]) == ("1.5.0", 3)
    incident = await of("incident.detected", INCIDENT, customData={"metric": "p95", "threshold": 100, "value": 120.5})
    assert (incident.measures, incident.data["metric"]) == ({"threshold": 100, "value": 120.5}, "p95")
    for given in ("text", [1, 2]):
        assert (await of("build.finished", customData=given)).data["customData"] == given
    evil = {"id": "theirs", "type": "evil.type", "source": "bers:node", "measures": {"a": 1}}
    event = await of("build.finished", customData=evil, customDataContentType="application/json")
    assert (event.source, event.type, event.measures) == ("/ci/main", "build.finished", {"a": 1})


RELATION = {"linkType": "RELATION", "linkKind": "TRIGGER", "target": {"contextId": "trigger"}, "tags": {"a": "b"}}
PATH, LAST = {"linkType": "PATH", "from": {"contextId": "before"}}, {"linkType": "END", "from": {"contextId": "last"}}
OLD = {"link_type": "PATH", "from": {"context_id": "old"}}


LINKS: list[tuple[list[Any], str | None]] = [
    ([RELATION, PATH, LAST], "before"),
    ([LAST, RELATION], "trigger"),
    ([LAST], "last"),
    ([OLD], "old"),
    ([{"linkType": "RELATION", "linkKind": "X", "target": {"domainId": "d"}}], None),
    ([5, {"linkType": [], "from": {"contextId": "x"}}], None),
]


@pytest.mark.parametrize(("links", "cause"), LINKS)
async def test_links_are_kept_and_the_one_before_is_the_cause(links: list[Any], cause: str | None) -> None:
    event = await of("incident.detected", INCIDENT, context={"links": links})
    assert (event.data["links"], event.data.get("cause")) == (links, cause)
    assert not event.cause  # That is for sources alone.


@pytest.mark.parametrize(
    ("type", "ours"),
    [
        ("dev.cdeventsx.bers-build.measured.0.1.0", "build.measured"),
        ("dev.cdeventsx.mytool-resource.created.0.1.0", "mytool-resource.created"),
        ("dev.cdeventsx.gitlab-mergeRequest.Approved.0.1.0", "gitlab-mergerequest.approved"),
    ],
)
async def test_types_that_a_tool_has_made_up_are_taken(type: str, ours: str) -> None:
    event = await of("x.y", context={"type": type})
    assert (event.type, event.origin) == (ours, "cdevents/0.5.1")


@pytest.mark.parametrize("type", ["dev.cdevents.alert.fired.0.1.0", "dev.cdeventsx.bers-alert.fired.0.1.0"])
async def test_what_only_the_server_may_say_is_refused_here_too(type: str) -> None:
    body = json.dumps(document("x.y", {}, "0.5.1", context={"type": type})).encode()
    (rejection,) = (await Decoder().decode(body, now=NOW)).rejected
    assert rejection.error.endswith("is reserved for this server's own events; choose another")


async def test_a_long_error_is_cut_and_kept_whole() -> None:
    event = await of("taskrun.finished", {"outcome": "failure", "errors": "x" * 5000})
    assert event.reason == "x" * 4096
    assert event.data["content"]["errors"] == "x" * 5000
