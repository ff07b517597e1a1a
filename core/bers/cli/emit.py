"""`bers emit` and `bers run`: the emitter's own commands, pointed at the server of this directory."""

from __future__ import annotations

import sys

import click

from bers.cli.client import address


class _PassedOn(click.Command):
    """Takes every argument as it is: click would keep a leading `--` to itself."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = args
        return args


@click.command(cls=_PassedOn, add_help_option=False)
@click.pass_context
def emit(ctx: click.Context) -> None:
    """Hand in one event."""
    from bers_emit.commands.emit import emit_command

    sys.exit(emit_command(ctx.args, default_url=address(), prog="bers emit"))


@click.command(cls=_PassedOn, add_help_option=False)
@click.pass_context
def run(ctx: click.Context) -> None:
    """Run a command, and tell of its start and its end."""
    from bers_emit.commands.run import run_command

    sys.exit(run_command(ctx.args, default_url=address(), prog="bers"))
