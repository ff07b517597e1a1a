"""For tests of emitters: an intake on loopback that takes events, drops repeats, and answers what a test orders.

Beside it stands what was told of one session of pytest.
"""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self


SURROUNDINGS = (
    "BERS_",
    "CI",
    "GITHUB_",
    "GITLAB_",
    "JENKINS_",
    "BUILDKITE",
    "TF_BUILD",
    "BITBUCKET_",
    "TEAMCITY_",
    "CODEBUILD_",
    "CIRCLE",
    "TRAVIS",
    "DRONE",
    "TRACEPARENT",
)
"""How the names of variables begin that tell an emitter where it is: a test that is to know that takes them away."""


class Receiver:
    """Answers 202 unless an answer is ordered; after ``hang_after`` requests it never answers again."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.duplicates = 0
        self.requests: list[tuple[Mapping[str, str], bytes]] = []
        self.paths: list[str] = []
        self.times: list[float] = []
        """When each request was here, as the clock on the wall says."""
        self.hang_after: int | None = None
        self.limit: int | None = None
        """Bytes of a body, as it travels, beyond which it is too large."""
        self.rejects: Callable[[dict[str, Any]], bool] = lambda event: False
        self._answers: deque[tuple[int, Mapping[str, str], bytes]] = deque()
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._seen: set[tuple[str, str]] = set()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.receiver = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"", times: int = 1) -> None:
        """Order the next answers; what they answer is not taken."""
        self._answers.extend([(status, headers or {}, body)] * times)

    def of(self, type: str) -> list[dict[str, Any]]:
        """The events of one type, in the order of their arrival."""
        return [event for event in self.events if event["type"] == type]

    def wait(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Return when the condition holds; it is asked again after each request."""
        with self._changed:
            if not self._changed.wait_for(condition, seconds):
                raise TimeoutError(f"after {seconds} s: {len(self.requests)} requests, {self.events}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str], bytes] | None:
        """Answer one request; None means never."""
        with self._changed:
            try:
                return self._take(headers, body)
            finally:
                self._changed.notify_all()

    def _take(self, headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str], bytes] | None:
        self.requests.append((headers, body))
        self.times.append(time.time())
        if self.hang_after is not None and len(self.requests) > self.hang_after:
            return None
        if self._answers:
            return self._answers.popleft()
        if self.limit is not None and len(body) > self.limit:
            return 413, {}, b""
        events: list[dict[str, Any]] = json.loads(gzip.decompress(body) if "Content-Encoding" in headers else body)
        rejected: list[dict[str, object]] = []
        accepted = duplicates = 0
        for index, event in enumerate(events):
            key = (event["source"], event["id"])
            if self.rejects(event):
                rejected.append({"index": index, "id": event["id"], "error": "rejected to order"})
            elif key in self._seen:
                duplicates += 1
            else:
                accepted += 1
                self._seen.add(key)
                self.events.append(event)
        self.duplicates += duplicates
        data = {"accepted": accepted, "duplicates": duplicates, "rejected": rejected}
        return 202, {}, json.dumps({"success": True, "data": data}).encode()

    def closed(self) -> None:
        """Block until the test is over."""
        self._closed.wait()


def suite_end(receiver: Receiver) -> dict[str, Any]:
    """The one end of the one suite that began."""
    [started], [event] = receiver.of("testsuiterun.started"), receiver.of("testsuiterun.finished")
    assert started["subject"] == event["subject"]
    return event


def cases_told(receiver: Receiver) -> dict[str, tuple[str, str | None]]:
    """The tests that were reported by themselves, with outcome and reason; each once."""
    events = receiver.of("testcaserun.finished")
    found = {event["data"]["test"]: (event["outcome"], event.get("reason")) for event in events}
    assert len(found) == len(events)
    return found


def last_line(measures: Mapping[str, float]) -> dict[str, int]:
    """What pytest's last line would say of these counts."""
    count = {name.partition(".")[2]: int(value) for name, value in measures.items()}
    said = {
        "passed": count["passed"] - count.get("xpassed", 0),
        "failed": count["failed"],
        "errors": count["errored"],
        "skipped": count["skipped"] - count.get("xfailed", 0),
        "xfailed": count.get("xfailed", 0),
        "xpassed": count.get("xpassed", 0),
        "deselected": count.get("deselected", 0),
        "rerun": count.get("reruns", 0),
    }
    return {name: number for name, number in said.items() if number}


class _Server(ThreadingHTTPServer):
    receiver: Receiver

    def handle_error(self, request: object, client_address: object) -> None:
        """An emitter that was killed in the middle of a request is what tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Else each answer on a kept connection waits 40 ms.

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        assert isinstance(self.server, _Server)
        receiver = self.server.receiver
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        receiver.paths.append(self.path)
        answer = receiver.take(dict(self.headers), body)
        if answer is None:
            self.close_connection = True
            receiver.closed()
            return
        status, headers, text = answer
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(text))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Tests tell what they expect."""
