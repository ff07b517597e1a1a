"""Events as CDEvents 0.5.1: each is what the specification lets it be, and read again it is what it was."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from bers import Event, Run, as_cdevent
from tests.unit.test_cloudevents import read

NOW = 1_700_000_000.0

# What the specification's tables of 0.5.1 permit in the content of each type that we tell; mandatory ones have a `!`.
CONTENT = {
    "build.queued": "",
    "build.started": "",
    "build.finished": "artifactId",
    "pipelinerun.queued": "pipelineName! uri",
    "pipelinerun.started": "pipelineName! uri!",
    "pipelinerun.finished": "pipelineName! uri outcome! errors",
    "taskrun.started": "taskName! pipelineRun uri",
    "taskrun.finished": "taskName! pipelineRun uri outcome! errors",
    "testsuiterun.queued": "environment! testSuite",
    "testsuiterun.started": "environment! testSuite",
    "testsuiterun.finished": "environment! testSuite outcome! severity reason",
    "service.deployed": "environment! artifactId!",
    "service.upgraded": "environment! artifactId!",
    "service.rolledback": "environment! artifactId!",
    "service.removed": "environment!",
    "incident.detected": "description environment! service artifactId",
    "incident.resolved": "description environment! service artifactId",
}
TEXT = {"type": "string", "minLength": 1}
REFERENCE = {
    "type": "object",
    "properties": {"id": TEXT, "source": TEXT},
    "required": ["id"],
    "additionalProperties": False,
}
FIELDS: dict[str, Any] = {
    "outcome": {"enum": ["success", "failure", "cancel", "error"]},
    "severity": {"enum": ["low", "medium", "high", "critical"]},
    **dict.fromkeys(("environment", "service", "pipelineRun", "testSuite"), REFERENCE),
    "uri": {"type": "string", "pattern": r"^[a-z][a-z0-9+.-]*:\S+$"},
}


def schema(type: str) -> dict[str, Any]:
    """What a CDEvent of that type has to be, written down from the specification."""
    content: dict[str, Any] = {"type": "object"}
    if type.startswith("dev.cdevents."):
        names = CONTENT[type.removeprefix("dev.cdevents.").removesuffix(".0.3.0")].split()
        content |= {
            "properties": {name.rstrip("!"): FIELDS.get(name.rstrip("!"), TEXT) for name in names},
            "required": [name[:-1] for name in names if name.endswith("!")],
            "additionalProperties": False,
        }
    context = {
        **dict.fromkeys(("id", "chainId", "schemaUri"), TEXT),
        "specversion": {"const": "0.5.1"},
        "source": {"type": "string", "pattern": r"^[!#-;=?-\[\]_a-z~%]+$"},  # The letters of a URI reference.
        "type": {
            "pattern": r"^dev\.cdevents\.[a-z]+\.[a-z]+\.0\.3\.0$"
            r"|^dev\.cdeventsx\.[a-zA-Z0-9]+-[a-zA-Z]+\.[a-zA-Z]+\.[0-9]\.[0-9]\.[0-9]$"
        },
        "timestamp": {"pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"},
    }
    subject = {"id": TEXT, "source": TEXT, "content": content}
    return {
        "type": "object",
        "properties": {
            "context": {
                "type": "object",
                "properties": context,
                "required": ["specversion", "id", "source", "type", "timestamp"],
                "additionalProperties": False,
            },
            "subject": {
                "type": "object",
                "properties": subject,
                "required": ["id", "content"],
                "additionalProperties": False,
            },
            "customData": {"type": "object"},
            "customDataContentType": {"type": "string"},
        },
        "required": ["context", "subject"],
        "additionalProperties": False,
    }


def rendered(event: Event) -> dict[str, Any]:
    """The event as it travels, which is as it has to be."""
    document: dict[str, Any] = json.loads(json.dumps(as_cdevent(event)))
    validator = Draft202012Validator(schema(document["context"]["type"]))
    validator.validate(document)  # pyright: ignore[reportUnknownMemberType]
    return document


def kind(event: Event) -> str:
    return str(rendered(event)["context"]["type"]).removeprefix("dev.").removesuffix(".0")


PRODUCTION: dict[str, Any] = {"environment": "production", "service": "chat", "artifact": "pkg:oci/chat@sha256:1"}
RUN = Run(pipeline="release", job="compile", id="run-1", url="https://ci.example/1")


@pytest.mark.parametrize(
    ("type", "fields", "told"),
    [
        ("build.started", {}, "cdevents.build.started.0.3"),
        ("build.finished", {"outcome": "failure"}, "cdevents.build.finished.0.3"),
        ("build.lost", {"outcome": "error"}, "cdeventsx.bers-build.lost.0.1"),
        ("build.measured", {}, "cdeventsx.bers-build.measured.0.1"),
        ("testsuiterun.finished", {"outcome": "timeout", "environment": "ci"}, "cdevents.testsuiterun.finished.0.3"),
        ("testsuiterun.finished", {"outcome": "skip", "environment": "ci"}, "cdeventsx.bers-testsuiterun.finished.0.1"),
        ("testsuiterun.finished", {"outcome": "success"}, "cdeventsx.bers-testsuiterun.finished.0.1"),
        ("deployment.finished", {"outcome": "success", **PRODUCTION}, "cdevents.service.deployed.0.3"),
        ("deployment.finished", {"outcome": "failure", **PRODUCTION}, "cdeventsx.bers-deployment.finished.0.1"),
        ("deployment.finished", {"outcome": "success"}, "cdeventsx.bers-deployment.finished.0.1"),
        ("deployment.rolledback", PRODUCTION, "cdevents.service.rolledback.0.3"),
        ("deployment.rolledback", {"outcome": "error", **PRODUCTION}, "cdeventsx.bers-deployment.rolledback.0.1"),
        ("service.upgraded", {"outcome": "success", **PRODUCTION}, "cdevents.service.upgraded.0.3"),
        ("service.removed", PRODUCTION, "cdevents.service.removed.0.3"),
        ("task.finished", {"outcome": "cancel", "run": RUN}, "cdevents.taskrun.finished.0.3"),
        ("task.finished", {"outcome": "cancel"}, "cdeventsx.bers-task.finished.0.1"),
        ("pipelinerun.started", {"run": RUN}, "cdevents.pipelinerun.started.0.3"),
        ("pipelinerun.started", {"run": Run(pipeline="release")}, "cdeventsx.bers-pipelinerun.started.0.1"),
        ("incident.detected", PRODUCTION, "cdevents.incident.detected.0.3"),
        ("alert.firing", {}, "cdeventsx.bers-alert.firing.0.1"),
        ("a-b.c-d.e", {}, "cdeventsx.bers-ab.cde.0.1"),
        ("a1.b2", {}, "cdeventsx.bers-a.b.0.1"),
    ],
)
def test_an_event_has_the_type_of_the_specification_where_that_says_the_same(
    type: str, fields: dict[str, Any], told: str
) -> None:
    assert kind(Event("e-1", "/ci", type, NOW, **fields)) == told


TYPES = [*CONTENT, "task.started", "task.finished", "deployment.finished", "deployment.rolledback", "alert.firing"]
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.builds(
        Event,
        id=WORDS.filter(bool),
        source=WORDS.filter(bool),
        type=st.sampled_from(TYPES) | st.from_regex(re.compile(r"[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)+"), fullmatch=True),
        time=st.floats(0, 4e9),
        subject=WORDS,
        environment=st.none() | WORDS,
        outcome=st.sampled_from([None, "success", "failure", "error", "cancel", "timeout", "skip"]),
        reason=st.none() | WORDS,
        service=st.none() | WORDS,
        artifact=st.none() | WORDS,
        run=st.none() | st.builds(Run, pipeline=WORDS, job=WORDS, id=WORDS, url=WORDS | st.just("https://ci.example/")),
        labels=st.dictionaries(st.sampled_from(["suite", "severity", "name"]), WORDS),
        chain=st.none() | WORDS,
    )
)
def test_whatever_an_event_holds_the_cdevent_is_valid(event: Event) -> None:
    rendered(event)


@pytest.mark.parametrize(
    "event",
    [
        Event("e-1", "/ci", "build.finished", NOW, "b-1", "staging", "failure", "exit code 1", 930.0,
              measures={"bundle.size": 4097}, labels={"name": "web"}, data={"command": "npm"}),
        Event("e-2", "/ci", "testsuiterun.finished", NOW, "s-1", "staging", "failure", duration_ms=5.5,
              measures={"tests.total": 415, "tests.failed": 2, "coverage.lines": 95.2}, labels={"suite": "unit"}),
        Event("e-3", "/ci", "build.measured", NOW, "b-1", measures={"cache.hits": 5}, weight=3, chain="c-1"),
        Event("e-4", "/cd", "service.deployed", NOW, "chat", outcome="success", version="1.5.0", **PRODUCTION),
    ],
    ids=lambda event: event.type,
)  # fmt: skip
async def test_read_again_it_is_what_it_was(event: Event) -> None:
    again = await read(as_cdevent(event), "application/json")
    names = ("id", "source", "type", "time", "subject", "environment", "outcome", "reason", "duration_ms", "service",
             "version", "artifact", "measures", "labels", "weight", "chain")  # fmt: skip
    assert [getattr(again, name) for name in names] == [getattr(event, name) for name in names]
    assert again.origin == "cdevents/0.5.1"


async def test_a_time_out_is_an_error_to_those_who_know_no_other_word() -> None:
    document = rendered(Event("e-1", "/ci", "testsuiterun.finished", NOW, environment="ci", outcome="timeout"))
    assert document["subject"]["content"]["outcome"] == "error"
    assert document["customData"]["bers"]["outcome"] == "timeout"


def test_nobody_reads_a_secret_in_it_and_nobody_is_sent_a_book() -> None:
    event = Event("e-1", "/ci", "build.finished", NOW, reason="token=hunter-22", data={"password": "hunter-22"})
    assert "hunter-22" not in json.dumps(as_cdevent(event))
    long = rendered(Event("e-2", "/ci", "build.finished", NOW, data={"log": "x" * 50_000}))
    assert long["customData"]["bers"]["data"] == {"omitted_bytes": 50_010}
