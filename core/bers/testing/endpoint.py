"""A place that is asked over HTTP, for tests of whoever asks: it keeps what it was sent, and answers as it is told."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Self

import anyio
from anyio.abc import ByteStream, SocketAttribute


class Request(NamedTuple):
    """What somebody sent; the names of headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Endpoint:
    """A real HTTP server on loopback. It gives one answer of ``answers`` to each request, and ``usual`` after those.

    An answer is a status, with headers behind it where there are any: ``429 Slow Down\\r\\nretry-after: 1``. ``hang``
    gives none for ever, and ``close`` ends the connection without one.
    """

    path: str = "/hook"
    usual: str = "204 No Content"
    answers: list[str] = field(default_factory=list[str])
    requests: list[Request] = field(default_factory=list[Request])
    port: int = 0
    news: anyio.Event = field(default_factory=anyio.Event)
    """Set with each request; whoever waits for the next puts another one here."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    @asynccontextmanager
    async def serving(self, within: float = 20.0) -> AsyncGenerator[Self]:
        """Serve while the block lasts, for so many seconds at most."""
        with anyio.fail_after(within):
            async with (
                await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
                anyio.create_task_group() as group,
            ):
                self.port = listener.extra(SocketAttribute.local_port)
                group.start_soon(partial(listener.serve, self._serve))
                yield self
                group.cancel_scope.cancel()

    async def _serve(self, stream: ByteStream) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):  # Whoever stops may leave in the middle.
            async with stream:
                self.requests.append(await _read(stream))
                self.news.set()
                answer = self.answers.pop(0) if self.answers else self.usual
                if answer == "hang":
                    await anyio.sleep_forever()
                if answer != "close":
                    await stream.send(f"HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode())


async def _read(stream: ByteStream) -> Request:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += await stream.receive()
    return Request(method, path, headers, body)
