"""Who belongs gets in, and nobody else: every route of every listener, with and without a key, under a flood too."""

from __future__ import annotations

import json
import re
import signal
import ssl
import subprocess
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from bers import lock
from bers.access.keys import SCOPES
from tests.acceptance.conftest import BERS
from tests.integration.processes import USUAL, at_leisure, configure, environ, free_ports, spawned, until
from tests.unit.certificates import made, needs_openssl

SURFACES = tuple(USUAL)
ASSETS = "/assets/nobody"
PUBLIC = {"/", ASSETS}
"""What A30 exempts, of what is described."""

BESIDE = {
    "health": [("GET", "/openapi.json", "read")],
    "metrics": [("GET", "/openapi.json", "read"), ("GET", "/metrics", "read")],
    "control": [("GET", "/openapi.json", "read"), ("GET", "/metrics", "read")],
}
"""What is answered and not described, with its scope."""

EXEMPT = ("/livez", "/readyz", "/login", "/assets/login.css")


@dataclass
class Guarded:
    """A server that asks for keys, and keys for it."""

    folder: Path
    process: subprocess.Popen[bytes]
    ports: Mapping[str, int]
    client: httpx2.Client
    keys: dict[str, str] = field(default_factory=dict[str, str])

    def url(self, path: str, surface: str = "control") -> str:
        whole = path if path.startswith("/") else f"/api/monitoring/{path}"
        return f"http://127.0.0.1:{self.ports[surface]}{whole}"

    def ask(
        self, method: str, path: str, surface: str = "control", *, key: str | None = None, **headers: str
    ) -> httpx2.Response:
        """One answer, or the beginning of one that does not end."""
        sent = {**headers, **({"Authorization": f"Bearer {key}"} if key else {})}
        with self.client.stream(method, self.url(path, surface), headers=sent) as reply:
            if reply.headers.get("content-type", "").startswith(("text/event-stream", "application/x-ndjson")):
                return reply
            reply.read()
        return reply


def bers(folder: Path, *arguments: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BERS, *arguments], cwd=folder, capture_output=True, text=True, check=check, timeout=60,
        env=environ(folder, **more),
    )  # fmt: skip


def is_ready(folder: Path, process: subprocess.Popen[bytes], url: str, **options: Any) -> bool:
    assert process.poll() is None, (folder / "said").read_text()
    try:
        return httpx2.get(f"{url}/readyz", timeout=5, **options).status_code == 200
    except httpx2.TransportError:
        return False


@contextmanager
def guarded(folder: Path, access: str, **more: str) -> Generator[Guarded]:
    """Run a server with this below `access:`; it is stopped as an operator would."""
    ports = free_ports()
    configure(folder, ports=ports, more=f"access: {access}\n")
    with httpx2.Client(timeout=30) as client, spawned(folder, "start", **more) as process:
        found = Guarded(folder, process, ports, client)
        until(lambda: is_ready(folder, process, found.url("").removesuffix("/api/monitoring/")), 60)
        yield found
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, (folder / "said").read_text()


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Generator[Guarded]:
    """One server for the walks, with a key for each scope that has no other, and a rate that they do not reach."""
    folder = tmp_path_factory.mktemp("guarded")
    configure(folder)
    texts: dict[str, str] = {one: bers(folder, "keys", "create", one, "--scope", one).stdout.strip() for one in SCOPES}
    with guarded(folder, "{enabled: true, rate: {per_second: 10000, burst: 10000}}") as found:
        found.keys |= texts
        yield found


def routes(server: Guarded) -> Iterator[tuple[str, str, str, str]]:
    """Every route: its listener, method, path and scope. Parameters are filled with names that nobody has."""
    for surface in SURFACES:
        document = server.ask("GET", "/openapi.json", surface, key=server.keys["read"]).json()
        for path, methods in document["paths"].items():
            for method, described in methods.items():
                filled = "/".join("nobody" if part.startswith("{") else part for part in path.split("/"))
                yield surface, method.upper(), filled, described["x-scope"]
        for method, path, scope in BESIDE[surface]:
            yield surface, method, path, scope


def test_c150_every_route_is_walked(closed: Guarded) -> None:
    walked = list(routes(closed))
    for surface, least in {"health": 3, "metrics": 5, "control": 25}.items():
        assert sum(one[0] == surface for one in walked) >= least
    assert {scope for *_, scope in walked} == set(SCOPES)
    assert ("control", "GET", "/api/monitoring/events", "read") in walked


def test_what_changes_something_takes_more_than_reading(closed: Guarded) -> None:
    answers = [("POST", f"alerts/nobody/{verb}") for verb in ("acknowledge", "unacknowledge", "resolve")]
    answers += [("POST", "silences"), ("DELETE", "silences/nobody")]
    allowed = {(method, f"/api/monitoring/{path}"): "acknowledge" for method, path in answers}
    allowed["POST", "/api/monitoring/ingest"] = allowed["POST", "/api/monitoring/heartbeats/nobody"] = "ingest"
    hooks = [f"/api/monitoring/ingest/{name}" for name in ("github", "gitlab")]
    allowed |= {("POST", path): "ingest" for path in hooks}
    told = {"/api/monitoring/ingest", *hooks}  # What is taken there is for those to know who may hand it in.
    back_tests = ("alerts/backtest", "alerts/backtest/rule")
    allowed |= {("POST", f"/api/monitoring/{path}"): "read" for path in back_tests}  # They change nothing.
    for _, method, path, scope in routes(closed):
        if path.startswith(("/api/monitoring/ingest/", "/v1/")):
            assert scope == "ingest", (method, path)
        elif method != "GET" and path not in PUBLIC:
            assert scope == allowed.get((method, path), "admin"), (method, path)
        elif method == "GET":
            least = "admin" if path.startswith("/api/monitoring/audit") else "read"
            assert scope == ("ingest" if path in told else least), path


def test_c150_without_a_key_every_route_is_401_but_those_of_the_list(closed: Guarded) -> None:
    for surface, method, path, _ in routes(closed):
        reply = closed.ask(method, path, surface)
        if path in PUBLIC:
            assert reply.status_code == (404 if path == ASSETS else 200), (surface, method, path)
            assert path != "/" or '<form method="post" action="/login">' in reply.text
            continue
        assert reply.status_code == 401, (surface, method, path, reply.status_code)
        assert reply.headers["www-authenticate"] == "Bearer"
        if path.startswith(("/api/", "/openapi", "/metrics", "/v1/", "/assets/")):
            assert reply.json()["error"]["code"] == "unauthenticated"
        else:  # People are asked to log in.
            assert '<form method="post" action="/login">' in reply.text and "data-view" not in reply.text


def test_c150_a_key_with_another_scope_is_403_on_every_route_and_the_right_one_is_neither(closed: Guarded) -> None:
    for surface, method, path, scope in routes(closed):
        public = path in PUBLIC - {"/"}
        for held, text in closed.keys.items():
            status = closed.ask(method, path, surface, key=text).status_code
            where = (surface, method, path, scope, held, status)
            if held == scope or public:
                assert status not in (401, 403, 429), where
            else:
                assert status == 403, where


def test_c150_head_and_wrong_methods_need_a_key_too(closed: Guarded) -> None:
    for surface, method, path, scope in routes(closed):
        if path in PUBLIC:
            continue
        for other in ("HEAD", "PUT", "PATCH", "OPTIONS"):
            assert closed.ask(other, path, surface).status_code == 401, (surface, other, path)
        if method == "GET":
            assert closed.ask("HEAD", path, surface, key=closed.keys[scope]).status_code not in (401, 403)


def test_a30_nothing_but_the_list_is_answered_to_strangers(closed: Guarded) -> None:
    for path in EXEMPT:
        assert closed.ask("GET", path).status_code == 200, path
    for surface in SURFACES:
        for path in ("/livez", "/readyz"):
            assert closed.ask("GET", path, surface).content == b""
    assert closed.ask("GET", "/assets/nowhere.js").status_code == 404
    for path in ("/nowhere", "/assets/", "/login/../api/monitoring/alerts", "/v1/logs"):
        assert closed.ask("GET", path).status_code == 401, path


def test_a23_a_session_opens_the_page_and_the_stream(closed: Guarded) -> None:
    with httpx2.Client(timeout=30) as browser:
        reply = browser.post(closed.url("/login"), data={"key": closed.keys["read"]})
        assert reply.status_code == 303
        page = browser.get(closed.url("/"))
        assert page.status_code == 200 and "data-metric=" in page.text
        assets = re.findall(r'"(/assets/[^"]+)"', page.text)
        assert len(assets) == 4
        for asset in assets:
            assert browser.get(closed.url(asset)).status_code == 200
        with browser.stream("GET", closed.url("events")) as stream:
            assert stream.status_code == 200 and next(stream.iter_lines()) == "event: connected"
        same = {"Sec-Fetch-Site": "same-origin"}
        assert browser.post(closed.url("metrics/restart"), headers=same).status_code == 403, "a key that reads, reads"


def test_a_key_for_events_is_enough_for_the_emitter(closed: Guarded) -> None:
    url = {"BERS_EMIT_URL": closed.url("/").rstrip("/")}
    event = ("emit", "build-completed", "--strict")
    good = bers(closed.folder, *event, check=False, BERS_EMIT_TOKEN=closed.keys["ingest"], **url)
    assert good.returncode == 0, good.stderr
    ran = bers(closed.folder, "run", "--", "true", check=False, BERS_EMIT_TOKEN=closed.keys["ingest"], **url)
    assert ran.returncode == 0, ran.stderr
    for wrong in ("", closed.keys["read"]):
        done = bers(closed.folder, *event, check=False, BERS_EMIT_TOKEN=wrong, **url)
        assert done.returncode == 1 and ("401" in done.stderr or "403" in done.stderr)


def test_commands_show_their_key_and_say_what_to_do_without(closed: Guarded) -> None:
    good = bers(closed.folder, "status", BERS_MONITORING_API_KEY=closed.keys["read"])
    assert good.stdout.startswith("status")
    bad = bers(closed.folder, "status", check=False)
    assert bad.returncode == 1 and "a key is asked for here" in bad.stderr and "BERS_MONITORING_API_KEY" in bad.stderr
    assert bad.stderr.count("\n") == 1


def test_a_key_is_made_listed_used_and_revoked_beside_the_running_server(closed: Guarded) -> None:
    made = json.loads(
        bers(
            closed.folder, "keys", "create", "ada", "--scope", "read", "--scope", "admin", "--expires", "90d", "--json"
        ).stdout
    )
    assert made["scopes"] == ["read", "admin"] and made["expires"] - made["created"] == 90 * 86_400_000
    until(lambda: closed.ask("GET", "alerts", key=made["key"]).status_code == 200, 2)
    listed = bers(closed.folder, "keys", "list").stdout
    assert f"{made['id']}\tada\tread admin\tok" in listed
    secret = made["key"].rpartition("_")[2]
    assert secret not in listed and secret not in bers(closed.folder, "keys", "list", "--json").stdout
    assert bers(closed.folder, "keys", "revoke", made["id"]).stdout == f"revoked {made['id']} (ada)\n"
    until(lambda: closed.ask("GET", "alerts", key=made["key"]).status_code == 401, 2)
    assert f"{made['id']}\tada\tread admin\trevoked" in bers(closed.folder, "keys", "list").stdout
    audit = closed.ask("GET", "audit", key=closed.keys["admin"]).json()["data"]
    deeds = [(one["action"], one["address"]) for one in audit if made["id"] in one["action"]]
    assert deeds == [
        (f"keys revoke {made['id']}: ada", "command line"),
        (f"keys create {made['id']}: ada, read admin", "command line"),
    ]
    missing = bers(closed.folder, "keys", "revoke", "00000000", check=False)
    assert missing.returncode == 1 and "unknown key '00000000'" in missing.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("anonymous", "--scope", "read"), "cannot be the name of a key"),
        (("ada", "--scope", "root"), "Invalid value for '--scope'"),
        (("ada",), "Missing option '--scope'"),
        (("ada", "--scope", "read", "--expires", "90"), "'90' has no unit"),
    ],
)
def test_a_key_that_cannot_be_made_is_refused(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    configure(tmp_path)
    done = bers(tmp_path, "keys", "create", *arguments, check=False)
    assert done.returncode == 2 and said in done.stderr
    assert bers(tmp_path, "keys", "list").stdout == ""


# The runbook's list, as written.


def test_c112_a25_the_runbooks_sample_lets_its_own_requests_in_and_no_forged_header(tmp_path: Path) -> None:
    sample = {
        "BERS_MONITORING_AUTH_ENABLED": "true",
        "BERS_MONITORING_API_KEY": "your-secure-api-key",
        "BERS_MONITORING_ALLOWED_IPS": "10.0.0.0/8,172.16.0.0/12",
    }
    key = "your-secure-api-key"
    with guarded(tmp_path, "{trusted_proxies: [127.0.0.2]}", **sample) as server:
        for surface, path in (("health", "health"), ("metrics", "metrics"), ("control", "alerts")):
            assert server.ask("GET", path, surface, key=key).status_code == 200
            assert server.ask("GET", path, surface).status_code == 401
        assert server.ask("GET", "alerts", key=key, **{"X-Forwarded-For": "192.0.2.1"}).status_code == 200, "ignored"
        from_proxy = httpx2.HTTPTransport(local_address="127.0.0.2")
        with httpx2.Client(transport=from_proxy, headers={"X-API-Key": key}) as proxy:
            for forwarded, status in {
                "10.1.2.3": 200,
                "::ffff:172.20.0.1": 200,
                "192.0.2.1": 403,
                "2001:db8::1": 403,
                "10.1.2.3, 192.0.2.1": 403,
                "127.0.0.1, 192.0.2.1": 403,
                "garbage": 403,
            }.items():
                for path in (server.url("alerts"), server.url("/"), server.url("/livez"), server.url("events")):
                    with proxy.stream("GET", path, headers={"X-Forwarded-For": forwarded}) as reply:
                        assert reply.status_code == status, (path, forwarded)


def test_a25_this_machine_can_be_shut_out_and_probes_of_it_are_answered_all_the_same(tmp_path: Path) -> None:
    switched = {"BERS_MONITORING_ALLOWED_IPS": "10.0.0.0/8,127.0.0.2", "BERS_MONITORING_ALLOW_LOOPBACK": "false"}
    with guarded(tmp_path, "{}", **switched) as server:
        assert server.ask("GET", "alerts").status_code == 403
        assert server.ask("POST", "ingest").status_code == 403
        assert server.ask("GET", "/livez").status_code == 200
        with httpx2.Client(transport=httpx2.HTTPTransport(local_address="127.0.0.2")) as allowed:
            assert allowed.get(server.url("alerts")).status_code == 200


# How a server starts.


def refused(folder: Path, *arguments: str, **more: str) -> str:
    done = bers(folder, "start", *arguments, check=False, **more)
    assert done.returncode == 2, done
    return done.stderr.strip()


def test_a24_it_does_not_start_open_where_it_should_be_closed(tmp_path: Path) -> None:
    configure(tmp_path, more="access: {rate: {burst: 60}}\n")
    assert "there is none that could be used; make one with `bers keys create NAME" in refused(
        tmp_path, BERS_MONITORING_AUTH_ENABLED="true"
    )
    text = (tmp_path / "pipelines.yaml").read_text().replace("server: {", "server: {host: 0.0.0.0, ")
    (tmp_path / "pipelines.yaml").write_text(text)
    said = refused(tmp_path)
    assert said.startswith("server.host: others can reach 0.0.0.0, and in production nobody is asked for a key;")
    assert said.endswith("or start with --insecure")
    assert "access.enabled" in refused(tmp_path, "--detach")
    assert not lock.holder(tmp_path / ".bers")


def test_a24_production_on_this_machine_starts_with_a_warning_that_is_seen(tmp_path: Path) -> None:
    with guarded(tmp_path, "{enabled: false}") as server:
        warning = "access.enabled: nobody is asked for a key; whoever uses this machine may do everything"
        assert f"warning: {warning}" in (tmp_path / "said").read_text()
        assert f"warning: {warning}" in bers(tmp_path, "status").stderr
        assert warning in server.ask("GET", "dashboard/status").json()["data"]["warnings"]
        assert server.ask("POST", "config/reload").status_code == 200
        assert warning in server.ask("GET", "dashboard/status").json()["data"]["warnings"], "it is so still"


# Over TLS.


@needs_openssl
def test_commands_and_emitters_speak_tls_with_a_server_whose_certificate_they_know(tmp_path: Path) -> None:
    pair, ports = made(tmp_path, "bers"), free_ports()
    text = configure(tmp_path, ports=ports, more="access: {enabled: true}\n").read_text()
    tls = f"server: {{tls: {{certificate: {pair.certificate}, key: {pair.key}}}, "
    (tmp_path / "pipelines.yaml").write_text(text.replace("server: {", tls))
    every = [part for one in SCOPES for part in ("--scope", one)]
    key = bers(tmp_path, "keys", "create", "ada", *every).stdout.strip()
    known = {"BERS_MONITORING_API_KEY": key, "BERS_MONITORING_CA": str(pair.certificate)}
    believed = ssl.create_default_context(cafile=pair.certificate)
    with spawned(tmp_path, "start") as process:
        url = f"https://127.0.0.1:{ports['control']}"
        until(lambda: is_ready(tmp_path, process, url, verify=believed), 60)
        assert f"  {url}  everything" in (tmp_path / "said").read_text()
        assert bers(tmp_path, "status", check=True, **known).stdout.startswith("status")
        unknown = bers(tmp_path, "status", check=False, BERS_MONITORING_API_KEY=key)
        assert unknown.returncode == 3 and f"{url} is not believed" in unknown.stderr
        assert "BERS_MONITORING_CA" in unknown.stderr
        sent = bers(
            tmp_path, "emit", "build-completed", "--strict", check=False,
            BERS_EMIT_TOKEN=key, SSL_CERT_FILE=str(pair.certificate),
        )  # fmt: skip
        assert sent.returncode == 0, sent.stderr
        with httpx2.Client(verify=believed) as browser:
            reply = browser.post(f"{url}/login", data={"key": key})
            assert reply.headers["set-cookie"].startswith("__Host-bers=")
            assert "; Secure" in reply.headers["set-cookie"]
            assert "data-metric=" in browser.get(f"{url}/").text
        renewed = made(tmp_path, "renewed")
        for old, new in zip(pair, renewed, strict=True):
            old.write_bytes(new.read_bytes())
        process.send_signal(signal.SIGHUP)
        until(lambda: is_ready(tmp_path, process, url, verify=ssl.create_default_context(cafile=renewed.certificate)))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


# Under a flood.


async def test_c153_a_flood_of_reads_is_held_back_while_health_and_alerts_stay_on_time(tmp_path: Path) -> None:
    with guarded(tmp_path, "{enabled: false}") as server:
        async with httpx2.AsyncClient(timeout=60) as client:
            statuses: list[int] = []
            waits: list[int] = []
            health: list[float] = []
            fired: list[float] = []
            enough = anyio.Event()

            async def flood() -> None:
                while len(statuses) < 4000:
                    reply = await client.get(server.url("metrics"))
                    statuses.append(reply.status_code)
                    if reply.status_code == 429:
                        waits.append(int(reply.headers["retry-after"]))
                    if len(statuses) > 200:
                        enough.set()

            async def look() -> None:
                while len(statuses) < 4000:
                    began = time.perf_counter()
                    reply = await client.get(server.url("health", "health"))
                    assert reply.status_code in (200, 503), reply.text
                    health.append(time.perf_counter() - began)
                    await anyio.sleep(0.05)

            async def fire() -> None:
                async with client.stream("GET", server.url("events")) as stream:
                    assert stream.status_code == 200
                    lines = stream.aiter_lines()
                    assert await anext(lines) == "event: connected"
                    await enough.wait()
                    began = time.perf_counter()
                    slow = {"type": "build-completed", "detail": {"duration": 9_000}}
                    assert (await client.post(server.url("ingest"), json=slow)).status_code == 202
                    async for line in lines:
                        if line.startswith("data:") and "Build" in line and "alert" in line.lower():
                            fired.append(time.perf_counter() - began)
                            return

            began = time.perf_counter()
            with anyio.fail_after(300):
                async with anyio.create_task_group() as group:
                    for _ in range(16):
                        group.start_soon(flood)
                    group.start_soon(look)
                    group.start_soon(fire)
            lasted = time.perf_counter() - began
    allowed = statuses.count(200)
    print(
        f"{len(statuses)} reads in {lasted:.1f} s: {allowed} answered, {statuses.count(429)} held back; "
        f"health at most {max(health) * 1000:.0f} ms of {len(health)}; the alert after {fired[0] * 1000:.0f} ms"
    )
    assert set(statuses) == {200, 429} and min(waits) >= 1
    assert 60 <= allowed <= 60 + 20 * (lasted + 1)
    assert len(health) > 3 and max(health) < at_leisure(1.0)
    assert fired[0] < at_leisure(1.0)
