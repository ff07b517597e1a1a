"""Durations as people write them: 930ms, 1.5s, 2m."""

from __future__ import annotations

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """Read a duration; raise ValueError, with the remedy, for what is none."""
    number = text.strip().rstrip("hms")
    unit = _UNITS.get(text.strip()[len(number) :])
    try:
        value = float(number)
    except ValueError:
        unit = None
    else:
        if not 0 <= value < float("inf"):
            unit = None
        elif unit is not None:
            return value * unit
    raise ValueError(f"{text!r} is no duration; write a number and a unit: 930ms, 1.5s, 2m, 1h")
