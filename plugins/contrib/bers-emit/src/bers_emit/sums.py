"""What several parts of one run found, as one: what can be added up is, and what cannot be is left out."""

from __future__ import annotations

from bers_emit import shapes
from bers_emit.activities import MOST_PARTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Pairs = dict[object, object]

FAMILIES = {
    "tests.": ("tests.total", ("failed", "flaky", "slowest", "sum_ms")),
    "bundle.": ("bundle.raw", ("assets",)),
    "coverage.": ("", ("covered",)),
}
"""Measures that only make sense together: which of them says how much they know of, and the data beside them."""

_ADDED = ("tests.", "bundle.", "phase.", "dependency_")
_WHOLE_OR_NOT = ("bundle.gzip", "bundle.brotli")
"""A sum of some of these would be taken for that of all."""
_NAMED = 20
_ASSETS = 200
_SHOWN = 20
_OF_A_PART = ("parent", "command", "args")


class Sum:
    """The measures and the data of all parts; ``reasons`` are those of parts that did not succeed."""

    def __init__(self, parts: Sequence[Pairs]) -> None:
        measured = [shapes.pairs(part.get("measures")) or {} for part in parts]
        data = [shapes.pairs(part.get("data")) or {} for part in parts]
        self.data: dict[str, object] = _data(data)
        self.measures: dict[str, float] = _measures(measured, _covered(data))
        self.environments = {str(part["environment"]) for part in parts if part.get("environment")}
        said = [str(part["reason"]) for part in parts if part.get("reason") and part.get("outcome") != "success"]
        self.reasons = list(dict.fromkeys(said))[:3]
        if len(parts) > 1:
            kept = ("outcome", "reason", "duration_ms")
            self.data["parts"] = [{key: part[key] for key in kept if key in part} for part in parts[:_SHOWN]]

    def knows(self, family: str) -> float:
        return knows(family, self.measures, self.data)

    def drop(self, family: str) -> None:
        """Say nothing of what somebody else knows better."""
        for name in [name for name in self.measures if name.startswith(family)]:
            del self.measures[name]
        for name in FAMILIES[family][1]:
            self.data.pop(name, None)


def knows(family: str, measures: object, data: object) -> float:
    """Of how much the measures of a family tell: of how many tests, bytes, or places that can be covered."""
    weight, _ = FAMILIES[family]
    if weight:
        return _number((shapes.pairs(measures) or {}).get(weight))
    covered = shapes.pairs((shapes.pairs(data) or {}).get("covered")) or {}
    return sum(_number((shapes.pairs(of) or {}).get("total")) for of in covered.values())


def _measures(parts: Sequence[Pairs], covered: dict[str, dict[str, float]]) -> dict[str, float]:
    told: dict[str, list[float]] = {}
    for part in parts:
        for name, value in part.items():
            told.setdefault(str(name), []).append(_number(value))
    found: dict[str, float] = {}
    bundles = len(told.get("bundle.raw", ()))
    for name, values in told.items():
        if name.startswith(_ADDED):
            if name not in _WHOLE_OR_NOT or len(values) == bundles:
                found[name] = sum(values)
        elif len(values) == 1:  # Of percentages and peaks there is no sum.
            found[name] = values[0]
        elif (of := covered.get(name)) and of["parts"] == len(values) and of["total"]:
            found[name] = 100 * of["covered"] / of["total"]
    return found


def _covered(parts: Iterable[Pairs]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for part in parts:
        for kind, counts in (shapes.pairs(part.get("covered")) or {}).items():
            pairs = shapes.pairs(counts) or {}
            of = found.setdefault(f"coverage.{kind}", {"covered": 0, "total": 0, "parts": 0})
            of["covered"] += _number(pairs.get("covered"))
            of["total"] += _number(pairs.get("total"))
            of["parts"] += 1
    return found


def _data(parts: Sequence[Pairs]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in ("failed", "flaky"):
        _put(found, name, [one for part in parts for one in _items(part.get(name))][:_NAMED])
    slow = [pairs for part in parts for one in _items(part.get("slowest")) if (pairs := shapes.pairs(one))]
    _put(found, "slowest", sorted(slow, key=lambda one: -_number(one.get("ms")))[:_NAMED])
    _put(found, "sum_ms", sum(_number(part.get("sum_ms")) for part in parts))
    _put(found, "assets", _assets(parts))
    _put(found, "timeline", [one for part in parts for one in _items(part.get("timeline"))][:MOST_PARTS])
    covered = _covered(parts)
    counts = {
        name.partition(".")[2]: {key: int(of[key]) for key in ("covered", "total")} for name, of in covered.items()
    }
    _put(found, "covered", counts)
    known = {name for _, names in FAMILIES.values() for name in names} | {*_OF_A_PART, "timeline"}
    for name in dict.fromkeys(str(name) for part in parts for name in part if name not in known):
        values = [part[name] for part in parts if name in part]
        if all(value == values[0] for value in values):
            found[name] = values[0]
    return found


def _assets(parts: Iterable[Pairs]) -> list[Pairs]:
    """The files of all, the largest first; those of one name together, as they are in one build."""
    named: dict[object, list[Pairs]] = {}
    for part in parts:
        for one in _items(part.get("assets")):
            pairs = shapes.pairs(one)
            if pairs:
                named.setdefault(pairs.get("name"), []).append(pairs)
    merged: list[Pairs] = []
    for name, several in named.items():
        together: Pairs = {"name": name}
        for key in ("files", "raw", "gzip", "brotli"):
            if all(key in each for each in several):
                together[key] = sum(int(_number(each[key])) for each in several)
        together.update({mark: True for mark in ("entry", "initial") if any(each.get(mark) for each in several)})
        merged.append(together)
    return sorted(merged, key=lambda one: -_number(one.get("raw")))[:_ASSETS]


def _put(found: dict[str, object], name: str, value: object) -> None:
    if value:
        found[name] = value


def _items(value: object) -> Iterable[object]:
    return shapes.items(value) or ()


def _number(value: object) -> float:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0
