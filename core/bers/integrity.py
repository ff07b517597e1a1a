"""The check `data-files`: what was found damaged on disk, what was lost with it, and where it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anyio import to_thread

from bers import salvage
from bers.checks import Check, Finding
from bers.log import Log
from bers.units import Interval

REMEDY = (
    "Look at the disk, and restore a backup if what is lost matters. What is kept aside in the data directory can be "
    "deleted when nobody needs it; then this check is healthy again."
)


class Integrity:
    """The files in the data directory, as far as somebody found one of them damaged."""

    def __init__(self, data_dir: Path, bus: Log) -> None:
        self._data_dir = data_dir
        self._bus = bus

    async def look(self) -> Finding:
        kept, said = await to_thread.run_sync(_found, self._data_dir)
        gaps = [f"events between positions {after} and {next}" for after, next in self._bus.gaps]
        if gaps:
            said = [*said, f"the journal is damaged: readers missed {', '.join(gaps)}"]
        if not kept and not gaps:
            return Finding("healthy", "no file was found damaged")
        names = ", ".join(kept) or "the journal"
        return Finding("degraded", f"damaged: {names}", {"kept": kept, "lost": said}, REMEDY)


def _found(data_dir: Path) -> tuple[list[str], list[str]]:
    """What is kept aside, and what is written there about what was lost."""
    kept: list[str] = []
    said: list[str] = []
    for aside in sorted(data_dir.glob("*.damaged-*")):
        if aside.suffix == ".txt" or aside.name.endswith(("-wal", "-shm")):
            continue
        kept.append(aside.name)
        said += _report(salvage.report_of(aside))
    kept += [f"journal/{aside.name}" for aside in sorted((data_dir / "journal").glob("*.damaged"))]
    return kept, said


def _report(path: Path) -> Sequence[str]:
    """The loss in a sentence, and what was found out about it later."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if line and not line.startswith(" ") and not line.endswith(":")]


CHECK = Check(
    "data-files",
    Integrity.look,
    "Whether the files of the data directory are as they were written.",
    interval=Interval("60s"),
)
