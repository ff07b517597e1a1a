"""Somebody who is told of alerts and is not always there: it refuses, hangs and closes, and keeps all it is sent."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any, Literal, NamedTuple, TypeAlias

Stage: TypeAlias = Literal["as it began", "before the answer", "after the answer"]
"""How far a notification has come when the one who sends it is killed."""

HANG = 0.4
"""Seconds without an answer; more than the channel waits."""


class Receipt(NamedTuple):
    """One attempt to tell us something."""

    id: str
    body: bytes
    taken: bool
    """Whether we said that we have it."""


class Receiver:
    """While it is good it takes everything. Else chance decides, for each attempt, and whether it is there at all."""

    def __init__(self, rng: Random) -> None:
        self.receipts: list[Receipt] = []
        self.good = True
        self._rng = rng
        self._lock = threading.Lock()
        self._ambush: tuple[int, Stage, Callable[[], None]] | None = None
        # Bound and never listening: the port stays ours while nobody is there.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port = int(self._reserved.getsockname()[1])
        self._over = threading.Event()
        self._listening = threading.Thread(target=self._come_and_go)
        self._listening.start()

    def close(self) -> None:
        self._over.set()
        self._listening.join()
        self._reserved.close()

    def ambush(self, number: int, stage: Stage, kill: Callable[[], None]) -> None:
        """Kill who tells us the so-many-th thing from now on, when that has come so far."""
        with self._lock:
            self._ambush = number, stage, kill

    def stand_down(self) -> None:
        with self._lock:
            self._ambush = None

    def _come_and_go(self) -> None:
        while not self._over.is_set():
            server = _Server(("127.0.0.1", self.port), self._handler())
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            there = time.monotonic() + self._rng.uniform(0.2, 1.5)
            while not self._over.wait(0.02) and (self.good or time.monotonic() < there):
                pass
            server.shutdown()
            server.server_close()
            thread.join()
            gone = time.monotonic() + self._rng.uniform(0.05, 0.6)
            while not self._over.wait(0.02) and not self.good and time.monotonic() < gone:
                pass

    def _sprung(self, stage: Stage) -> None:
        with self._lock:
            if self._ambush is None:
                return
            number, wanted, kill = self._ambush
            if wanted != stage:
                return
            self._ambush = (number - 1, wanted, kill) if number > 1 else None
        if number == 1:
            kill()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver._sprung("as it began")
                with receiver._lock:
                    mood = "well" if receiver.good else receiver._rng.choices(*_MOODS)[0]
                if mood == "closes":
                    self._close()
                    return
                body = self.rfile.read(size := int(self.headers["Content-Length"]))
                if len(body) < size:  # Whoever was telling us was killed in the middle of it.
                    self._close()
                    return
                receipt = Receipt(self.headers["webhook-id"], body, mood == "well")
                receiver._sprung("before the answer")
                if mood == "hangs":
                    receiver._over.wait(HANG)
                with receiver._lock:  # Before we say so: whoever hears it may look at once.
                    receiver.receipts.append(receipt)
                if mood in ("hangs", "takes, and closes"):
                    self._close()
                    return
                self.send_response({"well": 204, "is broken": 500, "is busy": 503}[mood])
                self.send_header("Content-Length", "0")
                self.end_headers()
                receiver._sprung("after the answer")

            def _close(self) -> None:
                """Without a word, so that the other side finds a reset."""
                self.close_connection = True
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


_MOODS = (["well", "is broken", "is busy", "hangs", "closes", "takes, and closes"], [12, 2, 1, 1, 2, 2])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever told us something was killed: that is what we are here for."""
