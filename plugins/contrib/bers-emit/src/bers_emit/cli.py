"""The command line: one file per command, imported when it is used. ``bers emit`` and ``bers run`` call the same."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Callable

    Command = Callable[[Sequence[str]], int]

EMIT = "bers_emit.commands.emit:emit_command"
# Each command: what stands after it, what it does, and where it is. What is none of them is the type of an event.
COMMANDS = {
    "run": ("[options] -- CMD...", "run a command and report how it went", "bers_emit.commands.run:run_command"),
    "heartbeat": (
        "NAME [--fail]",
        "report that a job ran, so that its absence is seen",
        "bers_emit.commands.heartbeat:heartbeat_command",
    ),
    "import": (
        "KIND PATH...",
        "report what other tools wrote: junit, coverage, ...",
        "bers_emit.commands.imports:import_command",
    ),
    "gate": (
        "--env E [--for WHAT]",
        "ask whether a deployment to E may go",
        "bers_emit.commands.gate:gate_command",
    ),
    "flush": ("[--deadline 5s]", "send what is left in the spool", "bers_emit.commands.flush:flush_command"),
    "spool": (
        "status|retry|purge",
        "show the spool; retry or delete what was refused",
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
    if meant := _meant(args[0]):
        remedy = f"write {meant}, or custom.{args[0]} where it is the type of an event"
        print(f"bers-emit: {args[0]!r} is no command; {remedy}", file=sys.stderr)
        return 2
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


def _meant(word: str) -> str | None:
    """What to write instead of a word that looks like a command, and would be an event without anybody noticing."""
    if not word.isalpha():
        return None
    from difflib import get_close_matches

    known = {**dict.fromkeys(COMMANDS, ""), "status": "spool ", "retry": "spool ", "purge": "spool ", "help": "--"}
    return next((known[one] + one for one in get_close_matches(word, known, 1, 0.75)), None)


def _help() -> str:
    rows = "".join(f"  {f'{name} {usage}':<25} {text}\n" for name, (usage, text, _) in COMMANDS.items())
    return f"""\
usage: bers-emit TYPE [options]      emit one event: build.finished, ...
       bers-emit COMMAND [options]

{rows}
Each takes --help, and so does TYPE. The server is BERS_EMIT_URL, its key
BERS_EMIT_TOKEN; without a URL nothing is sent. Nothing here fails or delays a
build because the server is down: events wait in the spool.
"""
