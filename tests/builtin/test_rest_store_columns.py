"""Windows as bytes: whatever is written comes back to the last bit, and common kinds of values take few bytes."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bers import Window
from bers_builtin.sinks.rest_store import columns
from bers_builtin.sinks.rest_store.numbers import Packer, Unpacker
from bers_builtin.sinks.rest_store.partials import Series

START = 1_700_000_000
SERIES = Series(1, "m", (("kind", "a"),), (), ())
ODD = [0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1e308, -1e308, 2.0**53 + 2, float(2**62), 0.1, 1 / 3]

floats = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(ODD),
    st.integers(-(10**6), 10**6).map(lambda n: n / 100),
    st.integers(-(2**60), 2**60).map(float),
)


def bits(values: Sequence[float]) -> bytes:
    return struct.pack(f"{len(values)}d", *values)


def facts(window: Window) -> object:
    numbers = (window.start, window.sum, window.min, window.max, window.last, window.seen[0])
    return window.width, window.count, bits(numbers), list(window.sketch.items())


def back(windows: Sequence[tuple[int, Window]], width: float, *, quick: bool = False) -> list[Window]:
    data = columns.seal(columns.pack(windows, width, quick=quick))
    return columns.unpack(SERIES, width, windows[0][0] * width, data)


@settings(max_examples=300)
@given(st.lists(floats, min_size=1, max_size=40), st.booleans())
def test_floats_come_back_to_the_last_bit(values: list[float], quick: bool) -> None:
    packer = Packer(quick=quick)
    packer.floats(values)
    assert bits(Unpacker(packer.seal()).floats(len(values))) == bits(values)


@pytest.mark.parametrize("special", [float("nan"), float("inf"), -float("inf")])
def test_not_even_values_that_are_no_numbers_break_a_column(special: float) -> None:
    for values in ([special], [special] * 9, [1.5, special, 2.5], [special, 0.0]):
        packer = Packer()
        packer.floats(values)
        assert bits(Unpacker(packer.seal()).floats(len(values))) == bits(values)


@settings(max_examples=300)
@given(st.lists(st.integers(-(2**62), 2**62 - 1) | st.integers(0, 300), max_size=300), st.booleans())
def test_integers_come_back(values: list[int], quick: bool) -> None:
    packer = Packer(quick=quick)
    packer.ints(values)
    packer.ints(values[:1])
    unpacker = Unpacker(packer.seal())
    assert (unpacker.ints(), unpacker.ints()) == (values, values[:1])


@st.composite
def some_windows(draw: st.DrawFn) -> tuple[list[tuple[int, Window]], float]:
    """Windows of any kind beside each other: of one value, of a weighted one, of several; with and without gaps."""
    width = draw(st.sampled_from([0.1, 1.0, 60.0, 3600.0]))
    first = int(START // width)
    numbers = draw(st.lists(st.integers(0, 90), unique=True, min_size=1, max_size=25).map(sorted))
    windows: list[tuple[int, Window]] = []
    for n in numbers:
        key = ("m", (("kind", "a"),), (first + n) * width, width)
        when = key[2] + draw(st.sampled_from([0.0, 0.25, 0.123456789])) * width
        window = Window.of(key, draw(floats), when, 1, draw(st.sampled_from([1, 1, 1, 7])))
        for value in draw(st.lists(floats, max_size=3)):
            window.add(value, when + draw(st.floats(0, 0.1)), 2)
        windows.append((first + n, window))
    return windows, width


@settings(max_examples=200)
@given(some_windows(), st.booleans())
def test_windows_come_back_to_the_last_bit(some: tuple[list[tuple[int, Window]], float], quick: bool) -> None:
    windows, width = some
    found = back(windows, width, quick=quick)
    for (_, window), again in zip(windows, found, strict=True):
        window.sketch = dict(sorted(window.sketch.items()))
        again.sketch = dict(sorted(again.sketch.items()))
        assert facts(again) == facts(window)


@settings(max_examples=100)
@given(st.lists(st.tuples(floats, st.integers(1, 9)), min_size=1, max_size=30), st.booleans())
def test_windows_of_one_value_each_come_back_to_the_last_bit(values: list[tuple[float, int]], quick: bool) -> None:
    windows = [
        (n, Window.of(("m", (("kind", "a"),), float(n), 1.0), value, n + 0.25, 1, weight))
        for n, (value, weight) in enumerate(values, START)
    ]
    assert [facts(one) for one in back(windows, 1.0, quick=quick)] == [facts(one) for _, one in windows]


@settings(max_examples=100)
@given(st.lists(st.lists(st.integers(1, 10**6).map(lambda n: n / 1000), min_size=2, max_size=30), min_size=4))
def test_sums_of_decimals_come_back_with_what_they_get_wrong(groups: list[list[float]]) -> None:
    windows: list[tuple[int, Window]] = []
    for n, group in enumerate(groups, START):
        window = Window.of(("m", (("kind", "a"),), float(n), 1.0), group[0], n + 0.5, 1)
        for value in group[1:]:
            window.add(value, n + 0.5, 1)
        windows.append((n, window))
    for (_, window), again in zip(windows, back(windows, 1.0), strict=True):
        assert bits([again.sum, again.min, again.max]) == bits([window.sum, window.min, window.max])


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("number", [1, 30])
def test_one_value_added_many_times_has_the_sum_that_adding_came_to(number: int, quick: bool) -> None:
    windows: list[tuple[int, Window]] = []
    for n in range(START, START + number):
        window = Window.of(("m", (("kind", "a"),), float(n), 1.0), 0.1, n + 0.5, 1)
        for _ in range(9):
            window.add(0.1, n + 0.5, 1)
        windows.append((n, window))
    assert windows[0][1].sum != 0.1 * 10, "it is not what multiplying comes to"
    assert [facts(one) for one in back(windows, 1.0, quick=quick)] == [facts(one) for _, one in windows]


def test_of_two_values_of_one_time_the_greater_is_the_last_in_whatever_part_it_is() -> None:
    key = ("m", (), float(START), 1.0)
    first, second = Window.of(key, 9.0, START + 0.5, 70), Window.of(key, 1.0, START + 0.5, 80)
    parts = [
        columns.unpack(SERIES, 1.0, START, columns.seal(columns.pack([(START, window)], 1.0)))[0]
        for window in (first, second)
    ]
    for order in (parts, parts[::-1]):
        total = order[0].copy()
        total.merge(order[1])
        assert total.last == 9.0
    for value, last in ((8.5, 9.0), (9.5, 9.5)):
        live = Window.of(key, value, START + 0.5, 90)
        live.merge(parts[0])
        assert live.last == last


@pytest.mark.parametrize(
    ("kind", "most"), [("latency", 1.7), ("counter", 0.7), ("constant", 0.05), ("percent", 0.65), ("float", 7.0)]
)
def test_an_hour_of_seconds_takes_few_bytes(kind: str, most: float) -> None:
    rng, total, share = random.Random(7), 0, 50.0
    windows: list[tuple[int, Window]] = []
    for n in range(START, START + 3600):
        total += rng.randrange(20)
        share = min(100.0, max(0.0, share + rng.gauss(0.0, 0.5)))
        values = {
            "latency": round(rng.lognormvariate(3.7, 0.35), 2), "counter": float(total), "constant": 17.0,
            "percent": round(share, 1), "float": rng.random(),
        }  # fmt: skip
        windows.append((n, Window.of(("m", (("kind", "a"),), float(n), 1.0), values[kind], float(n), 1)))
    data = columns.seal(columns.pack(windows, 1.0))
    assert len(data) / 3600 < most
    assert [facts(one) for one in columns.unpack(SERIES, 1.0, START, data)] == [facts(one) for _, one in windows]
