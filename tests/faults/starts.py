"""Whole nodes started and stopped in one process, for test_leaks.py: a line of JSON after each, on what is left of it.

``starts.py FOLDER COUNT`` uses the shipped configuration. Four nodes share an event loop, so that tasks which outlive
their node are seen; then the loop ends, and with it the idle worker threads that anyio keeps for it.
"""

import asyncio
import gc
import os
import sys
import threading
import typing
import urllib.parse
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from bers.testing.server import serving

NODES_PER_LOOP = 4


class Left(msgspec.Struct):
    """What is there beside this program itself; memory in bytes."""

    tasks: list[str]
    threads: list[str]
    descriptors: list[str]
    children: int
    objects: int
    memory: int


def main(folder: Path, count: int) -> None:
    os.chdir(folder)
    opened = set(_descriptors())
    for first in range(0, count, NODES_PER_LOOP):
        asyncio.run(_start_and_stop(folder, min(NODES_PER_LOOP, count - first), opened))
        _join_workers()
        _tell([], opened, workers=False)


async def _start_and_stop(folder: Path, nodes: int, opened: Collection[str]) -> None:
    own = {*_descriptors(), *opened}  # The loop has a selector and a pair of sockets of its own.
    for _ in range(nodes):
        async with serving(folder) as server:
            await server.emit({"type": "build-completed", "detail": {"duration": 5200}})
            async with server.events() as frames:
                await anext(frames)
            await server.data("metrics", "metrics")
        tasks = [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        _tell(tasks, own, workers=True)


def _join_workers() -> None:
    """Wait for the threads that were told to end; not in `main`, whose variable would keep the last of them."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(10)


def _tell(tasks: list[str], known: Collection[str], *, workers: bool) -> None:
    # What the standard library remembers, a hundred entries of each, is nothing that a node left.
    for forget in (vars(urllib.parse)["clear_cache"], *vars(typing)["_cleanups"]):
        forget()
    gc.collect()
    process = psutil.Process()
    threads = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
    left = Left(
        tasks,
        [name for name in threads if not (workers and name.startswith("AnyIO worker thread"))],
        [one for one in _descriptors() if one not in known],
        len(process.children()),
        len(gc.get_objects()),
        process.memory_info().rss,
    )
    print(msgspec.json.encode(left).decode(), flush=True)


def _descriptors() -> list[str]:
    """Every open descriptor, and what it leads to."""
    found: list[str] = []
    for one in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # The one that lists them is gone.
            found.append(f"{one.name} {one.readlink()}")
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
