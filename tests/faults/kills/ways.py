"""Ways to kill a node, each aimed at another moment; every one returns when the node is dead, and says what it did."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple, TypeAlias

from tests.faults.kills.nodes import STRACE, Node

PATIENCE = 1.0
"""Seconds until a kill that waits for something happens anyway."""

FILES = ("quick.db", "quick.db-wal", "slow.db", "slow.db-wal", "state.db", "state.db-wal", "third.db-wal")
CALLS = ("fdatasync", "pwrite64", "write", "fsync", "unlink", "ftruncate")

Kill: TypeAlias = Callable[[Node, Random], str]


class Way(NamedTuple):
    """How a kill is done, and what has to be said to strace for it, if anything."""

    name: str
    kill: Kill
    tracing: Callable[[Path, Random], Sequence[str]] = lambda folder, rng: ()


def at_random(node: Node, rng: Random) -> str:
    """At any moment."""
    time.sleep(rng.uniform(0.0, 0.4))
    node.kill()
    return "at random"


def while_starting(node: Node, rng: Random) -> str:
    """While it recovers, opens its databases, or has just begun to read: it was started a moment ago."""
    time.sleep(rng.uniform(0.2, 0.7))
    node.kill()
    return "while it started"


def when_a_file_changes(node: Node, rng: Random) -> str:
    """In the middle of a commit, a folding, a checkpoint, an append or a trim: a moment after a file was written."""
    data = node.folder / ".bers"
    name, changes = rng.choice([*FILES, "journal"]), rng.randrange(1, 15)
    before, deadline = stamp(data / name), time.monotonic() + PATIENCE
    while changes and time.monotonic() < deadline:
        if (now := stamp(data / name)) != before:
            before, changes = now, changes - 1
        time.sleep(0.0002)
    time.sleep(rng.choice([0.0, rng.uniform(0.0, 0.003)]))
    node.kill()
    return f"as {name} changed"


def while_stopping(node: Node, rng: Random) -> str:
    """In the middle of a graceful drain."""
    time.sleep(rng.uniform(0.0, 0.3))
    node.signal(signal.SIGTERM)
    time.sleep(rng.choice([rng.uniform(0.0, 0.05), rng.uniform(0.0, 0.5)]))
    ended = node.process.poll() is not None
    node.kill()
    return "after it had stopped" if ended else "while it stopped"


def while_reloading(node: Node, rng: Random) -> str:
    """While stages and pipelines come and go; the campaign has written another file."""
    time.sleep(rng.uniform(0.0, 0.2))
    node.signal(signal.SIGHUP)
    time.sleep(rng.choice([rng.uniform(0.0, 0.05), rng.uniform(0.0, 0.5)]))
    node.kill()
    return "while it reloaded"


def at_a_call(node: Node, rng: Random) -> str:
    """At the n-th call of a kind, exactly: strace does it, as it was told when the node was started."""
    try:
        node.process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        node.kill()
        return "at random, under strace"
    return "at a call"


def injecting(folder: Path, rng: Random) -> Sequence[str]:
    """Tell strace to kill at some call, of any file or of one."""
    call = rng.choice(CALLS)
    n = rng.randrange(1, 3 if call in ("unlink", "ftruncate") else 40)
    path = rng.choice(["", *FILES[:-1]]) if call in ("fdatasync", "pwrite64") else ""
    files = ["-P", str(folder / ".bers" / path)] if path else []
    # Not with `--seccomp-bpf`: strace would see the calls, and send no signal.
    return ["-qq", "-o", "/dev/null", *files, "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={n}"]


def ways() -> list[Way]:
    """Every way that is possible here."""
    found = [
        Way("random", at_random),
        Way("starting", while_starting),
        Way("file", when_a_file_changes),
        Way("stopping", while_stopping),
        Way("reloading", while_reloading),
    ]
    return [*found, Way("call", at_a_call, injecting)] if STRACE else found


def stamp(path: Path) -> object:
    try:
        if path.is_dir():
            return [(one.name, one.stat().st_size) for one in sorted(path.iterdir())]
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
