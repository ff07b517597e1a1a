"""Reading what a question says: periods, labels, and what a point shall tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from bers import Event, Filter, FilterError, Labels, Refused, TooMuchWork, period, unknown

from .answers import FIGURES, Figure
from .piles import Pile

Take: TypeAlias = Callable[[Pile], float]

TAKES: dict[Figure, Take] = {
    "count": lambda pile: pile.count,
    "sum": lambda pile: pile.sum,
    "average": lambda pile: pile.sum / pile.count,
    "min": lambda pile: pile.min,
    "max": lambda pile: pile.max,
    "last": lambda pile: pile.last,
    "p50": lambda pile: pile.quantile(0.5),
    "p95": lambda pile: pile.quantile(0.95),
    "p99": lambda pile: pile.quantile(0.99),
}


_FIGURES: Mapping[str, Figure] = {figure: figure for figure in FIGURES}


class Wanted(NamedTuple):
    """What one label has to be, or must not be."""

    label: str
    values: frozenset[str]
    agrees: bool

    def holds(self, labels: Labels) -> bool:
        """Whether it is so; a label that is not there is empty."""
        value = next((value for name, value in labels if name == self.label), "")
        return (value in self.values) == self.agrees


def seconds(text: str, field: str = "period") -> float:
    """A period as it was asked for, in the field of this name."""
    try:
        return period(text)
    except ValueError as exc:
        raise Refused("bad_request", f"{field}: {exc}") from exc


def number(value: int, field: str, most: int) -> int:
    """A number as it was asked for, in the field of this name."""
    if not 1 <= value <= most:
        raise Refused("invalid", f"{field}: {value} is out of range; ask for 1 to {most}")
    return value


def wanted(text: str) -> list[Wanted]:
    """``kind=raw|gzip,environment!=production``, one by one."""
    found: list[Wanted] = []
    for part in filter(None, text.split(",")):
        name, equals, values = part.partition("=")
        if not equals:
            raise Refused("bad_request", f"labels: {part!r} has no '='; write labels=kind=raw,cached=true")
        one_of = frozenset(value.strip() for value in values.split("|"))
        found.append(Wanted(name.removesuffix("!").strip(), one_of, not name.endswith("!")))
    return found


def figures(text: str, field: str = "fields") -> list[Figure]:
    """``count,average,p99``, one by one, as they were asked for in the field of this name."""
    found: list[Figure] = []
    for name in map(str.strip, text.split(",")):
        figure = _FIGURES.get(name)
        if figure is None:
            raise Refused("invalid", f"{field}: {unknown('figure', name[:40], FIGURES)}", known=FIGURES)
        found.append(figure)
    return list(dict.fromkeys(found))


def grouping(by: str | None, known: Sequence[str]) -> Callable[[Labels], Labels]:
    """What of a series' labels names the line that it belongs to; ``known`` are those that the metric has."""
    if by is None:
        return lambda labels: labels
    names = [name for name in map(str.strip, by.split(",")) if name]
    for name in names:
        if name not in known:
            raise Refused("invalid", f"by: {unknown('label', name[:40], known)}", known=known)
    return lambda labels: tuple((name, value) for name, value in labels if name in names)


def conditions(where: str) -> tuple[Callable[[Event], bool], Sequence[bytes]]:
    """Whether an event is wanted, by conditions as people write them; and what is in the bytes of each."""
    try:
        wanted = Filter(where)
    except FilterError as exc:
        raise Refused("invalid", f"where: {exc}") from exc

    def holds(event: Event) -> bool:
        try:
            return wanted.holds(event)
        except TooMuchWork as exc:
            raise Refused("invalid", f"where: {exc}", hint="write a simpler pattern") from exc

    return holds, [msgspec.msgpack.encode(text) for text in wanted.texts]
