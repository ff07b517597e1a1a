"""Windows that slide: against a reference that keeps every value, and written down in parts."""

from __future__ import annotations

from math import floor, fsum
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bers_builtin.sinks.alert_engine.rules import Aggregate
from bers_builtin.sinks.alert_engine.sliding.panes import MOST_PANES, PART, Panes


class Seen(NamedTuple):
    at: float
    value: float
    weight: int


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.25, 1.0, 3.5, 17.0, 40.0]),
        st.one_of(st.integers(-50, 50).map(float), st.floats(-1e6, 1e6)),
        st.integers(1, 3),
    ),
    max_size=120,
)


def assert_same(value: float | None, expected: float | None) -> None:
    assert value == (None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-6))


def inside(seen: list[Seen], now: float, span: float) -> list[Seen]:
    """The reference: what is in the window, whose panes are a second wide."""
    return [one for one in seen if floor(one.at) + 1 + span > now]


def reference(aggregate: Aggregate, seen: list[Seen], span: float) -> float | None:
    total = sum(one.weight for one in seen)
    if aggregate == "count":
        return float(total)
    if aggregate == "rate":
        return fsum(one.value * one.weight for one in seen) / span
    if not seen:
        return None
    values = [one.value for one in seen]
    match aggregate:
        case "mean":
            return fsum(one.value * one.weight for one in seen) / total
        case "sum":
            return fsum(one.value * one.weight for one in seen)
        case "min":
            return min(values)
        case "max":
            return max(values)
        case _:
            return values[-1]


@pytest.mark.parametrize("aggregate", ["count", "rate", "mean", "sum", "min", "max", "last"])
@given(steps=STEPS, span=st.sampled_from([1.0, 10.0, 60.0, 300.0]))
def test_a_window_holds_what_a_reference_holds(
    aggregate: Aggregate, steps: list[tuple[float, float, int]], span: float
) -> None:
    panes, seen, now = Panes(span, aggregate), list[Seen](), 100.0
    for after, value, weight in steps:
        now += after
        panes.leave(now)
        panes.add(value, now, weight)
        seen.append(Seen(now, value, weight))
        held = inside(seen, now, span)
        assert len(panes) == sum(one.weight for one in held)
        assert_same(panes.value(), reference(aggregate, held, span))
    while (due := panes.due) is not None:
        assert not panes.leave(due - 0.001)
        assert panes.leave(due)
        held = inside(seen, due, span)
        assert_same(panes.value(), reference(aggregate, held, span))
    assert len(panes) == 0


@given(steps=STEPS)
def test_a_quantile_is_within_one_per_cent_also_when_values_have_left(steps: list[tuple[float, float, int]]) -> None:
    panes, seen, now = Panes(20.0, "p90"), list[Seen](), 100.0
    for after, value, weight in steps:
        now += after
        panes.leave(now)
        panes.add(value, now, weight)
        seen.append(Seen(now, value, weight))
        values = sorted(one.value for one in inside(seen, now, 20.0) for _ in range(one.weight))
        exact = values[max(0, -(-len(values) * 9 // 10) - 1)]
        assert panes.value() == pytest.approx(exact, rel=0.0101, abs=1e-9)


def test_a_mean_of_equal_values_is_that_value() -> None:
    panes = Panes(10.0, "mean")
    for number in range(1000):
        panes.leave(number / 10)
        panes.add(0.1, number / 10)
        assert panes.value() == 0.1


def test_a_window_has_so_many_panes_however_long_it_is() -> None:
    panes = Panes(86_400.0, "p95")
    for number in range(20_000):
        panes.leave(number * 10.0)
        panes.add(float(number % 7), number * 10.0)
    head, _ = panes.dump()
    assert len(head) + sum(len(part) for _, part in panes.parts()) <= MOST_PANES + 2
    due = panes.due
    assert due is not None
    assert 86_400 <= due - (20_000 - 1) * 10.0 + 86_400 <= 2 * 86_400 + 288


class Rows:
    """What would be in the database: the head, and the parts by their number."""

    def __init__(self) -> None:
        self.head: Any = None
        self.parts: dict[int, bytes] = {}
        self.writes = 0

    def commit(self, panes: Panes) -> None:
        for number in panes.gone:
            self.parts.pop(number, None)
        for number, part in panes.parts():
            self.parts[number] = msgspec.msgpack.encode(part)
            self.writes += 1
        self.head = msgspec.msgpack.encode(panes.dump())
        panes.written()

    def load(self, span: float, aggregate: Aggregate) -> Panes:
        parts = [(number, msgspec.msgpack.decode(part)) for number, part in sorted(self.parts.items())]
        return Panes.load(span, aggregate, msgspec.msgpack.decode(self.head), parts)


@pytest.mark.parametrize("aggregate", ["mean", "p95", "increase"])
@given(steps=STEPS, commits=st.sets(st.integers(0, 119)), crashes=st.sets(st.integers(0, 119)))
def test_a_window_that_was_written_down_in_parts_is_the_same(
    aggregate: Aggregate, steps: list[tuple[float, float, int]], commits: set[int], crashes: set[int]
) -> None:
    rows, now = Rows(), 100.0
    kept, expected = Panes(60.0, aggregate), Panes(60.0, aggregate)
    for number, (after, value, weight) in enumerate(steps):
        now += after
        for panes in (kept, expected):
            panes.leave(now)
            panes.add(value, now, weight)
        if number in commits | crashes:
            rows.commit(kept)
        if number in crashes:
            kept = rows.load(60.0, aggregate)
            kept.leave(now)
        assert len(kept) == len(expected)
        assert_same(kept.value(), expected.value())
        assert kept.due == expected.due


def test_a_part_that_is_over_is_written_once() -> None:
    rows, panes = Rows(), Panes(300.0, "mean")
    for second in range(600):
        panes.leave(float(second))
        panes.add(1.0, float(second))
        rows.commit(panes)
    assert rows.writes == 600 // PART - 1  # The last part goes on.
    assert len(rows.parts) <= MOST_PANES // PART + 1
