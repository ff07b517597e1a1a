"""Puts a backup in the place of a data directory, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bers import disk, lock
from bers.backup import manifest
from bers.backup.archive import sync_folders, workplace
from bers.backup.manifest import Damaged
from bers.backup.verify import Report, examined
from bers.clock import Clock
from bers.errors import BersError

_NOTHING = {lock.PID_FILE, "start.log"}
"""What may lie in a directory that has nothing in it."""


@dataclass(frozen=True)
class Restored:
    """What was put where."""

    report: Report
    data_dir: Path
    aside: Path | None
    """Where the data is now that was there before."""
    config: Path | None
    config_aside: Path | None


def restore(
    path: Path,
    data_dir: Path,
    clock: Clock,
    *,
    force: bool = False,
    damaged_too: bool = False,
    config: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Restored:
    """Put the data of a backup into place; with ``config`` its configuration, too.

    Raise BersError while a node runs there, where something is there and ``force`` does not say that it may be moved
    aside, and where the backup is not as it was made; nothing was changed then. ``damaged_too`` takes one whose data
    was damaged when it was made: a start makes the best of it.
    """
    data_dir = data_dir.resolve()  # What a link leads to is put in place, and the link goes on leading there.
    if not path.is_file():
        raise BersError(f"{path} is not there; name the file of a backup, as in `ls backups/`")
    if pid := lock.holder(data_dir):
        raise BersError(f"{data_dir} is in use by process {pid}; stop it with `bers stop`")
    if data_dir.is_mount():  # Its name cannot be given to another.
        raise BersError(f"{data_dir} is a mount point; restore to a folder within it, and name that as `data_dir`")
    if _is_occupied(data_dir) and not force:
        raise BersError(f"{data_dir} is not empty; `--force` moves what is there aside, and deletes nothing")
    stamp = f"{datetime.fromtimestamp(clock.time(), UTC):%Y%m%d-%H%M%S}"
    try:
        with workplace(data_dir.parent, f"{data_dir.name}.restoring-") as folder:
            report = examined(path, folder, tell)
            if report.changed or (report.damaged and not damaged_too):
                raise Damaged("\n".join([f"{path} is not restored:", *report.changed, *report.damaged]))
            data = folder / manifest.DATA
            data.mkdir(exist_ok=True)
            sync_folders(folder)
            aside = _exchange(data, data_dir, stamp)
            try:
                taken, config_aside = _configure(folder, config, stamp) if config else (None, None)
            except (OSError, BersError) as exc:
                raise BersError(
                    f"{config}: {exc}; the data is in place in {data_dir}, and the configuration is as it was"
                ) from exc
            return Restored(report, data_dir, aside, taken, config_aside)
    except OSError as exc:
        raise BersError(f"{data_dir}: {exc.strerror or exc}; what was there is there still") from exc


def _is_occupied(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(one.name not in _NOTHING for one in folder.iterdir()))


def _exchange(data: Path, data_dir: Path, stamp: str) -> Path | None:
    """Give the name of a directory to another; return where the former one is, if it had anything."""
    existed = data_dir.exists()
    with lock.hold(data_dir):  # Nobody starts a node there meanwhile.
        occupied = _is_occupied(data_dir)
        aside = data_dir.with_name(f"{data_dir.name}.before-{stamp}")
        number = 1
        while aside.exists():
            number += 1
            aside = data_dir.with_name(f"{data_dir.name}.before-{stamp}-{number}")
        if existed:  # Whoever might look into it may still.
            shutil.copymode(data_dir, data)
        data_dir.rename(aside)
        try:
            data.rename(data_dir)
        except OSError:
            with suppress(OSError):
                aside.rename(data_dir)
            raise
    disk.sync(data_dir.parent)
    if existed and occupied:
        return aside
    shutil.rmtree(aside)
    return None


def _configure(folder: Path, config: Path, stamp: str) -> tuple[Path | None, Path | None]:
    """Put the configuration in place; one that is there and differs is kept beside it."""
    config = config.resolve()
    text = folder / manifest.CONFIGURATION / "pipelines.yaml"
    if not text.exists():
        return None, None
    aside: Path | None = None
    if config.exists():
        if config.read_bytes() == text.read_bytes():
            return config, None
        aside = config.with_name(f"{config.name}.before-{stamp}")
        shutil.copymode(config, text)  # It may hold secrets: nobody reads it now who could not read the other.
    with workplace(config.parent, f"{config.name}.restoring-") as place:
        new = place / config.name
        shutil.copy(text, new)
        sync_folders(place)
        if aside:
            config.rename(aside)
        new.rename(config)
    disk.sync(config.parent)
    return config, aside
