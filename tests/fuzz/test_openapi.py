"""schemathesis asks each listener what its description says, and much that it does not: no answer is undescribed."""

import os
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from tests.acceptance.conftest import Operator, configuration, operating

LONG = bool(os.environ.get("BERS_TEST_LONG"))
EXAMPLES = 200 if LONG else 15
ENDLESS = "/(events|tap)$"
"""Streams are tried by themselves, further down."""

PATIENCE = 60
"""Seconds for an answer, on a machine that has other things to do."""

SEEDS = [1, 2, 3] if LONG else [1]

# Whether one field fits may depend on another, or on what is there; a description cannot say that. Events are taken in
# more forms than the one that is described, and the good ones among bad ones are taken; what others send in words of
# their own is not described, and nobody is there to read it. 503 is how health says that
# something is down, and a server that it is busy.
CONFIGURATION = """
seed = {seed}
continue-on-failure = true

[warnings]
enabled = false

[dictionaries]
alerts = {{ values = {alerts} }}
checks = {{ values = {checks} }}
metrics = {{ values = {metrics} }}

[parameters]
"path.id" = {{ dictionary = "alerts", probability = 0.5 }}
"path.check" = {{ dictionary = "checks", probability = 0.5 }}
"path.type" = {{ dictionary = "metrics", probability = 0.5 }}

[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 503]

[checks.negative_data_rejection]
expected-statuses = [400, 404, 409, 413, 415, 422]

[[operations]]
include-path = "/api/monitoring/ingest"
checks.negative_data_rejection.enabled = false

[[operations]]
include-path-regex = "^/(api/monitoring/ingest|v1)/"
checks.negative_data_rejection.enabled = false
checks.positive_data_acceptance.enabled = false

[[operations]]
include-path = "/api/monitoring/metrics/{{type}}"
checks.positive_data_acceptance.expected-statuses = [200, 404, 422]

[[operations]]
include-path-regex = "^/api/monitoring/(records|runs)$"
checks.positive_data_acceptance.expected-statuses = [200, 422]

[[operations]]
include-path-regex = "^/api/monitoring/(audit/verify|alerts/backtest|silences)"
checks.positive_data_acceptance.expected-statuses = [200, 400, 404, 409, 422, 429]

[[operations]]
include-path-regex = "^/api/monitoring/alerts/[{{]id[}}]/"
checks.positive_data_acceptance.expected-statuses = [200, 404, 409, 422]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    """A server on which something has happened: builds, and an alert about slow ones."""
    folder = tmp_path_factory.mktemp("described")
    configuration(folder)
    with operating(folder) as operator:
        operator.emit(*({"type": "build-completed", "detail": {"duration": 9000 + n}} for n in range(20)))
        operator.emit({"type": "provider.initialized", "duration_ms": 12.0, "labels": {"provider": "db"}})
        operator.until("alerts", len, seconds=20)
        yield operator


@pytest.fixture(scope="module")
def described(server: Operator) -> dict[str, Any]:
    """What the server says of itself."""
    document: dict[str, Any] = httpx2.get(server.url("/openapi.json"), timeout=PATIENCE).json()
    return document


@pytest.mark.parametrize("number", SEEDS)
@pytest.mark.parametrize("surface", ["health", "metrics", "control"])
def test_every_answer_of_a_listener_is_one_that_it_describes(
    surface: str, number: int, server: Operator, tmp_path: Path
) -> None:
    found = schemathesis(
        server.url("/openapi.json", surface), number, tmp_path, _there_is(server), "--exclude-path-regex", ENDLESS
    )
    assert found.returncode == 0, found.stdout
    assert server.get("dashboard/status").status_code == 200
    said, _, _ = (server.folder / "logs" / "monitoring.log").read_text().rpartition("\n")
    lines = [msgspec.json.decode(line) for line in said.split("\n") if line]  # Texts may hold other ends of lines.
    # Stages may be restarted by what is asked here; that requests are answered may not depend on it.
    assert not [one for one in lines if one["level"] == "ERROR" and one["logger"].startswith("bers.web")]


FILTERS = st.one_of(
    st.text(max_size=40),
    st.lists(st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,20}\*?", fullmatch=True), max_size=60).map(",".join),
)
IDS = st.one_of(st.text(max_size=30), st.integers(-2, 2**70).map(str), st.just("0"))


@seed(3)
@settings(max_examples=300 if LONG else 50, database=None)
@given(types=FILTERS, format=st.sampled_from(["named", "message", "", "xml"]), last=IDS)
def test_a_stream_begins_with_a_greeting_or_is_refused_whatever_is_asked_for(
    server: Operator, described: dict[str, Any], types: str, format: str, last: str
) -> None:
    asked = {"types": types, "format": format, "lastEventId": last}
    with httpx2.stream("GET", server.url("events"), params=asked, timeout=PATIENCE) as reply:
        assert str(reply.status_code) in described["paths"]["/api/monitoring/events"]["get"]["responses"]
        if reply.status_code == 200:
            assert reply.headers["content-type"] == "text/event-stream"
            lines = reply.iter_lines()
            assert next(lines) == ("event: connected" if format == "named" else "retry: 2000")
        else:
            assert msgspec.json.decode(reply.read())["success"] is False
            assert reply.status_code in (400, 422), reply.text


def test_a_last_event_id_in_the_header_may_be_anything_that_a_header_can_hold(server: Operator) -> None:
    for id in ("", "0", "-1", "9" * 19, "9" * 5000, "\u00e4", "1e3", "1, 2", "7 7"):
        headers = [(b"Last-Event-ID", id.encode("latin-1"))]
        with httpx2.stream("GET", server.url("events"), headers=headers, timeout=PATIENCE) as reply:
            assert (reply.status_code, next(reply.iter_lines())) == (200, "event: connected"), id[:20]


def schemathesis(
    url: str, number: int, folder: Path, values: Mapping[str, Sequence[str]], *options: str
) -> subprocess.CompletedProcess[str]:
    """Run every check that it has, with values to try for parameters that name something."""
    names = {name: _names(values.get(name, ["nobody"])) for name in ("alerts", "checks", "metrics")}
    (folder / "schemathesis.toml").write_text(CONFIGURATION.format(seed=number, **names))
    # Whoever asks for the description is patient; schemathesis would be for ten seconds.
    (folder / "openapi.json").write_bytes(httpx2.get(url, timeout=PATIENCE).content)
    base = ["--url", url.removesuffix("/openapi.json"), "--request-timeout", str(PATIENCE)]
    command = [sys.executable, "-m", "schemathesis.cli", "--no-color", "run", "openapi.json", *base]
    phases = "examples,coverage,fuzzing,stateful" if LONG else "examples,coverage,fuzzing"
    limits = ["--phases", phases, "--max-examples", str(EXAMPLES), "--generation-database", "none"]
    return subprocess.run(
        [*command, "--mode", "all", *limits, *options],
        cwd=folder, capture_output=True, text=True, check=False, timeout=1800,
    )  # fmt: skip


def _there_is(server: Operator) -> Mapping[str, Sequence[str]]:
    return {
        "alerts": [one["id"] for one in server.data("alerts/history")],
        "checks": [one["name"] for one in server.get("health", "health").json()["data"]["checks"]],
        "metrics": list(server.data("metrics")),
    }


def _names(names: Sequence[str]) -> str:
    return str([*names])
