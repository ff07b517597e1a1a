"""Over HTTP: three surfaces, one envelope, clear refusals, and streams that begin at once."""

import gzip
import json
import re
import zlib
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import httpx2
import msgspec
import openapi_spec_validator
import pytest
import zstandard

from bers.operations import Surface
from bers.redaction import Redactor
from bers.testing.server import Server, serving
from bers.web.descriptions import Descriptions

SURFACES: tuple[Surface, ...] = ("health", "metrics", "control")
READING: tuple[Surface, ...] = ("health", "metrics")
NUMBERS = count()


def event(**more: Any) -> dict[str, Any]:
    """One that was never there before."""
    return {"type": "build-completed", "id": f"b-{next(NUMBERS)}", "source": "/ci", **more}


@pytest.fixture(scope="module")
async def server(home: Path) -> AsyncGenerator[Server]:
    """One for all tests of this file: none of them may count on being the first."""
    small = [(("intake", "max_body"), "64KiB"), (("intake", "max_inflated"), "128KiB"), (("intake", "max_events"), 50)]
    async with serving(home, changes=small) as found:
        yield found


def error(reply: Any, status: int) -> dict[str, Any]:
    """The error of an answer, which has the one envelope."""
    body = reply.json()
    assert reply.status_code == status, body
    assert set(body) == {"success", "error", "timestamp", "requestId"}
    assert body["success"] is False
    assert reply.headers["x-request-id"] == body["requestId"]
    return dict(body["error"])


async def test_a_success_has_the_one_envelope(server: Server) -> None:
    reply = await server.get("health")
    body = reply.json()
    assert set(body) == {"success", "data", "timestamp", "requestId"}
    assert (body["success"], type(body["timestamp"])) == (True, int)
    assert abs(body["timestamp"] - body["data"]["timestamp"]) < 5000
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-request-id"] == body["requestId"]


async def test_each_surface_answers_its_own_and_hints_at_the_right_port(server: Server) -> None:
    ports = server.node.ports
    own: dict[Surface, list[str]] = {
        "health": ["health"],
        "metrics": ["metrics"],
        "control": ["alerts", "dashboard/status"],
    }
    for surface, paths in own.items():
        for path in paths:
            assert (await server.get(path, "control")).status_code in (200, 503)
            assert (await server.get(path, surface)).status_code in (200, 503)
            others: list[Surface] = [one for one in READING if one != surface]
            for other in others:
                found = error(await server.get(path, other), 404)
                own_port, control = ports[surface], ports["control"]
                own_first = f"{own_port} ({surface}) and on " if surface != "control" else ""
                assert found["hint"] == f"it is answered on port {own_first}{control} (everything)"


async def test_nothing_is_written_on_the_surfaces_for_reading(server: Server) -> None:
    for surface in READING:
        for path in ("metrics/restart", "health/circuit-breakers/reset", "ingest"):
            found = error(await server.post(path, {}, surface), 404)
            assert found["hint"] == f"it is answered on port {server.node.ports['control']} (everything)"


async def test_a_path_that_nobody_has_is_not_found(server: Server) -> None:
    for surface in SURFACES:
        found = error(await server.get("/nowhere", surface), 404)
        assert found == {
            "code": "not_found",
            "message": "nothing is answered at /nowhere on this port",
            "hint": "GET /openapi.json lists what is answered here",
        }


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "metrics/restart", "POST"),
        ("PUT", "ingest", "GET, HEAD, POST"),
        ("POST", "health", "GET, HEAD"),
        ("PUT", "health", "GET, HEAD"),
        ("POST", "/metrics", "GET, HEAD"),
        ("DELETE", "/openapi.json", "GET, HEAD"),
        ("OPTIONS", "alerts", "GET, HEAD"),
    ],
)
async def test_another_method_is_405_with_those_that_are_allowed(
    method: str, path: str, allow: str, server: Server
) -> None:
    reply = await server.client.request(method, server.url(path))
    assert error(reply, 405)["code"] == "method_not_allowed"
    assert reply.headers["allow"] == allow


async def test_head_has_the_headers_of_get_and_no_body(server: Server) -> None:
    for path in ("health", "/openapi.json", "/metrics", "/nowhere"):
        head, get = await server.client.head(server.url(path)), await server.get(path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers["content-type"] == get.headers["content-type"]


async def test_a_trailing_slash_is_no_difference(server: Server) -> None:
    assert (await server.get("health/")).status_code == (await server.get("health")).status_code


async def test_livez_and_readyz_say_nothing_on_every_port(server: Server) -> None:
    for surface in SURFACES:
        for path in ("/livez", "/readyz"):
            reply = await server.get(path, surface)
            assert (reply.status_code, reply.content) == (200, b"")


async def test_a_check_nobody_knows_is_404_with_those_there_are(server: Server) -> None:
    found = error(await server.get("health/metrics-colector", "health"), 404)
    assert "metrics-collector" in found["known"]
    assert found["message"].startswith("unknown check 'metrics-colector'; did you mean 'metrics-collector'? Known: ")


async def test_a_request_that_does_not_fit_is_422_with_the_field(server: Server) -> None:
    found = error(await server.get("audit?limit=many"), 422)
    assert found["details"] == [{"path": "limit", "message": "Expected `int`, got `str`"}]
    assert error(await server.get("health?colour=red"), 422)["details"][0]["path"] == "colour"


@pytest.mark.parametrize(
    ("content", "media", "status", "code"),
    [
        (b"a=1", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"x", None, 415, "unsupported_media_type"),
        (b"{", "application/json", 400, "bad_request"),
        (b"[]", "application/json", 400, "bad_request"),
        (b"[" * 60_000, "application/json", 400, "bad_request"),
        (b'{"a": 1}', "application/json; charset=utf-8", 422, "invalid"),
        (b" " * 70_000, "application/json", 413, "too_large"),
    ],
)
async def test_the_body_of_a_command_is_refused_for_what_is_wrong_with_it(
    content: bytes, media: str | None, status: int, code: str, server: Server
) -> None:
    headers = {"Content-Type": media} if media else {}
    reply = await server.post("metrics/restart", content=content, headers=headers)
    assert error(reply, status)["code"] == code


async def test_a_command_without_a_body_is_done_and_written_down(server: Server) -> None:
    reply = await server.post("metrics/restart")
    assert reply.status_code == 200
    assert "host" in reply.json()["data"]["restarted"]
    await server.post("metrics/restart", {"a": 1})
    entries = await server.data("audit?limit=2")
    assert [(one["action"], one["outcome"], one["address"]) for one in entries] == [
        ("POST /api/monitoring/metrics/restart", "invalid", "127.0.0.1"),
        ("POST /api/monitoring/metrics/restart", "done", "127.0.0.1"),
    ]


@pytest.mark.parametrize(
    "media",
    [None, "application/json", "Application/JSON; charset=utf-8", "application/x-www-form-urlencoded"],
)
async def test_events_are_taken_in_every_content_type_that_holds_json(media: str | None, server: Server) -> None:
    headers = {"Content-Type": media} if media else {}
    reply = await server.post("ingest", content=json.dumps([event()]).encode(), headers=headers)
    assert reply.status_code == 202, reply.text
    assert reply.json()["data"] == {"accepted": 1, "duplicates": 0, "rejected": []}


async def test_another_content_type_or_encoding_is_415_with_what_is_understood(server: Server) -> None:
    body = json.dumps(event()).encode()
    found = error(await server.post("ingest", content=body, headers={"Content-Type": "text/xml"}), 415)
    assert "application/json" in found["known"]
    found = error(await server.post("ingest", content=body, headers={"Content-Encoding": "br"}), 415)
    assert found["known"] == ["deflate", "gzip", "zstd"]


async def test_what_is_right_is_taken_and_what_is_wrong_is_named(server: Server) -> None:
    first, second = event(), event()
    receipt = await server.emit(first, {"id": "x"}, first, second)
    assert receipt == {
        "accepted": 2,
        "duplicates": 1,
        "rejected": [{"index": 1, "id": "x", "error": "type: is missing; every event names it"}],
    }
    found = error(await server.post("ingest", [{}, {"type": "!"}]), 422)
    assert [one["path"] for one in found["details"]] == ["[0]", "[1]"]


ENCODINGS = ("gzip", "deflate", "zstd")


def compress(encoding: str, body: bytes) -> bytes:
    if encoding == "zstd":
        return zstandard.ZstdCompressor().compress(body)
    return gzip.compress(body) if encoding == "gzip" else zlib.compress(body)


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_compressed_body_is_taken_and_a_bomb_is_not(encoding: str, server: Server) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    whole = compress(encoding, json.dumps([event()]).encode())
    assert (await server.post("ingest", content=whole, headers=headers)).status_code == 202
    bomb = compress(encoding, b" " * (50 << 20))
    assert len(bomb) < 65536
    found = error(await server.post("ingest", content=bomb, headers=headers), 413)
    assert found["message"] == "the decompressed body has more than 131072 bytes"
    for broken in (b"this is not compressed", whole[:-9]):
        assert error(await server.post("ingest", content=broken, headers=headers), 400)["code"] == "bad_request"


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_body_of_two_compressed_pieces_is_taken_whole_or_refused(encoding: str, server: Server) -> None:
    content = compress(encoding, b'[{"type": "a.b"}]') + compress(encoding, b" " * 10)
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    reply = await server.post("ingest", content=content, headers=headers)
    if encoding == "zstd":
        assert reply.status_code == 202
    else:
        assert error(reply, 400)["message"] == f"the body is not {encoding}: there is more behind its end"


async def test_a_body_that_is_not_utf_8_is_refused(server: Server) -> None:
    headers = {"Content-Type": "application/json"}
    for path, status in (("ingest", 422), ("alerts/x/acknowledge", 400)):
        reply = await server.post(path, content=b'{"\xffype": "a.b"}', headers=headers)
        assert "'utf-8' codec can't decode byte 0xff" in str(error(reply, status))


@pytest.mark.parametrize("digits", [20, 400, 5000])
async def test_a_number_of_many_digits_is_no_time(digits: int, server: Server) -> None:
    for query in ("metrics/build_performance?to=", "metrics/build_performance?from=", "records?since=", "audit?limit="):
        assert error(await server.get(query + "9" * digits), 422)["code"] == "invalid"


async def test_a_body_that_is_too_large_is_413_and_names_the_limit(server: Server) -> None:
    async def slowly() -> AsyncGenerator[bytes]:
        for _ in range(100):
            yield b" " * 1024

    for content in (b" " * 70_000, slowly()):
        found = error(await server.post("ingest", content=content), 413)
        assert found["message"] == "the body has more than 65536 bytes"


async def test_too_many_events_at_once_are_413(server: Server) -> None:
    found = error(await server.post("ingest", [event()] * 51), 413)
    assert (found["message"], found["hint"]) == ("51 events are too many", "send at most 50 at once")


async def test_a_dry_run_shows_what_would_be_kept_and_keeps_nothing(server: Server) -> None:
    new = event()
    reply = await server.post("ingest?dry_run=1", [new, {}])
    assert reply.status_code == 200
    (shown,) = reply.json()["data"]["events"]
    assert (shown["type"], shown["outcome"], shown["id"]) == ("build.finished", "success", new["id"])
    assert len(reply.json()["data"]["rejected"]) == 1
    assert await server.emit(new) == {"accepted": 1, "duplicates": 0, "rejected": []}


async def test_a_full_journal_is_429_and_nothing_was_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with serving(tmp_path, changes=[(("intake", "journal", "max_bytes"), "20kB")]) as server:
        text = {"text": "x" * 1000}
        with anyio.fail_after(30):
            while (reply := await server.post("ingest", [event(data=text)])).status_code == 202:
                pass
        assert error(reply, 429)["hint"] == "nothing was kept; send it again"
        assert int(reply.headers["retry-after"]) >= 1
        assert (await server.get("/readyz")).status_code == 503
        assert (await server.get("/livez")).status_code == 200


async def test_the_description_of_each_surface_is_valid_and_lists_its_own_routes(server: Server) -> None:
    listed: dict[str, set[tuple[str, str]]] = {}
    for surface in SURFACES:
        document = (await server.get("/openapi.json", surface)).json()
        openapi_spec_validator.validate(document)
        listed[surface] = {(method, path) for path, methods in document["paths"].items() for method in methods}
        names = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
        assert len(names) == len(set(names))
    assert {method for method, _ in listed["health"] | listed["metrics"]} == {"get"}
    assert listed["health"] | listed["metrics"] < listed["control"]
    assert not listed["health"] & listed["metrics"]
    assert ("post", "/api/monitoring/ingest") in listed["control"]


async def test_a_description_is_made_once_and_masked_again_only_when_there_is_more_to_mask(server: Server) -> None:
    node = server.node.supervisor
    descriptions = Descriptions(node.directory.routes, [], redactor := Redactor())
    made = await descriptions.of("control", closed=True)
    assert await descriptions.of("control", closed=True) is made
    assert b'"/api/monitoring/alerts"' in made
    assert {} in msgspec.json.decode(await descriptions.of("control", closed=False))["security"]
    redactor.learn(Redactor(["/api/monitoring/alerts/stats"]))
    again = await descriptions.of("control", closed=True)
    assert b"/api/monitoring/alerts/stats" in made and b"/api/monitoring/alerts/stats" not in again


async def test_what_is_described_without_parameters_is_answered(server: Server) -> None:
    document = (await server.get("/openapi.json")).json()
    for path, methods in document["paths"].items():
        streams = any(media in str(methods) for media in ("text/event-stream", "application/x-ndjson"))
        if "get" in methods and "{" not in path and not streams:
            required = [one for one in methods["get"]["parameters"] if one["required"]]
            reply = await server.get(path)
            assert reply.status_code == 422 if required else reply.status_code in (200, 503), (path, reply.text)


SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\n"])*",?)*\})? (-?[0-9.e+-]+|NaN)')


async def test_metrics_can_be_read_by_prometheus(server: Server) -> None:
    await server.emit(event(duration=4200))
    await server.until("metrics/build_performance", lambda data: data["current"] == 4200)
    for surface in ("metrics", "control"):
        reply = await server.get("/metrics", surface)
        assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        typed: set[str] = set()
        for line in reply.text.removesuffix("\n").split("\n"):
            if line.startswith("# TYPE "):
                name = line.split()[2]
                assert name not in typed, f"{name} is described twice"
                typed.add(name)
            elif not line.startswith("# HELP "):
                sample = SAMPLE.fullmatch(line)
                assert sample, line
                assert re.sub("_(sum|count)$", "", sample[1]) in typed
        assert "\nbers_build_performance_seconds 4.2\n" in reply.text
        assert "\nbers_build_performance_samples_seconds_sum 4.2\n" in reply.text
        assert '\nbers_stage_state{stage="host",state="ok"} 1\n' in reply.text
    found = error(await server.get("/metrics", "health"), 404)
    assert found["code"] == "not_found"


async def test_a_stream_begins_at_once_and_its_clients_are_counted(server: Server) -> None:
    assert (await server.data("dashboard/status"))["server"]["sseClients"] == 0
    took = 1.0
    with anyio.fail_after(30):
        while took > 0.2:  # One is not held up by what else the machine does.
            async with server.client.stream("GET", server.url("events")) as reply:
                began = monotonic()
                await anext(reply.aiter_raw())
                took = monotonic() - began
    await server.until("dashboard/status", lambda data: data["server"]["sseClients"] == 0)
    async with server.client.stream("GET", server.url("events")) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["x-accel-buffering"] == "no"
        assert "content-length" not in reply.headers
        await server.until("dashboard/status", lambda data: data["server"]["sseClients"] == 1)
    await server.until("dashboard/status", lambda data: data["server"]["sseClients"] == 0)


async def test_head_of_a_stream_ends(server: Server) -> None:
    with anyio.fail_after(30):
        reply = await server.client.head(server.url("events"))
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/event-stream")
    await server.until("dashboard/status", lambda data: data["server"]["sseClients"] == 0)


async def test_a_stream_ends_with_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with httpx2.AsyncClient(timeout=30) as client, AsyncExitStack() as streams:
        async with serving(tmp_path) as server:
            reply = await streams.enter_async_context(client.stream("GET", server.url("events")))
            pieces = reply.aiter_raw()
            await anext(pieces)
        with anyio.fail_after(30):  # It ended with the server, and not with an error.
            async for _ in pieces:
                pass


async def test_a_stage_that_is_not_declared_is_503_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with serving(tmp_path, "sources: {build: {}}") as server:
        found = error(await server.get("alerts"), 503)
        assert found == {
            "code": "unavailable",
            "message": "'alert-engine' is not running",
            "hint": "declare 'alert-engine' in pipelines.yaml, or see `bers status` for why it does not run",
        }
        status = await server.data("dashboard/status")
        assert status["components"]["alertSystem"] is False
        assert (await server.data("health"))["overallStatus"] == "healthy"
        text = (await server.get("/metrics")).text
        assert "bers_uptime_seconds" in text


async def test_a_name_with_quotes_does_not_spoil_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with serving(tmp_path, "sources: {'a\"b\\c': {use: build}}") as server:
        lines = (await server.get("/metrics")).text.removesuffix("\n").split("\n")
        assert all(line.startswith("#") or SAMPLE.fullmatch(line) for line in lines)
        assert 'bers_stage_restarts_total{stage="a\\"b\\\\c"} 0' in lines


async def test_answers_are_json_that_others_can_read(server: Server) -> None:
    await server.emit(event())
    for path in ("health", "dashboard/status", "metrics", "alerts", "audit"):
        body = (await server.get(path)).content
        assert msgspec.json.decode(body)["success"] is True  # Stricter than json: it knows no NaN.


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.example"}, {"Origin": "null"}],
    ids=["fetch", "origin", "null"],
)
async def test_a_page_of_another_site_may_write_nothing(headers: dict[str, str], server: Server) -> None:
    for path in ("ingest", "metrics/restart"):
        reply = await server.client.post(server.url(path), headers=headers)
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "forbidden")
    own = {"Origin": server.url("/").rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert (await server.client.post(server.url("metrics/clear-cache"), headers=own)).status_code == 200
