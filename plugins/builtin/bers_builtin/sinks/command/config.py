"""What an operator says about commands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from bers import Channel, Channels, Secret

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class CommandChannel(Channel, frozen=True, kw_only=True):
    """One command that is run."""

    command: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            description="The program and its arguments, as a list. No shell reads them, and nothing of an event is in "
            "them.",
        ),
    ]
    environment: Annotated[
        Mapping[str, Secret],
        Meta(description="Variables that it gets, beside `PATH`, `HOME`, `LANG` and those that begin with `BERS_`."),
    ] = {}
    directory: Annotated[str, Meta(description="Where it runs; without, where this server was started.")] = ""

    def __post_init__(self) -> None:
        if not self.command[0]:
            raise ValueError("command[0]: the program has no name; write it as in [/usr/local/bin/page, --now]")
        for number, word in enumerate(self.command):
            if "\0" in word:
                raise ValueError(f"command[{number}]: no argument can have a NUL in it; leave it out")
        for name in self.environment:
            if not _NAME.fullmatch(name) or name.startswith("BERS_"):
                raise ValueError(f"environment.{name}: choose a name of letters that does not begin with BERS_")


class CommandConfig(Channels, frozen=True, kw_only=True):
    """Tell others of alerts by running commands, until they end well."""

    channels: Annotated[tuple[CommandChannel, ...], Meta(description="The commands that are run.")] = ()
