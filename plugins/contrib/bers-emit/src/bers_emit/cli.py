"""The command line: one file per command, imported when it is used. ``bers emit`` and ``bers run`` call the same."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Callable

    Command = Callable[[Sequence[str]], int]

EMIT = "bers_emit.commands.emit:emit_command"
# Each command: its usage, what it does, and where it is. What is none of them is the type of an event.
COMMANDS = {
    "run": ("run [options] -- CMD...", "run a command and report how it went", "bers_emit.commands.run:run_command"),
    "heartbeat": (
        "heartbeat NAME [--fail]",
        "report that a job ran, so that it is missed when it does not",
        "bers_emit.commands.heartbeat:heartbeat_command",
    ),
    "import": (
        "import KIND PATH...",
        "report what another tool wrote: junit, coverage, jest, ...",
        "bers_emit.commands.imports:import_command",
    ),
    "gate": (
        "gate --env E [--for WHAT]",
        "ask whether a deployment may go, by what was validated",
        "bers_emit.commands.gate:gate_command",
    ),
    "flush": ("flush [--deadline 5s]", "send what is left in the spool", "bers_emit.commands.flush:flush_command"),
    "spool": (
        "spool status|retry|purge",
        "show the spool; send again or delete what was refused",
        "bers_emit.commands.spool:spool_command",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The program ``bers-emit``."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help"):
        print(_help(), end="")
        return 0 if args else 2
    if args[0] == "--version":
        from bers_emit import __version__

        print(f"bers-emit {__version__}")
        return 0
    if args[0] in COMMANDS:
        return command(args[0])(args[1:])
    return command("")(args)


def command(name: str) -> Command:
    """The command of that name; without one the one that emits."""
    function: Command = found(COMMANDS[name][2] if name else EMIT)
    return function


def found(place: str) -> Any:
    """What is at ``MODULE:NAME``: imported when it is asked for, because each start would pay for all of it."""
    from importlib import import_module

    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _help() -> str:
    rows = [("TYPE [options]", "emit one event: bers-emit build.finished --outcome success")]
    rows += [(usage, text) for usage, text, _ in COMMANDS.values()]
    lines = [f"bers-emit {usage:<26} {text}\n" for usage, text in rows]
    return f"""\
usage: {"       ".join(lines)}
Each takes --help. The server is BERS_EMIT_URL, its key BERS_EMIT_TOKEN; without a URL nothing is sent.
Nothing here fails or delays a build because the server is down: events wait in the spool.
"""
