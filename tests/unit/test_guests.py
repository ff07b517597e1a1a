"""Pages of other sites: which may hand in events, what their browsers are told, and that they may do nothing else."""

import re
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx2
import pytest

from bers.access.settings import AccessSettings
from bers.testing.server import Server, serving

GUEST = "https://app.example"
KEY = "a-key-with-every-scope"


@pytest.fixture(scope="module")
async def server(home: Path) -> AsyncGenerator[Server]:
    """A server that asks for keys, and lets the pages of one other site hand in events."""
    access = (("access", "enabled"), True), (("access", "key"), KEY), (("access", "origins"), [GUEST])
    async with serving(home, changes=access, headers={"X-API-Key": KEY}) as found:
        yield found


async def asked(server: Server, path: str, origin: str, method: str = "POST") -> httpx2.Response:
    """What a browser is answered that asks before a page does something. It sends no key then."""
    async with httpx2.AsyncClient() as browser:
        return await browser.options(
            server.url(path),
            headers={
                "Origin": origin,
                "Sec-Fetch-Site": "cross-site",
                "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": "authorization,content-type",
            },
        )


async def test_a_browser_that_asks_first_is_told_what_a_page_may_send(server: Server) -> None:
    reply = await asked(server, "ingest", GUEST)
    assert (reply.status_code, reply.content) == (204, b"")
    told = {name: value for name, value in reply.headers.items() if name.startswith("access-control-")}
    assert told == {
        "access-control-allow-origin": GUEST,
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": "authorization, content-type, x-api-key",
        "access-control-expose-headers": "retry-after, x-request-id",
        "access-control-max-age": "7200",
    }
    assert reply.headers["vary"] == "origin"


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        ("ingest", "https://elsewhere.example"),
        ("ingest", "http://app.example"),
        ("ingest", f"{GUEST}:8443"),
        ("ingest", "null"),
        ("alerts", GUEST),
        ("metrics/restart", GUEST),
    ],
)
async def test_nothing_else_is_allowed(path: str, origin: str, server: Server) -> None:
    reply = await asked(server, path, origin)
    assert reply.status_code in (401, 403)
    assert "access-control-allow-methods" not in reply.headers
    assert reply.headers.get("access-control-allow-origin") is None


async def test_a_page_of_a_guest_hands_in_events_and_may_read_how_that_went(server: Server) -> None:
    headers = {"Origin": GUEST, "Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"}
    taken = await server.post("ingest", {"type": "build-completed", "detail": {"duration": 930}}, headers=headers)
    assert (taken.status_code, taken.headers["access-control-allow-origin"]) == (202, GUEST)
    refused = await server.post("ingest", {"type": "?"}, headers=headers)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (422, GUEST)
    unknown = await server.post("ingest", {"type": "a.b"}, headers={**headers, "X-API-Key": "wrong"})
    assert (unknown.status_code, unknown.headers["access-control-allow-origin"]) == (401, GUEST)


async def test_a_page_of_a_guest_does_nothing_else_even_with_a_key_for_all(server: Server) -> None:
    headers = {"Origin": GUEST, "Sec-Fetch-Site": "cross-site"}
    assert (await server.post("metrics/restart", headers=headers)).status_code == 403
    read = await server.get("alerts", headers=headers)
    assert "access-control-allow-origin" not in read.headers  # So its browser keeps it from the page.


async def test_a_session_of_somebody_is_nothing_that_a_page_of_a_guest_could_use(server: Server) -> None:
    async with httpx2.AsyncClient() as browser:
        entered = await browser.post(server.url("/login"), data={"key": KEY})
        assert entered.status_code == 303
        # Of the same site the cookie comes along: app.example and monitoring.example are one.
        headers = {"Origin": GUEST, "Sec-Fetch-Site": "same-site", "Content-Type": "application/json"}
        reply = await browser.post(server.url("ingest"), content=b'{"type": "a.b"}', headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "forbidden")


async def test_any_page_may_import_what_hands_events_in(server: Server) -> None:
    async with httpx2.AsyncClient() as browser:
        reply = await browser.get(server.url("/emit.js"), headers={"Origin": "https://elsewhere.example"})
        again = await browser.get(server.url("/emit.js"), headers={"If-None-Match": reply.headers["etag"]})
        elsewhere = await browser.get(server.url("/emit.js", "health"))
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert re.search(r"export ?\{[^}]*\bbridge\b", reply.text)
    assert reply.headers["access-control-allow-origin"] == "*"
    assert reply.headers["cross-origin-resource-policy"] == "cross-origin"
    assert reply.headers["cache-control"] == "public, max-age=3600"
    assert again.status_code == 304
    assert elsewhere.status_code in (401, 404)


@pytest.mark.parametrize(
    "origin", ["*", "null", "app.example", "https://app.example/", "https://App.example", "ftp://a"]
)
def test_an_origin_is_written_as_browsers_write_it(origin: str) -> None:
    with pytest.raises(ValueError, match=r"origins\[0\]: .* is no origin; write scheme, host in lower case"):
        AccessSettings(origins=[origin])
    AccessSettings(origins=["https://app.example", "http://localhost:5173", "https://[::1]:8443"])
