"""The hooks that a plugin can implement. They run once, at start-up."""

from collections.abc import Iterable
from typing import Any

import click
import pluggy

from bers.stages import DurableSpec, ProcessorSpec, SinkSpec, SourceSpec

hookspec = pluggy.HookspecMarker("bers")
hookimpl = pluggy.HookimplMarker("bers")


@hookspec
def bers_sources() -> Iterable[SourceSpec[Any]]:
    """Return the sources this plugin offers."""
    return ()


@hookspec
def bers_processors() -> Iterable[ProcessorSpec[Any]]:
    """Return the processors this plugin offers."""
    return ()


@hookspec
def bers_sinks() -> Iterable[SinkSpec[Any] | DurableSpec[Any]]:
    """Return the sinks this plugin offers."""
    return ()


@hookspec
def bers_commands() -> Iterable[click.Command]:
    """Return the commands this plugin adds to ``bers``."""
    return ()
