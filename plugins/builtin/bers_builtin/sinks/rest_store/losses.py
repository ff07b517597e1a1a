"""What was lost because rows were damaged: they are set aside, never read again, and told until they are too old."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from bers import Labels, disk_fault, format_duration, rfc3339

from . import file, marks, page_rows, segments, series_rows
from .marks import Progress
from .page_rows import Found
from .pages import Key
from .partials import Registry, Series

logger = logging.getLogger("bers.rest_store")  # A node writes down what comes under this name alone.

DAY = 86_400.0
TOLD = 20
"""How many losses health tells, newest first."""

Kind: TypeAlias = Literal["page", "segment", "series", "event"]


class Loss(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """One row that was not what had been written. Times are seconds since 1970."""

    kind: Kind
    found: float
    what: str
    metric: str = ""
    labels: dict[str, str] = {}
    width: float = 0.0
    start: float = 0.0
    end: float = 0.0
    windows: int = 0

    def __str__(self) -> str:
        span = f": lost from {rfc3339(self.start)} to {rfc3339(self.end)}" if self.end else ""
        width = f", in windows of {format_duration(self.width)}" if self.width else ""
        return f"{self.what}{span}{width}"


_loss = msgspec.json.Decoder(Loss)


class Losses:
    """Notices damaged rows, moves them to the table of the damaged, and remembers what they held."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.known: list[Loss] = []
        self._told: set[tuple[str, int]] = set()
        """Rows that were found damaged and are there still, because the disk does not let us set them aside."""

    def load(self, connection: sqlite3.Connection) -> None:
        """Remember what was lost before, as long as it would have been kept."""
        rows = connection.execute("SELECT loss FROM damaged WHERE expires > ? ORDER BY id", (self._clock(),)).fetchall()
        self.known = [_loss.decode(loss) for (loss,) in rows]

    def read_series(self, connection: sqlite3.Connection, registry: Registry) -> None:
        """Fill the registry; what pages there are of a series whose row is damaged, nobody can tell any more."""
        now = self._clock()
        for row in connection.execute(f"SELECT {series_rows.SERIES} FROM series").fetchall():
            known = series_rows.series_row(row)
            if known:
                one = registry.load(known.id, known.metric, known.labels, known.stamp, known.kept)
                if known.seen:
                    one.note(known.seen, known.last)
                continue
            registry.reserve(row[0])
            parts, start, end, expires = connection.execute(
                "SELECT count(*), min(start), max(end), max(expires) FROM pages WHERE series = ?", row[:1]
            ).fetchone()
            metric, what = str(row[1]), f"the row of series {row[0]} is damaged, and its {parts} pages have no name"
            loss = Loss("series", now, what, metric=metric, start=start or 0.0, end=end or 0.0)
            self._set_aside(connection, loss, "series", row[0], expires or now)
        (highest,) = connection.execute("SELECT max(series) FROM pages").fetchone()
        registry.reserve(highest or 0)

    def read_progress(self, connection: sqlite3.Connection, keep: float) -> Progress:
        """How far folding came. If that is damaged, no segment is read: which of them are in pages, nobody can tell,
        and what is missing for a moment is seen, while what is counted twice is believed.
        """
        if known := marks.progress(connection):
            return known
        now = self._clock()
        for id, windows in segments.unfolded(connection):
            rows = segments.decode(windows)
            what = f"how far folding came is damaged: the {len(rows)} windows of segment {id} may be in pages already"
            start, end = min(row[1] for row in rows), max(row[1] + row[2] for row in rows)
            loss = Loss("segment", now, what, start=start, end=end, windows=len(rows))
            self._set_aside(connection, loss, "segments", id, now + keep)
        marks.folded(connection, Progress())
        return Progress()

    def lost_beginning(self, connection: sqlite3.Connection) -> None:
        """Since when records are kept is not what was written."""
        now = self._clock()
        loss = Loss("event", now, "since when records are kept is damaged: from now on, as far as none is older")
        self._set_aside(connection, loss, "kept", 1, now + DAY)

    def read_segments(self, connection: sqlite3.Connection, keep: float) -> list[tuple[int, bytes]]:
        """Every segment that is not folded yet, oldest first."""
        sound: list[tuple[int, bytes]] = []
        for id, checksum, windows in connection.execute("SELECT * FROM segments ORDER BY id").fetchall():
            if segments.is_sound(id, checksum, windows):
                sound.append((id, windows))
                continue
            now = self._clock()
            what = f"segment {id} is damaged: the windows of one commit that were in no page yet"
            self._set_aside(connection, Loss("segment", now, what), "segments", id, now + keep)
        return sound

    def read_part(self, connection: sqlite3.Connection, series: Series, id: int, key: Key) -> Found | None:
        """A part of a page, if it is what was written."""
        found = page_rows.read_part(connection, id, key)
        if not found:
            self._lost_part(connection, series, id, key)
        return found

    def read_parts(
        self, connection: sqlite3.Connection, series: Series, keys: Mapping[int, Key], *, whole: bool = True
    ) -> list[Found]:
        """Those parts that are what was written; with what they come to alone, where they are not wanted whole."""
        found = page_rows.read_parts(connection, keys, whole=whole)
        if len(found) < len(keys):
            sound = {one.id for one in found}
            for id, key in keys.items():
                if id not in sound:
                    self._lost_part(connection, series, id, key)
        return found

    def _lost_part(self, connection: sqlite3.Connection, series: Series, id: int, key: Key) -> None:
        now = self._clock()
        what = f"the page of {name(series.metric, series.labels)} is damaged"
        loss = Loss(
            "page", now, what, metric=series.metric, labels=dict(series.labels), width=key.width, start=key.start,
            end=key.end, windows=key.windows,
        )  # fmt: skip
        keeps = [tier.keep for tier in series.tiers if tier.width == key.tier]
        keep = max(keeps or [tier.keep for tier in series.tiers])
        self._set_aside(connection, loss, "pages", id, min(key.end, now) + keep)

    def lost_event(self, connection: sqlite3.Connection, rowid: int, type: str, id: str, expires: float) -> None:
        """The details of an event are not what was written."""
        what = f"the details of event {id!r} ({type}) are damaged"
        self._set_aside(connection, Loss("event", self._clock(), what), "events", rowid, expires)

    def forget(self, connection: sqlite3.Connection) -> None:
        """Delete what would not be kept any more either."""
        if connection.execute("DELETE FROM damaged WHERE expires <= ?", (self._clock(),)).rowcount or self._told:
            self.load(connection)
            self._told.clear()  # It is written again: whoever meets them next can set them aside.

    def forget_series(self, connection: sqlite3.Connection, series: Iterable[Series], before: float) -> None:
        """Delete what was set aside of series and begins before a time."""
        of = {(one.metric, frozenset(one.labels)) for one in series}
        rows = connection.execute("SELECT id, loss FROM damaged").fetchall()
        for id, loss in [(id, _loss.decode(loss)) for id, loss in rows]:
            if loss.start < before and (loss.metric, frozenset(loss.labels.items())) in of:
                connection.execute("DELETE FROM damaged WHERE id = ?", (id,))
            elif loss.kind == "segment":  # Of whom its bytes tell, nobody knows; that it was lost is told all the same.
                connection.execute("UPDATE damaged SET row = x'' WHERE id = ?", (id,))
        self.load(connection)

    def told(self) -> Sequence[Any]:
        """The newest losses, as plain values."""
        return [msgspec.to_builtins(loss) for loss in reversed(self.known[-TOLD:])]

    def _set_aside(self, connection: sqlite3.Connection, loss: Loss, table: str, id: int, expires: float) -> None:
        place = (table, id)
        if place in self._told:
            return
        try:
            file.set_aside(connection, table, id, msgspec.json.encode(loss), expires)
        except sqlite3.OperationalError as exc:
            if not disk_fault(exc):
                raise
            self._told.add(place)
            if not connection.in_transaction:  # SQLite gave it up: whoever asks again is answered without the row.
                raise
        self.known.append(loss)
        logger.error("%s; it was set aside, and the rest is answered", loss)


def name(metric: str, labels: Labels) -> str:
    """A series as people write it."""
    return metric + ("{" + ", ".join(f"{key}={value}" for key, value in labels) + "}" if labels else "")
