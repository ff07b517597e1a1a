"""Losses of power, one after another: each at any moment of what a node did, kills before it included."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from random import Random

from tests.faults.kills import oracle
from tests.faults.kills.campaign import Campaign, feeding, send_all
from tests.faults.kills.nodes import drain, started
from tests.faults.kills.power import Disk
from tests.faults.kills.trace import TRACING, Step, read_trace
from tests.unit.ledger import written

TRACED_WITHIN = 30.0


class Blackouts(Campaign):
    """A folder on a disk that forgets. What is told of alerts is written down as often as it is told."""

    def __init__(self, folder: Path, seed: int, *, say: Callable[[str], None] = lambda line: None) -> None:
        super().__init__(folder, seed, say=say)
        self.losses = 0
        """How many changes to files were not synced when power was lost, in all."""
        self._disk = Disk(folder / ".bers")
        self.images = 0

    def configure(self, changes: Collection[str]) -> None:
        """The same, with a ledger, and another distance between two trims of the journal each time."""
        super().configure(changes)
        file = self.folder / "pipelines.yaml"
        text = file.read_text(encoding="utf-8")
        text = text.replace("snapshot_every: 150ms", f"snapshot_every: {self.rng.choice(['80ms', '300ms', '1s'])}")
        text = text.replace("sinks:\n", "sinks:\n  ledger: {path: .bers/ledger.db}\n", 1)
        text += "  told: {sources: [alert-engine], sinks: [ledger]}\n"
        file.write_text(text, encoding="utf-8")

    def session(self, *, images: int) -> list[str]:
        """Feed a node and kill it; then see what so many losses of power on the way would have left. What is wrong.

        The node goes on with what the last of them left, or, now and then, with what the kill left.
        """
        rng = self.rng
        self.configure(())
        before = {one.number for emitter in self.emitters for one in emitter.sent if one.acknowledged}
        steps = self._traced()
        answers = {number: at for at, step in enumerate(steps) if (number := _acknowledged(step))}
        before -= answers.keys()
        found: list[str] = []
        for image in range(images):
            disk, at = self._disk.copy(), _moment(steps, rng)
            disk.follow(steps[:at])
            acknowledged = before | {number for number, when in answers.items() if when < at}
            aside = self.folder.with_name(f"{self.folder.name}-image")
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            shutil.copy(self.folder / "pipelines.yaml", aside)
            disk.lose_power(aside / ".bers", rng)
            self.images += 1
            self.losses += disk.lost
            self._say(f"{self.images:4} power lost at call {at} of {len(steps)}, with {disk.lost} changes not synced")
            if image < images - 1 or rng.random() < 0.3:
                found += self._go_on(aside, acknowledged)
            else:
                shutil.rmtree(self.folder / ".bers")
                shutil.copytree(aside / ".bers", self.folder / ".bers")
                self._disk = Disk(self.folder / ".bers")
                self._acknowledge(acknowledged)
                return found
        self._disk.follow(steps)
        return found

    def settle(self) -> list[str]:
        """The same, and what was told of alerts was told once."""
        found = [*super().settle(), *_told(self.folder / ".bers")]
        self._disk = Disk(self.folder / ".bers")
        return found

    def answer_faults(self) -> list[str]:
        """The real node knows no ledger, and is not asked."""
        return []

    def _go_on(self, folder: Path, acknowledged: set[str]) -> list[str]:
        """Let a node go on with what is left, hand everything in again, and compare."""
        then = {one.number for emitter in self.emitters for one in emitter.sent if one.acknowledged}
        self._acknowledge(acknowledged)
        with started(folder, lean=True) as node:
            node.wait_until_up()
            send_all(node, self.emitters)
        drain(folder)
        self._acknowledge(then)
        faults = [fault for emitter in self.emitters for fault in emitter.faults]
        return [*faults, *oracle.faults(folder / ".bers", self.truth), *_told(folder / ".bers")]

    def _acknowledge(self, numbers: set[str]) -> None:
        for emitter in self.emitters:
            for one in emitter.sent:
                one.acknowledged = one.number in numbers

    def _traced(self) -> Sequence[Step]:
        """Feed a node and kill it, and return what it did."""
        trace = self.folder / "trace"
        trace.unlink(missing_ok=True)
        with started(self.folder, lean=True, tracing=[*TRACING, "-o", str(trace)]) as node:
            node.wait_until_up()
            with feeding(node, self.emitters):
                time.sleep(self.rng.uniform(0.1, 0.6))
                node.kill()
            pid = node.process.pid
        end, deadline = re.compile(rf"^{pid} +\+\+\+ killed", re.MULTILINE), time.monotonic() + TRACED_WITHIN
        while not end.search(_tail(trace)):  # The tracer outlives whom it traces, by a little.
            assert time.monotonic() < deadline, f"{trace} has no end"
            time.sleep(0.01)
        steps = read_trace(trace, self.folder)
        model = self._disk.copy()
        model.follow(steps)
        assert not (differing := model.agrees()), f"the trace does not explain what is in {differing}"
        return steps


def _moment(steps: Sequence[Step], rng: Random) -> int:
    """Any moment, or one about a sync or an answer: there something has just become certain."""
    if rng.random() < 0.4:
        return rng.randrange(len(steps) + 1)
    if rng.random() < 0.2:  # Before anything new is synced, there is what the last process left.
        return next((at for at, step in enumerate(steps) if _acknowledged(step)), 0) + 1
    near = [at for at, step in enumerate(steps) if step.call in ("fsync", "fdatasync") or _acknowledged(step)]
    return min(len(steps), rng.choice(near) + rng.randrange(2)) if near else len(steps)


def _acknowledged(step: Step) -> str:
    """The batch that a node said it has taken; empty where it said something else."""
    if step.call != "sendto" or not step.data.startswith(b"taken "):
        return ""
    return step.data.split()[1].decode()


def _told(data: Path) -> list[str]:
    ids = [id for id in written(data / "ledger.db") if id.startswith("t-")]
    return [] if len(ids) == len(set(ids)) else [f"{len(ids) - len(set(ids))} transitions were told twice"]


def _tail(path: Path) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        return file.read().decode(errors="replace")
