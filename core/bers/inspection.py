"""A journal from outside: which files it has, what is in them, and what of them is damaged; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import msgspec

from bers.frames import frames_of, is_torn
from bers.records import Event
from bers.segments import segment_files


@dataclass(frozen=True)
class Damage:
    """A part of a file that is not as it was written, and the positions that may be lost with it."""

    file: str
    first_byte: int
    end_byte: int
    """The byte after it."""
    start: int
    end: int | None
    """None where nothing whole follows by which it could be known."""

    def __str__(self) -> str:
        place = f"{self.file}: bytes {self.first_byte} to {self.end_byte} are damaged"
        if self.end == self.start:
            return f"{place}; no event is lost with them"
        lost = f"events after position {self.start}" if self.end is None else f"events from {self.start} to {self.end}"
        return f"{place}; {lost} are lost"


@dataclass
class Segment:
    """One file of a journal."""

    path: Path
    start: int
    end: int
    size: int = 0
    frames: int = 0
    events: int = 0
    oldest: float | None = None
    """When its first event was received, in seconds since 1970."""
    newest: float | None = None
    torn: int = 0
    """Bytes at its end of an append that was not finished: nobody was told that it was."""
    whole: int = 0
    """The byte after its last whole frame."""
    damage: list[Damage] = field(default_factory=list[Damage])


@dataclass(frozen=True)
class Gap:
    """Positions that no file has."""

    start: int
    end: int

    def __str__(self) -> str:
        return f"no file has the events from position {self.start} to {self.end}"


def examine(path: Path, *, last: bool = True) -> Segment:
    """Read a file from its beginning to its end. Only of the ``last`` one may an append be unfinished."""
    decode = msgspec.msgpack.Decoder(list[Event]).decode
    start = int(path.stem)
    found = Segment(path, start, start)
    for at, after, frame in frames_of(path):
        if at > found.whole:
            found.damage.append(Damage(path.name, found.whole, at, found.end, frame.start))
        found.whole, found.end = after, frame.end
        found.frames += 1
        try:
            events = decode(frame.body)
        except msgspec.MsgspecError:  # Its checksum is right: another version of us wrote it so.
            found.damage.append(Damage(path.name, at, after, frame.start, frame.end))
            continue
        found.events += len(events)
        if events:
            found.oldest = events[0].received if found.oldest is None else found.oldest
            found.newest = events[-1].received
    found.size = max(path.stat().st_size, found.whole)
    if found.size > found.whole:
        if last and is_torn(path, found.whole):
            found.torn = found.size - found.whole
        else:
            found.damage.append(Damage(path.name, found.whole, found.size, found.end, None))
    return found


def examine_all(folder: Path) -> list[Segment]:
    """Every file of a journal in turn; one that a running node gives up meanwhile is left out."""
    found: list[Segment] = []
    files = segment_files(folder)
    for path in files:
        try:
            segment = examine(path, last=path == files[-1])
        except FileNotFoundError:
            found.clear()  # Those before it are gone, too.
            continue
        if found and (damage := found[-1].damage) and damage[-1].end is None:
            damage[-1] = replace(damage[-1], end=segment.start)
            found[-1].end = max(found[-1].end, segment.start)
        found.append(segment)
    return found


def gaps(segments: Sequence[Segment]) -> list[Gap]:
    """What lies between files, beside what is known to be damaged."""
    return [Gap(one.end, two.start) for one, two in pairwise(segments) if one.end < two.start]


def events_of(path: Path, after: int = 0) -> Iterator[tuple[int, Event]]:
    """The events of a file, each with the position after it, from a position on."""
    decode = msgspec.msgpack.Decoder(list[Event]).decode
    for _, _, frame in frames_of(path):
        if frame.end > after:
            for position, event in enumerate(decode(frame.body), frame.start + 1):
                if position > after:
                    yield position, event
