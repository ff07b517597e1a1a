"""Services that turn bad and good again at random moments, and how long it takes until somebody is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import ceil
from random import Random
from typing import Any, NamedTuple, TypeAlias

import msgspec

Flip: TypeAlias = tuple[int, bool]
"""A service, and whether it turned bad."""

Read: TypeAlias = Callable[[Any], list[Flip]]
"""What a notification tells: of which services, and that they are bad, or good again."""


class Latencies(NamedTuple):
    """Seconds from a change to the bytes that tell of it."""

    firing: Sequence[float]
    resolved: Sequence[float]
    missing: int
    """How many changes nobody was told of in time."""


class Ear:
    """Who is told: what came, and when its first bytes did."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/"
        self.heard: list[tuple[float, bytes]] = []

    def first(self, read: Read) -> Mapping[Flip, float]:
        """When each change was told first."""
        found: dict[Flip, float] = {}
        for at, body in list(self.heard):
            for flip in read(msgspec.json.decode(body)):
                found.setdefault(flip, at)
        return found


@contextmanager
def listening() -> Generator[Ear]:
    ear: Ear

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def parse_request(self) -> bool:
            self.at = time.monotonic()  # The first line is there.
            return super().parse_request()

        def do_POST(self) -> None:
            ear.heard.append((self.at, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True  # A connection that is kept open is not waited for.
        ear = Ear(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield ear
        finally:
            server.shutdown()
            thread.join()


def flip(
    turn: Callable[[int, bool], object], ear: Ear, read: Read, *, count: int, span: float, hold: float, patience: float
) -> Latencies:
    """Let so many services turn bad in a time, and good again after another; nobody does twice.

    Where ``hold`` is 0 nobody turns good. ``patience`` is how long after the last change is waited for the last word.
    """
    rng, when = Random(count), list[tuple[float, Flip]]()
    for number in range(count):
        at = rng.uniform(0.0, span)
        when.append((at, (number, True)))
        if hold:
            when.append((at + hold + rng.uniform(0.0, 1.0), (number, False)))
    began, sent = time.monotonic(), dict[Flip, float]()
    for at, (number, bad) in sorted(when):
        time.sleep(max(0.0, began + at - time.monotonic()))
        sent[number, bad] = time.monotonic()
        turn(number, bad)
    deadline = time.monotonic() + patience
    while len(ear.first(read)) < len(sent) and time.monotonic() < deadline:
        time.sleep(0.1)
    told = ear.first(read)
    took = {one: told[one] - at for one, at in sent.items() if one in told}
    return Latencies(
        sorted(seconds for (_, bad), seconds in took.items() if bad),
        sorted(seconds for (_, bad), seconds in took.items() if not bad),
        len(sent) - len(took),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The nearest rank of sorted values."""
    return values[ceil(share * len(values)) - 1] if values else float("nan")
