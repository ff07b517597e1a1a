"""A whole node in simulated time, for test_memory.py: what its memory is, a line of JSON for each part of the run.

``simulated.py FOLDER --seconds 3600 --rate 50 --subjects 500`` uses the shipped configuration with every source at
work, and one client of the stream.
"""

import argparse
import gc
import os
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import msgspec
import psutil
from anyio.lowlevel import checkpoint

from bers import Clock
from bers.decoding import Decoder
from bers.testing.server import Frame, Server, serving

PARTS = 20
WARM = 5_000
"""After so many events the first sample is taken: every part of the program has run, and little has been filled."""


class Sample(msgspec.Struct):
    """After so many simulated seconds and events, the memory of this process in bytes."""

    seconds: int
    events: int
    memory: int
    told: int
    """How many frames the client of the stream was sent."""


class Hurried(Clock):
    """A clock that is told when to go on, and then waits for nobody: a day of its time is as long as its work."""

    def __init__(self) -> None:
        self._now = 0.0
        self._wall = 1_700_000_000.0
        self._order = count()
        self._sleepers: list[tuple[float, int, anyio.Event]] = []

    def time(self) -> float:
        return self._wall + self._now

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        woken = anyio.Event()
        heappush(self._sleepers, (self._now + max(0.0, seconds), next(self._order), woken))
        await woken.wait()

    def step(self, seconds: float) -> None:
        """Set the wall clock."""
        self._wall += seconds

    def suspend(self, seconds: float) -> None:
        """Let time pass in which this process does nothing."""
        self._now += seconds

    async def advance(self, seconds: float) -> None:
        end = self._now + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, woken = heappop(self._sleepers)
            self._now = max(self._now, due)
            woken.set()
            for _ in range(4):  # It may do something, and sleep again before the end.
                await checkpoint()
        self._now = max(self._now, end)


async def main(folder: Path, seconds: int, rate: int, subjects: int, tail_bytes: int) -> None:
    os.chdir(folder)
    clock, decoder = Hurried(), Decoder()
    numbers = iter(range(seconds * rate))
    told = Counter[str]()
    # What the stream tells again would not be full before the end, either.
    changes = [(("sinks", "sse", "replay"), 500)] if tail_bytes else []
    async with simulating(folder, clock, changes) as server:
        if tail_bytes:
            server.node.supervisor.bus._tail_bytes = tail_bytes  # pyright: ignore[reportPrivateUsage]
        async with anyio.create_task_group() as group:
            group.start_soon(_listen, server, told)
            sample, warm = max(1, seconds // PARTS), -(-WARM // rate)
            for second in range(seconds):
                await _hand_in(server, decoder, clock, [next(numbers) for _ in range(rate)], subjects)
                await clock.advance(1.0)
                await all_read(server)
                if second + 1 == warm or (second + 1 > warm and (second + 1) % sample == 0):
                    gc.collect()
                    memory = psutil.Process().memory_info().rss
                    print(
                        msgspec.json.encode(Sample(second + 1, (second + 1) * rate, memory, told.total())).decode(),
                        flush=True,
                    )
            group.cancel_scope.cancel()


@asynccontextmanager
async def simulating(
    folder: Path, clock: Hurried, changes: Sequence[tuple[tuple[str, ...], Any]] = ()
) -> AsyncGenerator[Server]:
    """A node that is up. Its first look at everything takes time, so until then some passes by itself."""

    up = anyio.Event()

    async def pass_by() -> None:
        while not up.is_set():
            await clock.advance(0.1)
            await anyio.sleep(0.01)

    async with anyio.create_task_group() as group:
        group.start_soon(pass_by)
        async with serving(folder, clock=clock, changes=[(("log", "level"), "error"), *changes]) as server:
            up.set()
            yield server


async def _listen(server: Server, told: Counter[str]) -> None:
    async with server.events() as frames:
        frame: Frame
        async for frame in frames:
            told[frame.event] += 1


async def _hand_in(server: Server, decoder: Decoder, clock: Hurried, numbers: list[int], subjects: int) -> None:
    for first in range(0, len(numbers), 500):
        body = msgspec.json.encode([_event(n, subjects, clock.time()) for n in numbers[first : first + 500]])
        decoded = await decoder.decode(body, now=clock.time())
        assert not decoded.rejected, decoded.rejected[0]
        receipt = await server.node.supervisor.intake.submit(decoded.events)
        assert receipt.new == len(decoded.events)


async def all_read(server: Server) -> None:
    """Go on when every pipeline has read what there is; a busy machine takes its time."""
    node = server.node.supervisor
    with anyio.fail_after(300):
        while True:
            _, end = await node.bus.span(0)
            if all(pipeline.position >= end for pipeline in node.pipelines.values()):
                return
            await anyio.sleep(0.001)


def _event(n: int, subjects: int, now: float) -> dict[str, Any]:
    """All subjects begin before the first ends, so that as much as possible has to be remembered."""
    turn, subject = divmod(n, subjects)
    event: dict[str, Any] = {
        "id": f"{turn}-{subject // 7}" if subject % 7 < 4 else _unlike(turn, subject),
        "source": f"/ci/{subject % 7}",
        "time": now,
        "subject": f"subject-{subject}",
        "labels": {"branch": f"b-{n % 20}", "project": f"p-{n % 5}"},
        "environment": ("production", "staging", "development")[n % 3],
    }
    return event | _KINDS[subject % len(_KINDS)](n, turn % 2 == 1)


def _unlike(*numbers: int) -> str:
    """An id that does not count, as many emitters have."""
    return blake2b(repr(numbers).encode(), digest_size=16).hexdigest()


def _run(kind: str, n: int, ends: bool) -> dict[str, Any]:
    if not ends:
        return {"type": f"{kind}.started"}
    return {
        "type": f"{kind}.finished",
        "outcome": "failure" if n % 50 == 0 else "success",
        "duration_ms": 100.0 + n % 5000,
        "service": f"service-{n % 30}",
        "phases": {"compile": 10.0 + n % 100, "link": 5.0},
    }


def _incident(n: int, ends: bool) -> dict[str, Any]:
    return {"type": "incident.resolved" if ends else "incident.detected", "service": f"service-{n % 30}"}


def _provider(n: int, ends: bool) -> dict[str, Any]:
    """A provider, and then something that nobody claims."""
    if ends:
        return {"type": f"custom.kind-{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}", "note": f"note {n}"}
    return {"type": "provider.initialized", "duration_ms": 1.0 + n % 40, "labels": {"provider": f"p-{n % 5}"}}


_KINDS: Sequence[Callable[[int, bool], dict[str, Any]]] = [
    *(partial(_run, kind) for kind in ("build", "testsuiterun", "deployment", "build")), _incident, _provider,
]  # fmt: skip

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rate", type=int, default=50)
    parser.add_argument("--subjects", type=int, default=500)
    parser.add_argument("--tail-bytes", type=int, default=0, help="What the bus may keep in memory, if not the usual.")
    given = parser.parse_args()
    anyio.run(main, given.folder, given.seconds, given.rate, given.subjects, given.tail_bytes)
