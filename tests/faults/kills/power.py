"""A disk that forgets: what a node wrote and synced, as strace saw it, and what a loss of power may leave of it.

Modelled as ALICE and CrashMonkey do: a write that no sync of its file has covered may be there, torn, or not be there,
each for itself; a name that no sync of its folder has covered is there up to some point in the order of changes. A
kill takes nothing, so what was not synced before it can still be lost after it.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.faults.kills.trace import Step

SECTOR = 512


class Write(NamedTuple):
    at: int
    data: bytes

    def parts(self, rng: Random) -> Iterator[Write]:
        """What may be there of it: all, nothing, or some of its sectors."""
        fate = rng.random()
        if fate < 0.45:
            yield self
        elif fate > 0.85:
            for start in range(0, len(self.data), SECTOR):
                if rng.random() < 0.5:
                    yield Write(self.at + start, self.data[start : start + SECTOR])


class Resize(NamedTuple):
    size: int


class Named(NamedTuple):
    """A name that leads to a file from then on, or to none."""

    name: str
    file: int | None


@dataclass
class File:
    """What is on the disk for certain, and what was done since."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Write | Resize] = field(default_factory=list[Write | Resize])
    size: int = 0

    def after(self, changes: Sequence[Write | Resize], rng: Random | None = None) -> bytearray:
        """The contents after some changes: all of them, or what chance leaves."""
        content = bytearray(self.durable)
        for change in changes:
            if isinstance(change, Resize):
                if rng is None or rng.random() < 0.5:
                    _resize(content, change.size)
                continue
            for part in change.parts(rng) if rng else (change,):
                if len(content) < part.at + len(part.data):
                    _resize(content, part.at + len(part.data))
                content[part.at : part.at + len(part.data)] = part.data
        return content


class Disk:
    """The files of one folder and of those in it, by path."""

    def __init__(self, folder: Path) -> None:
        """Everything that is there is taken for synced."""
        self._folder = str(folder)
        self._files: dict[int, File] = {}
        self._names: dict[str, int] = {}
        """As the process sees them."""
        self._durable_names: dict[str, int] = {}
        self._pending_names: list[Named] = []
        self._syncing: dict[tuple[int, str], int] = {}
        """How many pending changes a sync covers that is under way, by thread and path."""
        self.lost = 0
        """How many changes were not synced when power was lost."""
        for path in folder.rglob("*"):
            if path.is_file() and _is_kept(str(path)):
                content = bytearray(path.read_bytes())
                self._names[str(path)] = self._add(File(content, size=len(content)))
        self._durable_names = dict(self._names)

    def copy(self) -> Disk:
        return copy.deepcopy(self)

    def follow(self, steps: Sequence[Step]) -> None:
        """Do what a process did."""
        for step in steps:
            if step.path.startswith(self._folder) and _is_kept(step.path):
                self._do(step)

    def agrees(self) -> list[str]:
        """Where the folder has not what this disk has, after a kill: then the model is wrong, or blind."""
        return [
            path
            for path, number in self._names.items()
            if not Path(path).exists() or Path(path).read_bytes() != bytes(self._whole(number))
        ]

    def lose_power(self, folder: Path, rng: Random) -> None:
        """Write into a folder what may be left."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        names, fate = dict(self._durable_names), rng.random()
        for named in self._pending_names[: 0 if fate < 0.3 else rng.randrange(len(self._pending_names) + 1)]:
            names.pop(named.name, None)
            if named.file is not None:
                names[named.name] = named.file
        self.lost = sum(len(file.pending) for file in self._files.values())
        for name, number in names.items():
            file = self._files[number]
            if fate < 0.3:  # Nothing that was not synced.
                content = bytearray(file.durable)
            else:  # What chance leaves: of everything, or only of the newest.
                first = 0 if fate < 0.8 else rng.randrange(len(file.pending) + 1)
                sure = File(file.after(file.pending[:first]))
                content = sure.after(file.pending[first:], rng)
            path = folder / Path(name).relative_to(self._folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def _do(self, step: Step) -> None:
        call, path = step.call, step.path
        if call == "openat":
            if "O_CREAT" in step.flags and path not in self._names:
                self._name(path, self._add(File()))
            if "O_TRUNC" in step.flags:
                self._change(path, Resize(0))
        elif call == "write":
            if path in self._names:
                self._change(path, Write(self._files[self._names[path]].size, step.data))
        elif call == "pwrite64":
            self._change(path, Write(step.at, step.data))
        elif call == "ftruncate":
            self._change(path, Resize(step.at))
        elif call == "fallocate":
            if path in self._names and step.at > self._files[self._names[path]].size:
                self._change(path, Resize(step.at))
        elif call in ("fsync", "fdatasync"):
            self._sync(step)
        elif call == "unlink":
            self._name(path, None)
        elif call == "rename" and path in self._names:
            self._name(step.other, self._names[path])
            self._name(path, None)
        elif call in ("link", "linkat") and path in self._names:
            self._name(step.other, self._names[path])

    def _change(self, path: str, change: Write | Resize) -> None:
        if (number := self._names.get(path)) is None:
            return  # It has no name any more, and never has one again.
        file = self._files[number]
        file.pending.append(change)
        file.size = change.size if isinstance(change, Resize) else max(file.size, change.at + len(change.data))

    def _sync(self, step: Step) -> None:
        key = (step.thread, step.path)
        if step.path in self._names:
            file = self._files[self._names[step.path]]
            if not step.done:
                self._syncing[key] = len(file.pending)
            elif (count := min(self._syncing.pop(key, 0), len(file.pending))) > 0:
                file.durable = file.after(file.pending[:count])
                del file.pending[:count]
        elif not step.done:  # A folder: one for all is enough for us, but for those in it.
            self._syncing[key] = len(self._pending_names)
        else:
            count = min(self._syncing.pop(key, 0), len(self._pending_names))
            covered = [one for one in self._pending_names[:count] if str(Path(one.name).parent) == step.path]
            for named in covered:
                self._durable_names.pop(named.name, None)
                if named.file is not None:
                    self._durable_names[named.name] = named.file
            self._pending_names = [one for n, one in enumerate(self._pending_names) if n >= count or one not in covered]

    def _name(self, path: str, number: int | None) -> None:
        self._pending_names.append(Named(path, number))
        self._names.pop(path, None)
        if number is not None:
            self._names[path] = number

    def _add(self, file: File) -> int:
        self._files[len(self._files)] = file
        return len(self._files) - 1

    def _whole(self, number: int) -> bytearray:
        file = self._files[number]
        return file.after(file.pending)


def _is_kept(path: str) -> bool:
    """Whether a file survives at all: the index of a WAL does not, and what says who is at work is written anew."""
    return not path.endswith(("-shm", ".pid")) and "/logs/" not in path


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))
