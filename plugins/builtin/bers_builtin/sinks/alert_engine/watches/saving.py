"""What of a series is written down, in rows: windows in parts, of which those that are over are written once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from bers import Labels
from bers_builtin.sinks.alert_engine.sliding.panes import Panes
from bers_builtin.sinks.alert_engine.watches.series import Evidence, Memory, SavedSeries, Series

PART = ""
"""The name of the label, which none can have, that tells the parts of a window apart."""

Parts: TypeAlias = Sequence[tuple[int, Any]]


def rows(series: Series) -> Iterator[SavedSeries]:
    """What has changed of a series, or may have."""
    yield series.save()
    if isinstance(series.memory, Panes):
        for number, panes in series.memory.parts():
            yield SavedSeries(_labels(series, number), None, "", None, 0, _NONE, panes)


def outdated(series: Series) -> Iterator[Labels]:
    """What has to be forgotten of one that goes on, by the labels of its rows."""
    if isinstance(series.memory, Panes):
        yield from (_labels(series, number) for number in series.memory.gone)


def everything(series: Series) -> Iterator[Labels]:
    """All that may be written down of one that is forgotten, by the labels of its rows."""
    yield series.labels
    if isinstance(series.memory, Panes):
        yield from (_labels(series, number) for number in series.memory.kept)


def written(series: Series) -> None:
    if isinstance(series.memory, Panes):
        series.memory.written()


def unwritten(series: Series) -> Series:
    """Say that nothing of it is."""
    if isinstance(series.memory, Panes):
        series.memory.kept = set()
    return series


def emptied(before: Memory | None, after: Memory | None) -> Memory | None:
    """What begins anew, and still knows what was written down before, so that it is forgotten there, too."""
    if isinstance(before, Panes) and isinstance(after, Panes):
        after.kept, after.gone = set(before.kept), set(before.kept)
    return after


def joining(
    saved: Iterable[tuple[str, SavedSeries]], take: Callable[[str, SavedSeries, Parts], None]
) -> Generator[None, None, None]:
    """Hand in the series that rows were, row by row: each with the digest of its rule and the parts of its window in
    their order.
    """
    heads = deque[tuple[str, SavedSeries]]()
    parts: dict[tuple[str, Labels], list[tuple[int, Any]]] = {}
    for digest, row in saved:
        if row.labels and row.labels[-1][0] == PART:
            parts.setdefault((digest, row.labels[:-1]), []).append((int(row.labels[-1][1]), row.memory))
        else:
            heads.append((digest, row))
        yield
    while heads:
        digest, head = heads.popleft()
        take(digest, head, sorted(parts.pop((digest, head.labels), ()), key=_number))
        yield


_NONE = Evidence()


def _labels(series: Series, number: int) -> Labels:
    return (*series.labels, (PART, str(number)))


def _number(part: tuple[int, Any]) -> int:
    return part[0]
