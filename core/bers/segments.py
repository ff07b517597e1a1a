"""The files of the journal: segments, each with the name of the position where it begins."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from bers import disk
from bers.frames import first_of, frames_of

_NAME = re.compile(r"\d{20}\.log")

_log = logging.getLogger(__name__)


def segment_at(folder: Path, start: int) -> Path:
    """The file that begins at a position."""
    return folder / f"{start:020}.log"


def segment_files(folder: Path) -> list[Path]:
    """The files of a journal, oldest first; what is none of ours is left alone."""
    return sorted(path for path in folder.glob("*.log") if _NAME.fullmatch(path.name) and path.is_file())


def last_position(folder: Path) -> int:
    """Where the journal in a folder ends, by what is whole in its newest segment; 0 where there is none."""
    files = segment_files(folder)
    if not files:
        return 0
    return max([int(files[-1].stem), *(found.frame.end for found in frames_of(files[-1]))])


def put_in_order(folder: Path) -> None:
    """See to it that each segment has the name of the position where it begins, whatever was done to names."""
    moving = [(path, begins) for path in folder.glob("*.moving") if (begins := _beginning(path, None)) is not None]
    for path in sorted(folder.glob("*.log")):
        begins = None
        if path.is_file():
            begins = _beginning(path, int(path.stem) if _NAME.fullmatch(path.name) else None)
        if begins is None:
            _log.error("%s is no segment of a journal, and is left alone", path)
        elif path != segment_at(folder, begins):
            _log.error("%s begins at position %d, and is given the name that says so", path, begins)
            moving.append((path.rename(path.with_suffix(".moving")), begins))
    for path, begins in moving:  # Behind all others: two may have each other's name.
        right = segment_at(folder, begins)
        if right.exists():
            _log.error("%s has the same place in the journal as %s, and is kept as damaged", path, right)
            disk.set_aside(path, path.with_suffix(".damaged"))
        else:
            path.rename(right)


def _beginning(path: Path, named: int | None) -> int | None:
    """Where a segment begins: by its first frame, if that is whole, else by its name."""
    frame = first_of(path)
    return frame.start if frame else named
