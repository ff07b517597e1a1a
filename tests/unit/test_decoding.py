"""What emitters send becomes events: what is right is taken, what is wrong is named and costs only itself."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bers import Event, Refused, Run, Vcs
from bers.decoding import Decoder, outcome
from bers.decoding.vocabulary import OUTCOMES, Canonical, canonical
from bers.plain import as_list
from bers.records import weigh

NOW = 1_700_000_000.0


async def decode(value: Any, decoder: Decoder | None = None) -> list[Event]:
    """The events of a body; the test fails if one of them is not taken."""
    found = await (decoder or Decoder()).decode(json.dumps(value).encode(), now=NOW)
    assert not found.rejected, found.rejected
    return list(found.events)


async def one(value: Mapping[str, Any]) -> Event:
    (event,) = await decode(value)
    return event


async def why(value: Any, decoder: Decoder | None = None) -> str:
    """Why the only event of a body is not taken."""
    found = await (decoder or Decoder()).decode(json.dumps(value).encode(), now=NOW)
    assert not found.events, found.events
    (rejection,) = found.rejected
    return rejection.error


@pytest.mark.parametrize("kind", ["build", "validation", "deployment"])
@pytest.mark.parametrize(
    ("word", "type", "end"),
    [
        ("started", "started", None),
        ("completed", "finished", "success"),
        ("failed", "finished", "failure"),
    ],
)
@pytest.mark.parametrize("joint", ["-", "_"])
async def test_the_nine_names_of_the_runbook_are_understood(
    kind: str, word: str, type: str, end: str | None, joint: str
) -> None:
    event = await one({"type": f"{kind}{joint}{word}"})
    assert (event.type, event.outcome, event.origin) == (f"{kind}.{type}", end, f"seed/{kind}{joint}{word}")


async def test_an_event_of_the_runbook_may_say_everything_at_the_top_or_in_its_detail() -> None:
    said = {"correlationId": "b-1", "duration": 4200, "bundleSize": 9, "coverage": 95.2, "successRate": 99, "extra": 1}
    flat, nested = (
        await one({"type": "build-completed", **said}),
        await one({"type": "build-completed", "detail": said}),
    )
    for event in (flat, nested):
        assert (event.subject, event.duration_ms, event.data["extra"]) == ("b-1", 4200.0, 1)
        assert event.measures == {"bundle.size": 9.0, "coverage": 95.2, "success_rate": 99.0}


async def test_an_event_may_have_every_field() -> None:
    event = await one(
        {
            "type": "Build_Kit.Finished",
            "id": 7,
            "source": "/ci",
            "time": "2026-11-23T08:00:00+01:00",
            "subject": "b-1",
            "environment": "staging",
            "outcome": "Timed-Out",
            "error": "too slow",
            "durationMs": 12,
            "service": "shop",
            "version": 2,
            "artifact": "pkg:npm/a@1",
            "vcs": {"revision": "abc", "committed_at": "2026-11-23T07:00:00Z"},
            "run": {"system": "github", "attempt": 2},
            "measures": {"a.b": 1},
            "phases": {"compile": 5, "note": "x"},
            "tests": {"passed": 3},
            "labels": {"os": "linux", "n": 1, "x": True},
            "weight": 10,
            "chain": "c",
            "traceparent": "00-1",
            "data": {"more": 1},
            "other": 2,
        }
    )
    assert event == Event(
        "7", "/ci", "build-kit.finished", 1795417200.0, "b-1", "staging", "timeout", "too slow", 12.0, "shop", "2",
        "pkg:npm/a@1", Vcs(revision="abc", committed_at=1795417200.0), Run(system="github", attempt=2),
        {"a.b": 1.0, "phase.compile": 5.0, "tests.passed": 3.0}, {"os": "linux", "n": "1", "x": "true"}, 10, "c",
        "00-1",
        "Build_Kit.Finished", {"more": 1, "phases": {"compile": 5, "note": "x"}, "tests": {"passed": 3}, "other": 2},
    )  # fmt: skip


async def test_what_an_event_does_not_say_is_filled_in() -> None:
    nothing = {"type": "coffee", "id": None, "time": None, "labels": None}
    first, second = await decode([{"type": "coffee"}, nothing])
    assert (first.type, first.source, first.time, first.origin) == ("custom.coffee", "/unknown", NOW, "coffee")
    assert first.id != second.id
    assert first.outcome is None


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        (1_700_000_000, 1.7e9),
        (1_700_000_000_123, 1_700_000_000.123),
        ("2023-11-14T22:13:20Z", 1.7e9),
        ("2023-11-14T23:13:20.5+01:00", 1_700_000_000.5),
        ("0001-01-01T00:00:00+23:00", -62135679600.0),
    ],
)
async def test_a_time_is_rfc_3339_seconds_or_milliseconds(time: object, seconds: float) -> None:
    assert (await one({"type": "a.b", "time": time})).time == seconds
    assert (await one({"type": "a.b", "timestamp": time, "unknown": 1})).time == seconds


def cloud(type: str, data: Any = None, **attributes: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "1", "source": "/ci", "type": type, "data": data, **attributes}


async def test_a_cloudevent_may_say_null_and_have_extensions() -> None:
    event = await one(
        cloud(
            "io.bers.build.finished.v1",
            {"outcome": "success", "durationMs": 5, "id": "not mine", "colour": "red"},
            time="2023-11-14T22:13:20Z", subject=None, datacontenttype=None, dataschema=None, traceparent="00-1",
            mine="x",
        )
    )  # fmt: skip
    assert (event.id, event.type, event.time, event.subject) == ("1", "build.finished", 1.7e9, "")
    assert (event.outcome, event.duration_ms, event.traceparent) == ("success", 5.0, "00-1")
    assert (event.data, event.origin) == ({"colour": "red", "mine": "x"}, "io.bers.build.finished.v1")


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"specversion": "0.3", "type": "a.b"}, "specversion: '0.3' is not supported; send CloudEvents 1.0"),
        ({"specversion": "1.0", "id": "1", "source": "/s"}, "type: is missing; every event names it"),
        ({"specversion": "1.0", "id": "", "source": "/s", "type": "a.b"}, "id: is missing; every event names it"),
        ({"specversion": "1.0", "id": "1", "source": None, "type": "a.b"}, "source: is missing; every event names it"),
    ],
)
async def test_a_cloudevent_that_is_none_says_why(event: Any, error: str) -> None:
    assert await why(event) == error


@pytest.mark.parametrize("version", ["0.3.0", "0.4.1", "0.5.0"])
async def test_a_cdevent_inside_a_cloudevent_is_read(version: str) -> None:
    old = version < "0.5"
    context = {"version" if old else "specversion": version, "timestamp": "2023-11-14T22:13:20Z", "chainId": "c-1"}
    content = {
        "outcome": "failure",
        "errors": "broken",
        "environment": {"id": "prod"},
        "service": {"id": "shop"},
        "artifactId": "pkg:oci/shop",
        "testSuite": {"id": "e2e"},
    }
    data = {
        "context": context,
        "subject": {"id": "suite-1", "content": content},
        "customData": {"durationMs": 5, "id": "theirs", "type": "evil.type", "source": "bers:node"},
        "customDataContentType": "application/json",
    }
    event = await one(cloud(f"dev.cdevents.testsuiterun.finished.{'0.1.0' if old else '0.2.0'}", data))
    assert (event.id, event.source, event.type) == ("1", "/ci", "testsuiterun.finished")
    assert (event.subject, event.outcome, event.reason) == ("suite-1", "failure", "broken")
    assert (event.environment, event.service, event.artifact) == ("prod", "shop", "pkg:oci/shop")
    assert (event.time, event.chain, event.duration_ms) == (1.7e9, "c-1", 5.0)
    assert (event.labels, event.origin) == ({"suite": "e2e"}, f"cdevents/{version}")


@pytest.mark.parametrize(("word", "ours"), OUTCOMES.items())
def test_every_word_for_an_end_is_one_of_six(word: str, ours: str) -> None:
    assert outcome(word) == outcome(word.upper()) == outcome(word.replace("_", "-")) == ours


@pytest.mark.parametrize(
    "type", ["", "   ", "a..b", ".a", "1.2", "a b", "a.b.", "ä.b", "x" * 129, "a/b", "dev.cdevents.", "a.1b"]
)
def test_a_type_that_cannot_be_one_is_refused(type: str) -> None:
    with pytest.raises(ValueError, match=r"is not understood; write it as in 'build.finished'$"):
        canonical(type)


@pytest.mark.parametrize(
    "type",
    ["alert.fired", "Health.Checked", "stage.changed", "config.reloaded", "clock.jumped",
     "io.bers.alert.fired.v1", "dev.cdevents.alert.fired.0.1.0"],
)  # fmt: skip
def test_what_only_the_server_may_say_is_refused_in_every_spelling(type: str) -> None:
    with pytest.raises(ValueError, match=r"is reserved for this server's own events; choose another$"):
        canonical(type)


def test_a_type_is_lower_case_with_hyphens_and_its_original_is_kept() -> None:
    assert canonical("Build.Queue_Time") == Canonical("build.queue-time", None, "Build.Queue_Time")
    assert canonical("build.finished") == Canonical("build.finished", None, "")
    assert canonical("PING") == Canonical("custom.ping", None, "PING")


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({}, "type: is missing; every event names it"),
        ({"type": []}, "type: expected text"),
        ({"type": "a.b", "source": "bers:node"},
         "source: 'bers:' is reserved for this server's own events; name the emitter"),
        ({"type": "a.b", "outcome": "great"},
         "outcome 'great' is not understood; write success, failure, error, cancel, timeout or skip"),
        ({"type": "a.b", "time": "yesterday"},
         "time: 'yesterday' is not a time with a zone; write it as in '2026-11-23T08:00:00Z'"),
        ({"type": "a.b", "time": "2026-11-23T08:00:00"},
         "time: '2026-11-23T08:00:00' is not a time with a zone; write it as in '2026-11-23T08:00:00Z'"),
        ({"type": "a.b", "time": True},
         "time: 'True' is not a time with a zone; write it as in '2026-11-23T08:00:00Z'"),
        ({"type": "a.b", "duration": -1}, "duration_ms: -1 is negative; it is in milliseconds from start to finish"),
        ({"type": "a.b", "duration": "5s"}, "duration_ms: expected a finite number"),
        ({"type": "a.b", "duration": 10**400}, "duration_ms: expected a finite number"),
        ({"type": "a.b", "measures": {"x": "1"}}, "measures.x: expected a finite number"),
        ({"type": "a.b", "measures": {"x": 10**400}}, "measures.x: expected a finite number"),
        ({"type": "a.b", "measures": [1]}, "measures: expected an object of numbers"),
        ({"type": "a.b", "measures": {"1x": 1}},
         "measures: '1x' cannot name a measure; use letters, digits, dots and _"),
        ({"type": "a.b", "labels": "x"}, "labels: expected an object of texts"),
        ({"type": "a.b", "labels": {"x": []}}, "labels.x: expected a text of at most 200 characters"),
        ({"type": "a.b", "weight": 0},
         "weight: expected a whole number from 1 to 1000000: how many events this one stands for"),
        ({"type": "a.b", "weight": 1.5},
         "weight: expected a whole number from 1 to 1000000: how many events this one stands for"),
        ({"type": "a.b", "subject": {}}, "subject: expected text"),
        ({"type": "a.b", "detail": 5}, "detail: expected an object"),
        ({"type": "a.b", "vcs": "main"}, "vcs: Expected `object`, got `str`"),
        ({"type": "a.b", "run": {"attempt": "2"}}, "run: Expected `int`, got `str` - at `$.attempt`"),
    ],
)  # fmt: skip
async def test_a_fault_names_the_field_and_what_would_be_right(event: Any, error: str) -> None:
    assert await why(event) == error


PLAIN = {"type": "a.b", "id": "1", "source": "/ci", "time": 1}
LIMITS = [
    ({"id": "x" * 257}, "id: 257 characters are too many; at most 256"),
    ({"source": "x" * 1025}, "source: 1025 characters are too many; at most 1024"),
    ({"subject": "x" * 513}, "subject: 513 characters are too many; at most 512"),
    ({"environment": "x" * 101}, "environment: 101 characters are too many; at most 100"),
    ({"reason": "x" * 4097}, "reason: 4097 characters are too many; at most 4096"),
    ({"service": "x" * 201}, "service: 201 characters are too many; at most 200"),
    ({"artifact": "x" * 513}, "artifact: 513 characters are too many; at most 512"),
    ({"traceparent": "x" * 129}, "traceparent: 129 characters are too many; at most 128"),
    ({"measures": {f"m{n}": n for n in range(201)}}, "measures: 201 are too many; an event has at most 200"),
    ({"labels": {f"l{n}": "" for n in range(21)}}, "labels: 21 are too many; an event has at most 20"),
    ({"labels": {"l": "x" * 201}}, "labels.l: expected a text of at most 200 characters"),
    ({"labels": {"l" * 121: "x"}}, f"labels.{'l' * 40}: expected a text of at most 200 characters"),
    ({"measures": {"m" * 121: 1}}, f"measures: {'m' * 40!r} cannot name a measure; use letters, digits, dots and _"),
    ({"source": "bers:node"}, "source: 'bers:' is reserved for this server's own events; name the emitter"),
    ({"duration_ms": -1}, "duration_ms: -1 is negative; it is in milliseconds from start to finish"),
]


@pytest.mark.parametrize(("over", "error"), LIMITS)
async def test_a_limit_holds_for_the_first_event_of_a_type_and_for_the_thousandth(over: Any, error: str) -> None:
    decoder = Decoder()
    assert await why({**PLAIN, **over}, decoder) == error
    await decode(PLAIN, decoder)
    assert await why({**PLAIN, **over}, decoder) == error


TEXT = st.text(max_size=8)
SHORT = st.none() | TEXT
DOCUMENTS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["a.b", "build-completed", "Coffee", "dev.cdevents.build.started.0.2.0"]),
        "id": TEXT,
        "source": TEXT,
        "time": st.sampled_from([5, 1.5, 1_700_000_000_123, "2023-11-14T22:13:20Z", "2023-11-14T22:13:20"]),
    },
    optional={
        "subject": TEXT,
        "environment": SHORT,
        "outcome": st.sampled_from([None, "success", "failed", "Skip"]),
        "reason": SHORT,
        "duration_ms": st.none() | st.integers(-1, 5) | st.floats(0, 1e9),
        "service": SHORT,
        "version": SHORT,
        "chain": SHORT,
        "vcs": st.none() | st.just({"revision": "x"}) | st.just({"committed_at": 1_700_000_000_123}),
        "run": st.none() | st.just({"attempt": 2}),
        "measures": st.dictionaries(st.sampled_from(["a", "a.b", "1", "ä"]), st.integers() | st.floats(-1e9, 1e9)),
        "labels": st.dictionaries(TEXT, TEXT, max_size=3),
        "weight": st.integers(0, 3),
        "data": st.dictionaries(TEXT, st.none() | TEXT, max_size=3),
    },
)


@given(DOCUMENTS)
async def test_the_fast_way_and_the_slow_way_give_the_same_event(document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    slow = await Decoder().decode(body, now=NOW)  # It has not seen the type yet.
    decoder = Decoder()
    await decode({**PLAIN, "type": document["type"], "measures": {"a": 1, "a.b": 1}}, decoder)
    fast = await decoder.decode(body, now=NOW)
    assert [one.error for one in fast.rejected] == [one.error for one in slow.rejected]
    for mine, theirs in zip(fast.events, slow.events, strict=True):
        assert msgspec.structs.replace(mine, id="") == msgspec.structs.replace(theirs, id="")
        assert mine.id == theirs.id or not document["id"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "type", "id", "source", "time", "subject", "outcome", "duration", "vcs", "run", "measures", "labels", "weight",
    "data", "detail", "specversion", "phases", "tests", "coverage", "context", "customData", "content", "timestamp",
    "error",
]  # fmt: skip
SAID = st.dictionaries(st.sampled_from(FIELDS), JSON)


@settings(max_examples=200)
@given(JSON | SAID | st.lists(SAID))
async def test_any_json_is_taken_or_refused_and_nothing_else(value: Any) -> None:
    items = as_list(value)
    with suppress(Refused):
        found = await Decoder().decode(json.dumps(value).encode(), now=NOW)
        assert len(found.events) + len(found.rejected) == (1 if items is None else len(items))
        assert all(one.error for one in found.rejected)


@settings(max_examples=100)
@given(SAID, JSON, JSON)
async def test_any_cloudevent_is_taken_or_refused_and_nothing_else(data: Any, context: Any, subject: Any) -> None:
    document = cloud("dev.cdevents.build.finished.0.2.0", {**data, "context": context, "subject": subject})
    with suppress(Refused):
        found = await Decoder().decode(json.dumps(document).encode(), now=NOW)
        assert [(event.id, event.source, event.type) for event in found.events] in (
            [],
            [("1", "/ci", "build.finished")],
        )


@given(st.binary(max_size=40))
async def test_any_bytes_are_taken_or_refused_and_nothing_else(body: bytes) -> None:
    with pytest.raises(Refused) as info:
        assert not (await Decoder().decode(body, now=NOW)).events
        raise Refused("bad_request", "nothing in it")
    assert info.value.reason == "bad_request"


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        (b"", "the body is not an event", "send one JSON object, or an array of them"),
        (b'"build"', "the body is not an event", "send one JSON object, or an array of them"),
        (b"[{}", "the body is not JSON: Input data was truncated", ""),
        (b"type=build", "the body is not an event", "send one JSON object, or an array of them"),
    ],
)
async def test_a_body_that_holds_no_event_is_refused(body: bytes, message: str, hint: str) -> None:
    with pytest.raises(Refused) as info:
        await Decoder().decode(body, now=NOW)
    assert (str(info.value), info.value.hint, info.value.reason) == (message, hint, "bad_request")


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"type":"a.b","data":' + b"[" * 100_000])
async def test_what_is_nested_endlessly_costs_only_itself(body: bytes) -> None:
    with pytest.raises(Refused, match=r"the body is not JSON|nothing in it"):
        assert not (await Decoder().decode(body, now=NOW)).events
        raise Refused("bad_request", "nothing in it")


@pytest.mark.parametrize("bad", [{}, 5, None, [], {"type": "a.b", "time": "x"}, {"type": "!", "id": "mine"}])
async def test_one_bad_event_of_a_hundred_costs_only_itself(bad: Any) -> None:
    body: list[Any] = [{"type": "a.b", "id": str(n)} for n in range(99)]
    body.insert(50, bad)
    found = await Decoder().decode(json.dumps(body).encode(), now=NOW)
    assert [event.id for event in found.events] == [str(n) for n in range(99)]
    (rejection,) = found.rejected
    assert rejection.index == 50
    assert rejection.id == (bad.get("id") if isinstance(bad, dict) else None)  # pyright: ignore[reportUnknownMemberType]


async def test_an_event_that_is_not_utf_8_costs_only_itself() -> None:
    found = await Decoder().decode(b'[{"type": "a.b", "id": "1"}, {"\xffype": "a.b"}, {"type": "\xff"}]', now=NOW)
    assert [event.id for event in found.events] == ["1"]
    assert [(one.index, one.error) for one in found.rejected] == [
        (1, "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (2, "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ]


async def test_an_event_has_a_largest_size_and_a_request_a_largest_number() -> None:
    decoder = Decoder(max_event=100, max_events=2)
    assert await why({"type": "a.b", "data": "x" * 100}, decoder) == "127 bytes are too many; an event has at most 100"
    with pytest.raises(Refused) as info:
        await decode([PLAIN] * 3, decoder)
    assert (str(info.value), info.value.hint) == ("3 events are too many", "send at most 2 at once")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"time": 1e300}, "is in no calendar"),
        ({"measures": {"x": 1.7e308}}, "measures.x: 1.7e+308 is out of range; at most 1e+18"),
        ({"data": {"n": 1 << 70}}, "data: a whole number is too large; at most 64 bits, or write it as text"),
    ],
    ids=["time", "measure", "data"],
)
async def test_what_nobody_could_keep_is_refused_at_the_door_on_either_way(fields: dict[str, Any], error: str) -> None:
    decoder = Decoder()
    plain = {"id": "1", "source": "/ci", "type": "build.finished", "time": 1.0, "measures": {"x": 1.0}}
    for _ in range(2):  # The first time reads the slow way, the second the fast one.
        found = await decoder.decode(json.dumps([plain, {**plain, **fields}, plain]).encode(), now=NOW)
        assert [event.id for event in found.events] == ["1", "1"]
        assert [(one.index, error in one.error) for one in found.rejected] == [(1, True)]


async def test_events_of_much_data_are_decoded_a_few_at_a_time() -> None:
    one = {"type": "build.finished", "data": {f"k{number}": "x" * 100 for number in range(900)}}
    sizes: list[int] = []
    await Decoder().decode(json.dumps([one] * 30).encode(), now=0.0, grow=sizes.append)
    assert len(sizes) == 29
    assert sizes == sorted(sizes)


async def test_a_format_lets_others_have_their_turn_and_its_events_are_weighed_once() -> None:
    good = {"type": "build.finished", "data": {"a": [1, 2, 3]}}
    sizes: list[int] = []
    found = await Decoder().read(
        [None, good, None, ValueError("no"), *[good] * 998], now=0.0, size=100, grow=sizes.append
    )
    assert (len(found.events), [one.index for one in found.rejected]) == (999, [1])
    assert sizes == sorted(sizes)
    assert sizes[-1] == weigh(found.events, 100)


def test_data_of_a_cloudevent_that_is_too_large_are_not_decoded() -> None:
    headers = [(b"ce-specversion", b"1.0"), (b"ce-type", b"a.b"), (b"ce-source", b"/x"), (b"ce-id", b"7")]
    found = Decoder(max_event=1_000).binary(headers, "application/json", b"[" * 2_000, now=0.0)
    assert [(one.id, one.error) for one in found.rejected] == [
        ("7", "2000 bytes are too many; an event has at most 1000")
    ]


BRACKETS = "[[{," * 7_000
"""What a log may hold: as a text it is one value."""


@pytest.mark.parametrize("kind", ["application/json", "application/cloudevents+json"])
@pytest.mark.parametrize(
    "data",
    [
        "[" + ",".join(["[]"] * 20_000) + "]",
        "[" + ",".join(["[" * 900 + "]" * 900] * 40) + "]",
        "[" + ",".join(["1"] * 60_000) + "]",
        '[{"a' + '":[{"a' * 20_000,
    ],
)
async def test_what_holds_more_than_an_event_may_is_refused_before_it_is_decoded(data: str, kind: str) -> None:
    body = f'{{"specversion":"1.0","type":"a.b","id":"x","source":"/s","data":{{"d":{data}}}}}'.encode()
    found = await Decoder().decode(body, now=NOW, media=kind)
    (rejection,) = found.rejected
    assert rejection.error == "holds more than 10000 values; `data` of an event has at most so many"


async def test_brackets_in_texts_are_no_values() -> None:
    event = await one({"type": "a.b", "data": {"log": BRACKETS, 'a "key"': BRACKETS, "path": "C:\\", "more": BRACKETS}})
    assert event.data["more"] == BRACKETS and event.data["path"] == "C:\\"


@given(st.integers(0, 2), st.integers(0, 200))
async def test_ten_thousand_values_are_taken_however_they_are_written(shape: int, measures: int) -> None:
    shapes: list[object] = [[], {}, [1]]
    value = shapes[shape]
    count = 4_950 if shape == 2 else 9_900
    event = await one(
        {"type": "a.b", "measures": {f"m{n}": n for n in range(measures)}, "data": {"d": [value] * count}}
    )
    assert len(event.data["d"]) == count


async def test_events_of_one_request_that_name_no_time_happened_in_their_order() -> None:
    events = await decode([{"type": "a.b"}, {"type": "a.b", "time": 5}, {"type": "a.b"}])
    assert [round((event.time - NOW) * 1e6) for event in events if event.time != 5] == [0, 2]
