"""A program that is run once: in a group of its own that ends with it, and what it said, within bounds."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from subprocess import DEVNULL, PIPE
from time import perf_counter
from typing import NamedTuple, cast

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process

MAX_OUTPUT = 64 << 10
"""Bytes of each of its two outputs that are kept."""

LINGER = 1.0
"""Seconds after its end for which it is waited that its outputs end too, and after its killing that it does."""


class Ended(NamedTuple):
    """How a program ended."""

    code: int
    """Its exit code, or the negative number of the signal that ended it."""
    out: bytes
    err: bytes
    seconds: float


async def run_program(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    directory: str | None = None,
    told: bytes | None = None,
    last: bool = False,
) -> Ended:
    """Run a program, no shell between, and wait for its end; cancelled, end all that it started.

    ``environment`` is all that it gets; that of this server, if not said. ``told`` is its input. Of its outputs the
    first is kept, or what came ``last``. Raise OSError where it cannot be started.
    """
    started = perf_counter()
    process = await anyio.open_process(
        list(command),
        stdin=DEVNULL if told is None else PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=environment,
        cwd=directory,
        start_new_session=True,
    )
    said = {"out": b"", "err": b""}
    code, seconds = 0, 0.0
    try:
        async with anyio.create_task_group() as group:
            if told is not None:
                group.start_soon(_tell, process.stdin, told)
            group.start_soon(_read, process.stdout, said, "out", last)
            group.start_soon(_read, process.stderr, said, "err", last)
            code = await process.wait()
            seconds = perf_counter() - started
            _kill(process)  # What it left running holds its outputs open,
            group.cancel_scope.deadline = anyio.current_time() + LINGER  # and so may what went its own way.
    finally:
        if process.returncode is None:
            _kill(process)
        # One that is somebody else's cannot be killed, nor one that waits for a disk: nobody waits for these.
        with anyio.move_on_after(LINGER, shield=True), suppress(PermissionError):
            await process.aclose()
    return Ended(code, said["out"], said["err"], seconds)


async def _tell(stream: ByteSendStream | None, body: bytes) -> None:
    """Hand it its input; one that does not read it has its reasons."""
    assert stream  # It is a pipe: see open_process above.
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        await stream.send(body)
        await stream.aclose()


async def _read(stream: ByteReceiveStream | None, said: dict[str, bytes], name: str, last: bool) -> None:
    """Read all that it prints, so that it does not wait for us, and keep some of it."""
    async for chunk in cast("AsyncIterator[bytes]", stream):  # Both are pipes: see open_process above.
        if last:
            said[name] = (said[name] + chunk)[-MAX_OUTPUT:]
        elif len(said[name]) < MAX_OUTPUT:
            said[name] = (said[name] + chunk)[:MAX_OUTPUT]


def _kill(process: Process) -> None:
    """End the program, and all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
