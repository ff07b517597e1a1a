"""What health has to say of what is stored."""

from __future__ import annotations

from pathlib import Path

from . import file
from .cap import Cap
from .losses import Losses


def troubles(path: Path, losses: Losses, cap: Cap, now: float) -> list[tuple[str, str]]:
    """What is not as it should be with what is stored, each with its remedy, the gravest first."""
    found: list[tuple[str, str]] = []
    if count := len(losses.known):
        rows = "1 damaged row was" if count == 1 else f"{count} damaged rows were"
        found.append(
            (
                f"{rows} set aside; the newest: {losses.known[-1]}",
                f"check the disk of {path}; what was lost is in a backup, if one is older than the damage",
            )
        )
    if cut := cap.cut(now):
        found.append((f"the database reached `max_bytes`: {'; '.join(cut)}", cap.remedy(now)))
    if aside := file.set_aside_before(path):
        found.append(
            (
                f"a database of an older layout lies beside: {', '.join(aside)}",
                f"remove it from {path.parent} when nobody needs it any more",
            )
        )
    return found
