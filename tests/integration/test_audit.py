"""`make audit`: what it says where advisory sources answer, refuse, and say nothing at all."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "audit.py"


class Source(BaseHTTPRequestHandler):
    """An advisory source."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"vulns": [{"id": "PYSEC-2014-8"}]}' if self.path == "/v1/query" else b"{}")

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def source() -> Generator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Source) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()
        thread.join()


def audit(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False, timeout=60)


def tool(folder: Path, *dependencies: dict[str, Any], code: int = 0) -> str:
    """A program that prints what pip-audit would."""
    path = folder / "auditor"
    path.write_text(
        f"#!/bin/sh\ncat <<'EOF'\n{json.dumps({'dependencies': dependencies, 'fixes': []})}\nEOF\nexit {code}\n"
    )
    path.chmod(0o700)
    return str(path)


def test_where_no_source_answers_it_says_so_and_that_nothing_was_audited(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        done = audit("--source", url, "--tool", tool(tmp_path, {"name": "a", "version": "1", "vulns": []}))
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("no advisory source answers:\n") and done.stderr.endswith("\nnothing was audited\n")
    assert done.stderr.count("Connection refused") == 1


def test_a_source_that_takes_the_question_and_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        done = audit("--source", f"http://127.0.0.1:{silent.getsockname()[1]}/")
    assert done.returncode == 2 and "timed out" in done.stderr
    assert time.monotonic() - began < 30


def test_an_index_that_has_no_advisories_is_no_source_of_them(source: str, tmp_path: Path) -> None:
    without = source.removesuffix("query") + "nothing"
    done = audit("--source", without, "--tool", tool(tmp_path, {"name": "a", "version": "1"}))
    assert done.returncode == 2 and done.stderr.startswith("no advisory source answers:\n")
    assert "it knows nothing against jinja2 2.4.1, so it has no advisories" in done.stderr


def test_what_is_known_is_told_with_the_version_that_mends_it(source: str, tmp_path: Path) -> None:
    known = {"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": ["CVE-2026-1"], "description": "bad"}
    bad: dict[str, Any] = {"name": "a", "version": "1.0", "vulns": [known]}
    good: dict[str, Any] = {"name": "b", "version": "2.0", "vulns": []}
    done = audit("--source", source, "--tool", tool(tmp_path, bad, good, code=1))
    assert done.stdout.splitlines() == [
        "a 1.0: PYSEC-1 = CVE-2026-1, fixed in 1.1",
        "2 packages looked up: 1 known vulnerabilities",
    ]
    assert done.returncode == 1


def test_where_nothing_is_known_it_succeeds_and_names_what_it_could_not_look_up(source: str, tmp_path: Path) -> None:
    own = {"name": "own", "skip_reason": "it is on no index"}
    done = audit("--source", source, "--tool", tool(tmp_path, own, {"name": "b", "version": "2.0", "vulns": []}))
    assert done.stdout.splitlines() == [
        "own: not looked up: it is on no index",
        "1 packages looked up: no known vulnerabilities",
    ]
    assert done.returncode == 0
    assert audit("--source", source, "--tool", tool(tmp_path, own)).returncode == 2, "nothing at all could be looked up"


@pytest.mark.parametrize("program", ["/bin/false", "/nowhere/at-all", "/bin/echo not JSON"])
def test_an_auditor_that_fails_is_no_clean_bill(program: str, source: str) -> None:
    done = audit("--source", source, "--tool", program)
    assert done.returncode == 2 and done.stderr.endswith("\nnothing was audited\n")
