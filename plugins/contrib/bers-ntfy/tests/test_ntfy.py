"""The sink `ntfy`, from an event that breaches to a real receiver of its requests."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute
from bers import ConfigError, Context
from bers.testing import check_spec, step
from bers.testing.server import serving

from bers_ntfy import bers_sinks

(NTFY,) = bers_sinks()


@dataclass
class Server:
    """Takes what it is sent, as an ntfy server does, and answers what it is told to: 200 after that."""

    port: int = 0
    answers: list[str] = field(default_factory=list[str])
    seen: list[tuple[dict[str, str], str]] = field(default_factory=list[tuple[dict[str, str], str]])

    async def serve(self, stream: ByteStream) -> None:
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive()
            head, _, body = data.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
            while len(body) < int(headers["content-length"]):
                body += await stream.receive()
            self.seen.append((headers, body.decode()))
            answer = self.answers.pop(0) if self.answers else "200 OK"
            await stream.send(f"HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}".encode())


@asynccontextmanager
async def server(*answers: str) -> AsyncGenerator[Server]:
    there = Server(answers=list(answers))
    with anyio.fail_after(20):
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as group,
        ):
            there.port = listener.extra(SocketAttribute.local_port)
            group.start_soon(partial(listener.serve, there.serve))
            yield there
            group.cancel_scope.cancel()


def configuration(port: int) -> str:
    return f"""\
version: 1
sources: {{build: {{}}}}
sinks:
  alert-engine: {{}}
  ntfy: {{channels: [{{name: telephone, url: "http://127.0.0.1:{port}/builds-x7Tq", allow_internal: true,
    retries: {{initial: 20ms}}}}]}}
pipelines:
  alerts: {{sources: [build], sinks: [alert-engine]}}
  notify: {{sources: [alert-engine], sinks: [ntfy]}}
"""


async def test_the_spec_keeps_its_promises() -> None:
    await check_spec(NTFY)


async def test_a_slow_build_is_on_the_telephone_though_the_server_was_busy(tmp_path: Path) -> None:
    async with server("503 Busy") as there, serving(tmp_path, configuration(there.port)) as node:
        event = {"id": "b-1", "source": "ci", "type": "build.finished", "outcome": "success", "duration_ms": 9000}
        await node.emit({**event, "environment": "production"})
        await node.until("ntfy/deliveries?status=delivered", len)
        headers, body = there.seen[1]
        assert there.seen[0][1] == body
        assert headers["priority"] == "4"
        assert headers["title"].startswith("FIRING error: Build Performance Degraded")
        assert "Environment: production" in body
        report = (await node.post("ntfy/test", {"channel": "telephone"})).json()["data"]
        assert (report["taken"], report["status"]) == (True, 200)
        assert there.seen[2][0]["title"] == "TEST info: This is a test of channel telephone"


async def test_a_place_inside_has_to_be_meant() -> None:
    channel: dict[str, Any] = {"name": "telephone", "url": "https://10.0.0.1/topic"}
    with pytest.raises(ConfigError, match=r"sinks.ntfy.channels\[0\].url: .* internal"):
        async with step(NTFY, context=Context("ntfy"), channels=[channel]).open():
            pass
