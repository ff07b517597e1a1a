"""The gate over HTTP: who is let in, who is not and why, and what is written down of it."""

import re
import sqlite3
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from starlette.requests import Request

from bers import Database, soundness
from bers.access import keys
from bers.access.credentials import FRESH
from bers.access.gate import Errand, Gate
from bers.access.keys import SCOPES
from bers.access.settings import AccessSettings, RateSettings
from bers.errors import Refused
from bers.operations import Scope
from bers.testing import VirtualClock
from bers.testing.server import Server, serving

CONFIGURED = "your-secure-api-key"
AS_ADMIN = {"Authorization": f"Bearer {CONFIGURED}"}


@pytest.fixture(scope="module")
async def closed(home: Path) -> AsyncGenerator[Server]:
    """A server that asks for keys, for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERS_MONITORING_AUTH_ENABLED", "true")
        patch.setenv("BERS_MONITORING_API_KEY", CONFIGURED)
        async with serving(home) as found:
            yield found


@pytest.fixture(scope="module")
async def given(closed: Server) -> Mapping[str, tuple[str, str]]:
    """A key for each scope, by its name: its id and its text."""
    found: dict[str, tuple[str, str]] = {one: await made(closed, one, one) for one in SCOPES}
    await anyio.sleep(FRESH)  # So long the server may not know of them.
    return found


async def made(server: Server, name: str, *scopes: Scope) -> tuple[str, str]:
    """A new key: its id and its text."""
    key, text = keys.make(name, scopes, now=server.node.supervisor.clock.time())
    await server.node.supervisor.state.run(partial(keys.store, key=key))
    return key.id, text


async def revoked(server: Server, id: str) -> None:
    await server.node.supervisor.state.run(partial(keys.revoke, id=id, now=1.0))
    await anyio.sleep(FRESH)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def error(reply: Any, status: int) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    return dict(reply.json()["error"])


async def written(server: Server) -> list[tuple[str, str, str]]:
    entries = await server.node.supervisor.audit.entries(1000)
    return [(one.principal, one.action, one.outcome) for one in entries]


# Keys.


@pytest.mark.parametrize("headers", [AS_ADMIN, {"X-API-Key": CONFIGURED}, {"authorization": f"bearer  {CONFIGURED}"}])
async def test_a23_a_key_is_sent_in_one_of_two_headers(headers: dict[str, str], closed: Server) -> None:
    assert (await closed.get("alerts", headers=headers)).status_code == 200


@pytest.mark.parametrize("name", ["key", "api_key", "token", "access_token"])
async def test_a23_a_key_in_an_address_is_never_accepted_and_the_answer_says_so(name: str, closed: Server) -> None:
    found = error(await closed.get(f"alerts?{name}={CONFIGURED}"), 401)
    assert found["hint"].startswith("a key in an address is written into logs, and never accepted; send it as")


async def test_without_a_key_the_answer_says_how_to_send_one(closed: Server) -> None:
    reply = await closed.get("alerts")
    assert error(reply, 401) == {
        "code": "unauthenticated",
        "message": "a key is asked for here",
        "hint": "send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`; `bers keys create` makes one",
    }
    assert reply.headers["www-authenticate"] == "Bearer"


async def test_a_key_that_never_was_and_one_that_is_no_more_are_told_alike(closed: Server) -> None:
    id, text = await made(closed, "gone", "read")
    await anyio.sleep(FRESH)
    assert (await closed.get("alerts", headers=bearer(text))).status_code == 200
    await revoked(closed, id)
    ended = await closed.get("alerts", headers=bearer(text))
    never = await closed.get("alerts", headers=bearer(keys.make("x", ["read"], now=0.0)[1]))
    assert error(ended, 401) == error(never, 401)


async def test_a_scope_that_is_missing_is_named(closed: Server, given: Mapping[str, tuple[str, str]]) -> None:
    _, text = given["read"]
    found = error(await closed.post("metrics/restart", headers=bearer(text)), 403)
    assert found["message"] == "the key 'read' may not do this"
    assert found["hint"] == "it needs the scope 'admin'; this key has read"


async def test_a_key_for_events_hands_in_events_and_nothing_else(
    closed: Server, given: Mapping[str, tuple[str, str]]
) -> None:
    _, text = given["ingest"]
    reply = await closed.client.post(closed.url("ingest"), json={"type": "build-completed"}, headers=bearer(text))
    assert reply.status_code == 202
    for path in ("alerts", "events", "/metrics", "/openapi.json", "audit", "health"):
        assert (await closed.get(path, headers=bearer(text))).status_code == 403, path


async def test_what_is_not_there_is_not_told_to_strangers(closed: Server) -> None:
    assert (await closed.get("/nowhere")).status_code == 401
    assert (await closed.get("/nowhere", headers=AS_ADMIN)).status_code == 404
    assert (await closed.get("metrics/restart")).status_code == 401
    assert (await closed.get("metrics/restart", headers=AS_ADMIN)).status_code == 405


async def test_c032_whoever_has_a_key_need_not_say_who_acknowledges(
    closed: Server, given: Mapping[str, tuple[str, str]]
) -> None:
    _, text = given["acknowledge"]
    slow = {"type": "build-completed", "detail": {"duration": 9_000}}
    reply = await closed.client.post(closed.url("ingest"), json=slow, headers=AS_ADMIN)
    assert reply.status_code == 202
    with anyio.fail_after(30):
        while not (alerts := (await closed.get("alerts", headers=AS_ADMIN)).json()["data"]):
            await anyio.sleep(0.02)
    id = alerts[0]["id"]
    assert (await closed.post(f"alerts/{id}/acknowledge")).status_code == 401
    reply = await closed.post(f"alerts/{id}/acknowledge", headers=bearer(text))
    assert reply.status_code == 200 and reply.json()["data"]["acknowledgment"]["operator"] == "acknowledge"


# Sessions.


async def test_a23_a_login_opens_a_session_in_a_cookie_that_scripts_and_other_sites_never_see(closed: Server) -> None:
    async with httpx2.AsyncClient() as browser:
        reply = await browser.post(closed.url("/login"), data={"key": CONFIGURED})
        assert (reply.status_code, reply.headers["location"]) == (303, "/")
        cookie = reply.headers["set-cookie"]
        assert re.fullmatch(r"bers=[0-9a-f]{64}; HttpOnly; Max-Age=43200; Path=/; SameSite=strict", cookie)
        assert (await browser.get(closed.url("alerts"))).status_code == 200
        page = await browser.get(closed.url("/"))
        assert page.status_code == 200 and '<script src="/assets/main-' in page.text
        async with browser.stream("GET", closed.url("events")) as stream:
            assert stream.status_code == 200
            assert await anext(stream.aiter_lines()) == "event: connected"
        assert "<strong>environment</strong>" in (await browser.get(closed.url("/login"))).text


async def test_a30_without_a_session_the_page_is_the_login_and_shows_nothing(closed: Server) -> None:
    for headers in ({}, {"Cookie": "bers=0000"}, {"Cookie": f"bers={CONFIGURED}"}):
        reply = await closed.get("/", headers=headers)
        assert reply.status_code == 200
        assert '<form method="post" action="/login">' in reply.text
        assert "production" not in reply.text and "<script" not in reply.text and "style=" not in reply.text
        assert "default-src 'self'" in reply.headers["content-security-policy"]
        # Without this a browser says `Origin: null` when it sends the form.
        assert reply.headers["referrer-policy"] == "same-origin"
    assert (await closed.get("/", headers=AS_ADMIN)).text.count("data-metric=") > 3
    style = await closed.get("/assets/login.css")
    assert style.status_code == 200 and style.headers["content-type"].startswith("text/css")
    asked = await closed.client.head(closed.url("/assets/login.css"))
    assert (asked.status_code, asked.content) == (200, b""), "it is answered like GET"
    assert asked.headers["content-length"] == style.headers["content-length"]
    assert (await closed.post("/assets/login.css")).status_code == 405


async def test_a30_what_needs_no_key_is_a_list(closed: Server) -> None:
    for path in ("/", "/login", "/assets/icon.svg", "/livez", "/readyz"):
        assert (await closed.get(path)).status_code == 200, path
    assert (await closed.get("/assets/../api/monitoring/alerts")).status_code == 401
    assert (await closed.get("/assets/other")).status_code == 404
    for view in ("/alerts", "/metric/build_performance", "/runs", "/pipelines"):
        stranger = await closed.get(view)
        assert stranger.status_code == 401 and '<form method="post" action="/login">' in stranger.text, view
        assert "<script" not in stranger.text
        assert (await closed.get(view, headers=AS_ADMIN)).status_code == 200


async def test_a_wrong_key_shows_the_page_again_and_an_error_to_programs(closed: Server) -> None:
    wrong = keys.make("x", ["read"], now=0.0)[1]
    page = await closed.client.post(closed.url("/login"), data={"key": wrong})
    assert page.status_code == 401 and "this key is not known" in page.text and wrong not in page.text
    assert "set-cookie" not in page.headers
    for key in ("", wrong):
        page = await closed.client.post(closed.url("/login"), data={"key": key, "to": "/alerts?state=firing"})
        assert 'name="to" value="/alerts?state=firing"' in page.text, "it still leads to the view that was asked for"
    assert error(await closed.post("/login", {"key": wrong}), 401)["code"] == "unauthenticated"
    assert error(await closed.post("/login", {"kex": wrong}), 422)["details"][0]["path"] == "key"
    assert error(await closed.post("/login", {"key": "x" * 5000}), 413)["code"] == "too_large"


async def test_programs_may_log_in_by_json_and_out_again(closed: Server) -> None:
    async with httpx2.AsyncClient() as client:
        reply = await client.post(closed.url("/login"), json={"key": CONFIGURED})
        assert reply.json()["data"] == {
            "principal": "environment", "scopes": ["read", "ingest", "acknowledge", "admin"], "lasts": 43_200_000,
        }  # fmt: skip
        token = client.cookies["bers"]
        own = {"Origin": closed.url("/").rstrip("/")}
        assert (await client.post(closed.url("/logout"), headers=own)).headers["location"] == "/login"
        client.cookies.set("bers", token)
        assert (await client.get(closed.url("alerts"))).status_code == 401, "the token is worth nothing any more"


async def test_a_key_that_may_not_read_opens_no_session(closed: Server, given: Mapping[str, tuple[str, str]]) -> None:
    _, text = given["ingest"]
    assert error(await closed.post("/login", {"key": text}), 403)["message"].startswith("the key 'ingest' may not read")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "else", "Origin": "https://elsewhere.example"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 200),
        ({"Origin": "SERVER"}, 200),
    ],
    ids=str,
)
async def test_a_write_with_a_session_has_to_come_from_a_page_of_ours(
    headers: dict[str, str], status: int, closed: Server
) -> None:
    async with httpx2.AsyncClient() as browser:
        await browser.post(closed.url("/login"), json={"key": CONFIGURED})
        own = {name: value.replace("SERVER", closed.url("/").rstrip("/")) for name, value in headers.items()}
        assert (await browser.post(closed.url("metrics/restart"), headers=own)).status_code == status


async def test_b4_a_write_with_a_key_needs_no_such_proof_but_no_other_site_may_ask_for_it(closed: Server) -> None:
    assert (await closed.post("metrics/restart", headers=AS_ADMIN)).status_code == 200
    elsewhere = {**AS_ADMIN, "Origin": "https://elsewhere.example"}
    assert (await closed.post("metrics/restart", headers=elsewhere)).status_code == 403


async def test_a_stream_ends_when_its_key_is_revoked(closed: Server) -> None:
    id, text = await made(closed, "watcher", "read")
    await anyio.sleep(FRESH)
    with anyio.fail_after(15):
        async with closed.events(**bearer(text)) as frames:
            assert (await anext(frames)).event == "connected"
            await revoked(closed, id)
            async for _ in frames:
                pass


# What is written down.


async def test_every_write_is_told_with_its_principal_and_those_that_were_refused_too(
    closed: Server, given: Mapping[str, tuple[str, str]]
) -> None:
    id, text = given["read"]
    await closed.post("health/circuit-breakers/reset", headers=AS_ADMIN)
    await closed.post("health/circuit-breakers/reset", headers=bearer(text))
    newest = await written(closed)
    action = "POST /api/monitoring/health/circuit-breakers/reset"
    assert (f"read ({id})", action, "forbidden") in newest
    assert ("environment", action, "done") in newest
    entries = (await closed.get("audit", headers=AS_ADMIN)).json()["data"]
    assert {one["address"] for one in entries} == {"127.0.0.1"}


async def test_strangers_cannot_fill_the_audit(closed: Server) -> None:
    await closed.node.gate.save()
    before = len(await written(closed))
    for n in range(50):
        assert (await closed.post(f"alerts/{n}/resolve")).status_code == 401
    await closed.node.gate.save()
    assert (await written(closed))[:-before] == [
        ("anonymous", "49 more writes", "unauthenticated"),
        ("anonymous", "POST /api/monitoring/alerts/0/resolve", "unauthenticated"),
    ]


async def test_a_token_in_a_path_is_masked_in_the_audit(closed: Server, given: Mapping[str, tuple[str, str]]) -> None:
    _, text = given["acknowledge"]
    await closed.post(f"alerts/{text}/acknowledge", headers=bearer(text))
    assert any(action == "POST /api/monitoring/alerts/***/acknowledge" for _, action, _ in await written(closed))


# Every answer.


async def test_every_answer_tells_browsers_what_to_keep_from(closed: Server) -> None:
    for path in (
        "alerts",
        "/nowhere",
        "/livez",
        "/readyz",
        "/",
        "/login",
        "/metrics",
        "/openapi.json",
    ):
        for headers in ({}, AS_ADMIN):
            reply = await closed.get(path, headers=headers)
            assert reply.headers["x-content-type-options"] == "nosniff", path
            assert reply.headers["cache-control"] == "no-store", path
            assert reply.headers["referrer-policy"] in ("no-referrer", "same-origin"), path
            assert "frame-ancestors 'none'" in reply.headers["content-security-policy"], path
            assert reply.headers["cross-origin-resource-policy"] == "same-origin", path
            assert "strict-transport-security" not in reply.headers, path
    assert "default-src 'none'" in (await closed.get("alerts")).headers["content-security-policy"]
    async with closed.client.stream("GET", closed.url("events"), headers=AS_ADMIN) as stream:
        assert stream.headers["x-content-type-options"] == "nosniff"
        assert stream.headers["x-accel-buffering"] == "no"


async def test_how_to_show_a_key_is_described(closed: Server) -> None:
    document = (await closed.get("/openapi.json", headers=AS_ADMIN)).json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header", "session"}
    assert document["security"] == [{"bearer": []}, {"header": []}, {"session": []}]
    restart = document["paths"]["/api/monitoring/metrics/restart"]["post"]
    assert restart["x-scope"] == "admin" and {"401", "403", "429"} <= set(restart["responses"])
    assert document["paths"]["/assets/{name}"]["get"]["security"] == []


# Addresses, names, rates: a gate alone, asked by whomever we like.


def asking(peer: str, path: str = "/api/monitoring/alerts", method: str = "GET", **headers: str) -> Request:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request(
        {"type": "http", "method": method, "path": path, "query_string": b"", "headers": sent, "client": (peer, 4711),
         "server": ("127.0.0.1", 3003), "scheme": "http"}
    )  # fmt: skip


async def arrives(gate: Gate, request: Request, *, probe: bool = False) -> str:
    """The address that is let in, or why it is not."""
    try:
        return await gate.arrive(request, probe=probe)
    except Refused as refused:
        return f"{refused.reason}: {refused}"


@pytest.mark.parametrize(
    ("peer", "found"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("172.20.0.1", "172.20.0.1"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("192.0.2.1", "forbidden: 192.0.2.1 may not ask here"),
        ("::ffff:192.0.2.1", "forbidden: 192.0.2.1 may not ask here"),
        ("2001:db8::1", "forbidden: 2001:db8::1 may not ask here"),
        ("fe80::1%eth0", "forbidden: fe80::1 may not ask here"),
    ],
)
async def test_c152_a25_the_runbooks_list_as_written_lets_its_networks_in_and_this_machine(
    peer: str, found: str, clock: VirtualClock
) -> None:
    gate = Gate(AccessSettings(allowed=["10.0.0.0/8", "172.16.0.0/12"]), clock)
    assert await arrives(gate, asking(peer)) == found


async def test_a25_this_machine_is_let_in_only_while_that_is_not_switched_off(clock: VirtualClock) -> None:
    gate = Gate(AccessSettings(allowed=["10.0.0.0/8"], allow_loopback=False), clock)
    assert await arrives(gate, asking("127.0.0.1")) == "forbidden: 127.0.0.1 may not ask here"
    assert await arrives(gate, asking("127.0.0.1", "/livez"), probe=True) == "127.0.0.1"
    assert await arrives(gate, asking("192.0.2.1", "/livez"), probe=True) == "forbidden: 192.0.2.1 may not ask here"


@pytest.mark.parametrize("header", ["x_forwarded_for", "forwarded", "x_real_ip"])
async def test_a25_a_header_does_not_let_a_stranger_in(header: str, clock: VirtualClock) -> None:
    gate = Gate(AccessSettings(allowed=["10.0.0.0/8"], trusted_proxies=["10.0.0.1"]), clock)
    for value in ("10.1.2.3", "127.0.0.1", "for=127.0.0.1"):
        assert await arrives(gate, asking("192.0.2.1", **{header: value})) == "forbidden: 192.0.2.1 may not ask here"


async def test_a25_behind_a_trusted_proxy_it_is_the_client_that_counts(clock: VirtualClock) -> None:
    gate = Gate(AccessSettings(allowed=["10.0.0.0/8"], trusted_proxies=["127.0.0.1"]), clock)
    assert await arrives(gate, asking("127.0.0.1", x_forwarded_for="10.1.2.3")) == "10.1.2.3"
    assert await arrives(gate, asking("127.0.0.1", x_forwarded_for="127.0.0.1, 192.0.2.1")) == (
        "forbidden: 192.0.2.1 may not ask here"
    )
    assert (
        await arrives(gate, asking("127.0.0.1", x_forwarded_for="garbage"))
        == "forbidden: this address may not ask here"
    )
    # Both headers, and one of them from the client itself.
    assert await arrives(gate, asking("127.0.0.1", x_forwarded_for="192.0.2.1", forwarded="for=127.0.0.1")) == (
        "forbidden: this address may not ask here"
    )


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("localhost:3003", True),
        ("LOCALHOST", True),
        ("127.0.0.1:3003", True),
        ("[::1]:3003", True),
        ("192.0.2.7", True),
        ("bers.example.com", True),
        ("bers.example.com.:443", True),
        ("evil.example", False),
        ("localhost.evil.example:3003", False),
        ("127.0.0.1.evil.example", False),
        ("[::1", False),
        ("localhost@evil.example", False),
        ("", True),
    ],
)
async def test_a_name_that_somebody_else_leads_to_us_is_refused(host: str, ours: bool, clock: VirtualClock) -> None:
    gate = Gate(AccessSettings(hosts=["bers.example.com"]), clock)
    found = await arrives(gate, asking("127.0.0.1", host=host))
    assert (found == "127.0.0.1") is ours, found


async def test_where_a_key_is_asked_for_any_name_will_do_unless_names_are_told(clock: VirtualClock) -> None:
    named = asking("127.0.0.1", host="bers.internal:3003")
    assert (await arrives(Gate(AccessSettings(), clock), named)).startswith("forbidden")
    assert await arrives(Gate(AccessSettings(enabled=True), clock), named) == "127.0.0.1"
    assert (await arrives(Gate(AccessSettings(enabled=True, hosts=["a"]), clock), named)).startswith("forbidden")
    assert await arrives(Gate(AccessSettings(), clock, host="bers.internal"), named) == "127.0.0.1"


async def admitted(gate: Gate, request: Request, errand: Errand, times: int) -> int:
    """How many of so many requests are let through."""
    refused: list[Refused] = []
    for _ in range(times):
        try:
            await gate.admit(request, request.client.host if request.client else "", errand)
        except Refused as error:
            refused.append(error)
    assert all(one.reason == "rate_limited" and one.retry_after for one in refused)
    return times - len(refused)


async def test_c153_a26_reads_and_commands_are_limited_by_default(clock: VirtualClock) -> None:
    gate = Gate(AccessSettings(), clock)
    assert await admitted(gate, asking("192.0.2.1"), Errand("read"), 100) == 60
    assert await admitted(gate, asking("192.0.2.2"), Errand("read"), 100) == 60, "another address has its own"
    assert await admitted(gate, asking("192.0.2.1", method="POST"), Errand("admin"), 100) == 0
    await clock.advance(1)
    assert await admitted(gate, asking("192.0.2.1"), Errand("read"), 100) == 20


async def test_an_ipv6_host_has_one_bucket_for_all_of_its_addresses(clock: VirtualClock) -> None:
    gate = Gate(AccessSettings(rate=RateSettings(per_second=1, burst=2)), clock)
    assert sum([await admitted(gate, asking(f"2001:db8::{n:x}"), Errand("read"), 1) for n in range(20)]) == 2


async def test_a26_events_streams_assets_and_health_for_this_machine_are_not_limited(clock: VirtualClock) -> None:
    gate = Gate(AccessSettings(), clock)
    for errand in (Errand("ingest", counted=False), Errand("read", counted=False), Errand(public=True, counted=False)):
        assert await admitted(gate, asking("192.0.2.1"), errand, 500) == 500
    health = Errand("read", health=True)
    assert await admitted(gate, asking("127.0.0.1"), health, 500) == 500
    assert await admitted(gate, asking("192.0.2.1"), health, 500) == 60


async def test_the_limit_can_be_set_and_switched_off(clock: VirtualClock) -> None:
    gate = Gate(AccessSettings(rate=RateSettings(enabled=False)), clock)
    assert await admitted(gate, asking("192.0.2.1"), Errand("read"), 500) == 500


async def test_wrong_keys_are_limited_by_address_and_guesses_end_before_they_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BERS_MONITORING_AUTH_ENABLED", "true")
    monkeypatch.setenv("BERS_MONITORING_API_KEY", CONFIGURED)
    monkeypatch.setattr("bers.access.gate.GUESSES_PER_SECOND", 1 / 3600)  # However long thirty requests take.
    async with serving(tmp_path) as server:
        _, text = await made(server, "ada", "read")
        replies = [await server.get("alerts", headers=bearer(f"guess-{n}")) for n in range(30)]
        assert [one.status_code for one in replies[:20]] == [401] * 20
        assert [one.status_code for one in replies[20:]] == [429] * 10
        assert int(replies[-1].headers["retry-after"]) >= 1
        assert (await server.get("alerts", headers=AS_ADMIN)).status_code == 429, "it may be guessed, so it waits"
        assert (await server.post("/login", {"key": CONFIGURED})).status_code == 429
        assert (await server.get("alerts", headers=bearer(text))).status_code == 200, "nobody guesses this one"


async def test_while_keys_cannot_be_read_nobody_is_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BERS_MONITORING_AUTH_ENABLED", "true")
    monkeypatch.setenv("BERS_MONITORING_API_KEY", CONFIGURED)
    async with serving(tmp_path) as server:
        state = server.node.supervisor.state
        await state.run(lambda connection: connection.execute("ALTER TABLE keys RENAME TO hidden").close())
        await state.run(lambda connection: connection.execute("CREATE VIEW keys AS SELECT 1").close())
        await anyio.sleep(FRESH)
        assert error(await server.get("alerts", headers=AS_ADMIN), 503)["code"] == "unavailable"
        await state.run(lambda connection: connection.execute("DROP VIEW keys").close())
        await state.run(lambda connection: connection.execute("ALTER TABLE hidden RENAME TO keys").close())


async def test_a_start_looks_through_the_state_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for keys before a node is there, and belongs to the node from then on."""
    state = Database(tmp_path / ".bers" / "state.db")
    state.run_now(lambda _: None)
    state.close()
    monkeypatch.setenv("BERS_MONITORING_AUTH_ENABLED", "true")
    monkeypatch.setenv("BERS_MONITORING_API_KEY", CONFIGURED)
    looked, look = list[str](), soundness.of_everything

    def noted(connection: sqlite3.Connection) -> list[str]:
        looked.append(Path(connection.execute("PRAGMA database_list").fetchone()[2]).name)
        return look(connection)

    monkeypatch.setattr(soundness, "of_everything", noted)
    async with serving(tmp_path):
        assert looked.count("state.db") == 1
