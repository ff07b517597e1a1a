"""The data that stores are compared on: five kinds of series, one sample a second, the same in every run."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from math import log
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["latency", "counter", "constant", "percent", "float"]

SEED = 7


class Line(NamedTuple):
    """One series: what kind it is, which of that kind, and its values, one step of time after another."""

    kind: Kind
    number: int
    values: list[float]


def mixed(*, each: int = 40, samples: int = 7200, seed: int = SEED) -> list[Line]:
    """``each`` series of every kind: milliseconds, a counter, a constant, a gauge in per cent, full floats."""
    return [
        Line(kind, number, make(random.Random(f"{seed}/{kind}/{number}"), samples))
        for kind, make in _KINDS.items()
        for number in range(each)
    ]


def latencies(*, series: int, samples: int, seed: int = SEED) -> Iterator[Line]:
    """Series of latencies alone, one after another: for long spans of time, that memory need not hold at once."""
    for number in range(series):
        yield Line("latency", number, _latency(random.Random(f"{seed}/long/{number}"), samples))


def _latency(rng: random.Random, samples: int) -> list[float]:
    middle = log(rng.uniform(20.0, 80.0))
    return [round(rng.lognormvariate(middle, 0.35), 2) for _ in range(samples)]


def _counter(rng: random.Random, samples: int) -> list[float]:
    total = 0
    return [float(total := total + rng.randrange(20)) for _ in range(samples)]


def _constant(rng: random.Random, samples: int) -> list[float]:
    return [float(rng.randrange(1, 100))] * samples


def _percent(rng: random.Random, samples: int) -> list[float]:
    now, values = rng.uniform(20.0, 80.0), list[float]()
    for _ in range(samples):
        now = min(100.0, max(0.0, now + rng.gauss(0.0, 0.5)))
        values.append(round(now, 1))
    return values


def _float(rng: random.Random, samples: int) -> list[float]:
    return [rng.random() for _ in range(samples)]


_KINDS: dict[Kind, Callable[[random.Random, int], list[float]]] = {
    "latency": _latency, "counter": _counter, "constant": _constant, "percent": _percent, "float": _float,
}  # fmt: skip
