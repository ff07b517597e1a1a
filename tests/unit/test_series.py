"""Labels with endless values make no series without end: what is beyond is `other`, and the event keeps its own."""

import logging
import random

import pytest
from msgspec.structs import replace

from bers import Event, Metric
from bers.catalog import Catalog
from bers.intake import Intake
from bers.log import Log
from bers.series import FRESH, MOST_CULPRITS, Culprit, Series
from bers.testing import VirtualClock

METRICS = Catalog(
    [
        Metric("took", "ms", "One label.", labels=("phase",)),
        Metric("ran", "{test}", "Two.", labels=("suite", "environment")),
        Metric("ended", "{build}", "One that has few values.", labels=("outcome",)),
        Metric("load", "1", "None."),
    ]
)


def event(n: int, *, measures: tuple[str, ...] = ("took",), environment: str | None = None, **labels: str) -> Event:
    return Event(f"e-{n}", "/ci", "build.measured", 0.0, environment=environment, labels=labels,
                 measures=dict.fromkeys(measures, 1.0))  # fmt: skip


def test_a_value_beyond_is_other_and_is_kept_in_the_data(caplog: pytest.LogCaptureFixture) -> None:
    series = Series(METRICS, max_values=2)
    for value in ("a", "b", "a"):
        assert series.guard(event(1, phase=value)).labels == {"phase": value}
    for value in ("c", "d"):
        guarded = series.guard(event(1, phase=value, note="x"))
        assert (guarded.labels, guarded.data) == ({"phase": "other", "note": "x"}, {"folded": {"phase": value}})
    assert series.folded == {"phase": 2}
    (warned,) = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert warned.startswith("'/ci' sends more values of label 'phase' of 'took' than series are kept for")


def test_labels_that_no_metric_is_split_by_are_left_alone() -> None:
    series = Series(METRICS, max_values=2)
    for n in range(100):
        one = event(n, commit=f"{n}")
        assert series.guard(one) is one


def test_fields_that_metrics_are_split_by_are_guarded_as_labels_are() -> None:
    series = Series(METRICS, max_values=2)
    found = [series.guard(event(n, environment=f"env-{n}", measures=("ran",))) for n in range(4)]
    assert [one.environment for one in found] == ["env-0", "env-1", "other", "other"]
    assert found[3].data == {"folded": {"environment": "env-3"}}


def test_several_labels_of_one_metric_make_no_more_series_than_allowed() -> None:
    series = Series(METRICS, max_values=100, max_series=50)
    seen = set[tuple[str, str | None]]()
    rng = random.Random(1)
    for n in range(5000):
        one = series.guard(
            event(n, measures=("ran",), suite=f"s{rng.randrange(90)}", environment=f"e{rng.randrange(90)}")
        )
        seen.add((one.labels["suite"], one.environment))
    assert len(seen) == 46 and ("other", "other") in seen, "45 of its own: the last tenth is for others"
    one = event(0, measures=("took",), suite="s1", environment="e2")
    assert series.guard(one) is one, "an event that does not measure it makes no series of it"


def test_a_value_that_comes_no_more_makes_room_and_one_that_comes_stays() -> None:
    series = Series(METRICS, max_values=2)
    for value in ("a", "b"):
        series.guard(event(1, phase=value))
    series.age()
    assert series.guard(event(1, phase="c")).labels == {"phase": "other"}
    series.guard(event(1, phase="a"))
    series.age()
    assert [series.guard(event(1, phase=value)).labels["phase"] for value in ("a", "c", "b")] == ["a", "c", "other"]


def test_one_emitter_leaves_a_tenth_of_the_room_to_those_who_send_few() -> None:
    series = Series(METRICS, max_values=100)

    def phases(source: str, count: int) -> int:
        """How many of so many new values of a source are let in."""
        events = [replace(event(n, phase=f"{source}-{n}"), source=source) for n in range(count)]
        return sum(series.guard(one).labels["phase"] != "other" for one in events)

    assert phases("/loose", 1000) == 90
    assert [phases("/good", 4), phases("/better", 5), phases("/loose", 1000)] == [4, 5, 90]
    series.age()
    assert phases("/late", 3) == 1, "of a hundred, one was left"
    series.age()
    assert phases("/late", 3) == 3 and phases("/loose", 2000) == 97 - 10, "what has not come since has made room"


def test_who_sends_most_is_among_the_few_that_are_named_however_many_do() -> None:
    clock = VirtualClock()
    series = Series(METRICS, max_values=1, clock=clock)
    for n in range(5000):
        source = "/worst" if n % 4 == 0 else f"/other/{n}"
        series.guard(replace(event(n, phase=f"p{n}"), source=source))
    assert len(series.culprits) == MOST_CULPRITS
    assert series.worst == Culprit("/worst", "took", "phase")
    assert series.culprits[Culprit("/worst", "took", "phase")] >= 1249


async def test_health_tells_of_a_culprit_while_it_goes_on() -> None:
    clock = VirtualClock()
    series = Series(METRICS, max_values=1, clock=clock)
    for n in range(3):
        series.guard(event(n, phase=f"p{n}"))
    assert series.worst == ("/ci", "took", "phase")
    await clock.advance(FRESH + 1)
    assert series.worst is None and series.culprits


def test_what_is_other_already_stays_so() -> None:
    series = Series(METRICS, max_values=1)
    series.guard(event(1, phase="a"))
    one = event(1, phase="other")
    assert series.guard(one) is one and not series.folded


def test_a_hundred_thousand_values_take_no_more_memory_than_the_first_thousand() -> None:
    series = Series(METRICS)
    for n in range(100_000):
        series.guard(event(n, measures=("took", "ran"), phase=f"p{n}", suite=f"s{n}", environment=f"e{n}"))
    known = series.dump()
    assert {name: len(values) for name, values in known.items()} == {
        "phase": 900, "suite": 900, "environment": 900, "ran suite,environment": 901,
    }  # fmt: skip


async def test_the_intake_guards_before_anybody_reads_and_knows_after_a_restart() -> None:
    bus = Log()
    intake = Intake(bus, series=Series(METRICS, max_values=2))
    await intake.submit([event(n, phase=f"p{n}") for n in range(2)])
    _, snapshot = await intake.snapshot()
    for known in (snapshot, None):  # It learns from what was written down, and from the bus.
        again = Intake(bus, series=Series(METRICS, max_values=2))
        await again.recover(known)
        number = 100 if known else 101
        await again.submit([event(number, phase="p9")])
    (batch,) = [await anext(bus.read(0, after=0))]
    assert [one.labels["phase"] for one in batch.events] == ["p0", "p1", "other", "other"]
