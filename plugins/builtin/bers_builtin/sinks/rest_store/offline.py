"""What a store's file holds, read without a store."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from bers import Window

from . import file, pages, segments
from .pages import PageKey
from .partials import Partials, Registry


def read_windows(path: Path) -> list[Window]:
    """Every window of the finest tier, pages and segments merged per key."""
    with closing(sqlite3.connect(path)) as connection:
        registry, windows = Registry(()), Partials()
        series = {row[0]: registry.load(*row) for row in file.load_series(connection)}
        for row in connection.execute("SELECT series, tier, width, number FROM pages WHERE tier = 0").fetchall():
            key = PageKey(*row)
            page = pages.unpack(series[key.series], key, file.read_page(connection, key))
            windows.take(series[key.series], page.windows.values())
        progress = file.progress(connection)
        for id, blob in file.segments(connection):
            for number in segments.decode(blob):
                if id > progress.segment or number[0] > progress.series:
                    one = series[number[0]]
                    windows.take(one, [segments.window(one, number)])
        return [window for _, spans in windows for window in spans.values()]
