"""The way to one client of a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import cancel_shielded_checkpoint
from starlette.types import Message, Receive, Scope, Send

LINE = "bers.line"
"""What the state of a request has its connection under, where it is one of ours."""

LAST = 1.0
"""Seconds in which a client may take the last of its answer."""

STREAM = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}


class Line(Protocol):
    """A connection that can be written to at once."""

    def write_now(self, data: bytes) -> bool:
        """Write, and return at once; False, and nothing was written, where the client is slow."""
        ...

    def abort(self) -> None:
        """Close it, whatever waits to be written."""
        ...

    def when_lost(self, leave: Callable[[], None]) -> None:
        """Call that when the client is gone before its answer has ended."""
        ...


class Chunks:
    """Frames as HTTP sends them. What is sent to a thousand clients is wrapped once, and in memory once."""

    def __init__(self) -> None:
        self._data = b""
        self._wrapped = b""

    def wrap(self, data: bytes) -> bytes:
        if data is not self._data:
            self._data, self._wrapped = data, b"%x\r\n%b\r\n" % (len(data), data)
        return self._wrapped


class Outlet:
    """Answers for as long as its client stays. Nothing is sent before the first frame is."""

    def __init__(self, scope: Scope, send: Send, media: str, chunks: Chunks) -> None:
        self._line: Line | None = scope.get("state", {}).get(LINE)
        self._send = send
        self._media = media
        self._chunks = chunks
        self.opened = False

    def watch(self, group: TaskGroup, receive: Receive) -> None:
        """Cancel a group when the client is gone."""
        if self._line is not None:  # A task for each of thousands is not for nothing.
            self._line.when_lost(group.cancel_scope.cancel)
        else:
            group.start_soon(_leave, group, receive)

    async def send(self, data: bytes) -> None:
        if not self.opened:
            self.opened = True
            headers = {"content-type": self._media, **{name.lower(): value for name, value in STREAM.items()}}
            encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
            start: Message = {"type": "http.response.start", "status": 200, "headers": encoded}
            await self._send(start)
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    def offer(self, data: bytes) -> bool:
        if self._line is None or not self.opened:
            return False
        return self._line.write_now(self._chunks.wrap(data))

    async def finish(self) -> None:
        """End the answer; a client that does not read keeps nobody waiting, and no connection."""
        if not self.opened:
            return
        with anyio.move_on_after(LAST, shield=True) as patience:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        if patience.cancelled_caught and self._line is not None:
            self._line.abort()
            await cancel_shielded_checkpoint()  # It hears that it is gone, and does not miss the end of the answer.


async def _leave(group: TaskGroup, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    group.cancel_scope.cancel()
