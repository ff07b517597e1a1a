"""A command with commands of its own, whose help has a whole sentence for each."""

from __future__ import annotations

import click

_ANY_LENGTH = 10_000


class Group(click.Group):
    """Breaks what is too long for a line, where click would cut it off."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, one.get_short_help_str(_ANY_LENGTH)) for name, one in commands if one and not one.hidden]
            )
