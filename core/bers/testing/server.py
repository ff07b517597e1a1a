"""A real server for tests: real sockets, real files, in this process."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import msgspec

from bers import config, plugins
from bers.clock import Clock
from bers.config.located import Document, parse
from bers.operations import Surface
from bers.stages import AnySpec
from bers.web.server import Node, running


@dataclass(frozen=True)
class Frame:
    """One frame of a stream."""

    event: str
    id: str
    data: Any


@dataclass(frozen=True)
class Server:
    """A server that is up, and a client for it. Paths are relative to ``/api/monitoring/`` unless absolute."""

    node: Node
    client: httpx2.AsyncClient

    def url(self, path: str, surface: Surface = "control") -> str:
        whole = path if path.startswith("/") else f"/api/monitoring/{path}"
        return f"{self.node.scheme}://127.0.0.1:{self.node.ports[surface]}{whole}"

    async def get(self, path: str, surface: Surface = "control", **options: Any) -> httpx2.Response:
        return await self.client.get(self.url(path, surface), **options)

    async def post(self, path: str, body: Any = None, surface: Surface = "control", **options: Any) -> httpx2.Response:
        if body is not None:
            options["content"] = msgspec.json.encode(body)
            options.setdefault("headers", {"Content-Type": "application/json"})
        return await self.client.post(self.url(path, surface), **options)

    async def data(self, path: str, surface: Surface = "control") -> Any:
        """The data of an answer that is a success."""
        reply = (await self.get(path, surface)).json()
        assert reply["success"] is True, reply
        return reply["data"]

    async def emit(self, *events: Mapping[str, Any]) -> Mapping[str, Any]:
        """Hand in events over HTTP; what the receipt says."""
        reply = await self.post("ingest", events)
        assert reply.status_code == 202, reply.text
        receipt: Mapping[str, Any] = reply.json()["data"]
        return receipt

    async def until(self, path: str, good: Callable[[Any], Any], *, seconds: float = 30.0) -> Any:
        """Ask again and again until ``good(data)``; fail with what was answered last."""
        data: Any = None
        with anyio.move_on_after(seconds):
            while True:
                data = await self.data(path)
                if good(data):
                    return data
                await anyio.sleep(0.02)
        raise AssertionError(f"after {seconds} s {path} still answers {data}")

    @asynccontextmanager
    async def events(self, query: str = "", **headers: str) -> AsyncGenerator[AsyncGenerator[Frame]]:
        """Open the stream of events, and read it frame by frame."""
        async with self.client.stream("GET", self.url(f"events{query}"), headers=headers, timeout=30) as reply:
            assert reply.status_code == 200
            frames = _frames(reply)
            try:
                yield frames
            finally:
                await frames.aclose()


@asynccontextmanager
async def serving(
    folder: Path,
    text: str | None = None,
    *,
    changes: Sequence[tuple[tuple[str, ...], Any]] = (),
    specs: Sequence[tuple[plugins.Kind, AnySpec]] = (),
    clock: Clock | None = None,
    headers: Mapping[str, str] | None = None,
    verify: ssl.SSLContext | bool = True,
) -> AsyncGenerator[Server]:
    """Run a server on free ports, with its files in a folder and the shipped configuration, or that of ``text``.

    ``specs`` are stage types that may be used besides those that are installed, each with its kind; ``headers`` are
    sent with every request, and ``verify`` says whose certificates the client believes.
    """
    document: Document = config.shipped() if text is None else parse(text, "pipelines.yaml")
    at_home: list[tuple[tuple[str, ...], Any]] = [
        (("data_dir",), str(folder / ".bers")),
        (("log", "folder"), str(folder / "logs")),
        *((("server", surface), 0) for surface in ("health", "metrics", "control")),
        (("access", "rate"), {"per_second": 100_000, "burst": 100_000}),  # A test asks as often as it likes.
    ]
    for steps, value in (*at_home, *changes):
        document.put(steps, value)
    async with running(config.plan(document, plugins.load().with_specs(specs)), clock=clock) as node:
        async with httpx2.AsyncClient(timeout=30, headers=headers, verify=verify) as client:
            with anyio.fail_after(60):
                await node.supervisor.settled.wait()
            yield Server(node, client)
            gaps = node.supervisor.counters.gaps()
            assert not gaps, f"records are unaccounted for: {gaps}"


async def _frames(reply: httpx2.Response) -> AsyncGenerator[Frame]:
    fields: dict[str, str] = {}
    async for line in reply.aiter_lines():
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield Frame(fields.get("event", "message"), fields.get("id", ""), msgspec.json.decode(fields["data"]))
            fields = {}
