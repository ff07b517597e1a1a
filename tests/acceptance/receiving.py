"""Somebody who is told of alerts: a real server that keeps what it was sent."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec


class Receiver:
    def __init__(self) -> None:
        self.port = 0
        self.bodies: list[Any] = []
        self.ids: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def types(self) -> list[str]:
        return [body["type"].removeprefix("io.bers.").removesuffix(".v1") for body in self.bodies]

    def until(self, *types: str, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while self.types() != list(types):
            assert time.monotonic() < deadline, f"wanted {types}, was told {self.types()}"
            time.sleep(0.02)


@contextmanager
def receiving() -> Generator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.ids.append(self.headers["webhook-id"])
            receiver.bodies.append(msgspec.json.decode(body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:  # A test that fails must not leave the thread behind: the interpreter would wait for it for ever.
            server.shutdown()
            thread.join()
