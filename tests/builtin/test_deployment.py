"""What the deployment source makes of deployments, rollbacks, changes and incidents."""

from collections.abc import Mapping, Sequence

import pytest
from anyio import create_task_group
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bers import Context, Event, Outcome, Table, Vcs
from bers.testing import VirtualClock, check_spec, run_receive
from bers_builtin.sources.deployment import DEPLOYMENT, DeploymentConfig, DeploymentSource
from tests.builtin.orders import Orders, figures_of, in_two_orders, remembers_the_same

SOURCE = "/cd/local"


def told(
    what: str,
    time: float = 0.0,
    *,
    id: str = "",
    subject: str = "d/1",
    outcome: Outcome | None = None,
    duration_ms: float | None = None,
    measures: Mapping[str, float] | None = None,
    committed_at: float | None = None,
) -> Event:
    return Event(
        id or f"{subject}:{what}:{time}",
        SOURCE,
        what,
        time,
        subject=subject,
        environment="production",
        outcome=outcome,
        duration_ms=duration_ms,
        measures=measures or {},
        vcs=None if committed_at is None else Vcs(committed_at=committed_at),
    )


async def test_the_spec_keeps_its_promises() -> None:
    await check_spec(DEPLOYMENT)


async def test_c169_c171_a_deployment_is_measured_from_start_to_finish() -> None:
    _, done = await run_receive(
        DEPLOYMENT, [told("deployment.started", 10), told("deployment.finished", 104, outcome="success")]
    )
    assert done.duration_ms == 94_000
    assert done.measures == {
        "deployment_total": 1,
        "deployment_success_rate": 100,
        "deployment_performance": 94_000,
    }


async def test_a_deployment_that_fails_counts_and_does_not_tell_how_long_they_take() -> None:
    (done,) = await run_receive(DEPLOYMENT, [told("deployment.finished", outcome="failure", duration_ms=94_000)])
    assert done.measures == {"deployment_total": 1, "deployment_success_rate": 0}


async def test_a_service_that_was_deployed_was_deployed_with_success() -> None:
    (done,) = await run_receive(DEPLOYMENT, [told("service.deployed", duration_ms=3000)])
    assert done.outcome == "success"
    assert done.measures == {"deployment_total": 1, "deployment_success_rate": 100, "deployment_performance": 3000}


@pytest.mark.parametrize(
    ("committed_at", "sent", "lead"),
    [(400.0, {}, 600_000), (400.0, {"lead_time": 5.0}, 5), (1001.0, {}, None), (None, {}, None)],
)
async def test_the_lead_time_is_told_or_counted_from_the_commit(
    committed_at: float | None, sent: Mapping[str, float], lead: float | None
) -> None:
    (done,) = await run_receive(
        DEPLOYMENT,
        [told("deployment.finished", 1000, outcome="success", committed_at=committed_at, measures=sent)],
    )
    assert done.measures.get("deployment_lead_time") == lead


@pytest.mark.parametrize("what", ["deployment.rolledback", "service.rolledback"])
async def test_c172_a_rollback_is_counted_and_timed_from_the_finish(what: str) -> None:
    events = [told("deployment.finished", 100, outcome="failure"), told(what, 125)]
    out = await run_receive(DEPLOYMENT, events)
    assert out[1].measures == {"deployment_rollback_total": 1, "deployment_recovery_time": 25_000}
    assert out[1].duration_ms is None
    out = await run_receive(DEPLOYMENT, events[::-1])
    assert (out[0].measures, out[2].measures) == (
        {"deployment_rollback_total": 1},
        {"deployment_recovery_time": 25_000},
    )
    (alone,) = await run_receive(DEPLOYMENT, [told(what, 125, duration_ms=9000)])
    assert alone.measures == {"deployment_rollback_total": 1, "deployment_recovery_time": 9000}


async def test_c170_a_validation_on_staging_is_measured() -> None:
    (done,) = await run_receive(DEPLOYMENT, [told("deployment.validated", outcome="success", duration_ms=40_000)])
    assert done.measures == {"staging_validation_success": 100, "staging_validation_duration": 40_000}


@pytest.mark.parametrize(
    ("what", "measures"),
    [
        ("environment.created", {"environment_change_total": 1}),
        ("environment.modified", {"environment_change_total": 1}),
        ("environment.deleted", {"environment_change_total": 1}),
        ("change.merged", {"change_total": 1}),
        ("change.created", {}),
        ("service.removed", {}),
    ],
)
async def test_changes_are_counted(what: str, measures: Mapping[str, float]) -> None:
    (done,) = await run_receive(DEPLOYMENT, [told(what)])
    assert done.measures == measures


async def test_an_incident_lasts_from_its_detection_to_its_resolution() -> None:
    out = await run_receive(
        DEPLOYMENT,
        [told("incident.detected", 10), told("incident.reported", 15), told("incident.resolved", 70)],
    )
    assert out[2].measures == {"incident_recovery_time": 60_000}


def one_story(number: int) -> st.SearchStrategy[list[Event]]:
    """Any part of the life of one deployment and of one incident."""
    types = ("deployment.started", "deployment.finished", "deployment.rolledback")
    if number % 2:
        types = ("incident.detected", "incident.resolved", "change.merged")

    def events(given: set[str], times: list[int], outcome: Outcome | None, duration: float | None) -> list[Event]:
        return [
            Event(
                f"{number}-{type}",
                SOURCE,
                type,
                time,
                subject=f"d/{number}",
                environment="production",
                outcome=outcome if type == "deployment.finished" else None,
                duration_ms=duration if type != "deployment.started" else None,
            )
            for type, time in zip(types, sorted(times), strict=True)
            if type in given
        ]

    return st.builds(
        events,
        st.sets(st.sampled_from(types)),
        st.lists(st.integers(0, 50), min_size=3, max_size=3),
        st.sampled_from([None, "success", "failure", "cancel"]),
        st.none() | st.integers(0, 9000).map(float),
    )


@given(st.tuples(*map(one_story, range(5))).flatmap(in_two_orders))
@settings(max_examples=60, derandomize=True, phases=[Phase.generate, Phase.shrink])
async def test_c173_order_does_not_change_any_figure(orders: Orders) -> None:
    events, shuffled = orders
    assert await figures_of(DEPLOYMENT, shuffled) == await figures_of(DEPLOYMENT, events)
    assert remembers_the_same(DeploymentSource(DeploymentConfig(), Context("deployment")), shuffled)


async def test_deployments_and_incidents_that_go_on_are_counted(clock: VirtualClock) -> None:
    table = Table()
    source = DeploymentSource(DeploymentConfig(), Context("deployment", clock=clock, table=table))
    bus: list[Event] = []

    async def emit(events: Sequence[Event], *, durable: bool = False) -> None:
        for event in events:
            bus.extend(source.receive(event, table))

    async with create_task_group() as group:
        group.start_soon(source.run, emit)
        await emit([told("deployment.started", clock.time()), told("incident.detected", clock.time(), subject="i")])
        await clock.advance(1795)
        await emit([told("deployment.started", clock.time(), subject="d/2")])
        await clock.advance(10)
        await emit([told("deployment.finished", clock.time(), subject="d/2", outcome="success")])
        await clock.advance(5000)
        await emit([told("incident.resolved", clock.time(), subject="i")])
        await clock.advance(5)
        group.cancel_scope.cancel()
    told_active = [event.measures for event in bus if "incident_active" in event.measures]
    assert told_active == [
        {"deployment_active": 1, "incident_active": 1},
        {"deployment_active": 2, "incident_active": 1},
        {"deployment_active": 1, "incident_active": 1},
        {"deployment_active": 0, "incident_active": 1},
        {"deployment_active": 0, "incident_active": 0},
    ]
    assert [event.subject for event in bus if event.type == "deployment.lost"] == ["d/1"]
