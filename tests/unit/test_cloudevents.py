"""CloudEvents 1.0 to the letter: three modes over HTTP, headers unescaped, nothing guessed."""

import base64
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bers import Event, Refused
from bers.decoding import MEDIA, Decoder
from bers.decoding.cloudevents import BATCH, STRUCTURED, unescaped
from bers.testing.server import Server, serving
from tests.unit.test_web import error

NOW = 1_700_000_000.0
NUMBERS = count()


def attributes(**more: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": f"c-{next(NUMBERS)}", "source": "/ci", "type": "build.finished", **more}


async def read(document: Any, media: str = STRUCTURED) -> Event:
    found = await Decoder().decode(json.dumps(document).encode(), now=NOW, media=media)
    assert not found.rejected, found.rejected
    (event,) = found.events
    return event


async def why(document: Any, media: str = STRUCTURED) -> str:
    (rejection,) = (await Decoder().decode(json.dumps(document).encode(), now=NOW, media=media)).rejected
    return rejection.error


def binary(body: bytes = b"", content_type: str = "", **headers: str | bytes) -> Event:
    """The event of a request with these headers, ``ce-`` before each."""
    found = Decoder().binary(raw(headers), content_type, body, now=NOW)
    assert not found.rejected, found.rejected
    (event,) = found.events
    return event


def raw(headers: Mapping[str, str | bytes]) -> list[tuple[bytes, bytes]]:
    return [
        (f"ce-{name}".encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in headers.items()
    ]


# JSON.


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        ("text", {"data": "text"}),
        ('{"outcome": "failure"}', {"data": '{"outcome": "failure"}'}),  # A text is a text.
        (42, {"data": 42}),
        ([1, {"a": 2}], {"data": [1, {"a": 2}]}),
        (None, {}),
    ],
)
async def test_data_that_are_no_object_are_kept_as_they_are(data: Any, kept: Any) -> None:
    event = await read(attributes(data=data))
    assert (event.data, event.outcome) == (kept, None)


async def test_data_in_base64_are_json_where_that_is_what_they_are_and_else_kept() -> None:
    encoded = base64.b64encode(b'{"outcome": "failure"}').decode()
    assert (await read(attributes(data_base64=encoded, datacontenttype="application/json"))).outcome == "failure"
    assert (await read(attributes(data_base64=encoded))).outcome == "failure"
    png = base64.b64encode(b"\x89PNG").decode()
    kept = {"data_base64": png, "datacontenttype": "image/png"}
    assert (await read(attributes(**kept))).data == kept
    assert (await read(attributes(data_base64=png))).data == {"data_base64": png}


async def test_null_is_the_same_as_not_said_and_extensions_are_kept() -> None:
    event = await read(
        attributes(
            subject=None, time=None, datacontenttype=None, data=None, data_base64=None, dataschema=None,
            mine="x", number=7, truth=True, traceparent="00-1", correlationid="chain-1", causationid="before-1",
        )
    )  # fmt: skip
    assert (event.subject, event.time, event.traceparent, event.chain) == ("", NOW, "00-1", "chain-1")
    assert event.data == {"mine": "x", "number": 7, "truth": True, "cause": "before-1"}


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"specversion": None}, "specversion: is missing; a CloudEvent says '1.0'"),
        ({"specversion": "0.3"}, "specversion: '0.3' is not supported; send CloudEvents 1.0"),
        ({"specversion": 1.0}, "specversion: '1.0' is not supported; send CloudEvents 1.0"),
        ({"id": ""}, "id: is missing; every event names it"),
        ({"id": 7}, "id: expected text"),
        ({"source": None}, "source: is missing; every event names it"),
        ({"time": 1_700_000_000}, "time: expected text"),
        ({"time": "2023-11-14"}, "time: '2023-11-14' is not a time with a zone; write it as in '2026-11-23T08:00:00Z'"),
        ({"data": 1, "data_base64": "MQ=="}, "data_base64: must not be there beside data; send one of them"),
        ({"data_base64": "?"}, "data_base64: is no base64"),
        ({"data_base64": "ew==", "datacontenttype": "text/json"},
         "data_base64: is not JSON: Input data was truncated"),
    ],
)  # fmt: skip
async def test_what_is_no_cloudevent_says_why(more: Any, error: str) -> None:
    if more.get("specversion", "") is not None:
        assert await why(attributes(**more), "application/json") == error  # It says itself that it is one.
    assert await why(attributes(**more)) == error


async def test_a_batch_may_be_empty_and_what_is_wrong_in_it_costs_only_itself() -> None:
    decoder = Decoder()
    assert not (await decoder.decode(b"[]", now=NOW, media=BATCH)).events
    body = json.dumps([attributes(id="1"), {"type": "build.finished"}, attributes(id="3")]).encode()
    found = await decoder.decode(body, now=NOW, media=BATCH)
    assert ([one.id for one in found.events], [one.index for one in found.rejected]) == (["1", "3"], [1])


async def test_a_content_type_says_whether_there_is_one_event_or_are_several() -> None:
    for media, document, other in ((STRUCTURED, [attributes()], BATCH), (BATCH, attributes(), STRUCTURED)):
        with pytest.raises(Refused) as info:
            await Decoder().decode(json.dumps(document).encode(), now=NOW, media=media)
        assert (info.value.reason, info.value.hint) == ("bad_request", f"send it as {other}")


# Headers.


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        (b"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        (b"%e2%82%ac", "€"),
        (b"%41", "A"),
        (b"100%25", "100%"),
        (b"%2541", "%41"),  # Once, and not twice.
        (b"100%", "100%"),
        (b"%zz", "%zz"),
        (b'"quoted text"', "quoted text"),
        (rb'"a \"b\" \\ c"', 'a "b" \\ c'),
        (b'"%20"', " "),
        (b'""', ""),
        ("€".encode(), "€"),
        (b'"open', '"open'),
    ],
)
def test_a_header_is_unescaped_then_percent_decoded_once(value: bytes, text: str) -> None:
    assert unescaped(value) == text


@pytest.mark.parametrize("value", [b"%C0%A0", b"%ff", b"%ED%A0%80", b"\xff", b"%E2%82", b'"%C0%A0"'])
def test_what_is_not_utf_8_is_refused(value: bytes) -> None:
    with pytest.raises(Refused, match=r"^ce-subject: is not UTF-8 once it is percent-decoded$") as info:
        binary(**attributes(subject=value))
    assert info.value.reason == "bad_request"


@given(st.text())
def test_any_text_comes_through_a_header(text: str) -> None:
    safe = "".join(chr(one) for one in range(0x21, 0x7F) if chr(one) not in '"%')
    assert unescaped(quote(text, safe=safe).encode()) == text


@given(st.text(), st.sampled_from(["encode", "quote", "both"]))
def test_it_does_not_matter_how_a_sender_writes_a_text(text: str, way: str) -> None:
    written = text.replace("%", "%25") if way != "encode" else quote(text, safe="")
    if way != "encode":
        written = '"' + written.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if way == "both":
        written = "".join(one if one.isascii() else quote(one) for one in written)
    assert unescaped(written.encode()) == text


@given(st.binary())
def test_any_bytes_are_text_or_refused(value: bytes) -> None:
    with suppress(UnicodeDecodeError):
        assert unescaped(value).encode().decode() == unescaped(value)


def test_attributes_are_headers_and_the_body_is_the_data() -> None:
    event = binary(
        b'{"outcome": "failure", "durationMs": 5, "colour": "red"}', "application/json; charset=utf-8",
        **attributes(id="b-1", subject="build%2F7", time="2023-11-14T22:13:20Z", traceparent="00-1", mine='"a b"'),
    )  # fmt: skip
    assert (event.id, event.source, event.type, event.subject, event.time) == (
        "b-1", "/ci", "build.finished", "build/7", 1.7e9,
    )  # fmt: skip
    assert (event.outcome, event.duration_ms, event.traceparent) == ("failure", 5.0, "00-1")
    assert event.data == {"colour": "red", "mine": "a b"}


@pytest.mark.parametrize(
    ("body", "media", "kept"),
    [
        (b"", "", {}),
        (b"null", "application/json", {}),
        (b'"a"', "application/vnd.acme+json", {"data": "a"}),
        ("grün".encode(), "text/plain", {"data": "grün", "datacontenttype": "text/plain"}),
        (b"\xff", "text/plain", {"data_base64": "/w==", "datacontenttype": "text/plain"}),
        (b"<a/>", "application/xml", {"data_base64": "PGEvPg==", "datacontenttype": "application/xml"}),
        (b'{"outcome": "failure"}', "text/plain",
         {"data": '{"outcome": "failure"}', "datacontenttype": "text/plain"}),
    ],
)  # fmt: skip
def test_data_of_every_kind_are_kept(body: bytes, media: str, kept: Any) -> None:
    event = binary(body, media, **attributes())
    assert (event.data, event.outcome) == (kept, None)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"datacontenttype": "text/plain"},
         "ce-datacontenttype: must not be there; Content-Type says what the data are"),
        ({"data": "x"}, "ce-data: cannot be an attribute; the body is the data"),
    ],
)  # fmt: skip
def test_a_header_that_must_not_be_there_is_refused(headers: Any, message: str) -> None:
    with pytest.raises(Refused) as info:
        binary(**attributes(**headers))
    assert str(info.value) == message


def test_a_header_that_is_there_twice_is_refused() -> None:
    with pytest.raises(Refused, match=r"^ce-id: is there twice$"):
        Decoder().binary([*raw(attributes(id="1")), (b"CE-ID", b"2")], "", b"", now=NOW)


# Over HTTP.


@pytest.fixture(scope="module")
async def server(home: Path) -> AsyncGenerator[Server]:
    small = [(("intake", "max_body"), "64KiB"), (("intake", "max_event"), "10KiB")]
    async with serving(home, changes=small) as found:
        yield found


def in_headers(fields: Mapping[str, Any]) -> dict[str, str]:
    return {f"ce-{name}": str(value) for name, value in fields.items()}


async def test_an_event_is_the_same_in_every_mode_and_taken_once(server: Server) -> None:
    fields = attributes(subject="b-1", time="2026-11-23T08:00:00Z")
    data = {"outcome": "success", "durationMs": 321}
    whole = fields | {"data": data}
    ways: list[tuple[dict[str, str], bytes]] = [
        ({"Content-Type": "application/json", **in_headers(fields)}, json.dumps(data).encode()),
        ({"Content-Type": f"{STRUCTURED}; charset=UTF-8"}, json.dumps(whole).encode()),
        ({"Content-Type": BATCH}, json.dumps([whole]).encode()),
        ({"Content-Type": "application/json"}, json.dumps(whole).encode()),
    ]
    shown = [
        (await server.post("ingest?dry_run=1", content=body, headers=headers)).json()["data"]["events"]
        for headers, body in ways
    ]
    assert all(one == shown[0] for one in shown)
    receipts = [(await server.post("ingest", content=body, headers=headers)).json()["data"] for headers, body in ways]
    assert [(one["accepted"], one["duplicates"]) for one in receipts] == [(1, 0), (0, 1), (0, 1), (0, 1)]


async def test_a_binary_event_may_be_of_any_content_type_and_others_may_not(server: Server) -> None:
    headers = {"Content-Type": "image/png", **in_headers(attributes())}
    assert (await server.post("ingest", content=b"\x89PNG", headers=headers)).status_code == 202
    for media in ("image/png", "application/cloudevents+xml", "application/cloudevents+avro"):
        lone = {"Content-Type": media, **(in_headers(attributes()) if "cloudevents" in media else {})}
        found = error(await server.post("ingest", content=b"\x89PNG", headers=lone), 415)
        assert found["known"] == sorted(MEDIA)


async def test_a_binary_event_without_a_version_is_no_plain_event(server: Server) -> None:
    headers = {"Content-Type": "application/json", "ce-type": "a.b", "ce-id": "1", "ce-source": "/ci"}
    found = error(await server.post("ingest", content=b'{"type": "a.b"}', headers=headers), 422)
    assert found["details"] == [{"path": "[0]", "message": "specversion: is missing; a CloudEvent says '1.0'"}]


async def test_too_large_an_event_is_named_and_too_large_a_body_is_413(server: Server) -> None:
    headers = {"Content-Type": "text/plain", **in_headers(attributes(id="big"))}
    found = error(await server.post("ingest", content=b"x" * 11_000, headers=headers), 422)
    assert found["details"][0]["message"] == "11000 bytes are too many; an event has at most 10240"
    found = error(await server.post("ingest", content=b"x" * 70_000, headers=headers), 413)
    assert found["message"] == "the body has more than 65536 bytes"


async def test_a_sender_that_asks_whether_it_is_expected_is_told_so(server: Server) -> None:
    asked = {"WebHook-Request-Origin": "events.example.com", "WebHook-Request-Rate": "120"}
    reply = await server.client.request("OPTIONS", server.url("ingest"), headers=asked)
    assert (reply.status_code, reply.content) == (200, b"")
    assert "POST" in reply.headers["allow"]
    assert reply.headers["webhook-allowed-origin"] == "events.example.com"
    assert reply.headers["webhook-allowed-rate"] == "*"
    for path, status in (("ingest", 405), ("alerts", 405)):  # It did not ask, or not here.
        headers = asked if path == "alerts" else {}
        reply = await server.client.request("OPTIONS", server.url(path), headers=headers)
        assert (reply.status_code, "webhook-allowed-origin" in reply.headers) == (status, False)


async def test_a_sender_is_told_how_fast_it_may_be(home: Path) -> None:
    async with serving(home / "slow", changes=[(("intake", "events_per_second"), 2)]) as server:
        asked = {"WebHook-Request-Origin": "events.example.com"}
        reply = await server.client.request("OPTIONS", server.url("ingest"), headers=asked)
        assert reply.headers["webhook-allowed-rate"] == "120"


async def test_what_is_in_headers_is_masked_as_what_is_in_a_body_is(server: Server) -> None:
    word = "ghp_" + "a1" * 20
    headers = {"ce-specversion": "1.0", "ce-type": "custom.masked", "ce-id": f"id {word}", "ce-source": f"/{word}",
               "ce-subject": "someone@people.example", "ce-note": word}  # fmt: skip
    assert (await server.post("ingest", content=b"{}", headers=headers)).status_code == 202
    (event,) = await server.until("records?type=custom.masked", lambda found: found)
    assert word not in str(event)
    assert "someone@" not in str(event)
