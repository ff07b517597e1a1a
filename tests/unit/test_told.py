"""What went wrong, told to people as a page, and to programs as JSON."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from bers.errors import Refused
from bers.web.envelope import JSON, failure, not_allowed, refusal
from bers.web.login import MOST_ADDRESS, asked_for
from bers.web.told import told

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


def request(path: str = "/nowhere", accept: str = BROWSER, method: str = "GET", query: str = "") -> Request:
    headers = [(b"accept", accept.encode()), (b"host", b"127.0.0.1:3003")]
    return Request({
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "headers": headers, "scheme": "http", "server": ("127.0.0.1", 3003),
    })  # fmt: skip


def test_a_person_reads_a_page_with_the_fault_the_remedy_and_a_way_on() -> None:
    refused = Refused("not_found", "unknown metric '<script>alert(1)</script>'", hint="write build_performance")
    answer = told(request(), refusal(refused))
    page = bytes(answer.body).decode()
    assert answer.status_code == 404 and answer.media_type == "text/html; charset=utf-8"
    assert "Unknown metric &#x27;&lt;script&gt;alert(1)&lt;/script&gt;&#x27;." in page and "<script" not in page
    assert "<p>Write build_performance.</p>" in page and 'href="/"' in page and "http-equiv" not in page
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")


def test_who_waits_for_a_server_that_starts_need_not_press_anything() -> None:
    answer = told(request("/"), failure(503, "unavailable", "this server is starting", headers={"Retry-After": "1"}))
    assert b'<meta http-equiv="refresh" content="1">' in bytes(answer.body)
    assert answer.headers["retry-after"] == "1" and answer.headers["x-request-id"]


def test_who_is_not_known_is_shown_the_login() -> None:
    answer = told(request(), refusal(Refused("unauthenticated", "there is no key")))
    assert b'href="/login"' in bytes(answer.body) and answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "asks",
    [request(accept="*/*"), request(accept=JSON), request("/api/monitoring/nope"), request(method="POST")],
)
def test_programs_and_whoever_asks_for_data_are_answered_with_json(asks: Request) -> None:
    answer = not_allowed(["GET"])
    assert told(asks, answer) is answer


def test_a_login_leads_back_to_this_server_alone() -> None:
    assert asked_for(request("/metric/x", query="range=24h&before=1")) == "/metric/x?range=24h&before=1"
    for elsewhere in ("//example.org", "/\\example.org", "/a\\b", "", "/" + "x" * MOST_ADDRESS):
        assert asked_for(request(elsewhere)) == "", elsewhere
