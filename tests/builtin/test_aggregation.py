"""What aggregation folds a batch into."""

import random
from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bers import Batch, Catalog, Context, Event, Metric, Window
from bers.testing import check_spec, run_processor
from bers_builtin.processors.aggregation import AGGREGATION, Aggregation, AggregationConfig

METRICS = Catalog(
    [
        Metric("took", "ms", "How long it took.", labels=("environment", "kind")),
        Metric("load", "1", "How much there is to do."),
    ]
)
CONTEXT = Context("windows", metrics=METRICS)


def event(
    number: int,
    time: float = 0.0,
    *,
    weight: int = 1,
    kind: str = "",
    environment: str | None = None,
    measures: Mapping[str, float] | None = None,
    **more: float,
) -> Event:
    labels = {"kind": kind, "build": "chat"} if kind else {"build": "chat"}
    measures = {**(measures or {}), **more}
    return Event(
        f"e-{number}", "s", "x.y", time, measures=measures, labels=labels, weight=weight, environment=environment
    )


def facts(windows: Sequence[Window]) -> object:
    """What windows say, apart from the order in which they say it."""
    return sorted((w.key, w.count, w.sum, w.min, w.max, w.last, w.seen, sorted(w.sketch.items())) for w in windows)


async def test_the_spec_keeps_its_promises() -> None:
    await check_spec(AGGREGATION)


async def test_a_window_holds_one_metric_one_series_and_one_span_of_time() -> None:
    batch = await run_processor(
        AGGREGATION,
        [
            event(1, 10.1, load=4),
            event(2, 10.9, load=2),
            event(3, 11.0, load=3),
            event(4, 10.2, took=7, kind="a"),
            event(5, 10.2, took=9, kind="b"),
        ],
        context=CONTEXT,
    )
    assert [(w.key, w.count, w.sum, w.min, w.max, w.last, w.seen) for w in batch.windows] == [
        (("load", (), 10.0, 1.0), 2, 6, 2, 4, 2, (10.9, 5)),
        (("load", (), 11.0, 1.0), 1, 3, 3, 3, 3, (11.0, 5)),
        (("took", (("kind", "a"),), 10.0, 1.0), 1, 7, 7, 7, 7, (10.2, 5)),
        (("took", (("kind", "b"),), 10.0, 1.0), 1, 9, 9, 9, 9, (10.2, 5)),
    ]
    assert len(batch.events) == 5


async def test_only_labels_that_a_metric_declares_split_it() -> None:
    batch = await run_processor(
        AGGREGATION, [event(1, took=1, kind="a", environment="staging"), event(2, load=1, kind="a")], context=CONTEXT
    )
    assert [w.labels for w in batch.windows] == [(("environment", "staging"), ("kind", "a")), ()]


async def test_a_label_goes_before_the_field_of_the_same_name() -> None:
    one = Event("e", "s", "x.y", 0.0, environment="staging", labels={"environment": "canary"}, measures={"took": 1})
    batch = await run_processor(AGGREGATION, [one], context=CONTEXT)
    assert batch.windows[0].labels == (("environment", "canary"),)


async def test_c100_an_event_that_stands_for_ten_counts_ten_times() -> None:
    batch = await run_processor(AGGREGATION, [event(1, load=3, weight=10), event(2, load=1)], context=CONTEXT)
    (window,) = batch.windows
    assert (window.count, window.sum, window.min, window.max) == (11, 31, 1, 3)
    assert window.quantile(0.5) == pytest.approx(3, rel=0.01)


async def test_windows_are_as_wide_as_the_configuration_says() -> None:
    batch = await run_processor(
        AGGREGATION, [event(1, 59.9, load=1), event(2, 60, load=1)], context=CONTEXT, window="1m"
    )
    assert [(w.start, w.width) for w in batch.windows] == [(0, 60), (60, 60)]


async def test_b9_a_measure_without_metric_is_counted_and_ignored() -> None:
    stage = Aggregation(AggregationConfig(), CONTEXT)
    batch = Batch([event(1, load=1, odd=2), event(2, odd=3)], end=2)
    out = await stage.process(batch)
    assert [w.metric for w in out.windows] == ["load"]
    assert stage.ignored == {"odd": 2}


async def test_names_from_outside_do_not_fill_the_memory() -> None:
    stage = Aggregation(AggregationConfig(), CONTEXT)
    await stage.process(Batch([event(n, measures={f"odd_{n}": 1}) for n in range(3000)], end=3000))
    assert len(stage.ignored) == 1001
    assert stage.ignored["other"] == 2000


async def test_windows_that_are_there_stay() -> None:
    stage = Aggregation(AggregationConfig(), CONTEXT)
    there = Window.of(("load", (), 0.0, 1.0), 5.0, 0.5, 1)
    out = await stage.process(Batch([event(1, load=1)], [there], end=2))
    assert [w.sum for w in out.windows] == [5, 1]


EVENTS = st.lists(
    st.builds(
        event,
        st.just(0),
        st.integers(0, 40).map(lambda tenths: tenths / 10),
        weight=st.integers(1, 3),
        kind=st.sampled_from(["", "a", "b"]),
        environment=st.sampled_from([None, "staging"]),
        took=st.integers(-5, 9).map(float),
        load=st.integers(0, 9).map(float),
    ),
    max_size=30,
)


async def fold(batches: Sequence[Batch]) -> dict[object, Window]:
    merged: dict[object, Window] = {}
    for batch in batches:
        for window in (await Aggregation(AggregationConfig(), CONTEXT).process(batch)).windows:
            if window.key in merged:
                merged[window.key].merge(window)
            else:
                merged[window.key] = window
    return merged


@given(EVENTS, st.lists(st.integers(0, 30), max_size=4).map(sorted), st.randoms())
@settings(max_examples=60, derandomize=True, phases=[Phase.generate, Phase.shrink])
async def test_parts_that_are_merged_say_what_the_whole_says(
    events: list[Event], cuts: list[int], rng: random.Random
) -> None:
    edges = [0, *(min(cut, len(events)) for cut in cuts), len(events)]
    parts = [Batch(events[first:end], end=end) for first, end in pairwise(edges)]
    whole = await fold([Batch(events, end=len(events))])
    pieces = await fold(parts)
    backwards = await fold(parts[::-1])
    rng.shuffle(events)  # Many are of one moment, and what came last of them is known to nobody.
    mixed = await fold([Batch(events[first:end], end=end) for first, end in pairwise(edges)])
    assert facts(list(pieces.values())) == facts(list(backwards.values()))
    for key, window in whole.items():
        piece = pieces[key]
        assert (piece.count, piece.sum, piece.min, piece.max, piece.sketch) == (
            window.count,
            window.sum,
            window.min,
            window.max,
            window.sketch,
        )
        assert (piece.last, piece.seen[0]) == (window.last, window.seen[0])
        assert (mixed[key].last, mixed[key].seen[0], mixed[key].count) == (window.last, window.seen[0], window.count)
    assert pieces.keys() == whole.keys()
