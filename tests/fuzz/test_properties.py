"""Bytes and texts that hypothesis makes up, against what has to hold for any of them."""

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bers.decoding.vocabulary import OUTCOMES
from bers.plain import as_list, as_object
from tests.fuzz import properties

LONG = bool(os.environ.get("BERS_TEST_LONG"))
ROOT = Path(__file__).parents[2]


def many(examples: int) -> settings:
    """The same examples each time, and fifty times as many of them when there is time."""
    return settings(
        max_examples=examples * (50 if LONG else 1),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


# Words that mean something, so that more than the first check is reached.
WORDS = st.sampled_from([
    "type", "id", "source", "time", "subject", "environment", "outcome", "reason", "duration_ms", "durationMs",
    "detail", "duration", "vcs", "run", "measures", "labels", "weight", "chain", "traceparent", "data", "timestamp",
    "specversion", "context", "content", "customData", "bers", "phases", "coverage", "tests", "successRate", "error",
    "correlationId", "committed_at", "revision", "repository", "attempt", "suite", "changes", "name", "kind",
])  # fmt: skip
TYPES = st.sampled_from([
    "build.started", "build.finished", "build-completed", "BUILD_FAILED", "testsuiterun.finished",
    "validation.finished",
    "testcaserun.finished", "coverage.reported", "deployment.finished", "service.rolledback", "incident.detected",
    "incident.resolved", "change.merged", "environment.created", "artifact.published", "provider.initialized",
    "configuration.resolved", "dev.cdevents.build.finished.0.2.0", "io.bers.build.finished.v1", "alert.firing", "x",
])  # fmt: skip
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from([0, 1, -1, 1e18, 1e308, 1e11, 253402300799, 1700000000000]),
)
TEXTS = st.one_of(
    st.text(max_size=20),
    TYPES,
    st.sampled_from(["1.0", "2026-11-23T08:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", *OUTCOMES]),
    st.sampled_from(["\r\n", "\u2028", "a\0b", "\ufeff", "data: x\n\n", "id: 9\n", "\x85", "```", "x" * 5000]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(WORDS, st.text(max_size=8)), inner, max_size=6)
    ),
    max_leaves=12,
)


def of_type(kind: Any, fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, **fields}


EVENTS = st.builds(
    of_type, st.one_of(TYPES, TEXTS, VALUES), st.dictionaries(st.one_of(WORDS, st.text(max_size=8)), VALUES, max_size=8)
)


@many(300)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_decoded(body: bytes) -> None:
    properties.decoding(body)


ATTRIBUTES = st.sampled_from([
    b"specversion", b"id", b"source", b"type", b"time", b"subject", b"datacontenttype", b"data", b"traceparent",
    b"mine",
])  # fmt: skip
HEADERS = st.one_of(
    st.sampled_from(
        [b"1.0", b"build.finished", b"/ci", b"dev.tekton.event.pipelinerun.failed.v1", b"%C0%A0", b'"a \\" b"']
    ),
    st.binary(max_size=12),
)
CARRIED = st.sampled_from([b"application/json", b"text/plain", b"image/png", b"application/x+json", b""])


def in_headers(fields: dict[bytes, bytes], media: bytes, body: bytes) -> bytes:
    named = {b"specversion": b"1.0", b"id": b"1", b"source": b"/ci", b"type": b"build.finished", **fields}
    lines = [name + b": " + value.replace(b"\n", b"") for name, value in named.items()]
    return b"\n".join([*lines, b"content-type: " + media]) + b"\n\n" + body


@many(300)
@given(
    st.dictionaries(ATTRIBUTES, HEADERS), CARRIED, st.one_of(st.binary(max_size=60), VALUES.map(msgspec.json.encode))
)
def test_any_headers_and_body_are_refused_or_decoded(fields: dict[bytes, bytes], media: bytes, body: bytes) -> None:
    properties.binary(in_headers(fields, media, body))


HOOKED = st.sampled_from([
    "action", "repository", "deployment", "deployment_status", "workflow_run", "workflow_job", "pull_request", "push",
    "check_run", "head_commit", "commits", "id", "state", "status", "conclusion", "object_kind", "object_attributes",
    "project", "commit", "created_at", "updated_at", "run_started_at", "ref", "sha", "environment", "default_branch",
    "build_status", "duration", "run_attempt", "merged", "app", "before", "after", "commit_url", "timestamp", "name",
])  # fmt: skip
HOOK_TEXTS = st.sampled_from([
    "created", "completed", "in_progress", "requested", "closed", "success", "failure", "failed", "running",
    "deployment", "pipeline", "build", "merge_request", "push", "merge", "refs/heads/main", "main",
    "2026-11-23T08:00:00Z", "2026-11-23 08:00:00 UTC", "2026-11-23 08:00:00 +0100", "x" * 5000,
])  # fmt: skip
HOOKS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), HOOK_TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(HOOKED, inner, max_size=8)),
    max_leaves=25,
)


@many(300)
@given(st.dictionaries(HOOKED, HOOKS, max_size=8))
@example({"action": "completed", "workflow_run": {"run_attempt": 2**70, "id": 1, "updated_at": 10**400}})
@example({"object_kind": "build", "build_status": "failed", "build_duration": -1.5, "retries_count": 2**70})
def test_whatever_a_code_host_sends_is_read_or_refused(body: dict[str, Any]) -> None:
    properties.webhooks(json.dumps(body).encode())


@many(250)
@given(st.one_of(EVENTS, st.lists(EVENTS, max_size=5), VALUES))
def test_any_json_is_refused_or_decoded_and_what_is_decoded_can_be_kept_told_and_measured(document: Any) -> None:
    properties.decoding(_json(document))


@many(100)
@given(
    st.lists(EVENTS, min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=3)), max_size=4),
)
def test_an_event_with_a_few_bytes_changed_is_refused_or_decoded(
    events: list[Any], changes: list[tuple[int, bytes]]
) -> None:
    body = bytearray(_json(events))
    for at, piece in changes:
        body[at % len(body) : at % len(body) + len(piece)] = piece
    properties.decoding(bytes(body))


@pytest.mark.parametrize("depth", [10, 60, 200, 480, 900, 5000, 100_000])
def test_depth_costs_an_event_and_nobody_else(depth: int) -> None:
    good = b'{"type": "build.finished", "id": "a", "source": "/ci", "time": 1700000000}'
    for opened, closed in ((b"[", b"]"), (b'{"a":', b"}")):
        deep = b'{"type": "build.finished", "x": %b1%b}' % (opened * depth, closed * depth)
        decoded = properties.decoding(b"[%b, %b]" % (good, deep))
        assert decoded is None or (decoded.events and decoded.events[0].id == "a")
        assert decoded or depth > 400, "such a depth may be refused with all that comes with it"


@many(250)
@given(
    st.one_of(
        st.text(max_size=20),
        st.from_regex(r"[-+]?[0-9]{0,25}\.?[0-9]{0,3}(e[-+]?[0-9]{1,4})?(us|ms|s|m|h|d|w|%|B|kB|KiB|MiB|GiB|By/s)?"),
    )
)
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    properties.reading_units(text)


SHIPPED = (ROOT / "pipelines.yaml").read_text()
TREES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, st.sampled_from(["5s", "1MiB", "${env:X}", "${"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(
                st.sampled_from([
                    "sources", "sinks", "processors", "pipelines", "use", "delivery", "server", "health", "metrics",
                    "intake", "journal", "log", "version", "environment", "build", "store", "sse", "rules", "channels",
                    "probes", "checks", "url", "path", "tiers", "width", "keep", "<<", "enabled", "when_full",
                ]),
                st.text(max_size=8),
            ),
            inner,
            max_size=6,
        ),
    ),
    max_leaves=20,
)  # fmt: skip


@many(150)
@given(st.text(max_size=200))
def test_any_text_is_a_configuration_or_a_configuration_error(text: str) -> None:
    properties.configuring(text)


@many(150)
@given(TREES)
def test_any_tree_is_a_configuration_or_a_configuration_error(tree: Any) -> None:
    properties.configuring(_json(tree).decode())  # JSON is YAML.


@many(100)
@given(
    st.lists(
        st.tuples(st.integers(0, len(SHIPPED)), st.integers(0, 8), st.text("{}[]:,-&*!|>'\"%@`#? \n\tax0", max_size=4)),
        max_size=3,
    )
)
def test_the_shipped_file_with_a_few_characters_changed_is_one_or_the_other(
    changes: list[tuple[int, int, str]],
) -> None:
    text = SHIPPED
    for at, length, piece in changes:
        text = text[:at] + piece + text[at + length :]
    properties.configuring(text)


@many(500)
@given(st.binary(max_size=100))
def test_a_frame_of_the_stream_is_one_message_whatever_its_event_holds(data: bytes) -> None:
    properties.TARGETS["stream"](data)


@pytest.mark.parametrize(
    "text", ["\n\nid: 9\n", "\r", "\r\n\r\ndata: x", "\u2028", "\u2029", "\x85", "\0", "\ufeff", "\x1e"]
)
def test_no_line_end_that_anybody_knows_leads_out_of_a_frame(text: str) -> None:
    properties.TARGETS["stream"](text.encode())


@many(400)
@given(st.binary(max_size=120))
@example(script=b"?\xa5\xad\xcf\xf4\x17\x18\x17\x01\0")  # The length of the last frame alone.
def test_damage_to_the_journal_costs_what_it_hits(script: bytes) -> None:
    properties.damaging(script)


def _json(value: Any) -> bytes:
    """JSON with what JSON has no word for left to chance: NaN and the infinities become null."""
    return msgspec.json.encode(_plain(value))


def _plain(value: Any) -> Any:
    """Whole numbers beyond 64 bits, written as JSON allows and msgspec does not."""
    if (fields := as_object(value)) is not None:
        return {key: _plain(inner) for key, inner in fields.items()}
    if (items := as_list(value)) is not None:
        return [_plain(inner) for inner in items]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        return msgspec.Raw(str(value).encode())
    return value
