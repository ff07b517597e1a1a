"""Our node as a process, as `bers start` runs it, with the shipped configuration but for a few settings."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import httpx2
import msgspec

from bers import config, lock

Changes: TypeAlias = Iterable[tuple[tuple[str, ...], Any]]
"""Where in the configuration, and what is there instead."""


class Server(NamedTuple):
    """Where it answers, and which process it is."""

    url: str
    pid: int


@contextmanager
def serving(folder: Path, changes: Changes) -> Generator[Server]:
    """Run it in a folder until the block is left; it has loopback ports of its own, and logs no events."""
    document = config.shipped()
    for steps, value in (
        (("log", "events"), False),
        *((("server", surface), 0) for surface in ("health", "metrics", "control")),
        *changes,
    ):
        document.put(steps, value)
    folder.mkdir(exist_ok=True)
    (folder / "pipelines.yaml").write_bytes(msgspec.json.encode(document.value))
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen([sys.executable, "-m", "bers", "start"], cwd=folder, stdout=said, stderr=said)
    try:
        while lock.holder(folder / ".bers") != process.pid or not (found := lock.announced(folder / ".bers")):
            assert process.poll() is None, (folder / "said").read_text()
            time.sleep(0.02)
        while httpx2.get(f"{found[0]}/readyz").status_code != 200:
            time.sleep(0.02)
        yield Server(f"{found[0]}/api/monitoring", process.pid)
    finally:
        process.terminate()
        process.wait(20)
