"""A look by a program: its exit code says how the thing is, and its first line why."""

from __future__ import annotations

import os
import signal
from typing import Any

from bers.checks import Finding, Status
from bers.health.kinds import CommandCheck
from bers.health.watch import NoAnswer
from bers.plain import printable
from bers.programs import Ended, run_program

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
            ended = await run_program(settings.argv, environment=environ)
        except OSError as exc:
            raise NoAnswer(f"{settings.argv[0]} cannot be started: {exc.strerror}") from exc
        return self._judge(ended)

    def _judge(self, program: Ended) -> Finding:
        code = program.code
        status: Status = "healthy" if code == 0 else "unhealthy"
        if code in self._settings.degraded:
            status = "degraded"
        elif code in self._settings.unknown:
            status = "unknown"
        out, err = _first_line(program.out), _first_line(program.err)
        ended = f"it was ended by {_signal(-code)}" if code < 0 else f"exit code {code}"
        details: dict[str, Any] = {"exitCode": code, "program": self._settings.argv[0]}
        if err:
            details["stderr"] = err
        return Finding(status, out or (err if code else "") or ended, details)


def _first_line(output: bytes) -> str:
    """The first line that says something, without the figures that plugins of Nagios write behind a bar."""
    lines = output.decode(errors="replace").strip().splitlines()
    return printable(lines[0].partition("|")[0]).strip()[:MAX_LINE] if lines else ""


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
