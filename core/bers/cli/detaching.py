"""A server that outlives the command which started it."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import click

from bers import disk, lock
from bers.cli.reading import read
from bers.errors import ConfigError

READY_WITHIN = 20.0
"""Seconds that a detached server may take to be ready."""

insecure_option = click.option(
    "--insecure", is_flag=True, help="Start in production though others can reach it and nobody is asked for a key."
)


def run_detached(config: Path | None, *, replace: bool = False, insecure: bool = False) -> None:
    """Start a server of its own, and return when it is ready; what it says if it does not start is said here."""
    plan = read(config)  # A configuration that is wrong is said here, before anything is started.
    data_dir = Path(plan.settings.data_dir)
    said = data_dir / "start.log"
    command = [sys.executable, "-m", "bers", "start", *(["--replace"] if replace else [])]
    command += ["--config", str(plan.path)] if plan.path else []
    command += ["--insecure"] if insecure else []
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        said.unlink(missing_ok=True)  # A server that still runs may be writing to it.
        file = said.open("w+b")
    except OSError as exc:
        if not disk.disk_fault(exc):
            raise lock.unwritable(data_dir, exc) from exc
        file = tempfile.TemporaryFile()  # noqa: SIM115 - It is closed below. The server waits for its disk, and answers meanwhile.
    with file:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if server.poll() is not None:
                raise ConfigError(f"the server did not start: {_said(file).strip()}", path="start")
            if lock.holder(data_dir) == server.pid and (found := lock.announced(data_dir)) and _ready(found[0]):
                for line in _said(file).splitlines():
                    if line.startswith("warning: "):
                        click.echo(line, err=True)
                click.echo(f"running as process {server.pid}, at {found[0]}")
                return
            time.sleep(0.02)
        errors = [line for line in _said(file).splitlines() if line.startswith("ERROR ")]
    why = errors[-1] if errors else "see logs/monitoring.log"
    message = f"the server is not ready after {READY_WITHIN:g} s, and goes on as process {server.pid}: {why}"
    raise ConfigError(message, path="start")


def _said(file: IO[bytes]) -> str:
    """What a server has written, whose place in the file is also ours."""
    return os.pread(file.fileno(), 1 << 20, 0).decode(errors="replace")


def _ready(url: str) -> bool:
    import urllib.request

    # Nothing is told to it and nothing believed but that it is there, so its certificate may be anybody's.
    anybody = _unchecked() if url.startswith("https:") else None
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2, context=anybody) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def _unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
