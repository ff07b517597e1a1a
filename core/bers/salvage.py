"""A damaged database file: set aside as it is, with what can be read of it in a new one, and the loss named."""

from __future__ import annotations

import logging
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from bers import disk, schema_copy
from bers.carry_over import TableLoss, carry_over, rows_of
from bers.checksums import connect
from bers.transplant import readable, remove
from bers.write_ahead import log_of

KEPT = 3
"""How many damaged files are kept of one database; then the oldest goes."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Salvage:
    """What was found out and done about one damaged file."""

    path: Path
    aside: Path
    """Where the damaged file is kept as it was."""
    faults: Sequence[str]
    tables: Sequence[TableLoss]
    whole: bool
    """Whether these are all tables that there were; what is missing is made anew by its owner, empty."""

    @property
    def losses(self) -> Sequence[TableLoss]:
        """The tables of which something is missing."""
        return [one for one in self.tables if one.lost]

    @property
    def kept(self) -> int:
        return sum(one.kept for one in self.tables)

    def __str__(self) -> str:
        unknown = [] if self.whole else ["other tables, whose names are lost, if there were any"]
        what = "; ".join([*map(str, self.losses), *unknown]) or "nothing"
        if not self.tables:
            what = "everything in it"
        return (
            f"{self.path.name} was damaged ({self.faults[0]}), and is kept as {self.aside.name}; "
            f"{rows_of(self.kept)} came over into a new file; lost: {what}"
        )


Finish = Callable[[sqlite3.Connection, Salvage], None]


def salvage(path: Path, faults: Sequence[str], finish: Finish) -> Salvage:
    """Put a new file in the place of a damaged one, while nobody has it open; ``finish`` completes the new one.

    Killed at any moment, the old file is still there, or the new one is complete and :func:`put_in_place` goes on.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    if (known := asides(path)) and aside_of(path, stamp) <= known[-1]:  # Of one second, or the clock was set back.
        stamp = known[-1].name.rpartition("-")[2] + "+"
    reading, making = _reading(path), path.with_name(f"{path.name}.salvaging")
    try:
        for file in (reading, making):
            remove(file)
        shutil.copyfile(path, reading)
        with suppress(FileNotFoundError):
            shutil.copyfile(log_of(path), log_of(reading))
        connection, schema = readable(reading)
        with closing(connection) as source, closing(connect(making, isolation_level=None)) as target:
            target.execute("PRAGMA synchronous = OFF")  # It is synced once, when it is complete.
            for pragma in ("page_size", "auto_vacuum"):
                target.execute(f"PRAGMA {pragma} = {source.execute(f'PRAGMA {pragma}').fetchone()[0]}")
            target.execute("BEGIN")
            found = Salvage(
                path, aside_of(path, stamp), list(faults), carry_over(source, target, schema.entries), schema.copied
            )
            target.execute(f"PRAGMA user_version = {schema.layout}")
            finish(target, found)
            schema_copy.keep(target)
            target.execute("COMMIT")
        disk.sync(making)
        _report(found)
        making.replace(path.with_name(f"{path.name}.salvaged-{stamp}"))
    finally:
        for file in (reading, making):
            remove(file)
    put_in_place(path)
    _log.error("%s", found)
    return found


def put_in_place(path: Path) -> None:
    """Let a new file that is complete take the place of the damaged one."""
    for new in sorted(path.parent.glob(f"{path.name}.salvaged-*")):
        aside = aside_of(path, new.name.rpartition(".salvaged-")[2])
        for old, kept in ((path, aside), (log_of(path), log_of(aside))):
            if old.exists():
                old.replace(kept if not kept.exists() else kept.with_name(f"{kept.name}+"))
        path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
        new.replace(path)
        disk.sync(path.parent)
        remove(_reading(path))  # Whoever was killed here left it.
    for oldest in asides(path)[:-KEPT]:
        _log.warning("%s is deleted: of damaged files only the newest %d are kept", oldest.name, KEPT)
        remove(oldest)
        report_of(oldest).unlink(missing_ok=True)


def asides(path: Path) -> list[Path]:
    """The damaged files of a database that are kept, oldest first."""
    pattern = re.compile(re.escape(path.name) + r"\.damaged-\d{8}T\d{6}Z\+*")
    return sorted(one for one in path.parent.glob(f"{path.name}.damaged-*") if pattern.fullmatch(one.name))


def aside_of(path: Path, stamp: str) -> Path:
    return path.with_name(f"{path.name}.damaged-{stamp}")


def _reading(path: Path) -> Path:
    """The copy of a damaged file that is read, and put right for that."""
    return path.with_name(f"{path.name}.reading")


def report_of(aside: Path) -> Path:
    """Where it is written what was lost with a file."""
    return aside.with_name(f"{aside.name}.txt")


def add_to_report(path: Path, text: str) -> None:
    """Say more of what was lost with the file of a database that was damaged last."""
    for aside in asides(path)[-1:]:
        with report_of(aside).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{text}\n")


def _report(found: Salvage) -> None:
    lines = [str(found), "", "faults:", *(f"  {fault}" for fault in found.faults), "", "tables:"]
    text = "\n".join([*lines, *(f"  {table}" for table in found.tables)]) + "\n"
    report_of(found.aside).write_text(text, encoding="utf-8", errors="backslashreplace")
