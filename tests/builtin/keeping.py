"""A receiver that keeps its connections, until it is told to end one just as it is asked something."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import anyio
from anyio.abc import ByteStream, SocketAttribute


@dataclass
class Keeping:
    port: int = 0
    connections: int = 0
    requests: int = 0
    end_at_next_request: bool = False

    async def serve(self, stream: ByteStream) -> None:
        self.connections += 1
        data = b""
        async with stream:
            while True:
                while b"\r\n\r\n" not in data:
                    try:
                        data += await stream.receive()
                    except (anyio.EndOfStream, anyio.BrokenResourceError):
                        return
                head, _, data = data.partition(b"\r\n\r\n")
                lines = head.decode().lower().split("\r\n")
                length = next(int(line.split(": ")[1]) for line in lines if line.startswith("content-length"))
                while len(data) < length:
                    data += await stream.receive()
                data = data[length:]
                self.requests += 1
                if self.end_at_next_request:
                    self.end_at_next_request = False
                    return
                await stream.send(b"HTTP/1.1 204 No Content\r\n\r\n")


@asynccontextmanager
async def keeping() -> AsyncGenerator[Keeping]:
    there = Keeping()
    with anyio.fail_after(20):
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as group,
        ):
            there.port = listener.extra(SocketAttribute.local_port)
            group.start_soon(partial(listener.serve, there.serve))
            yield there
            group.cancel_scope.cancel()
