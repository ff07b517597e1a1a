"""The command line: one file per command, imported when it is used."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

import bers

_COMMANDS = {
    "start": ("start:start", "Run the server, in the foreground or detached."),
    "dev": ("start:dev", "Run the server for development: debug logs; what changes in a file is taken at once."),
    "stop": ("stop:stop", "Stop the server of this directory."),
    "restart": ("stop:restart", "Start a new server in place of the one that runs; nothing is lost."),
    "reload": ("reload:reload", "Let the server that runs take the changed configuration; nothing else stops."),
    "status": ("status:status", "What runs, and how it is doing."),
    "health": ("health:health", "How checks are, what became of them, and another try for one that rests."),
    "stages": ("stages:stages", "How stages are doing, and starting one anew."),
    "top": ("top:top", "Watch what every stage does: rates, errors, queues, times and CPU."),
    "tap": ("tap:tap", "See what passes the pipelines, while it does."),
    "explain": ("explain:explain", "Follow one event, and what each stage made of it."),
    "check": ("check:check", "Say everything that is wrong with pipelines.yaml."),
    "config": ("config:config", "Show the whole configuration, or bring an old file up to date."),
    "schema": ("schema:schema", "Print the JSON Schema of pipelines.yaml, for editors."),
    "graph": ("graph:graph", "Draw the pipelines, as mermaid, dot or a table."),
    "plugins": ("plugins:plugins", "The stages there are, and their options."),
    "emit": ("emit:emit", "Hand in one event."),
    "run": ("emit:run", "Run a command, and tell of its start and its end."),
    "keys": ("keys:keys", "Make, list and revoke API keys."),
    "alerts": ("alerts:alerts", "List, acknowledge and resolve alerts."),
    "rules": ("rules:rules", "Check rules, test them, and try them out on what was recorded."),
    "silence": ("silence:silence", "Silence alerts for a while, list silences and maintenance, and end silences."),
    "audit": ("audit:audit", "List who changed what, and verify that nobody changed that."),
    "notify": ("notify:notify", "List channels, test them, and send again what they did not take."),
    "dead": ("dead:dead", "List, show, replay and drop dead letters."),
    "metrics": ("metrics:metrics", "Every metric, or the series of one, as a table, CSV or NDJSON."),
    "backup": ("backup:backup", "Make, verify and restore backups."),
    "journal": ("journal:journal", "Look into the journal, offline."),
    "report": ("report:report", "The performance report of a period, with the availability."),
    "dora": ("dora:dora", "How software is delivered: DORA's five figures of a period."),
    "openapi": ("openapi:openapi", "Print the OpenAPI description of a listener."),
    "doctor": ("doctor:doctor", "Look for what could be wrong with this installation."),
}
_BUILTIN = {
    "env": ("bers_builtin.sources.environment_resolver.command:env", "Detect the environment of a project directory."),
}
"""Commands of builtin plugins: imported when they are used, like all others."""

GROUP = "bers.commands"
"""The entry points of the commands that installed plugins add; `bers --help` reads their names, and imports nothing."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS, *_BUILTIN, *_installed()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            return _find(f"bers.cli.{_COMMANDS[cmd_name][0]}")
        if cmd_name in _BUILTIN:
            return _find(_BUILTIN[cmd_name][0])
        point = _installed().get(cmd_name)
        return point.load() if point else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List commands by what is known of them without importing any: that would cost more than a reader waits."""
        rows = [(name, text) for name, (_, text) in (_COMMANDS | _BUILTIN).items()]
        rows += [
            (name, f"From {point.dist.name if point.dist else 'a plugin'}.") for name, point in _installed().items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _installed() -> dict[str, EntryPoint]:
    own = _COMMANDS.keys() | _BUILTIN.keys()
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in own}


def _find(place: str) -> click.Command:
    module, _, name = place.partition(":")
    command: click.Command = getattr(import_module(module), name)
    return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(bers.__version__, prog_name="bers")
def cli() -> None:
    """Watch builds, test runs, deployments and environment resolution.

    Exit codes: 0 yes, 1 the answer is no (something is wrong, unhealthy or not found), 2 the request is wrong, 3 no
    server answers.
    """


def main(argv: Sequence[str] | None = None) -> Any:
    """Run the command line; what a person can mend is one line on stderr, and exit code 2."""
    from bers import collector

    collector.begin()  # Before anything large is imported: every command is quicker by a tenth.
    from bers.errors import BersError
    from bers.plain import printable

    try:
        return cli.main(args=list(argv) if argv is not None else None, prog_name="bers")
    except BersError as error:
        print(printable(str(error), keep="\n"), file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 2))
