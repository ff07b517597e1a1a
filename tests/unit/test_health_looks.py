"""What a check of one's own finds: at addresses, ports, programs and metrics that are really there, or really not."""

import gzip
import socket
import ssl
import sys
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import anyio
import msgspec
import pytest
from anyio.abc import SocketAttribute

from bers import Clock, Finding, Metric, Secret, SystemClock
from bers.health.command import MAX_LINE, Command
from bers.health.connectivity import Connectivity
from bers.health.http import Http
from bers.health.kinds import CommandCheck, HttpCheck, MetricCheck, TcpCheck
from bers.health.metric import MetricLook
from bers.health.settings import ConnectivitySettings
from bers.health.tcp import Tcp
from bers.health.watch import NoAnswer
from bers.schemas import decode
from bers.testing import VirtualClock
from tests.unit.certificates import Pair, made, needs_openssl

ANSWER = b'{"status": "up", "db": {"ok": true}, "version": 1}'


class Web(BaseHTTPRequestHandler):
    """Answers by the path: a status code, slowly, at length, or with what it was sent."""

    def do_GET(self) -> None:
        code, body, packed = 200, ANSWER, False
        match self.path.partition("?")[0].split("/")[1:]:
            case ["status", number]:
                code = int(number)
            case ["slow"]:
                time.sleep(0.2)
            case ["long"]:
                body = b"x" * (2 << 20)
            case ["packed"]:
                body = gzip.compress(b"well" * (8 << 20))
                packed = True
            case ["text"]:
                body = b"all is well"
            case ["cut"]:
                self.connection.close()
                return
            case _:
                pass
        if self.command == "POST":
            body = self.rfile.read(int(self.headers["Content-Length"])) + str(self.headers["Authorization"]).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Location", "/elsewhere")
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        with suppress(OSError):  # Nobody wants to read more than a megabyte.
            self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # A client that does not believe our certificate goes away.


@contextmanager
def served(pair: Pair | None = None) -> Generator[int]:
    with Server(("127.0.0.1", 0), Web) as server:
        if pair:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.certificate, pair.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def web() -> Generator[int]:
    with served() as port:
        yield port


def http(url: str, clock: Clock | None = None, **options: Any) -> Http:
    settings = msgspec.convert({"url": url, **options}, HttpCheck, dec_hook=decode)
    return Http(settings, clock or SystemClock())


@pytest.mark.parametrize(
    ("path", "options", "status", "message"),
    [
        ("/", {}, "healthy", "200 in "),
        ("/status/204", {}, "healthy", "204 in "),
        ("/status/500", {}, "unhealthy", "status 500, and 200 to 299 is right"),
        ("/status/302", {}, "unhealthy", "status 302, and 200 to 299 is right"),
        ("/status/302", {"status": [301, 302]}, "healthy", "302 in "),
        ("/", {"status": [201, 404]}, "unhealthy", "status 200, and 201 or 404 is right"),
        ("/text", {"contains": "well"}, "healthy", "200 in "),
        ("/text", {"contains": "ill"}, "unhealthy", "its answer does not contain 'ill'"),
        ("/", {"json": {"/status": "up", "/db/ok": True}}, "healthy", "200 in "),
        ("/", {"json": {"/version": True}}, "unhealthy", "/version is 1, and true is right"),
        ("/", {"json": {"/db/no": 1}}, "unhealthy", "/db/no is not there, and 1 is right"),
        ("/text", {"json": {"/a": 1}}, "unhealthy", "its answer is not JSON"),
        ("/packed", {"contains": "well"}, "unhealthy", "its answer does not contain 'well'"),
        ("/long", {"contains": "y"}, "unhealthy", "its answer is larger than 1 MiB"),
        ("/slow", {"degraded_above": "50ms"}, "degraded", "the answer took "),
        ("/slow", {"degraded_above": "20ms", "unhealthy_above": "50ms"}, "unhealthy", "the answer took "),
        (
            "/slow",
            {"degraded_above": "20ms", "contains": "ill"},
            "unhealthy",
            "its answer does not contain 'ill'; the ",
        ),
    ],
)
async def test_an_answer_is_looked_at(web: int, path: str, options: Any, status: str, message: str) -> None:
    found = await http(f"http://127.0.0.1:{web}{path}", **options).look()
    assert (found.status, found.message[: len(message)]) == (status, message)
    assert found.details["host"] == f"127.0.0.1:{web}" and found.details["latencyMs"] > 0


async def test_what_is_sent_is_the_method_the_headers_and_the_body(web: int) -> None:
    sent: dict[str, Any] = {"method": "POST", "body": "ping ", "headers": {"Authorization": "Bearer t0ps3cret"}}
    found = await http(f"http://localhost:{web}/", contains="ping Bearer t0ps3cret", **sent).look()
    assert found.status == "healthy"
    assert "t0ps3cret" not in repr(found)


async def test_of_a_url_only_the_host_is_told(web: int) -> None:
    found = await http(f"http://ada:hunter2@127.0.0.1:{web}/status/500?token=t0ps3cret").look()
    assert found.status == "unhealthy" and "hunter2" not in repr(found) and "t0ps3cret" not in repr(found)


async def test_where_nobody_answers_that_is_said(web: int) -> None:
    with served() as port:
        pass
    with pytest.raises(NoAnswer, match=r"^no connection to 127\.0\.0\.1: "):
        await http(f"http://127.0.0.1:{port}/").look()
    with pytest.raises(NoAnswer, match=r"^127\.0\.0\.1 broke off: "):
        await http(f"http://127.0.0.1:{web}/cut").look()
    with pytest.raises(NoAnswer, match=r"^no connection to 127\.0\.0\.1:\d+: connection refused$"):
        await Tcp(TcpCheck(f"127.0.0.1:{port}")).look()
    with pytest.raises(NoAnswer, match=r"^nowhere\.invalid cannot be resolved: "):
        await Tcp(TcpCheck("nowhere.invalid:1")).look()


async def test_a_name_that_leads_to_where_machines_keep_their_credentials_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", Mock(return_value=answer))
    for look in (http("http://innocent.example/").look, Tcp(TcpCheck("innocent.example:80")).look):
        with pytest.raises(NoAnswer, match="where machines keep their credentials"):
            await look()


async def test_a_place_inside_is_refused_where_that_is_said() -> None:
    with pytest.raises(ValueError, match="internal address"):
        HttpCheck(url=Secret("http://127.0.0.1/"), allow_internal=False)


@needs_openssl
async def test_a_certificate_is_believed_where_it_is_named_and_warned_of_before_it_ends(tmp_path: Path) -> None:
    pair = made(tmp_path, "ours")  # It lasts for two days.
    with served(pair) as port:
        url, authority = f"https://localhost:{port}/", str(pair.certificate)
        soon = await http(url, authority=authority).look()
        assert soon.status == "degraded" and soon.message.startswith("its certificate ends in ")
        assert 46 < (soon.details["certificateExpires"] / 1000 - time.time()) / 3600 < 49
        assert (await http(url, authority=authority, certificate="1d").look()).status == "healthy"
        unasked = await http(url, authority=authority, certificate="0s").look()
        assert unasked.status == "healthy" and "certificateExpires" not in unasked.details
        stranger = await http(url).look()
        assert stranger.status == "unhealthy" and stranger.message.startswith("its certificate is not believed: ")
        later = http(url, VirtualClock(time.time() + 90_000), authority=authority, certificate="1d")
        assert (await later.look()).status == "degraded"


async def test_one_place_that_answers_is_enough_not_to_be_cut_off() -> None:
    gate = await anyio.create_tcp_listener(local_host="127.0.0.1")
    gone = await anyio.create_tcp_listener(local_host="127.0.0.1")
    places = [f"127.0.0.1:{one.extra(SocketAttribute.local_port)}" for one in (gone, gate)]
    guard = Connectivity(ConnectivitySettings(targets=tuple(places)))
    await gone.aclose()
    found = await guard.look()
    assert (found.status, found.message) == ("healthy", "1 of 2 places answer")
    await gate.aclose()
    found = await guard.look()
    assert found.status == "unhealthy" and found.message.startswith("this node is cut off: ")


async def test_a_port_that_takes_connections_is_healthy() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        found = await Tcp(TcpCheck(f"127.0.0.1:{port}")).look()
        late = await Tcp(msgspec.convert({"address": f"127.0.0.1:{port}", "degraded_above": "1us"}, TcpCheck,
                                         dec_hook=decode)).look()  # fmt: skip
    assert found.status == "healthy" and found.details["address"] == f"127.0.0.1:{port}"
    assert late.status == "degraded" and late.message.startswith("a connection took ")


def command(script: str, **options: Any) -> Command:
    argv = [sys.executable, "-c", script]
    return Command(msgspec.convert({"argv": argv, **options}, CommandCheck, dec_hook=decode))


@pytest.mark.parametrize(
    ("script", "options", "status", "message"),
    [
        ("print('OK - 3 disks | disks=3;2;1')", {}, "healthy", "OK - 3 disks"),
        ("", {}, "healthy", "exit code 0"),
        ("import sys; print('slow'); sys.exit(1)", {}, "degraded", "slow"),
        ("import sys; sys.exit(2)", {}, "unhealthy", "exit code 2"),
        ("import sys; sys.exit(3)", {}, "unknown", "exit code 3"),
        ("import sys; sys.exit('no such disk')", {"degraded": []}, "unhealthy", "no such disk"),
        ("import sys; sys.exit(75)", {}, "unhealthy", "exit code 75"),
        ("import sys; sys.exit(75)", {"degraded": [75]}, "degraded", "exit code 75"),
        ("import os; os.kill(os.getpid(), 9)", {}, "unhealthy", "it was ended by SIGKILL"),
        ("import os; print(os.environ['TOKEN'][:3])", {"env": {"TOKEN": "abcdef"}}, "healthy", "abc"),
    ],
)
async def test_an_exit_code_says_how_a_thing_is(script: str, options: Any, status: str, message: str) -> None:
    found = await command(script, **options).look()
    assert (found.status, found.message) == (status, message)


async def test_what_a_program_prints_without_end_is_cut_and_its_control_characters_are_spaces() -> None:
    found = await command("print('\\x1b[31m' + 'x' * 100_000_000)").look()
    assert found.status == "healthy"
    assert found.message.startswith("[31mxxx") and len(found.message) <= MAX_LINE


async def test_a_program_that_does_not_end_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = (
        "import os, subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}');"
        "time.sleep(600)"
    )
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(command(script).look)
            while not (pids.exists() and len(pids.read_text().split()) == 2):
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()
        for pid in map(int, pids.read_text().split()):
            while is_running(pid):
                await anyio.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def test_a_program_that_is_not_there_gives_no_answer() -> None:
    with pytest.raises(NoAnswer, match=r"^/no/such/program cannot be started: No such file or directory$"):
        await Command(CommandCheck(("/no/such/program",))).look()


SPEED = Metric("speed", "ms", "How fast.")
WINDOW: Mapping[str, Any] = {"count": 4, "current": 90.0, "average": 120.0, "min": 80.0, "max": 300.0, "p95": 290.0}


async def measured(answer: Mapping[str, Any], **options: Any) -> tuple[Finding, Mapping[str, Any]]:
    asked: dict[str, Any] = {}

    async def call(method: str, path: str, fields: Mapping[str, Any]) -> Any:
        asked.update({"path": f"{method} {path}", **fields})
        return answer

    settings = msgspec.convert({"name": "speed", **options}, MetricCheck, dec_hook=decode)
    return await MetricLook(settings, SPEED, call).look(), asked


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ({"degraded_above": "120ms"}, "healthy", "mean of speed is 120 ms"),
        ({"degraded_above": "100ms"}, "degraded", "mean of speed is 120 ms, and more than 100 ms"),
        (
            {"degraded_above": "0.1s", "unhealthy_above": "0.11s"},
            "unhealthy",
            "mean of speed is 120 ms, and more than 110 ms",
        ),
        ({"aggregate": "last", "degraded_above": "100ms"}, "healthy", "last of speed is 90 ms"),
        ({"aggregate": "min", "unhealthy_below": "85ms"}, "unhealthy", "min of speed is 80 ms, and less than 85 ms"),
        ({"aggregate": "p95", "degraded_above": "250ms"}, "degraded", "p95 of speed is 290 ms, and more than 250 ms"),
        ({"aggregate": "count", "degraded_below": 5}, "degraded", "count of speed is 4, and less than 5"),
    ],
)
async def test_a_metric_is_compared(options: Any, status: str, message: str) -> None:
    found, _ = await measured(WINDOW, **options)
    assert (found.status, found.message) == (status, message)


async def test_where_there_is_no_sample_it_is_what_the_configuration_says() -> None:
    empty = {"count": 0, "current": 90.0, "average": None}
    found, asked = await measured(empty, degraded_above="1ms", window="2m", labels={"kind": "raw"})
    assert (found.status, found.message) == ("unknown", "no sample in 2m")
    assert asked == {"path": "GET metrics/speed", "period": "120000", "points": 1, "limit": 1, "labels": "kind=raw"}
    assert (await measured(empty, degraded_above="1ms", no_data="unhealthy"))[0].status == "unhealthy"
    assert (await measured(empty, aggregate="count", unhealthy_below=1))[0].message == (
        "count of speed is 0, and less than 1"
    )
