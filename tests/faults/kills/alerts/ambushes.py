"""Ways to kill a node between what it wrote down and what it says of that; each returns when the node is dead."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple, TypeAlias

from tests.faults.kills import ways
from tests.faults.kills.alerts.receiver import Receiver, Stage
from tests.faults.kills.nodes import STRACE, Node

PATIENCE = 0.8
"""Seconds until a kill that waits for something happens anyway."""

_STAGES: Sequence[Stage] = ("as it began", "before the answer", "after the answer")

Kill: TypeAlias = Callable[[Node, Random, Receiver], str]


class Ambush(NamedTuple):
    """How a kill is done, and what has to be said to strace for it, if anything."""

    name: str
    kill: Kill
    tracing: Callable[[Path, Random], Sequence[str]] = lambda folder, rng: ()


def at_random(node: Node, rng: Random, receiver: Receiver) -> str:
    """At any moment, and now and then only after rules had time to conclude."""
    time.sleep(rng.choice([rng.uniform(0.0, 0.5), rng.uniform(0.0, 0.5), rng.uniform(1.0, 4.0)]))
    node.kill()
    return "at random"


def at_a_notification(node: Node, rng: Random, receiver: Receiver) -> str:
    """When a receiver is being told: before it knows, before it can answer, or before its answer can be noted."""
    stage = rng.choice(_STAGES)
    receiver.ambush(rng.randrange(1, 8), stage, node.kill)
    return _wait(node, f"when a notification was sent, {stage}", receiver)


def at_a_call(node: Node, rng: Random, receiver: Receiver) -> str:
    """At the n-th sync of state.db or of the journal, or the n-th thing said to anybody, exactly."""
    return _wait(node, "at a call", receiver)


def after_a_commit(node: Node, rng: Random, receiver: Receiver) -> str:
    """A moment after state.db or the journal was written: in the middle of what follows from that."""
    data, name, changes = node.folder / ".bers", rng.choice(["state.db-wal", "journal"]), rng.randrange(1, 20)
    before, deadline = ways.stamp(data / name), time.monotonic() + PATIENCE
    while changes and time.monotonic() < deadline:
        if (now := ways.stamp(data / name)) != before:
            before, changes = now, changes - 1
        time.sleep(0.0002)
    time.sleep(rng.choice([0.0, rng.uniform(0.0, 0.004)]))
    node.kill()
    return f"as {name} changed"


def while_stopping(node: Node, rng: Random, receiver: Receiver) -> str:
    """In the middle of a graceful drain."""
    return ways.while_stopping(node, rng)


def while_starting(node: Node, rng: Random, receiver: Receiver) -> str:
    """While it recovers, or has just begun to tell what was left."""
    return ways.while_starting(node, rng)


def injecting(folder: Path, rng: Random) -> Sequence[str]:
    """Tell strace to kill at some call."""
    call = rng.choice(["fdatasync", "fdatasync", "sendto"])
    n = rng.randrange(1, 15 if call == "fdatasync" else 120)  # Each thread counts its own, and several sync.
    file = rng.choice(["", "state.db-wal", "journal"]) if call == "fdatasync" else ""
    if file == "journal":
        return _told(call, n, sorted((folder / ".bers" / file).glob("**/*"))[-1:])
    return _told(call, n, [folder / ".bers" / file] if file else [])


def _told(call: str, n: int, paths: Sequence[Path]) -> Sequence[str]:
    # Not with `--seccomp-bpf`: strace would see the calls, and send no signal.
    files = [part for path in paths for part in ("-P", str(path))]
    return ["-qq", "-o", "/dev/null", *files, "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={n}"]


def ambushes() -> list[Ambush]:
    """Every one that is possible here."""
    found = [
        Ambush("random", at_random),
        Ambush("notification", at_a_notification),
        Ambush("commit", after_a_commit),
        Ambush("stopping", while_stopping),
        Ambush("starting", while_starting),
    ]
    calls = [Ambush("call", at_a_call, injecting)] * 2
    return [*found, found[1], *calls] if STRACE else found


def _wait(node: Node, done: str, receiver: Receiver) -> str:
    try:
        node.process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        node.kill()
        return "at random, in an ambush"
    finally:
        receiver.stand_down()
    return done
