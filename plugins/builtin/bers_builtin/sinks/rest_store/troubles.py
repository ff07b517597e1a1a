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
        found.append(
            (
                f"{count} damaged rows were set aside; the newest: {losses.known[-1].what}",
                f"check the disk of {path}; what was lost is in a backup, if one is older than the damage",
            )
        )
    if cut := cap.cut(now):
        found.append(
            (f"the database reached `max_bytes`: {'; '.join(cut)}", "raise `max_bytes`, or keep less for less long")
        )
    if aside := file.set_aside_before(path):
        found.append(
            (
                f"a database of an older layout lies beside: {', '.join(aside)}",
                f"remove it from {path.parent} when nobody needs it any more",
            )
        )
    return found
