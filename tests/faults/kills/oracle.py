"""What the databases hold against what has to be in them."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from bers import Event
from bers.records import Window
from bers_builtin.sinks.rest_store import read_windows
from tests.faults.kills.emitters import WIDTH, Figures, Truth

METRIC = "build_performance"
_decode = msgspec.msgpack.Decoder(Event).decode


def faults(data: Path, truth: Truth) -> list[str]:
    """What is wrong in the databases of a node that has read everything; nothing, if all is well."""
    found: list[str] = []
    for name in ("quick.db", "slow.db"):
        found += _compare(name, _figures(data / name), truth.windows)
        found += _details(name, details(data / name), truth)
    found += _alerts(details(data / "quick.db"), truth)
    if (data / "third.db").exists():
        found += _by_its_own_account(data / "third.db", truth)
    return found


def details(path: Path) -> list[Event]:
    """The details of every event that a store keeps."""
    with closing(sqlite3.connect(path)) as connection:
        return [_decode(body) for (body,) in connection.execute("SELECT body FROM events")]


def _figures(path: Path) -> dict[float, Figures]:
    windows: dict[float, Figures] = {}
    for one in read_windows(path):
        if one.metric == METRIC:
            assert one.width == WIDTH and one.start not in windows, one
            windows[one.start] = _as_figures(one)
    return windows


def _as_figures(one: Window) -> Figures:
    assert sum(one.sketch.values()) in (0, one.count), one
    return Figures(one.count, one.sum, one.min, one.max, (one.seen[0], one.last))


def _compare(name: str, windows: dict[float, Figures], expected: dict[float, Figures]) -> list[str]:
    wrong = [start for start in sorted({*windows, *expected}) if windows.get(start) != expected.get(start)]
    have, due = sum(one.count for one in windows.values()), sum(one.count for one in expected.values())
    shown = "; ".join(f"{start:.0f}: {windows.get(start)} and not {expected.get(start)}" for start in wrong[:3])
    return [f"{name}: {len(wrong)} windows are wrong, {have} counted of {due}: {shown}"] if wrong else []


def _details(name: str, events: Sequence[Event], truth: Truth) -> list[str]:
    """Each event once, and what sources made of it beside it."""
    there = Counter((one.source, one.id) for one in events if one.source.startswith("/ci/"))
    twice = [one for one, count in there.items() if count > 1]
    ids = {(source, id) for source, id in there if not id.endswith("/measured")}
    missing, strange = truth.ids - ids, ids - truth.ids
    return [
        f"{name}: {len(some)} details are {word}, as {sorted(some)[:3]}"
        for word, some in (("missing", missing), ("nobody's", strange), ("there twice", twice))
        if some
    ]


def _alerts(events: Iterable[Event], truth: Truth) -> list[str]:
    """Whatever happened to a service was told once, and in order."""
    told: dict[str, list[tuple[int, str]]] = {}
    for one in events:
        if one.type.startswith("alert."):
            subject = re.search(r"\d/\d", msgspec.json.encode(one).decode())
            assert subject, one
            told.setdefault(subject[0], []).append((int(one.id.rpartition("-")[2]), one.type))
    found: list[str] = []
    for subject in sorted({*told, *truth.alerts}):
        steps = [kind for _, kind in sorted(told.get(subject, []))]
        if steps != truth.alerts.get(subject, []):
            found.append(
                f"alerts of {subject}: {len(steps)} were told, {len(truth.alerts.get(subject, []))} are due; "
                f"first difference at {_first_difference(steps, truth.alerts.get(subject, []))}"
            )
    return found


def _first_difference(one: Sequence[str], other: Sequence[str]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _by_its_own_account(path: Path, truth: Truth) -> list[str]:
    """A store that comes and goes with reloads has some of everything; of what it has, all, and once."""
    expected: dict[float, Figures] = {}
    events = details(path)
    for one in events:
        if METRIC in one.measures:
            expected.setdefault(one.time // WIDTH * WIDTH, Figures()).add(one.time, one.measures[METRIC])
    strange = {(one.source, one.id) for one in events if not one.id.endswith("/measured")} - truth.ids
    strange = {one for one in strange if one[0].startswith("/ci/")}
    return [
        *_compare(path.name, _figures(path), expected),
        *([f"{path.name}: {len(strange)} details are nobody's"] if strange else []),
    ]
