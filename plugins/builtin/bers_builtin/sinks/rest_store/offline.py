"""What a store's file holds, read without a store."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from bers import Window

from . import marks, page_rows, pages, segments, series_rows
from .partials import Partials, Registry


def read_windows(path: Path) -> list[Window]:
    """Every window of the finest tier, pages and segments merged per key."""
    with closing(sqlite3.connect(path)) as connection:
        registry, windows = Registry(()), Partials()
        series = {row.id: registry.load(row.id, row.metric, row.labels, row.stamp, row.kept)
                  for row in series_rows.load_series(connection)}  # fmt: skip
        for id, one in series.items():
            for number, key in page_rows.parts_of(connection, id, min(tier.width for tier in one.kept)):
                if found := page_rows.read_part(connection, number, key):
                    for window in pages.unpack(one, key, found.data or b""):
                        windows.fold(one, window)
        progress = marks.progress(connection)
        for id, blob in segments.unfolded(connection):
            for row in segments.decode(blob):
                if progress is None:
                    continue  # Nobody can tell which of them are in pages.
                if not progress.reached(id, row[0]):
                    one = series[row[0]]
                    windows.fold(one, segments.window(one, row))
        return [window for _, spans in windows for window in spans.values()]
