"""The state of a stage follows from what happens at its edges, both ways."""

from bers.counters import Edge
from bers.states import CALM, LOST, STUCK, Change, Standing
from bers.testing import VirtualClock


def standing() -> tuple[Standing, list[Change]]:
    told: list[Change] = []
    stage = Standing(VirtualClock(), told.append)
    stage.opening()
    stage.opened()
    return stage, told


def test_what_opens_is_well_and_that_is_no_news() -> None:
    stage, told = standing()
    assert (stage.state, told) == ("ok", [])


def test_one_error_degrades_for_a_while_and_is_remembered() -> None:
    stage, told = standing()
    edge = Edge()
    stage.look({"a": edge}, 100.0)
    edge.errors, edge.out, edge.last_error = 1, 10, "RuntimeError: no"
    stage.look({"a": edge}, 101.0)
    assert (stage.state, stage.reason) == ("degraded", "it raised an error, and goes on")
    stage.look({"a": edge}, 101.0 + CALM)
    assert (stage.state, stage.error) == ("ok", "RuntimeError: no")
    assert [(change.before, change.after) for change in told] == [("ok", "degraded"), ("degraded", "ok")]


def test_errors_alone_are_failing_until_something_gets_through_again() -> None:
    stage, told = standing()
    edge = Edge()
    stage.look({"a": edge}, 100.0)
    for n in range(3):
        edge.errors += 1
        stage.look({"a": edge}, 101.0 + n)
    assert (stage.state, stage.reason) == ("failing", "nothing gets through: 3 errors in a row")
    stage.look({"a": edge}, 1000.0)
    edge.out += 1
    stage.look({"a": edge}, 1001.0)
    assert [change.after for change in told] == ["degraded", "failing", "ok"]


def test_what_waits_for_ever_is_said_and_called_failing_at_last() -> None:
    stage, _ = standing()
    edge = Edge(queued=5)
    stage.look({"a": edge, "other": Edge()}, 100.0)
    stage.look({"a": edge, "other": Edge(out=7)}, 100.0 + STUCK)
    assert (stage.state, stage.reason) == ("degraded", "nothing got through for 3 s")
    stage.look({"a": edge, "other": Edge(out=9)}, 100.0 + LOST)
    assert stage.state == "failing"


def test_a_pause_of_everybody_is_nobodys_fault() -> None:
    stage, _ = standing()
    edge = Edge(queued=5)
    stage.look({"a": edge}, 100.0)
    stage.excuse(60.0)
    stage.look({"a": edge}, 161.0)
    assert stage.state == "ok"


def test_what_is_dropped_before_it_degrades_it() -> None:
    stage, _ = standing()
    edge = Edge()
    stage.look({"a": edge}, 100.0)
    edge.dropped["full"] += 3
    edge.out += 1
    stage.look({"a": edge}, 101.0)
    assert stage.state == "degraded"


def test_what_is_started_anew_is_well_when_it_has_worked_for_a_while() -> None:
    stage, told = standing()
    stage.failed("it waits for its next attempt", "OSError: gone")
    stage.opening()
    assert (stage.state, stage.settled) == ("starting", "failing")
    stage.opened()
    assert (stage.state, stage.reason) == ("degraded", "it was started anew after a failure")
    assert [change.after for change in told] == ["failing", "degraded"]


def test_what_stops_is_not_judged_any_more() -> None:
    stage, told = standing()
    stage.stopping()
    stage.look({"a": Edge(errors=5)}, 1.0)
    assert (stage.state, told) == ("stopping", [])
