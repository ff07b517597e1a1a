"""Every table of the store, and how it is told whether a row of it is what was written: what a salvage goes by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from . import details, marks, page_rows, segments, series_rows
from .pages import Key

Sound: TypeAlias = Callable[[Sequence[Any]], bool]
"""Takes a whole row, in the order of the table's columns."""


def _page(row: Sequence[Any]) -> bool:
    _, *key, _, _, checksums, summary, data = row
    return page_rows.part_is_sound(Key(*key), checksums, summary, data)


def _segment(row: Sequence[Any]) -> bool:
    return segments.is_sound(*row)


def _series(row: Sequence[Any]) -> bool:
    return series_rows.series_row(tuple(row)) is not None


def _damaged(row: Sequence[Any]) -> bool:
    return len(row) == 4


def _running(row: Sequence[Any]) -> bool:
    """What it names is read from the events, which say whether they are sound."""
    return len(row) == 5


TABLES: Mapping[str, Sound] = {
    "series": _series,
    "segments": _segment,
    "folding": marks.is_sound,
    "pages": _page,
    "damaged": _damaged,
    "kept": marks.is_sound,
    "events": details.is_sound,
    "running": _running,
}
"""In the order in which they are to be copied. Positions are the core's, and are only worth what all of these are."""
