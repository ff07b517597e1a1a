"""Provider probes: real processes, real sockets, real functions."""

import gzip
import json
import shutil
import socket
import ssl
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shlex import quote
from types import ModuleType, SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import anyio
import anyio.lowlevel
import msgspec
import psutil
import pytest
from anyio import to_thread

from bers import Caller, Catalog, Context, Event, Nothing, Table
from bers.testing import VirtualClock, check_spec, run_receive, run_source, step
from bers_builtin.sources import providers
from bers_builtin.sources.environment_resolver import ENVIRONMENT_RESOLVER
from bers_builtin.sources.providers import PROVIDERS
from bers_builtin.sources.providers.breaker import Breaker

CANARY = "ghp_canary0123456789canary0123456789"


def python(script: str, provider: str = "api", **options: Any) -> dict[str, Any]:
    return {"provider": provider, "kind": "command", "argv": [sys.executable, "-c", script], **options}


async def probed(*probes: dict[str, Any], events: int = 1, **options: Any) -> list[Event]:
    return await run_source(PROVIDERS, count=events, within=20, probes=list(probes), **options)


async def probe(options: dict[str, Any]) -> Event:
    (event,) = await probed(options)
    return event


class Health(BaseHTTPRequestHandler):
    """A provider that answers with its own path as JSON, except where it is told to."""

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("location", "/")
            body = b""
        else:
            self.send_response(200)
            if self.path == "/packed":
                self.send_header("content-encoding", "gzip")
            body = (
                b"no json"
                if self.path == "/text"
                else gzip.compress(bytes(1 << 24))
                if self.path == "/packed"
                else json.dumps({"ok": True, "list": [{"a/b": 1}], "host": self.headers["host"]}).encode()
            )
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that refuses our certificate is what a test wants."""


@contextmanager
def served(port: int = 0, certificate: tuple[Path, Path] | None = None) -> Generator[int]:
    """A real provider on loopback, gone at the end of the block."""
    with Server(("127.0.0.1", port), Health) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def http(port: int, path: str = "/", **options: Any) -> dict[str, Any]:
    return {"provider": "state", "kind": "http", "url": f"http://localhost:{port}{path}", **options}


# Commands


async def test_a_command_that_ends_well_is_a_success_that_took_as_long_as_it_ran() -> None:
    event = await probe(python("import time; time.sleep(0.05)"))

    assert (event.type, event.subject, event.outcome) == ("provider.initialized", "api", "success")
    assert (dict(event.labels), event.measures["error_rate"]) == ({"provider": "api"}, 0.0)
    assert 50 <= event.measures["provider_initialization_time"] < 20_000


async def test_the_figure_that_a_command_prints_last_counts() -> None:
    event = await probe(python("""print('hello'); print('{"initialization_ms": 12.5, "ok": true}')"""))

    assert event.measures == {"error_rate": 0.0, "provider_initialization_time": 12.5}


@pytest.mark.parametrize(
    ("script", "outcome", "reason"),
    [
        ("import sys; print('why', file=sys.stderr); sys.exit(3)", "failure", "exit code 3: why"),
        ("""print('{"ok": false, "reason": "no quota"}')""", "failure", "it says that it is not ok: no quota"),
        ("""print('{"initialization_ms": -1}')""", "error", "its initialization_ms is no number of milliseconds"),
        (f"import sys; sys.exit('token {CANARY}')", "failure", "exit code 1: token ***"),
    ],
)
async def test_a_command_fails_for_a_reason_and_without_a_figure(script: str, outcome: str, reason: str) -> None:
    event = await probe(python(script))

    assert (event.outcome, event.reason) == (outcome, reason)
    assert event.measures == {"error_rate": 100.0}


async def test_a_program_that_is_not_there_is_an_error() -> None:
    event = await probe({"provider": "api", "kind": "command", "argv": ["/no/such/program"]})

    assert (event.outcome, event.reason) == ("error", "/no/such/program cannot be started: No such file or directory")


async def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"sleep 60 & echo $! > {quote(str(pid))}; wait"  # A shell, as it is there long before the second ends.

    event = await probe({"provider": "api", "kind": "command", "argv": ["/bin/sh", "-c", script], "timeout": "1s"})

    assert (event.outcome, event.reason) == ("timeout", "no answer within 1s")
    with anyio.fail_after(30):
        while _alive(int(pid.read_text())):
            await anyio.lowlevel.checkpoint()


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_a_command_that_prints_much_does_not_fill_the_memory_or_block() -> None:
    event = await probe(python("""print('x' * 5_000_000); print('{"initialization_ms": 1}')"""))

    assert event.measures["provider_initialization_time"] == 1.0


# Functions


@pytest.mark.parametrize(
    ("body", "outcome", "reason"),
    [
        ("return None", "success", None),
        ("return {'initialization_ms': 3, 'ok': True}", "success", None),
        ("return False", "failure", "it returned False"),
        ("raise RuntimeError('no token')", "failure", "RuntimeError: no token"),
        ("import time; time.sleep(1)", "timeout", "no answer within 200ms"),
    ],
)
async def test_a_function_is_called_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, outcome: str, reason: str | None
) -> None:
    module = f"probed_{outcome}_{len(body)}"
    (tmp_path / f"{module}.py").write_text(f"def start():\n    {body}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    timeout = "200ms" if outcome == "timeout" else "30s"
    event = await probe({"provider": "content", "kind": "python", "callable": f"{module}:start", "timeout": timeout})

    assert (event.outcome, event.reason) == (outcome, reason)
    assert ("provider_initialization_time" in event.measures) == (outcome == "success")


async def test_a_function_that_is_not_there_is_an_error() -> None:
    event = await probe({"provider": "content", "kind": "python", "callable": "no_such_module:start"})

    assert event.outcome == "error"
    assert (
        event.reason == "no_such_module:start cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"
    )


# HTTP


async def test_an_http_provider_is_asked_under_its_own_name() -> None:
    with served() as port:
        expect = {"json": {"/ok": True, "/list/0/a~1b": 1, "/host": f"localhost:{port}"}}
        event = await probe(http(port, expect=expect))

    assert (event.outcome, event.reason) == ("success", None)
    assert 0 < event.measures["provider_initialization_time"] < 2000


@pytest.mark.parametrize(
    ("path", "expect", "reason"),
    [
        ("/moved", {}, "status 302, and 200 is expected"),
        ("/", {"status": 204}, "status 200, and 204 is expected"),
        ("/", {"json": {"/ok": 1}}, "/ok in its answer is not 1"),
        ("/", {"json": {"/list/1": 1}}, "/list/1 in its answer is not 1"),
        ("/text", {"json": {"/ok": True}}, "its answer is not JSON"),
        ("/packed", {"json": {"/ok": True}}, "its answer is compressed, unasked"),
    ],
)
async def test_an_http_answer_that_is_not_expected_is_a_failure(path: str, expect: dict[str, Any], reason: str) -> None:
    with served() as port:
        event = await probe(http(port, path, expect=expect))

    assert (event.outcome, event.reason, event.measures) == ("failure", reason, {"error_rate": 100.0})


async def test_an_http_provider_that_nobody_serves_is_an_error() -> None:
    with served() as port:
        pass
    event = await probe(http(port))

    assert event.outcome == "error"
    assert (event.reason or "").startswith("no connection to localhost: ConnectError")


async def test_an_http_provider_that_says_nothing_times_out() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        event = await probe(http(listener.extra(anyio.abc.SocketAttribute.local_port), timeout="200ms"))

    assert (event.outcome, event.reason) == ("timeout", "no answer within 200ms")


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl to make a certificate with")
async def test_a_certificate_has_to_fit_the_name_that_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=x"
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    await anyio.run_process([*command.split(), *names])
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with served(certificate=(certificate, key)) as port:
        fits = await probe({"provider": "state", "kind": "http", "url": f"https://localhost:{port}/"})
        does_not = await probe({"provider": "state", "kind": "http", "url": f"https://127.0.0.1:{port}/"})

    assert (fits.outcome, fits.reason) == ("success", None)
    assert does_not.outcome == "error"
    assert "certificate" in (does_not.reason or "").lower()


async def test_a_name_that_leads_to_a_metadata_address_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", Mock(return_value=answer))
    event = await probe({"provider": "state", "kind": "http", "url": "http://innocent.example/latest"})

    reason = "innocent.example leads to 169.254.169.254, where machines keep their credentials"
    assert (event.outcome, event.reason) == ("error", reason)


# Order and breakers


async def test_probes_run_in_the_order_of_their_dependencies() -> None:
    events = await probed(
        python("", "debug", depends_on=["streaming", "api"]),
        python("", "streaming", depends_on=["state"]),
        python("", "api"),
        python("", "state", depends_on=["api"]),
        events=4,
    )

    assert [event.subject for event in events] == ["api", "state", "streaming", "debug"]


def test_a_breaker_opens_half_opens_and_waits_longer_each_time() -> None:
    clock = VirtualClock()
    breaker = Breaker(clock, failures=3, reset_after=30, longest=100)
    seen: list[tuple[str, float | None]] = []

    async def story() -> None:
        for _ in range(3):
            assert breaker.allows()
            breaker.failed()
        for wait in (30, 60, 100, 100):
            await clock.advance(wait - 1)
            assert not breaker.allows()
            await clock.advance(1)
            assert breaker.allows()
            assert breaker.state == "half-open"
            breaker.failed()
            seen.append((breaker.state, (breaker.next_attempt or 0) - clock.monotonic()))
        await clock.advance(100)
        assert breaker.allows()
        breaker.succeeded()

    anyio.run(story)
    assert seen == [("open", 60), ("open", 100), ("open", 100), ("open", 100)]
    assert (breaker.state, breaker.failures, breaker.opened_at, breaker.next_attempt) == ("closed", 0, None, None)
    assert breaker.reset() is False


async def test_c017_stopping_a_provider_turns_the_check_and_starting_it_turns_it_back() -> None:
    clock = VirtualClock()
    context = Context("providers", clock=clock, metrics=Catalog(PROVIDERS.metrics))
    send, receive = anyio.create_memory_object_stream[Sequence[Event]](10)
    ours = socket.socket()  # Nobody is given its port meanwhile, nor answered there while nobody listens.
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    ours.bind(("127.0.0.1", 0))
    port: int = ours.getsockname()[1]
    options = {
        "probes": [http(port), python("", "api", depends_on=["state"]), python("", "debug", required=False)],
        "interval": "60s",
        "failures": 2,
        "reset_after": "90s",
    }

    async def emit(events: Sequence[Event], *, durable: bool = False) -> None:
        await send.send(events)

    async def told(count: int) -> list[tuple[str, str | None]]:
        batches = [await receive.receive() for _ in range(count)]
        return [(event.subject, event.outcome) for batch in batches for event in batch]

    with ours, send, receive, anyio.fail_after(60):
        async with step(PROVIDERS, context=context, **options).open() as stage, anyio.create_task_group() as group:
            assert (await stage.check()).status == "unknown"
            with served(port):
                group.start_soon(stage.run, emit)
                assert await told(3) == [("state", "success"), ("debug", "success"), ("api", "success")]
                assert (await stage.check()).status == "healthy"

            await clock.advance(60)
            assert await told(2) == [("state", "error"), ("debug", "success")]
            finding = await stage.check()
            assert finding.status == "unhealthy"
            assert finding.details["providers"]["api"]["message"] == "unknown (dependency state)"
            assert finding.details["providers"]["state"]["breaker"] == "closed"

            await clock.advance(60)
            assert await told(2) == [("state", "error"), ("debug", "success")]
            assert (await stage.check()).details["providers"]["state"]["breaker"] == "open"

            await clock.advance(60)  # Left alone: only the other is probed.
            assert await told(1) == [("debug", "success")]

            with served(port):
                assert stage.reset_breakers() == 1  # And probed at once.
                assert await told(3) == [("state", "success"), ("debug", "success"), ("api", "success")]
                assert (await stage.check()).status == "healthy"
            group.cancel_scope.cancel()


async def test_what_waited_for_another_is_not_said_to_be_well_before_it_was_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, asked, may_answer, state_is_up = VirtualClock(), threading.Event(), threading.Event(), [True]
    send, receive = anyio.create_memory_object_stream[Sequence[Event]](9)

    def api() -> None:
        asked.set()
        assert may_answer.wait(20)

    async def emit(events: Sequence[Event], *, durable: bool = False) -> None:
        await send.send(events)

    async def told(count: int) -> list[tuple[str, str | None]]:
        return [(event.subject, event.outcome) for _ in range(count) for event in await receive.receive()]

    module = SimpleNamespace(api=api, state=lambda: state_is_up[0])
    monkeypatch.setitem(sys.modules, "providers_of_the_test", cast("ModuleType", module))
    probes = [
        {"provider": "state", "kind": "python", "callable": "providers_of_the_test:state"},
        {"provider": "api", "kind": "python", "callable": "providers_of_the_test:api", "depends_on": ["state"]},
    ]
    context = Context("providers", clock=clock)
    with send, receive, anyio.fail_after(20):
        async with (
            step(PROVIDERS, context=context, probes=probes, interval="60s").open() as stage,
            anyio.create_task_group() as group,
        ):
            may_answer.set()
            group.start_soon(stage.run, emit)
            assert await told(2) == [("state", "success"), ("api", "success")]
            state_is_up[0] = False
            await clock.advance(60)
            assert await told(1) == [("state", "failure")]
            asked.clear()
            may_answer.clear()
            state_is_up[0] = True
            await clock.advance(60)
            assert await told(1) == [("state", "success")]
            await to_thread.run_sync(asked.wait, 20)  # It is asked, and has not answered.

            finding = await stage.check()
            assert (finding.status, finding.message) == ("degraded", "api is unknown (dependency state)")
            may_answer.set()
            assert await told(1) == [("api", "success")]
            assert (await stage.check()).status == "healthy"
            group.cancel_scope.cancel()


async def test_an_optional_provider_that_fails_degrades() -> None:
    async with step(PROVIDERS, probes=[python("1/0", required=False), python("", "state")]).open() as stage:
        await _one_round(stage, 2)
        finding = await stage.check()

    assert finding.status == "degraded"
    assert finding.message == "api: exit code 1: ZeroDivisionError: division by zero"


async def test_c017_nothing_configured_is_healthy() -> None:
    async with step(PROVIDERS).open() as stage:
        finding = await stage.check()

    assert (finding.status, finding.details["configured"]) == ("healthy", 0)


async def test_the_list_says_how_every_provider_is() -> None:
    clock = VirtualClock()
    options: dict[str, Any] = {"probes": [python("1/0"), python("", "state", depends_on=["api"])], "failures": 1}
    async with step(PROVIDERS, context=Context("providers", clock=clock), **options).open() as stage:
        await _one_round(stage, 1)
        states = msgspec.to_builtins(await stage.list_providers(Nothing(), Caller()))

    assert states[0] == {
        "provider": "api",
        "kind": "command",
        "required": True,
        "status": "unhealthy",
        "message": "exit code 1: ZeroDivisionError: division by zero",
        "dependsOn": [],
        "initializationMs": None,
        "lastError": "exit code 1: ZeroDivisionError: division by zero",
        "probedAt": 1_700_000_000_000,
        "breaker": "open",
        "nextAttemptIn": 30.0,
    }
    assert (states[1]["status"], states[1]["message"]) == ("unknown", "unknown (dependency api)")


# Events of others


async def test_b9_events_of_others_get_the_catalogues_names() -> None:
    seen = await run_receive(
        PROVIDERS,
        [
            Event("1", "browser", "provider.initialized", 1.0, subject="api", outcome="success", duration_ms=12.0),
            Event("2", "browser", "provider.initialized", 2.0, subject="api", outcome="failure", duration_ms=9.0),
            Event(
                "3",
                "browser",
                "provider.initialized",
                3.0,
                measures={"provider.initialization.time": 7.0},
                data={"provider": "x"},
            ),
            Event("4", "browser", "provider.closed", 3.0, subject="api", outcome="failure"),
        ],
    )

    assert [dict(event.measures) for event in seen] == [
        {"error_rate": 0.0, "provider_initialization_time": 12.0},
        {"error_rate": 100.0},
        {"provider_initialization_time": 7.0},
        {},
    ]
    assert [event.labels["provider"] for event in seen] == ["api", "api", "x", "api"]


async def test_receiving_our_own_events_changes_nothing() -> None:
    events = await probed(python(""), python("1/0", "state"), events=2)

    assert await run_receive(PROVIDERS, events) == events


async def test_a_passive_provider_is_what_was_heard_of_it_last() -> None:
    clock, table = VirtualClock(1000.0), Table()
    context = Context("providers", clock=clock, table=table)
    stati: list[str] = []
    async with step(PROVIDERS, context=context, probes=[{"provider": "streaming", "kind": "event"}]).open() as stage:
        stati.append((await stage.check()).status)
        stage.receive(
            Event("2", "b", "provider.initialized", 1000.0, subject="streaming", outcome="success", duration_ms=8.0),
            table,
        )
        stage.receive(
            Event("1", "b", "provider.initialized", 900.0, subject="streaming", outcome="failure"), table
        )  # Late.
        stati.append((await stage.check()).status)
        (state,) = await stage.list_providers(Nothing(), Caller())
        stage.receive(
            Event(
                "3", "b", "provider.initialized", 1001.0, subject="streaming", outcome="failure", reason=f"x {CANARY}"
            ),
            table,
        )
        finding = await stage.check()
        await clock.advance(602)
        stati.append((await stage.check()).status)

    assert stati == ["unknown", "healthy", "unknown"]
    assert (finding.status, finding.message) == ("unhealthy", "streaming: x ***")
    assert (state.initialization_ms, state.probed_at) == (8.0, 1_000_000)


# Options


@pytest.mark.parametrize(
    ("probes", "message"),
    [
        ([python("", "a"), python("", "a")], r"probes\[1\].provider: 'a' is probed twice"),
        (
            [python("", "api", depends_on=["apo"])],
            r"probes\[0\].depends_on\[0\]: unknown provider 'apo'; did you mean 'api'",
        ),
        (
            [python("", "a", depends_on=["b"]), python("", "b", depends_on=["a"])],
            r"probes\[\d\].depends_on: a cycle, (a -> b -> a|b -> a -> b); remove one",
        ),
        ([{"provider": "a", "kind": "command"}], "argv: a probe of kind 'command' needs it"),
        ([{"provider": "a", "kind": "event", "url": "http://x"}], "url: a probe of kind 'event' has no use for it"),
        (
            [{"provider": "a", "kind": "http", "url": "ftp://x"}],
            "url: the URL is not absolute; write https://HOST/PATH",
        ),
        (
            [{"provider": "a", "kind": "http", "url": "http://169.254.169.254/x"}],
            "url: 169.254.169.254 is an address where machines keep their credentials",
        ),
        (
            [{"provider": "a", "kind": "http", "url": "http://127.0.0.1/", "allow_internal": False}],
            "url: 127.0.0.1 is an internal address; set allow_internal: true if that is meant",
        ),
        (
            [{"provider": "a", "kind": "http", "url": "http://2852039166/latest"}],
            "where machines keep their credentials",
        ),
        ([{"provider": "a", "kind": "python", "callable": "x"}], "callable: 'x' names no function"),
        ([{"provider": "a", "kind": "http", "url": "http://x", "expect": {"json": {"ok": 1}}}], "write '/ok'"),
    ],
)
def test_a_wrong_option_is_named(probes: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        step(PROVIDERS, probes=probes)


async def test_it_keeps_what_every_stage_promises() -> None:
    await check_spec(PROVIDERS)
    await check_spec(PROVIDERS, probes=[http(1)])
    assert list(providers.bers_sources()) == [PROVIDERS]


def test_both_sources_declare_the_same_error_rate() -> None:
    assert Catalog([*PROVIDERS.metrics, *ENVIRONMENT_RESOLVER.metrics])["error_rate"].target == 1.0


async def _one_round(stage: Any, count: int) -> None:
    """Run the stage until it has emitted so many events."""
    seen: list[Event] = []
    with anyio.fail_after(20), anyio.CancelScope() as enough:

        async def emit(events: Sequence[Event], *, durable: bool = False) -> None:
            seen.extend(events)
            if len(seen) >= count:
                enough.cancel()

        await stage.run(emit)
