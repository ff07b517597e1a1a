"""Tell others of alerts by running a command: the event on its standard input, and its exit code as the answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bers import DurableSpec, hookimpl, notifier
from bers_builtin.sinks.command.config import CommandChannel, CommandConfig
from bers_builtin.sinks.command.messenger import CommandMessenger

__all__ = ["COMMAND", "CommandChannel", "CommandConfig", "CommandMessenger", "bers_sinks"]

COMMAND = notifier("command", CommandConfig, CommandMessenger)


@hookimpl
def bers_sinks() -> Iterable[DurableSpec[Any]]:
    return [COMMAND]
