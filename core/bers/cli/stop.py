"""`bers stop` and `bers restart`."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import click

from bers import lock
from bers.cli.detaching import insecure_option, run_detached
from bers.cli.reading import config_option, kept, read
from bers.config.settings import Settings
from bers.errors import BersError, ConfigError


@click.command()
@config_option
def stop(config: Path | None) -> None:
    """Stop the server of this directory."""
    data_dir = kept(config)
    pid = lock.holder(data_dir)
    if pid is None:
        click.echo(f"no server runs on {data_dir}")
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _patience(config) + 5
    while lock.holder(data_dir) == pid:
        if time.monotonic() > deadline:
            raise BersError(f"process {pid} has not stopped; see logs/monitoring.log for who holds it up")
        time.sleep(0.02)
    click.echo(f"stopped process {pid}")


@click.command()
@config_option
@insecure_option
def restart(config: Path | None, insecure: bool) -> None:
    """Start a new server in place of the one that runs; nothing is lost."""
    found = lock.announced(Path(read(config).settings.data_dir)) if config is None else None
    run_detached(found[1] if found else config, replace=True, insecure=insecure)


def _patience(config: Path | None) -> float:
    """Seconds that the server's stages have to stop."""
    try:
        return read(config).settings.stop_within
    except ConfigError:  # A server goes on when its file was broken, and has to be stopped all the same.
        return Settings().stop_within
