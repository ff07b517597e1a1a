"""What the databases hold against what has to be in them."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from bers import Event
from bers.records import Window
from bers.salvage import asides
from bers_builtin.sinks.rest_store import read_windows
from tests.faults.kills.emitters import WIDTH, Figures, Key, Truth

METRIC = "build_performance"
_SUBJECT = re.compile(r"\b\d/\d\b")
_decode = msgspec.msgpack.Decoder(Event).decode


def faults(data: Path, truth: Truth) -> list[str]:
    """What is wrong in the databases of a node that has read everything; nothing, if all is well."""
    found = set_aside(data)
    for name in ("quick.db", "slow.db"):
        found += _compare(name, _figures(data / name), truth.windows)
        found += _details(name, details(data / name), truth)
    found += _alerts(details(data / "quick.db"), truth)
    if (data / "third.db").exists():
        found += _by_its_own_account(data / "third.db", truth)
    return found


def set_aside(data: Path) -> list[str]:
    """The databases that were taken for damaged: a process that is killed damages none."""
    return [f"{one.name} was set aside" for path in sorted(data.glob("*.db")) for one in asides(path)]


def answer_faults(ask: Callable[[str], Mapping[str, Any]], truth: Truth) -> list[str]:
    """What is wrong in answers about a minute, a day, and all the time there is: each may come from another tier."""
    found: list[str] = []
    starts = sorted({start for _, start in truth.windows})
    first = starts[0] // 60 * 60
    for span in (60.0, 86_400.0, starts[-1] // 60 * 60 + 60 - first):
        inside = [one for (_, start), one in truth.windows.items() if first <= start < first + span]
        due = sum(one.count for one in inside), min(one.min for one in inside), max(one.max for one in inside)
        answer = ask(f"metrics/{METRIC}?from={first * 1000:.0f}&to={(first + span) * 1000:.0f}")
        told = answer["count"], answer["min"], answer["max"]
        mean = sum(one.sum for one in inside) / due[0]
        if told != due or abs(answer["average"] - mean) > 1e-6 * mean:
            found.append(f"about {span:.0f} s REST says {told}, mean {answer['average']}, and not {due}, mean {mean}")
    return found


def details(path: Path) -> list[Event]:
    """The details of every event that a store keeps."""
    with closing(sqlite3.connect(path)) as connection:
        return [_decode(body) for (body,) in connection.execute("SELECT body FROM events")]


def _figures(path: Path) -> dict[Key, Figures]:
    windows: dict[Key, Figures] = {}
    for one in read_windows(path):
        if one.metric == METRIC:
            key = dict(one.labels)["environment"], one.start
            assert one.width == WIDTH and key not in windows, one
            windows[key] = _as_figures(one)
    return windows


def _as_figures(one: Window) -> Figures:
    assert sum(one.sketch.values()) in (0, one.count), one
    return Figures(one.count, one.sum, one.min, one.max, (one.seen[0], one.last))


def _compare(name: str, windows: dict[Key, Figures], expected: dict[Key, Figures]) -> list[str]:
    wrong = [key for key in sorted({*windows, *expected}) if windows.get(key) != expected.get(key)]
    have, due = sum(one.count for one in windows.values()), sum(one.count for one in expected.values())
    shown = "; ".join(f"{key}: {windows.get(key)} and not {expected.get(key)}" for key in wrong[:3])
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
            found = _SUBJECT.search(msgspec.json.encode(one).decode())
            assert found, one
            told.setdefault(found[0], []).append((int(one.id.rpartition("-")[2]), one.type))
    wrong: list[str] = []
    for subject in sorted({*told, *truth.alerts}):
        steps, due = [kind for _, kind in sorted(told.get(subject, []))], truth.alerts.get(subject, [])
        if steps != due:
            first = _first_difference(steps, due)
            wrong.append(
                f"alerts of {subject}: {len(steps)} were told, {len(due)} are due; they differ from {first} on"
            )
    return wrong


def _first_difference(one: Sequence[str], other: Sequence[str]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _by_its_own_account(path: Path, truth: Truth) -> list[str]:
    """A store that comes and goes with reloads has some of everything; of what it has, all, and once."""
    expected: dict[Key, Figures] = {}
    events = details(path)
    for one in events:
        if METRIC in one.measures:
            key = one.environment or "", one.time // WIDTH * WIDTH
            expected.setdefault(key, Figures()).add(one.time, one.measures[METRIC])
    strange = {(one.source, one.id) for one in events if not one.id.endswith("/measured")} - truth.ids
    strange = {one for one in strange if one[0].startswith("/ci/")}
    return [
        *_compare(path.name, _figures(path), expected),
        *([f"{path.name}: {len(strange)} details are nobody's"] if strange else []),
    ]
