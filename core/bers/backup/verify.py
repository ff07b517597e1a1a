"""Looks whether a backup is as it was made, and whether what is in it is good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bers import soundness
from bers.backup import manifest
from bers.backup.archive import unpack
from bers.backup.manifest import Manifest, Member, Position
from bers.checksums import connect
from bers.inspection import examine_all, gaps
from bers.positions import on_the_bus


@dataclass(frozen=True)
class Report:
    """What was found out about a backup."""

    manifest: Manifest
    changed: Sequence[str]
    """Where it is not as it was made."""
    damaged: Sequence[str]
    """What is wrong with what it holds: so it was when it was made."""
    remarks: Sequence[str]
    """What a start will say; nothing is wrong with the backup."""

    @property
    def ok(self) -> bool:
        return not self.changed and not self.damaged


def verify(path: Path, tell: Callable[[str], None] = lambda _: None) -> Report:
    """Look at all of a backup, in a folder of our own; raise NotABackup where it is none, or not whole."""
    with TemporaryDirectory(prefix="bers-verify-") as folder:
        return examined(path, Path(folder), tell)


def examined(path: Path, folder: Path, tell: Callable[[str], None] = lambda _: None) -> Report:
    """Unpack a backup into a folder, and look at it there."""
    said, members = unpack(path, folder, tell)
    changed = _changed(said, members)
    damaged, remarks = list[str](), list[str]()
    data = folder / manifest.DATA
    if not changed:
        for member in said.members:
            if member.kind == "database":
                tell(f"{member.name} is checked")
                damaged += _database(folder / member.name, member.name)
        tell("the journal is checked")
        found, remarks = _journal(data, said)
        damaged += found
    return Report(said, changed, damaged, remarks)


def _changed(said: Manifest, found: Sequence[Member]) -> list[str]:
    there = {member.name: member for member in found}
    named = {member.name for member in said.members}
    wrong = [f"{name} is in it, and its manifest does not know of it" for name in there if name not in named]
    for member in said.members:
        one = there.get(member.name)
        if one is None:
            wrong.append(f"{member.name} is missing")
        elif (one.size, one.sha256) != (member.size, member.sha256):
            wrong.append(f"{member.name} is not what it was: its checksum differs")
    places = (manifest.DATA, manifest.CONFIGURATION, manifest.LOGS)
    return wrong + [f"{name} has no place in a backup" for name in there if not name.startswith(places)]


def _database(path: Path, name: str) -> list[str]:
    with closing(connect(path, alone=True)) as connection:
        return [f"{name}: {fault}" for fault in soundness.of_everything(connection)]


def _journal(data: Path, said: Manifest) -> tuple[list[str], list[str]]:
    """What is damaged in the journal, and where readers stand outside it."""
    segments = examine_all(data / "journal") if (data / "journal").is_dir() else []
    damaged = [str(one) for segment in segments for one in segment.damage] + [str(gap) for gap in gaps(segments)]
    start, end = (segments[0].start, segments[-1].end) if segments else (0, 0)
    span = said.journal
    if span and (start, end) != (span.start, span.end):
        damaged.append(f"the journal reaches from {start} to {end}, and not from {span.start} to {span.end}")
    if span is None:
        return damaged, []
    readers = [one for one in said.positions if on_the_bus(one.reader)]
    return damaged, [remark for one in readers if (remark := _outside(one, span.start, span.end))]


def _outside(held: Position, start: int, end: int) -> str:
    who = f"sink {held.sink!r} of pipeline {held.reader!r}"
    if held.position > end:
        return f"{who} stands at {held.position}, behind the journal's end {end}: a start goes on from there"
    if held.position < start:
        return f"{who} stands at {held.position}, before the journal's start {start}: it misses what lay between"
    return ""
