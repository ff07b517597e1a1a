"""What goes into a stage is accounted for when it comes out."""

from bers.counters import Counters


def test_an_edge_is_made_once_and_found_again() -> None:
    counters = Counters()
    counters.edge("metrics/store").taken += 3
    assert counters.edge("metrics/store").taken == 3
    assert list(counters.snapshot()) == ["metrics/store"]


def test_what_went_in_came_out_in_one_of_six_ways() -> None:
    counters = Counters()
    edge = counters.edge("metrics/store")
    edge.taken, edge.made = 20, 1
    edge.out, edge.filtered, edge.queued, edge.dead, edge.merged = 10, 1, 2, 3, 4
    edge.dropped["full"] += 1
    assert (edge.gap(), counters.gaps()) == (0, {})


def test_a_record_that_is_missing_is_named() -> None:
    counters = Counters()
    counters.edge("good")
    counters.edge("lost").taken += 2
    counters.edge("invented").out += 1
    assert counters.gaps() == {"lost": 2, "invented": -1}


def test_a_reading_does_not_change_with_what_is_read() -> None:
    counters = Counters()
    edge = counters.edge("metrics/store")
    edge.dropped["full"] += 1
    reading = counters.snapshot()["metrics/store"]
    edge.dropped["full"] += 1
    edge.taken += 1
    assert (reading.taken, reading.dropped) == (0, {"full": 1})
