"""Whatever a client sends, or does not send: it costs only itself, it is told why, and others do not notice."""

import gzip
import json
import os
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import pytest
import zstandard
from anyio.abc import SocketStream

from bers import Context, Emit, Event, SourceSpec, Stage, Table
from bers.operations import Surface
from bers.stages import Config
from bers.testing.server import Server, serving
from bers_builtin.sinks.rest_store import read_windows

NUMBERS = count()
HEAD = "Host: localhost\r\nContent-Type: application/json\r\n"
DEEP = json.loads("[" * 40 + "]" * 40)


def event(**more: Any) -> dict[str, Any]:
    """One that was never there before."""
    return {"type": "hardening.measured", "id": f"h-{next(NUMBERS)}", "source": "/ci", **more}


class NoConfig(Config, frozen=True):
    """Nothing to configure."""


class Touchy(Stage[NoConfig]):
    def receive(self, event: Event, table: Table) -> Sequence[Event]:
        if event.labels.get("raise"):
            raise RuntimeError("I do not like it")
        return [event]


class Gauge(Stage[NoConfig]):
    """Measures something once, when it is told to."""

    def __init__(self, config: NoConfig, context: Context) -> None:
        super().__init__(config, context)
        self.go = anyio.Event()

    async def run(self, emit: Emit) -> None:
        await self.go.wait()
        await emit([self.context.event("gauge.measured", measures={"build_phase_time": 5000.0})])
        await anyio.sleep_forever()


GAUGE = SourceSpec("gauge", NoConfig, Gauge)
TOUCHY = SourceSpec("touchy", NoConfig, Touchy, claims=("touchy.*",))
TEXT = """
server: {headers_within: 500ms, idle_within: 700ms, max_connections: 32}
intake: {body_within: 60s, events_per_second: 100000}
sources: {touchy: {}}
"""


@pytest.fixture(scope="module")
async def server(home: Path) -> AsyncGenerator[Server]:
    async with serving(home, TEXT, specs=[("source", TOUCHY)]) as found:
        yield found


@pytest.fixture(scope="module")
async def impatient(home: Path) -> AsyncGenerator[Server]:
    """One that waits for a body for less than a large one may take on a busy machine."""
    text = TEXT.replace("body_within: 60s", "body_within: 500ms")
    async with serving(home / "impatient", text, specs=[("source", TOUCHY)]) as found:
        yield found


async def connect(server: Server, surface: Surface = "control") -> SocketStream:
    return await anyio.connect_tcp("127.0.0.1", server.node.ports[surface])


async def everything(stream: SocketStream, *, seconds: float = 30) -> str:
    """What a connection says until it is closed."""
    said = b""
    with anyio.fail_after(seconds):
        try:
            while True:
                said += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return said.decode()


async def ingest(server: Server, content: bytes, **headers: str) -> Any:
    return await server.post("ingest", content=content, headers={"Content-Type": "application/json", **headers})


def compressed(encoding: str, body: bytes) -> bytes:
    if encoding == "zstd":
        return zstandard.ZstdCompressor().compress(body)
    return gzip.compress(body) if encoding == "gzip" else body


# Bodies.


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "the body is not an event"),
        (b" \n ", 400, "the body is not an event"),
        (b"null", 400, "the body is not an event"),
        (b"NaN", 400, "the body is not an event"),
        (b"{} trailing", 422, "the event was not taken"),
        (b"[] trailing", 400, "the body is not JSON: JSON is malformed: trailing characters (byte 4)"),
        (b"[{]", 400, "the body is not JSON: JSON is malformed: expected '\"' (byte 2)"),
        ("[{}]".encode("utf-16"), 400, "the body is not UTF-8"),
        ("[{}]".encode("utf-16-le"), 400, "the body is not UTF-8"),
        ("[{}]".encode("utf-32"), 400, "the body is not UTF-8"),
        (b"\xef\xbb\xbf", 400, "the body is not an event"),
        (b"[" * 1_000_000, 400, "the body is not JSON: "),
        (b"[[[[]]]]", 422, "the event was not taken"),
        (b"[" + b"{}," * 10_000 + b"{}]", 413, "10001 events are too many"),
        (b"[" + b"{}," * 3_000_000 + b"{}]", 413, "more than 10000 events are too many"),
        (b"[" + b"0," * 5_000_000 + b"0]", 400, "the body is not JSON: Expected `object`, got `int` - at `$[0]`"),
        (b" " * (11 << 20), 413, "the body has more than 10485760 bytes"),
    ],
    ids=["empty", "blank", "null", "nan", "behind an object", "behind an array", "broken", "utf-16", "utf-16-le",
         "utf-32", "only a mark", "nested", "arrays", "10001", "three million", "five million numbers", "large"],
)  # fmt: skip
async def test_b11_a_body_that_cannot_be_read_is_4xx_and_says_why(
    body: bytes, status: int, message: str, server: Server
) -> None:
    reply = await ingest(server, body)
    assert reply.status_code == status, reply.text[:200]
    assert reply.json()["error"]["message"].startswith(message)


async def test_a_byte_order_mark_is_no_fault(server: Server) -> None:
    reply = await ingest(server, b"\xef\xbb\xbf" + json.dumps([event()]).encode())
    assert reply.status_code == 202


BAD: dict[str, Any] = {
    "type is a number": {"type": 5.5},
    "type is an object": {"type": {}},
    "id is an array": event(id=[]),
    "id is too long": event(id="x" * 257),
    "source is false": event(source=False),
    "time is a text": event(time="now"),
    "time is an array": event(time=[1]),
    "time is a huge number": event(time=10**30),
    "subject is an object": event(subject={}),
    "outcome is a number": event(outcome=[1]),
    "duration is a text": event(duration_ms="5"),
    "vcs is an array": event(vcs=[]),
    "vcs has a long text": event(vcs={"ref": "x" * 1025}),
    "vcs has a wild time": event(vcs={"committed_at": 1e300}),
    "run is a text": event(run="x"),
    "run has a huge number": event(run={"attempt": 1 << 70}),
    "measures are a text": event(measures="x"),
    "a measure is a text": event(measures={"a": "x"}),
    "a measure is null": event(measures={"a": None}),
    "labels are an array": event(labels=[]),
    "a label is an object": event(labels={"a": {}}),
    "weight is a text": event(weight="1"),
    "data is too deep": event(data={"a": DEEP}),
    "data has a huge number": event(data={"a": 1 << 64}),
    "data has many keys": event(data={f"k{n}": 1 for n in range(1001)}),
    "data has a long key": event(data={"k" * 257: 1}),
    "data has a long text": event(data={"k": "x" * 65_537}),
    "data has many values": event(data={"k": [0] * 10_001}),
    "an unknown field is too deep": event(extra=DEEP),
    "it is too large": event(data={f"k{n}": "x" * 60_000 for n in range(5)}),
    "it is a number": 5,
    "it is null": None,
    "it is an array": [[]],
}


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
@pytest.mark.parametrize("known", [False, True], ids=["slow way", "fast way"])
async def test_b11_each_bad_event_of_many_costs_only_itself(known: bool, encoding: str, server: Server) -> None:
    if known:
        await server.emit(event(measures={"a": 1}))
    for name, bad in BAD.items():
        good = [event(time=1_700_000_000) for _ in range(99)]
        reply = await ingest(
            server,
            compressed(encoding, json.dumps([*good[:40], bad, *good[40:]]).encode()),
            **{"Content-Encoding": encoding},
        )
        assert reply.status_code == 202, (name, reply.text[:300])
        receipt = reply.json()["data"]
        assert (receipt["accepted"], receipt["duplicates"]) == (99, 0), name
        (rejected,) = receipt["rejected"]
        assert rejected["index"] == 40 and 5 < len(rejected["error"]) <= 400, name
        said = bad.get("id") if isinstance(bad, dict) else None  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]
        assert rejected["id"] == (said[:256] if isinstance(said, str) else None), name


@pytest.mark.parametrize(
    "raw",
    [rb'"\ud800"', rb'"\u00"', b'"\xff"', b'"\x00"', b"01", b"1e999", b"NaN", b"Infinity", b"-", b"'x'", b"undefined"],
)
async def test_b11_a_value_that_is_no_json_costs_its_event_or_its_body_and_nothing_else(
    raw: bytes, server: Server
) -> None:
    good = json.dumps(event()).encode()
    reply = await ingest(server, b'[{"type": "a.b", "data": {"x": ' + raw + b"}}, " + good + b"]")
    if reply.status_code == 202:
        receipt = reply.json()["data"]
        assert receipt["accepted"] == 1 and len(receipt["rejected"]) == 1
    else:
        assert reply.status_code == 400 and reply.json()["error"]["message"].startswith("the body is not JSON")


async def test_odd_texts_and_keys_that_are_there_twice_are_kept_as_json_has_them(server: Server) -> None:
    odd = b'{"type":"a.b","id":"first-%d","id":"nul\\u0000-%d","data":{"x":"\\u0000\\ud83d\\ude00","y":1,"y":2}}'
    reply = await ingest(server, odd % (next(NUMBERS), next(NUMBERS)))
    assert (reply.status_code, reply.json()["data"]["accepted"]) == (202, 1)


async def test_an_event_that_its_source_cannot_read_is_kept_as_it_came(server: Server) -> None:
    events = [event(type="touchy.one", labels={"raise": "yes"} if n == 50 else {}) for n in range(100)]
    assert await server.emit(*events) == {"accepted": 100, "duplicates": 0, "rejected": []}
    edge = server.node.supervisor.counters.edge("source/touchy")
    assert (edge.errors, "I do not like it" in edge.last_error) == (1, True)


@pytest.mark.parametrize("encoding", ["gzip, gzip", "gzip,zstd", "br", "x" * 1000])
async def test_a_body_that_is_compressed_twice_or_in_another_way_is_415(encoding: str, server: Server) -> None:
    reply = await ingest(server, gzip.compress(gzip.compress(b"{}")), **{"Content-Encoding": encoding})
    assert (reply.status_code, reply.json()["error"]["code"]) == (415, "unsupported_encoding")


async def test_a_zstd_stream_that_asks_for_a_huge_window_is_400(server: Server) -> None:
    wide = zstandard.ZstdCompressionParameters(window_log=27)
    chunks = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    body = chunks.compress(json.dumps(event()).encode()) + chunks.flush()
    reply = await ingest(server, body, **{"Content-Encoding": "zstd"})
    assert reply.status_code == 400 and "too much memory" in reply.json()["error"]["message"]


# Slow clients, and many.


async def test_b11_headers_that_never_end_are_hung_up_on(server: Server) -> None:
    async with await connect(server) as stream:
        began = monotonic()
        await stream.send(b"POST /api/monitoring/ingest HTTP/1.1\r\n")
        for _ in range(100):
            try:
                await stream.send(b"X-A: b\r\n")
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                break
            await anyio.sleep(0.05)
        assert await everything(stream) == ""
        assert 0.4 <= monotonic() - began < 4


async def test_b11_a_connection_that_says_nothing_or_nothing_more_is_hung_up_on(server: Server) -> None:
    async with await connect(server) as silent, await connect(server) as idle, await connect(server) as empty:
        await idle.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        await empty.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n\r\n")
        assert await everything(silent) == ""
        assert (await everything(idle)).startswith("HTTP/1.1 200")
        assert (await everything(empty)).startswith("HTTP/1.1 200")


@pytest.mark.parametrize("path", ["ingest", "metrics/restart"])
@pytest.mark.parametrize("kind", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
async def test_b11_a_body_that_dribbles_is_408_and_the_connection_is_closed(
    path: str, kind: str, impatient: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bers.web.app.BODY_WITHIN", 0.5)
    async with await connect(impatient) as stream:
        await stream.send(f"POST /api/monitoring/{path} HTTP/1.1\r\n{HEAD}{kind}\r\n\r\n".encode())
        async with anyio.create_task_group() as group:

            async def dribble() -> None:
                try:
                    while True:
                        await stream.send(b"1\r\n{\r\n" if "chunked" in kind else b" ")
                        await anyio.sleep(0.05)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    pass

            group.start_soon(dribble)
            said = await everything(stream)
            assert said.startswith("HTTP/1.1 408") and "connection: close" in said.lower() and '"slow"' in said
            group.cancel_scope.cancel()


@pytest.mark.parametrize(
    "head",
    [b"X-Long: " + b"x" * 300_000, b"".join(b"X-%d: y\r\n" % n for n in range(40_000)), b"GET /" + b"x" * 300_000],
    ids=["one", "many", "path"],
)
async def test_headers_without_end_are_refused_before_they_fill_memory(head: bytes, server: Server) -> None:
    async with await connect(server) as stream:
        try:
            await stream.send(b"" if head.startswith(b"GET") else b"GET /livez HTTP/1.1\r\n")
            await stream.send(head)
        except anyio.BrokenResourceError:
            return
        said = await everything(stream)
        assert said.startswith("HTTP/1.1 431") or said == ""


async def test_requests_without_waiting_for_answers_are_not_kept_without_end(server: Server) -> None:
    async with await connect(server) as stream:
        await stream.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
        with anyio.fail_after(30):
            said = b""
            while said.count(b"HTTP/1.1 200") < 5:
                said += await stream.receive()
        await stream.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)
        assert (await everything(stream)).count("HTTP/1.1 200") < 2000


async def test_requests_that_are_none_leave_no_line_behind(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    async with await connect(server) as stream:
        await stream.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert (await stream.receive()).startswith(b"HTTP/1.1 200")
        await stream.send(b"what is this?\r\n\r\n")
        assert (await everything(stream)).startswith("HTTP/1.1 400")
    assert [one.getMessage() for one in caplog.records if one.name.startswith("uvicorn")] == []


async def test_b11_a_port_with_all_its_connections_says_so_and_the_others_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Whoever says nothing is not sent away before the others have been asked.
    text = "server: {headers_within: 60s, idle_within: 60s, max_connections: 32}"
    async with serving(tmp_path, text) as server:
        async with AsyncExitStack() as stack:
            for _ in range(28):
                await stack.enter_async_context(await connect(server))
            for _ in range(3):
                async with await connect(server) as one:
                    said = await everything(one)
                    assert said.startswith("HTTP/1.1 503") and "retry-after: 1" in said
            assert (await server.get("health", "health")).status_code == 200
            assert (await server.get("/livez", "metrics")).status_code == 200
        with anyio.fail_after(20):
            while (await server.get("/livez")).status_code != 200:
                pass


async def test_b11_a_refused_body_is_read_to_its_end_so_that_the_client_can_read_why(server: Server) -> None:
    async with await connect(server) as stream:
        size = 20 << 20
        await stream.send(f"POST /api/monitoring/ingest HTTP/1.1\r\n{HEAD}Content-Length: {size}\r\n\r\n".encode())
        for _ in range(size >> 16):
            await stream.send(b" " * 65536)
        await stream.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        said = await everything(stream)
    assert said.startswith("HTTP/1.1 413") and "HTTP/1.1 200" in said


async def test_whoever_may_not_send_is_not_asked_for_his_body(server: Server) -> None:
    async with await connect(server) as stream:
        head = (
            f"POST /api/monitoring/ingest HTTP/1.1\r\n{HEAD}Expect: 100-continue\r\nContent-Length: {20 << 20}\r\n\r\n"
        )
        await stream.send(head.encode())
        said = (await stream.receive()).decode()
    assert said.startswith("HTTP/1.1 413")


# Rates, labels and memory, of a whole server.


async def test_b11_a_sender_that_is_too_fast_is_429_until_its_bucket_is_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with serving(tmp_path, "intake: {events_per_second: 1}") as server:
        await server.emit(*[event() for _ in range(100)])
        reply = await server.post("ingest", [event()])
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "rate_limited")
        assert 60 <= int(reply.headers["retry-after"]) <= 100
        assert (await server.get("health")).status_code == 200
        text = (await server.get("/metrics")).text
        assert 'bers_intake_refused_total{reason="rate_limited"} 1\n' in text


async def test_b11_labels_without_end_make_no_series_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with serving(tmp_path, changes=[(("intake", "labels", "max_values"), 100)]) as server:
        for _ in range(20):
            await server.emit(
                *[
                    event(
                        type="build.measured",
                        subject=f"s{n}",
                        labels={"phase": f"p{n}"},
                        measures={"build_phase_time": 5},
                    )
                    for n in (next(NUMBERS) for _ in range(1000))
                ]
            )
        _, end = await server.node.supervisor.bus.span(0)
        with anyio.fail_after(60):
            while server.node.supervisor.pipelines["metrics"].position < end:
                await anyio.sleep(0.05)
        details = (await server.data("dashboard/status"))["details"]
        assert (details["intake"]["refused"], details["intake"]["folded"]) == ({}, {"phase": 19_910})
        (culprit,) = details["intake"]["culprits"]
        assert (culprit["metric"], culprit["label"], culprit["values"]) == ("build_phase_time", "phase", 19_910)
        text = (await server.get("/metrics")).text
        assert 'bers_intake_labels_folded_total{label="phase"} 19910\n' in text
        kept = tmp_path / ".bers" / "metrics.db"
    windows = [one for one in read_windows(kept) if one.metric == "build_phase_time"]
    assert len({one.labels for one in windows}) == 91, "the last tenth is for other emitters"
    assert sum(one.count for one in windows) == 20_000, "none of the figures is lost"


async def test_b11_a_node_short_of_memory_says_so_and_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bers.memory.PATIENCE", 0.1)
    monkeypatch.setattr("bers.memory.PAUSE", 60.0)  # However long the questions take that follow a refusal.
    held = 0
    monkeypatch.setattr("bers.memory._resident", lambda: (100 << 20) + held)  # What somebody holds, the process has.
    async with serving(tmp_path, changes=[(("intake", "memory"), "16GiB")]) as server:
        memory = server.node.supervisor.memory
        memory.account("somebody", lambda: held)
        assert memory.used < memory.budget
        held = 17 << 30
        reply = await server.post("ingest", [event()])
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "full")
        assert int(reply.headers["retry-after"]) >= 1
        assert (await server.get("/readyz")).status_code == 503
        assert (await server.get("/livez")).status_code == 200
        text = (await server.get("/metrics")).text
        assert f"bers_memory_budget_bytes {16 << 30}\n" in text
        assert f'bers_memory_used_bytes{{account="somebody"}} {held}\n' in text
        assert 'bers_intake_refused_total{reason="full"} 1\n' in text
        await server.node.supervisor.health.look_at_all()
        check = await server.data("health/metrics-collector")
        assert (check["status"], check["message"]) == ("degraded", "memory is short: some new events are refused")
        held = 0
        monkeypatch.setattr("bers.memory.PATIENCE", 10.0)
        assert await server.emit(event()) == {"accepted": 1, "duplicates": 0, "rejected": []}
        assert (await server.get("/readyz")).status_code == 503
        monkeypatch.setattr("bers.memory.PAUSE", 0.0)
        assert (await server.get("/readyz")).status_code == 200


async def test_an_alert_about_the_disk_is_told_while_the_journal_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write, full = os.write, False

    def guarded(file: int, data: bytes) -> int:
        if full:
            raise OSError(28, "No space left on device")
        return write(file, data)

    monkeypatch.setattr("bers.journal.os.write", guarded)
    rules = [{"name": "Disk", "metric": "build_phase_time", "above": "1s"}]
    changes: list[tuple[tuple[str, ...], Any]] = [
        (("sources", "gauge"), {}),
        (("sinks", "alert-engine", "rules"), rules),
    ]
    async with serving(tmp_path, changes=changes, specs=[("source", GAUGE)]) as server, server.events() as frames:
        full = True
        gauge = server.node.supervisor.running("gauge")
        assert isinstance(gauge, Gauge)
        gauge.go.set()
        with anyio.fail_after(30):
            while (frame := await anext(frames)).event != "alert_firing":
                pass
        assert "Disk" in json.dumps(frame.data)
        await server.until("alerts", lambda alerts: [one["rule"] for one in alerts] == ["Disk"])
        reply = await server.post("ingest", [event()])
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "unavailable")
        assert (await server.get("/readyz")).status_code == 503
        await server.node.supervisor.health.look_at_all()
        assert "cannot be written" in (await server.client.get(server.url("health/metrics-collector"))).text
        full = False
        with anyio.fail_after(30):
            while (await server.get("/readyz")).status_code != 200:
                pass
        assert await server.emit(event()) == {"accepted": 1, "duplicates": 0, "rejected": []}
        with anyio.fail_after(30):
            while await server.node.supervisor.state.run(_unsent):
                pass


def _unsent(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM alert_outbox").fetchone()[0])
