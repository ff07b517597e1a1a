"""A look by a program: its exit code says how the thing is, and its first line why."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from subprocess import DEVNULL, PIPE
from typing import Any, cast

import anyio
from anyio.abc import ByteReceiveStream, Process

from bers.checks import Finding, Status
from bers.health.kinds import CommandCheck
from bers.health.watch import NoAnswer
from bers.plain import printable

MAX_OUTPUT = 16 << 10
"""Bytes of each of its two outputs that are kept: the first ones."""

MAX_LINE = 300
"""Characters that are told of it."""


class Command:
    """Runs a program, one look after another. Cancelled, it ends all that the program has started."""

    def __init__(self, settings: CommandCheck) -> None:
        self._settings = settings

    async def look(self) -> Finding:
        """Run it once. Raise NoAnswer where it cannot be started."""
        settings = self._settings
        environ = {**os.environ, **{name: value.reveal() for name, value in settings.env.items()}}
        try:
            process = await anyio.open_process(
                list(settings.argv), stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=environ, start_new_session=True
            )
        except OSError as exc:
            raise NoAnswer(f"{settings.argv[0]} cannot be started: {exc.strerror}") from exc
        outputs: dict[str, bytes] = {}
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_head, process.stdout, outputs, "out")
                group.start_soon(_head, process.stderr, outputs, "err")
                await process.wait()
                _kill(process)  # What it left running holds the pipes open.
        finally:
            if process.returncode is None:
                _kill(process)
            with anyio.CancelScope(shield=True):
                await process.aclose()
        return self._judge(cast("int", process.returncode), outputs)  # It is over.

    def _judge(self, code: int, outputs: dict[str, bytes]) -> Finding:
        status: Status = "healthy" if code == 0 else "unhealthy"
        if code in self._settings.degraded:
            status = "degraded"
        elif code in self._settings.unknown:
            status = "unknown"
        out, err = _first_line(outputs["out"]), _first_line(outputs["err"])
        ended = f"it was ended by {_signal(-code)}" if code < 0 else f"exit code {code}"
        details: dict[str, Any] = {"exitCode": code, "program": self._settings.argv[0]}
        if err:
            details["stderr"] = err
        return Finding(status, out or (err if code else "") or ended, details)


async def _head(stream: ByteReceiveStream | None, outputs: dict[str, bytes], name: str) -> None:
    """Keep the first of what is printed, and read the rest, so that the program does not wait for us."""
    outputs[name] = b""
    async for chunk in cast("AsyncIterator[bytes]", stream):  # Both are pipes: see open_process above.
        if len(outputs[name]) < MAX_OUTPUT:
            outputs[name] = (outputs[name] + chunk)[:MAX_OUTPUT]


def _kill(process: Process) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _first_line(output: bytes) -> str:
    """The first line that says something, without the figures that plugins of Nagios write behind a bar."""
    lines = output.decode(errors="replace").strip().splitlines()
    return printable(lines[0].partition("|")[0]).strip()[:MAX_LINE] if lines else ""


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
