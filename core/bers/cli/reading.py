"""The configuration that a command is about, and how the command line names it: without what only a server needs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from bers import lock, plugins
from bers.config import Plan, data_dir, load
from bers.config.located import Steps
from bers.config.settings import Settings
from bers.errors import ConfigError

CONFIG = "pipelines.yaml"

config_option = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path),
    help="The configuration; ./pipelines.yaml, or else the shipped one.",
)


def read(config: Path | None, changes: Iterable[tuple[Steps, Any]] = ()) -> Plan:
    """Load the configuration that was named, or that of this directory, or the shipped one."""
    return load(path_of(config), plugins.load(), changes=changes)


def kept(config: Path | None) -> Path:
    """The data directory, for what has to be possible though the configuration is not valid at present."""
    try:
        return data_dir(path_of(config))
    except ConfigError:
        usual = Path(Settings().data_dir)
        if config is None and lock.holder(usual):
            return usual
        raise


def path_of(config: Path | None) -> Path | None:
    """The file that was named, or that of this directory; None for the shipped one."""
    return config or (Path(CONFIG) if Path(CONFIG).exists() else None)
