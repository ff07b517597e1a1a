"""What the validation source makes of the events of test runners."""

from collections.abc import Mapping, Sequence

import pytest
from anyio import create_task_group
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bers import Context, Event, Interval, Outcome, Table
from bers.testing import VirtualClock, check_spec, run_receive
from bers_builtin.sources.validation import VALIDATION, ValidationConfig, ValidationSource
from tests.builtin.orders import Orders, figures, figures_of, in_two_orders, remembers_the_same

SOURCE = "/ci/local"


def told(
    what: str,
    time: float = 0.0,
    *,
    id: str = "e",
    subject: str = "t/1",
    outcome: Outcome | None = None,
    duration_ms: float | None = None,
    measures: Mapping[str, float] | None = None,
    labels: Mapping[str, str] | None = None,
    data: Mapping[str, object] | None = None,
    environment: str | None = None,
) -> Event:
    return Event(
        id,
        SOURCE,
        what,
        time,
        subject=subject,
        outcome=outcome,
        duration_ms=duration_ms,
        measures=measures or {},
        labels=labels or {},
        data=data or {},
        environment=environment,
    )


def labelled(events: Sequence[Event], label: str) -> dict[str, float]:
    return {event.labels[label]: value for event in events if event.cause for value in event.measures.values()}


async def test_the_spec_keeps_its_promises() -> None:
    await check_spec(VALIDATION)


async def test_c165_c166_a_finished_suite_is_measured() -> None:
    sent = {"tests.passed": 97, "tests.failed": 2, "tests.errored": 1, "tests.skipped": 5, "tests.flaky": 4}
    done, *more = await run_receive(
        VALIDATION,
        [told("testsuiterun.finished", outcome="failure", duration_ms=8200, measures=sent, labels={"suite": "unit"})],
    )
    assert done.measures == {"test_flaky_count": 4, "test_failure_rate": 3, "test_suite_duration": 8200}
    assert labelled(more, "status") == {"passed": 97, "failed": 2, "errored": 1, "skipped": 5}
    assert {(event.type, event.cause, event.labels["suite"]) for event in more} == {
        ("testsuiterun.measured", "e", "unit")
    }
    assert more[0].id == "e/status/passed"


async def test_a_suite_may_be_named_in_the_data() -> None:
    out = await run_receive(
        VALIDATION,
        [told("testsuiterun.finished", duration_ms=5, data={"suite": "unit"}, measures={"tests.passed": 1})],
    )
    assert [event.labels["suite"] for event in out] == ["unit", "unit"]


async def test_what_junit_counts_is_enough_to_know_what_passed() -> None:
    sent = {"tests.total": 50, "tests.failed": 3, "tests.errored": 1, "tests.skipped": 10}
    done, *more = await run_receive(VALIDATION, [told("testsuiterun.finished", measures=sent)])
    assert labelled(more, "status") == {"passed": 36, "failed": 3, "errored": 1, "skipped": 10}
    assert done.measures == {"test_failure_rate": 10}


@pytest.mark.parametrize(
    ("sent", "measures"),
    [
        ({}, {}),
        ({"tests.total": 9}, {"test_count": 9}),
        ({"tests.passed": 9}, {}),
        ({"tests.failed": 9}, {}),
        ({"tests.passed": 9, "tests.failed": 1}, {"test_failure_rate": 10}),
        ({"test_failure_rate": 2.5, "tests.failed": 1}, {"test_failure_rate": 2.5}),
    ],
)
async def test_a_rate_that_the_counts_do_not_tell_stays_absent(
    sent: Mapping[str, float], measures: Mapping[str, float]
) -> None:
    done, *_ = await run_receive(VALIDATION, [told("testsuiterun.finished", measures=sent)])
    assert (done.measures, done.outcome) == (measures, None)


@pytest.mark.parametrize("sent", [{"tests.total": 0}, {"tests.total": 4, "tests.skipped": 4}, {"tests.passed": 0}])
@pytest.mark.parametrize("outcome", [None, "success", "failure"])
async def test_a_run_of_no_tests_is_an_error(sent: Mapping[str, float], outcome: Outcome | None) -> None:
    done, *_ = await run_receive(
        VALIDATION, [told("testsuiterun.finished", outcome=outcome, duration_ms=300, measures=sent)]
    )
    assert (done.outcome, done.reason) == ("error", "no tests ran")
    assert "test_suite_duration" not in done.measures
    assert "test_failure_rate" not in done.measures


async def test_a_cancelled_run_of_no_tests_was_cancelled() -> None:
    done, *_ = await run_receive(
        VALIDATION, [told("testsuiterun.finished", outcome="cancel", measures={"tests.passed": 0})]
    )
    assert done.outcome == "cancel"


async def test_c167_coverage_has_a_kind() -> None:
    _, *more = await run_receive(
        VALIDATION, [told("coverage.reported", measures={"coverage.lines": 95.2, "coverage.branches": 81})]
    )
    assert labelled(more, "kind") == {"lines": 95.2, "branches": 81}
    assert {event.type for event in more} == {"coverage.measured"}


async def test_a_bare_coverage_is_that_of_lines() -> None:
    done, one = await run_receive(
        VALIDATION, [told("validation.finished", outcome="success", duration_ms=7, measures={"coverage": 95.2})]
    )
    assert done.measures == {"validation_success_rate": 100, "validation_duration": 7}
    assert (one.measures, one.labels) == ({"test_coverage": 95.2}, {"kind": "lines"})


@pytest.mark.parametrize(
    ("outcome", "sent", "share"),
    [
        ("success", {}, 100),
        ("failure", {}, 0),
        ("success", {"success_rate": 93.5}, 93.5),
        ("failure", {"success_rate": 0}, 0),
        (None, {}, None),
        ("cancel", {}, None),
    ],
)
async def test_a_success_rate_is_told_or_follows_from_the_outcome_or_is_absent(
    outcome: Outcome | None, sent: Mapping[str, float], share: float | None
) -> None:
    (done,) = await run_receive(VALIDATION, [told("validation.finished", outcome=outcome, measures=sent)])
    assert done.measures == ({} if share is None else {"validation_success_rate": share})


async def test_c168_environments_are_compared() -> None:
    (done,) = await run_receive(
        VALIDATION,
        [told("validation.environment", outcome="failure", environment="production", measures={"drift": 3})],
    )
    assert done.measures == {"environment_drift_count": 3, "cross_environment_validation": 0}
    assert await figures(VALIDATION, [done]) == [
        (("cross_environment_validation", (("environment", "production"),), 0.0, 1.0), 1, 0, 0, 0, [(0, 1)]),
        (("environment_drift_count", (), 0.0, 1.0), 1, 3, 3, 3, [(40_055, 1)]),
    ]


async def test_a_test_case_is_kept_and_measures_nothing() -> None:
    event = told("testcaserun.finished", outcome="failure", duration_ms=12)
    assert await run_receive(VALIDATION, [event]) == [event]


def one_run(number: int) -> st.SearchStrategy[list[Event]]:
    """Any part of the life of one suite, or of one validation."""
    kind, subject = ("testsuiterun", "validation")[number % 2], f"t/{number}"

    def events(
        ends: tuple[bool, bool], at: tuple[int, int], outcome: Outcome | None, duration: float | None, failed: int
    ) -> list[Event]:
        started = Event(f"{number}-s", SOURCE, f"{kind}.started", at[0], subject=subject)
        finished = Event(
            f"{number}-f",
            SOURCE,
            f"{kind}.finished",
            sum(at),
            subject=subject,
            outcome=outcome,
            duration_ms=duration,
            measures={"tests.failed": failed, "tests.total": failed + number, "coverage": 90},
            labels={"suite": "unit"},
        )
        return [started] * ends[0] + [finished] * ends[1]

    return st.builds(
        events,
        st.tuples(st.booleans(), st.booleans()),
        st.tuples(st.integers(0, 50), st.integers(0, 50)),
        st.sampled_from([None, "success", "failure", "timeout"]),
        st.none() | st.integers(0, 9000).map(float),
        st.integers(0, 3),
    )


@given(st.tuples(*map(one_run, range(5))).flatmap(in_two_orders))
@settings(max_examples=60, derandomize=True, phases=[Phase.generate, Phase.shrink])
async def test_c173_order_does_not_change_any_figure(orders: Orders) -> None:
    events, shuffled = orders
    assert await figures_of(VALIDATION, shuffled) == await figures_of(VALIDATION, events)
    assert remembers_the_same(ValidationSource(ValidationConfig(), Context("validation")), shuffled)


async def test_a_suite_that_never_ends_is_lost_and_may_still_be_found(clock: VirtualClock) -> None:
    table = Table()
    source = ValidationSource(
        ValidationConfig(lost_after=Interval("1h")), Context("validation", clock=clock, table=table)
    )
    bus: list[Event] = []

    async def emit(events: Sequence[Event], *, durable: bool = False) -> None:
        for event in events:
            bus.extend(source.receive(event, table))

    async with create_task_group() as group:
        group.start_soon(source.run, emit)
        await emit(
            [
                told("testsuiterun.started", clock.time(), id="s"),
                told("validation.started", clock.time(), id="v", subject="v/1"),
            ]
        )
        await clock.advance(3599)
        assert [event.type for event in bus] == ["testsuiterun.started", "validation.started"]
        await clock.advance(2)
        assert [(event.id, event.type) for event in bus[2:]] == [
            ("t/1/lost", "testsuiterun.lost"),
            ("v/1/lost", "validation.lost"),
        ]
        await emit([told("testsuiterun.finished", clock.time(), outcome="success")])
        assert bus[-1].measures == {"test_suite_duration": 3601_000}
        group.cancel_scope.cancel()


async def test_a_suite_that_is_lost_is_told_with_where_it_was_last_seen(clock: VirtualClock) -> None:
    table = Table()
    source = ValidationSource(
        ValidationConfig(lost_after=Interval("1h")), Context("validation", clock=clock, table=table)
    )
    bus: list[Event] = []

    async def emit(events: Sequence[Event], *, durable: bool = False) -> None:
        for event in events:
            bus.extend(source.receive(event, table))

    def seen(id: str, time: float, *names: str, subject: str = "t/1") -> Event:
        running = {"running": list(names)}
        return told(
            "testsuiterun.progress", time, id=id, subject=subject, measures={"progress.passed": 3}, data=running
        )

    async with create_task_group() as group:
        group.start_soon(source.run, emit)
        now = clock.time()
        await emit([told("testsuiterun.started", now, id=f"s{n}", subject=f"t/{n}") for n in (1, 2, 3)])
        await emit([seen("late", now + 2, "test_a.py::test_hangs", "test_b.py::test_too"), seen("old", now + 1, "x")])
        await emit([seen("of-2", now + 1, "x", subject="t/2")])
        await emit([told("testsuiterun.finished", now + 3, id="f2", subject="t/2", outcome="success")])
        await emit([seen("after", now + 4, "x", subject="t/2")])
        await clock.advance(3602)
        group.cancel_scope.cancel()
    assert {event.subject: event.reason for event in bus if event.type == "testsuiterun.lost"} == {
        "t/1": "lost: no finish within 1h; last seen in test_a.py::test_hangs, test_b.py::test_too",
        "t/3": "lost: no finish within 1h",
    }
    assert not [key for key, _ in table.items() if key.endswith("t/2\ttestsuiterun.progress")]


async def test_progress_is_no_figure() -> None:
    event = told("testsuiterun.progress", measures={"progress.passed": 3}, data={"running": ["a"]})
    assert await figures_of(VALIDATION, [event]) == []
