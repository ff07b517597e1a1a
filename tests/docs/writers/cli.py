"""The page about the command line: every command, its arguments and options."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import NamedTuple
from unittest.mock import patch

import click

from bers.cli import GROUP, cli
from bers_emit.cli import COMMANDS, command
from tests.docs.writers import markdown

EMITTER: Mapping[str, Callable[[Sequence[str]], int]] = {
    "emit": command(""),
    **{name: command(name) for name in COMMANDS},
}
"""The commands of the emitter. `bers emit` and `bers run` hand on to it what they are given."""

HANDED_ON = ("emit", "run")

_ENTRY = re.compile(r"  (-\S.*?)(?:  +(\S.*))?")


class Option(NamedTuple):
    """One option: its spellings, what its value is called, and what it means."""

    names: list[str]
    metavar: str
    help: str


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command of ours with its full name; groups come before what is in them."""
    context = click.Context(cli, info_name="bers")
    others = {point.name for point in entry_points(group=GROUP)}
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        if command and name not in others:
            yield from _within(f"bers {name}", command)


def emitter_options(name: str) -> list[Option]:
    """The options of a command of the emitter, read from its own help."""
    said = io.StringIO()
    with patch.dict(os.environ, COLUMNS="200"), contextlib.redirect_stdout(said):
        EMITTER[name](["--help"])
    _, _, text = said.getvalue().partition("\noptions:\n")
    found: list[Option] = []
    for line in text.splitlines():
        if entry := _ENTRY.fullmatch(line):
            spelled = entry[1].split(", ")
            metavar = spelled[-1].partition(" ")[2]
            found.append(Option([one.partition(" ")[0] for one in spelled], metavar, entry[2] or ""))
        elif line.strip():
            found[-1] = found[-1]._replace(help=f"{found[-1].help} {line.strip()}".strip())
    return found


def page() -> str:
    return markdown.page(
        "Command line",
        _OPENING,
        markdown.table(["exit code", "meaning"], _CODES),
        *(_described(name, command) for name, command in commands()),
        "## bers-emit",
        "The emitter alone, for where no server is installed: `bers-emit TYPE` and `bers-emit run` take what "
        "`bers emit` and `bers run` take. It has more commands:",
        *(_emitters(name) for name in EMITTER if name not in HANDED_ON),
    )


def _within(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for inner in sorted(command.commands):
            yield from _within(f"{name} {inner}", command.commands[inner])


def _described(name: str, command: click.Command) -> str:
    handed_on = name.removeprefix("bers ") if name.removeprefix("bers ") in HANDED_ON else ""
    if handed_on:
        usage = f"{name} {_EMITTER_USAGE[handed_on]}"
        rows = _emitter_rows(handed_on)
    else:
        context = click.Context(command, info_name=name)
        usage = " ".join([name, *command.collect_usage_pieces(context)])
        records = [one.get_help_record(context) for one in command.params if isinstance(one, click.Option)]
        rows = [[markdown.code(record[0]), record[1]] for record in records if record]
    depth = "##" if name.count(" ") == 1 else "###"
    said = markdown.prose(" ".join((command.help or "").split()))
    more = _EMITTER_TEXT.get(handed_on, "")
    return "\n\n".join(
        part
        for part in (f"{depth} {name}", f"`{usage}`", said, more, markdown.table(["option", "meaning"], rows))
        if part
    )


def _emitters(name: str) -> str:
    usage = f"bers-emit {_EMITTER_WORDS.get(name, name)} [OPTIONS]"
    return f"### bers-emit {name}\n\n`{usage}`\n\n{markdown.table(['option', 'meaning'], _emitter_rows(name))}"


def _emitter_rows(name: str) -> list[list[str]]:
    return [
        [", ".join(map(markdown.code, [*one.names[:-1], f"{one.names[-1]} {one.metavar}".strip()])), one.help]
        for one in emitter_options(name)
        if "--help" not in one.names
    ]


_OPENING = """
`bers --help` lists the commands, and each takes `--help`. What is printed is for people on a terminal, and plain
tab-separated columns in a pipe; `--json` prints JSON. Commands that ask a server take the one that `BERS_EMIT_URL`
names, else the one that runs on `.bers/` in this directory, else `http://127.0.0.1:3003`; `--url` names another. They
send the key in `BERS_MONITORING_API_KEY`, and believe the certificates in the file that `BERS_MONITORING_CA` names.
"""
_CODES = [
    ["0", "Yes, or done."],
    ["1", "The answer is no: something is wrong, unhealthy or not found."],
    ["2", "The request, the configuration or a plugin is wrong; what and how to mend it is on stderr."],
    ["3", "No server answers."],
    ["any", "`bers run` ends with the exit code of its command."],
]
_EMITTER_WORDS = {"spool": "spool status|retry|purge", "heartbeat": "heartbeat NAME", "import": "import KIND PATH..."}
_EMITTER_USAGE = {"emit": "TYPE [OPTIONS]", "run": "[OPTIONS] -- COMMAND..."}
_EMITTER_TEXT = {
    "emit": "The exit code is 0 even where the server is down: the event waits in the spool, and the next one to emit "
    "sends it. With `--strict` it is 1.",
    "run": "The command keeps its terminal, its signals and its exit code; 126, 127 and 128 + n mean what they mean in "
    "a shell.",
}
