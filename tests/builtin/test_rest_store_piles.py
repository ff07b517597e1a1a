"""What a chart adds up from columns is what merging each window after the other comes to, however it is cut."""

from __future__ import annotations

from itertools import pairwise

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bers import Window
from bers_builtin.sinks.rest_store import columns
from bers_builtin.sinks.rest_store.pace import Pace
from bers_builtin.sinks.rest_store.partials import Series
from bers_builtin.sinks.rest_store.piles import Pile, Piles
from bers_builtin.sinks.rest_store.strips import Strip

WIDTH = 60.0
LABELS = (("kind", "a"),)
VALUES = st.floats(-1e12, 1e12).map(lambda value: round(value, 3) + 0.0)


def window(number: int, values: list[float]) -> Window:
    at = number * WIDTH
    made = Window.of(("latency", LABELS, at, WIDTH), values[0], at, -1)
    for n, value in enumerate(values[1:], 1):
        made.add(value, at + n / 100, -1)
    return made


def one(windows: list[Window]) -> Window:
    total = windows[0].copy()
    for other in windows[1:]:
        total.merge(other)
    return total


def facts(total: Window) -> object:
    """Everything but the sum, which rounding makes another in another order."""
    return total.count, total.min, total.max, total.last, total.seen[0], total.sketch


def in_order(strip: Strip) -> object:
    """Everything, with the buckets of each window in the order of values."""
    pairs = list(zip(strip.buckets, strip.more, strict=True))
    sketches = [sorted(pairs[begin:end]) for begin, end in pairwise(strip.ends)]
    return *strip[:11], sketches


windows_of_a_page = st.dictionaries(
    st.integers(0, 200), st.lists(VALUES, min_size=1, max_size=30), min_size=1, max_size=40
).map(lambda found: [window(number, values) for number, values in sorted(found.items())])


@settings(max_examples=60, deadline=None)
@given(windows_of_a_page, st.sampled_from([1, 2, 7, 1000]))
def test_each_step_and_all_of_them_are_what_their_windows_come_to(windows: list[Window], each: int) -> None:
    piles = Piles(each * WIDTH, 1e9)
    anyio.run(piles.add, Strip.of(windows), 0, len(windows), Pace())
    steps: dict[int, list[Window]] = {}
    for made in windows:
        steps.setdefault(round(made.start / WIDTH) // each, []).append(made)
    assert {n: facts(pile.window()) for n, pile in piles.items()} == {n: facts(one(some)) for n, some in steps.items()}
    assert facts(piles.whole.window()) == facts(one(windows))
    assert piles.whole.sum == pytest.approx(one(windows).sum, rel=1e-9, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(windows_of_a_page, st.booleans())
def test_columns_are_read_as_the_windows_that_were_written(windows: list[Window], quick: bool) -> None:
    numbered = [(round(made.start / WIDTH), made) for made in windows]
    data = columns.seal(columns.pack(numbered, WIDTH, quick=quick))
    strip = columns.unpack_strip(Series(1, "latency", LABELS, (), ()), WIDTH, windows[0].start, data)
    assert in_order(strip) == in_order(Strip.of(windows))


def test_what_is_poured_stays_as_it_is_and_a_window_of_it_is_its_own() -> None:
    pile, more = Pile(), Pile()
    more.pour(Pile.of(Strip.of([window(1, [1.0, 2.0]), window(2, [3.0])]), 0, 2))
    pile.pour(more)
    before, early = facts(more.window()), pile.window()
    pile.pour(more)
    assert (facts(more.window()), early.count, sum(early.sketch.values())) == (before, 3, 3)
    assert (pile.count, sum(pile.window().sketch.values())) == (6, 6)


def test_sketches_that_have_too_many_buckets_together_are_made_smaller() -> None:
    wide = [window(n, [10.0 ** (n % 17) * (1 + k / 40) for k in range(400)]) for n in range(40)]
    pile = Pile()
    for n in range(len(wide)):
        pile.pour(Pile.of(Strip.of(wide), n, n + 1))
    assert pile.window().sketch == one(wide).sketch
