"""A series in few words, as promtool's tests write it: ``0+10x5``, ``1 _x3 stale``, ``metric{label="value"}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

MOST_SAMPLES = 200_000
"""How many values a series may be written out to."""

_NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[iI]nf|[nN]a[nN]"
_ITEM = re.compile(rf"(?P<first>[-+]?(?:{_NUMBER}))(?:(?P<step>[-+](?:{_NUMBER}))?x(?P<times>[0-9]+))?")
_MISSING = re.compile(r"_(?:x(?P<times>[0-9]+))?")
_SELECTOR = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?\s*", re.DOTALL)
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,|$)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class Selector(NamedTuple):
    """What a series is of."""

    metric: str
    labels: Mapping[str, str]


def expand(text: str) -> list[float | None]:
    """The values of a series, one for each interval; nothing where none is measured.

    ``a+bxn`` is a, and n more that grow by b; ``axn`` is a, and the same n more; ``_`` is a value that is missing, and
    ``_xn`` are n of them; ``stale`` is the end of a series, which to an engine that reads events is one more that is
    missing. Raise ValueError with the remedy.
    """
    values: list[float | None] = []
    for item in text.split():
        values += _expanded(item)
        if len(values) > MOST_SAMPLES:
            raise ValueError(f"{item!r} makes more than {MOST_SAMPLES} values of it; write fewer, further apart")
    return values


def _expanded(item: str) -> list[float | None]:
    if item == "stale":
        return [None]
    if missing := _MISSING.fullmatch(item):
        return [None] * _times(missing["times"] or "1", item)
    if not (found := _ITEM.fullmatch(item)):
        raise ValueError(f"{item!r} is no value; write a number, a+bxn, a-bxn, axn, _, _xn or stale")
    first = float(found["first"])
    if found["times"] is None:
        return [first]
    step = float(found["step"] or 0.0)
    return [first + step * n if step else first for n in range(_times(found["times"], item) + 1)]


def _times(text: str, item: str) -> int:
    if len(text) > 9 or int(text) > MOST_SAMPLES:
        raise ValueError(f"{item!r} makes more than {MOST_SAMPLES} values of it; write fewer, further apart")
    return int(text)


def select(text: str) -> Selector:
    """The metric and the labels of ``metric{label="value"}``. Raise ValueError with the remedy."""
    found = _SELECTOR.fullmatch(text)
    if not found:
        raise ValueError(f'{text!r} names no series; write it as in build_duration{{service="web"}}')
    labels: dict[str, str] = {}
    rest = (found[2] or "").strip()
    while rest:
        label = _LABEL.match(rest)
        if not label:
            raise ValueError(f'{rest!r} is no label; write name="value", with commas between')
        if label[1] in labels:
            raise ValueError(f"label {label[1]!r} stands there twice; remove one of them")
        labels[label[1]] = _ESCAPED.sub(lambda one: {"n": "\n", "t": "\t"}.get(one[1], one[1]), label[2])
        rest = rest[label.end() :].strip()
    return Selector(found[1], labels)
