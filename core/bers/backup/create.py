"""Makes a backup, beside a node that runs or without one."""

from __future__ import annotations

import io
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bers
from bers import disk, lock, soundness
from bers.backup import manifest
from bers.backup.archive import RESERVE, Writer, writing
from bers.backup.manifest import LeftOut, Manifest, Position, Span
from bers.backup.snapshot import Copied, Instant, Opened, instant
from bers.checksums import connect
from bers.clock import Clock
from bers.errors import BersError
from bers.inspection import Segment, examine

_FILE = re.compile(r"\$\{file:([^}:]+)")


@dataclass(frozen=True)
class Wanted:
    """What is to be in a backup."""

    data_dir: Path
    config: Path | None = None
    environment: str = ""
    logs: Path | None = None
    """The folder of the logs, if they are wanted."""


def create(wanted: Wanted, target: Path, clock: Clock, tell: Callable[[str], None] = lambda _: None) -> Manifest:
    """Make a backup of everything at one instant; all that was acknowledged before the call is in it.

    Raise BersError where it cannot be made; nothing of it is there then.
    """
    if not wanted.data_dir.is_dir():
        raise BersError(f"{wanted.data_dir} is not there, so there is nothing to keep; say `--config` or start a node")
    try:
        with instant(wanted.data_dir) as found, writing(target, clock.time()) as writer:
            _see_to_room(found, target)
            return _write(wanted, found, writer, clock, tell)
    except OSError as exc:
        raise BersError(f"{target}: {exc.strerror or exc}; nothing of the backup was left there") from exc
    except sqlite3.Error as exc:
        raise BersError(
            f"{wanted.data_dir}: a database cannot be copied: {exc}; nothing was left of the backup"
        ) from exc


def default_name(clock: Clock) -> Path:
    """Where a backup goes whose name nobody said."""
    return Path("backups") / f"bers-{datetime.fromtimestamp(clock.time(), UTC):%Y%m%d-%H%M%S}.tar.gz"


def _see_to_room(found: Instant, target: Path) -> None:
    """A backup that fills the disk would keep the node from writing what it is handed."""
    needed = found.size + max((one.size for one in found.databases), default=0) + RESERVE
    free = disk.room(target.parent).free
    if free < needed:
        raise BersError(
            f"{target.parent}: the backup may take {needed >> 20} MiB while it is made, and {free >> 20} MiB are free; "
            f"name a file on another disk"
        )


def _write(wanted: Wanted, found: Instant, writer: Writer, clock: Clock, tell: Callable[[str], None]) -> Manifest:
    left_out, notes = dict(found.left_out), list[str]()
    for database in found.databases:
        notes += _add_database(database, writer, tell)
    span = _add_journal(found.journal, writer, notes, tell)
    for one in found.files:
        tell(one.name)
        writer.add(manifest.DATA + one.name, "file", one.file, one.size)
    if wanted.config and wanted.config.exists():
        text = wanted.config.read_bytes()
        writer.add(manifest.CONFIGURATION + "pipelines.yaml", "configuration", io.BytesIO(text), len(text))
        left_out |= dict.fromkeys(_referred(text), "pipelines.yaml refers to it, and it may be a secret")
    if wanted.logs is None:
        left_out["logs"] = "`--logs` adds them"
    else:
        _add_logs(wanted.logs, writer, tell)
    if (Path(".env")).exists():
        left_out[".env"] = "it holds secrets"
    made = Manifest(
        manifest.FORMAT,
        bers.__version__,
        datetime.fromtimestamp(clock.time(), UTC).isoformat(timespec="milliseconds"),
        wanted.environment,
        str(wanted.data_dir),
        str(wanted.config or ""),
        lock.holder(wanted.data_dir) is not None,
        writer.members,
        span,
        [Position(*held) for one in found.databases for held in one.held],
        [LeftOut(name, why) for name, why in left_out.items()],
        notes,
    )
    writer.seal(made)
    return made


def _add_database(database: Copied, writer: Writer, tell: Callable[[str], None]) -> Iterator[str]:
    """Copy a database into the backup; what is wrong with it is said, and it is kept as it is."""
    copy = writer.folder / "copy.db"
    tell(database.name)
    database.copy(copy, lambda done, total: tell(f"{database.name}, {done} of {total} pages"))
    with closing(connect(copy)) as connection:
        yield from (f"{database.name}: {fault}" for fault in soundness.of_everything(connection))
    with copy.open("rb") as file:
        writer.add(manifest.DATA + database.name, "database", file, os.fstat(file.fileno()).st_size)
    copy.unlink()


def _add_journal(files: Sequence[Opened], writer: Writer, notes: list[str], tell: Callable[[str], None]) -> Span | None:
    segments: list[Segment] = []
    for one in files:
        tell(one.name)
        last = one is files[-1]
        copy = writer.folder / Path(one.name).name
        with copy.open("xb") as file:
            shutil.copyfileobj(_Bounded(one), file)
        segment = examine(copy, last=last)
        segments.append(segment)
        notes += map(str, segment.damage)
        with copy.open("rb") as file:  # Without what is torn at its end: an append that was under way.
            writer.add(manifest.DATA + one.name, "journal", file, segment.size - segment.torn)
        copy.unlink()
    if not segments:
        return None
    newest = [one.newest for one in segments if one.newest is not None]
    return Span(segments[0].start, segments[-1].end, max(newest, default=None))


class _Bounded(io.RawIOBase):
    """The first bytes of a file that grows meanwhile."""

    def __init__(self, opened: Opened) -> None:
        self._file, self._left = opened.file, opened.size

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def readable(self) -> bool:
        return True


def _add_logs(folder: Path, writer: Writer, tell: Callable[[str], None]) -> None:
    for path in sorted(folder.glob("*.log*")):
        if path.is_symlink() or not path.is_file():
            continue
        tell(path.name)
        with path.open("rb") as file:
            writer.add(manifest.LOGS + path.name, "log", file, os.fstat(file.fileno()).st_size)


def _referred(text: bytes) -> list[str]:
    """The files that a configuration brings values from: secrets, as a rule, which nobody wants in a backup unseen."""
    return sorted(set(_FILE.findall(text.decode(errors="replace"))))
