"""DORA's five figures: what is computed of which records, by hand, and what is left unknown where nobody tells."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bers import Batch, Caller, Context, Event, Outcome, Refused, Run, Vcs
from bers.testing import VirtualClock, step
from bers_builtin.sinks.rest_store import REST_STORE, RestStore
from bers_builtin.sinks.rest_store.dora import asking
from bers_builtin.sinks.rest_store.dora.answers import AskDora, DoraAnswer, Figure

HOUR = 3600.0
DAY = 24 * HOUR
NOW = 19_676 * DAY
"""The midnight with which 15 November 2023 began."""
MS = 1000.0
HOURS = HOUR * MS
"""An hour in the unit of the figures."""


async def ask(
    events: Sequence[Event],
    *,
    running: float = 90 * DAY,
    options: Mapping[str, object] | None = None,
    **fields: object,
) -> DoraAnswer:
    """Write events into a store that has been there for so many seconds, and ask it as REST would."""
    with TemporaryDirectory() as folder:
        clock = VirtualClock(NOW - running)
        context = Context("store", data_dir=Path(folder), clock=clock)
        async with step(REST_STORE, context=context, **(options or {})).open() as store:
            assert isinstance(store, RestStore)
            clock.step(running)
            await store.position("metrics", 0, begin=0)
            await store.write(Batch(events, (), "metrics", 0, 1))
            await store.commit()
            return await store.dora(msgspec.convert(fields, AskDora), Caller())


def deployed(
    at: float,
    outcome: Outcome | None = "success",
    *,
    id: str = "",
    type: str = "deployment.finished",
    service: str | None = "chat",
    environment: str | None = "production",
    committed: float | None = None,
    revision: str = "",
    run: Run | None = None,
    kind: str = "",
    **fields: Any,
) -> Event:
    """A deployment that finished so many seconds before NOW."""
    name = id or f"{type}-{service}-{at:g}"
    vcs = Vcs(revision=revision, committed_at=None if committed is None else NOW - committed)
    labels = {"kind": kind} if kind else {}
    fields.setdefault("subject", name)
    return Event(
        name, "/cd", type, NOW - at, outcome=outcome, service=service, environment=environment, run=run, labels=labels,
        vcs=vcs if revision or committed is not None else None, **fields,
    )  # fmt: skip


def happened(at: float, type: str, *, subject: str = "", service: str | None = "chat", **fields: Any) -> Event:
    """An incident or a rollback, so many seconds before NOW."""
    fields.setdefault("environment", "production")
    return Event(f"{type}-{subject}-{at:g}", "/on-call", type, NOW - at, subject=subject, service=service, **fields)


def shown(figure: Figure) -> tuple[float | None, int, list[str]]:
    return figure.value, figure.n, list(figure.completeness)


def golden() -> list[Event]:
    """30 deployments of a month, one at noon of each day: day 1 is the first, and its commit is one hour old, ..."""

    old = 24 * HOUR

    def noon(day: float) -> float:
        return (30 - day + 0.5) * DAY

    def at(day: int, **fields: Any) -> Event:
        fields = {"id": f"d{day}", "version": f"1.{day}", "run": Run(id=f"run-{day}"), "revision": f"r{day}", **fields}
        return deployed(noon(day), committed=noon(day) + day * HOUR, **fields)

    plain = [at(day) for day in range(1, 30) if day not in (5, 26, 28)]
    return [
        *plain,
        at(5, outcome="failure"),
        # Day 26 takes back what day 25 brought, two hours after it.
        deployed(
            noon(25) - 2 * HOUR, id="d26", kind="rollback", revision="r24", version="1.24", committed=noon(24) + old
        ),
        # Day 28 answers an incident that came of day 12; its job has told of it twice.
        at(28, kind="hotfix", data={"cause": "inc-2"}),
        at(28, id="d28-again", type="service.deployed", outcome=None),
        # Nobody knows what day 30 brought.
        deployed(noon(30), id="d30"),
        # Day 10 is rolled back after half an hour.
        happened(noon(10) - 0.5 * HOUR, "service.rolledback", subject="chat"),
        # An incident an hour after day 20, over two hours later.
        happened(noon(20) - 1 * HOUR, "incident.detected", subject="inc-1"),
        happened(noon(20) - 3 * HOUR, "incident.resolved", subject="inc-1"),
        # One after day 17, of the version that day 12 had brought, and never over.
        happened(noon(17) - 1 * HOUR, "incident.detected", subject="inc-2", version="1.12"),
        # And one more that came of day 20, as its run says.
        happened(noon(21) - 1 * HOUR, "incident.reported", subject="inc-3", data={"cause": "run-20"}),
    ]  # fmt: skip


async def test_a_month_by_hand() -> None:
    answer = await ask(golden())
    figures, counts = answer.metrics, answer.counts
    # 30 deployments: 29 events of days 1 to 29 and the one of day 30; the second event of day 28 is of the same run.
    assert (counts.deployments, counts.succeeded, counts.failed, counts.incidents) == (30, 29, 5, 3)
    # Hours 1 to 29 without day 5 (failed) and day 26 (takes back): 27 values, 1 2 3 4 6 7 ... 25 27 28 29. The 14th
    # is 15, because from the fifth on a value is its place and one. Day 30 is not known.
    assert shown(figures.change_lead_time) == (15 * HOURS, 27, ["unknown_commits"])
    assert figures.change_lead_time.excluded == {"unknownCommit": 1, "rollback": 1}
    assert (figures.change_lead_time.band, figures.change_lead_time.band_year) == ("elite", 2023)
    # 29 successes in 30 days: less than one a day, more than one a week.
    assert shown(figures.deployment_frequency) == (29 / 30, 29, [])
    assert figures.deployment_frequency.band == "high"
    # Day 5 (outcome), 10 (rolled back), 12 (incident 2), 20 (incidents 1 and 3), 25 (taken back by day 26): 5 of 30.
    assert shown(figures.change_fail_rate) == (5 / 30 * 100, 30, [])
    assert figures.change_fail_rate.band == "low"
    # Day 5: day 6, after 24 h. Day 10: rolled back after 0.5 h. Day 20: incident 1 is over after 3 h. Day 25: day 26,
    # after 2 h. Day 12: known on day 17, so day 18 is the first that could mend it, 144 h after day 12.
    # 0.5 2 3 24 144: the middle one is 3.
    assert shown(figures.failed_deployment_recovery_time) == (3 * HOURS, 5, [])
    assert figures.failed_deployment_recovery_time.band == "high"
    # Day 26 is labelled rollback, day 28 hotfix: 2 of 30. Nobody has published bands for that.
    assert shown(figures.deployment_rework_rate) == (2 / 30 * 100, 30, [])
    assert (figures.deployment_rework_rate.band, figures.deployment_rework_rate.band_year) == (None, None)


async def test_the_week_that_the_documentation_works_out() -> None:
    def ago(day: int, hour: int) -> float:
        """Of Monday, 6 November 2023, and the days after it, up to the end of its Sunday."""
        return 3 * DAY - (day * DAY + hour * HOUR - 6 * DAY)

    events = [
        deployed(ago(0, 10), committed=ago(0, 8), id="a"),
        deployed(ago(1, 10), "failure", id="b"),
        deployed(ago(1, 11), committed=ago(1, 7), id="c"),
        deployed(ago(3, 10), committed=ago(2, 10), id="d"),
        happened(ago(3, 12), "incident.detected", subject="i"),
        happened(ago(3, 15), "incident.resolved", subject="i"),
    ]
    figures = (await ask(events, period="9d")).metrics
    assert (figures.change_lead_time.value, figures.change_lead_time.n) == (4 * HOURS, 3)
    assert figures.deployment_frequency.n == 3
    assert figures.change_fail_rate.value == 50
    assert figures.failed_deployment_recovery_time.value == 3 * HOURS
    assert figures.deployment_rework_rate.value is None


async def test_the_series_of_a_month_adds_up_to_its_figures() -> None:
    answer = await ask(golden())
    assert (answer.step, len(answer.series)) == ("1d", 30)
    assert [point.start for point in answer.series][::29] == [(NOW - 30 * DAY) * MS, (NOW - DAY) * MS]
    # On day 5 (the fifth) nothing succeeded, and day 25 brought itself and what took it back.
    assert [point.deployments for point in answer.series] == [1] * 4 + [0] + [1] * 19 + [2, 0] + [1] * 4
    assert [day for day, point in enumerate(answer.series, 1) if point.failed] == [5, 10, 12, 20, 25]
    assert [point.lead_time for point in answer.series][:6] == [*(h * HOURS for h in (1, 2, 3, 4)), None, 6 * HOURS]
    weeks = (await ask(golden(), step="1w")).series
    # The month began on a Monday: 16 October 2023. Weeks of 7, 7, 7, 7 and 2 days; day 26 is at noon of day 25.
    assert [point.start for point in weeks] == [(NOW - 30 * DAY + n * 7 * DAY) * MS for n in range(5)]
    assert [(point.deployments, point.failed) for point in weeks] == [(6, 1), (7, 2), (7, 1), (7, 1), (2, 0)]


async def test_services_are_told_apart_and_one_can_be_asked_for() -> None:
    web = [deployed(2 * DAY + n * HOUR, service="web", committed=2 * DAY + (n + 4) * HOUR) for n in range(3)]
    events = [*golden(), *web, happened(DAY, "incident.detected", subject="inc-9", service="web")]
    answer = await ask(events)
    assert (answer.service_count, [one.service for one in answer.services]) == (2, ["chat", "web"])
    chat, web_figures = answer.services
    assert (chat.deployments, chat.failed, chat.change_lead_time) == (30, 5, 15 * HOURS)
    # The incident came of the last of three.
    assert (web_figures.deployment_frequency, web_figures.change_lead_time) == (3 / 30, 4 * HOURS)
    assert web_figures.change_fail_rate == pytest.approx(100 / 3)
    alone = await ask(events, service="chat")
    assert (alone.service, alone.service_count) == ("chat", 1)
    assert alone.metrics == (await ask(golden())).metrics
    nobody = (await ask(events, service="nope")).metrics
    assert shown(nobody.deployment_frequency) == (None, 0, ["no_deployment_source"])


async def test_what_nobody_tells_is_null_and_never_0() -> None:
    nothing = (await ask([])).metrics
    for figure in msgspec.structs.asdict(nothing).values():
        assert figure.value is None
        assert figure.band is None
        assert "no_deployment_source" in figure.completeness
    bare = (await ask([deployed(DAY), deployed(2 * DAY)])).metrics
    assert shown(bare.change_lead_time) == (None, 0, ["no_commit_times"])
    assert bare.change_lead_time.excluded == {"unknownCommit": 2}
    assert shown(bare.deployment_frequency) == (2 / 30, 2, [])
    assert shown(bare.change_fail_rate) == (None, 2, ["no_incident_source"])
    assert shown(bare.failed_deployment_recovery_time) == (None, 0, ["no_incident_source"])
    assert shown(bare.deployment_rework_rate) == (None, 2, ["no_rework_source"])


async def test_a_source_that_has_nothing_to_tell_makes_a_true_0() -> None:
    # An incident of staging two months ago: somebody tells of incidents. A label: somebody would tell of a hotfix.
    events = [
        deployed(DAY, kind="feature"),
        happened(60 * DAY, "incident.detected", subject="i", environment="staging"),
    ]
    figures = (await ask(events)).metrics
    assert shown(figures.change_fail_rate) == (0, 1, [])
    assert figures.change_fail_rate.band == "elite"
    assert shown(figures.deployment_rework_rate) == (0, 1, [])
    assert figures.failed_deployment_recovery_time.value is None  # Nothing failed: there is nothing to recover from.
    idle = (await ask([deployed(40 * DAY)], options={"dora": {"incidents_are_told": True}})).metrics
    assert shown(idle.deployment_frequency) == (0, 0, ["no_deployments"])
    assert shown(idle.change_fail_rate) == (None, 0, ["no_deployments"])  # A share of nothing.


async def test_what_failed_is_known_without_incidents_but_no_rate_is() -> None:
    answer = await ask([deployed(2 * DAY, "failure"), deployed(DAY)])
    assert answer.counts.failed == 1
    assert answer.metrics.change_fail_rate.value is None
    assert shown(answer.metrics.failed_deployment_recovery_time) == (24 * HOURS, 1, ["no_incident_source"])


@pytest.mark.parametrize(
    ("outcome", "counts", "aside"),
    [
        ("success", (1, 1, 0), {}),
        (None, (1, 1, 0), {}),
        ("failure", (1, 0, 1), {}),
        ("timeout", (1, 0, 1), {}),
        ("error", (0, 0, 0), {"error": 1}),
        ("cancel", (0, 0, 0), {"cancel": 1}),
        ("skip", (0, 0, 0), {"skip": 1}),
    ],
)
async def test_what_was_stopped_before_it_reached_anybody_is_no_deployment(
    outcome: Outcome | None, counts: tuple[int, int, int], aside: Mapping[str, int]
) -> None:
    answer = await ask([deployed(DAY, outcome)])
    assert (answer.counts.deployments, answer.counts.succeeded, answer.counts.failed) == counts
    assert answer.metrics.deployment_frequency.excluded == aside
    assert ("unknown_outcomes" in answer.metrics.change_fail_rate.completeness) == (outcome is None)


async def test_environments_that_count_are_configured_or_asked_for() -> None:
    named = ["production", "Prod", "prod-eu", "live", "pre-prod", "non-production", "staging", None]
    events = [deployed((n + 1) * HOUR, environment=name, id=f"d{n}") for n, name in enumerate(named)]
    answer = await ask(events)
    assert (answer.counts.deployments, answer.environments) == (4, ["Prod", "live", "prod-eu", "production"])
    frequency = answer.metrics.deployment_frequency
    assert (frequency.excluded, frequency.completeness) == ({"unknownEnvironment": 1}, ["unknown_environments"])
    assert (await ask(events, environment="staging")).counts.deployments == 1
    assert (await ask(events, options={"dora": {"production": ["pre-*"]}})).environments == ["pre-prod"]


async def test_events_of_one_run_and_attempt_are_one_deployment_and_a_rerun_is_another() -> None:
    run = Run(system="ci", pipeline="deploy", id="7")
    events = [
        # Two commits of one run: one deployment, finished with the last; each change has its own lead time.
        deployed(10 * HOUR, id="a", run=run, revision="r1", committed=14 * HOUR),
        deployed(9 * HOUR, id="b", run=run, revision="r2", committed=11 * HOUR),
        # The same run again, and the same number in another pipeline.
        deployed(8 * HOUR, id="c", run=Run(system="ci", pipeline="deploy", id="7", attempt=2), revision="r2"),
        deployed(7 * HOUR, id="d", run=Run(system="ci", pipeline="hotfix", id="7"), revision="r3"),
        # Without a run each is one of its own, though a subject be that of the service.
        deployed(6 * HOUR, id="e", type="service.deployed", subject="service/chat"),
        deployed(5 * HOUR, id="f", type="service.upgraded", subject="service/chat"),
    ]
    answer = await ask(events)
    assert answer.counts.deployments == 5
    lead = answer.metrics.change_lead_time
    # r1: 14 - 9 = 5 h, r2: 11 - 9 = 2 h; 3.5 in the middle. The rerun brings r2 again; of the others nobody knows.
    assert (lead.value, lead.n, lead.excluded) == (3.5 * HOURS, 2, {"redeployed": 1, "unknownCommit": 3})


async def test_a_deployment_may_name_all_commits_that_it_brings() -> None:
    commits = [["r2", NOW - 12 * HOUR], ["r1", NOW - 20 * HOUR], ["r0", NOW - 5 * HOUR], ["r2", NOW - 99 * HOUR]]
    events = [
        deployed(10 * HOUR, id="a", revision="r2", committed=12 * HOUR, data={"commits": commits}),
        deployed(8 * HOUR, id="b", revision="r3", committed=9 * HOUR, data={"commits": "many"}),
        deployed(7 * HOUR, id="c", revision="r4", committed=8 * HOUR, data={"commits": [["r9"], 7]}),
    ]
    lead = (await ask(events)).metrics.change_lead_time
    # r2: 2 h, r1: 10 h, r3 and r4: 1 h; r0 is younger than what brought it. What is no list of commits says nothing.
    assert (lead.value, lead.n) == (1.5 * HOURS, 4)


async def test_a_run_ends_as_it_is_told_last() -> None:
    run = Run(id="7")
    failed_first = [deployed(9 * HOUR, "failure", id="a", run=run), deployed(8 * HOUR, id="b", run=run)]
    assert (await ask(failed_first)).counts.failed == 0
    silent = [deployed(9 * HOUR, "failure", id="a", run=run), deployed(8 * HOUR, None, id="b", run=run)]
    assert (await ask(silent)).counts.failed == 1, "who tells no outcome does not take one back"
    at_once = [deployed(9 * HOUR, id="a", run=run), deployed(9 * HOUR, "failure", id="b", run=run)]
    assert (await ask(at_once)).counts.failed == 1


async def test_the_time_of_a_commit_may_be_told_by_another_record() -> None:
    merged = happened(20 * HOUR, "change.merged", vcs=Vcs(revision="r1", committed_at=NOW - 30 * HOUR))
    events = [
        deployed(10 * HOUR, revision="r1", id="a"),
        deployed(5 * HOUR, id="b", measures={"deployment_lead_time": 2 * HOURS}),
        deployed(4 * HOUR, id="c", revision="r3", committed=3 * HOUR),
    ]
    lead = (await ask([*events, merged])).metrics.change_lead_time
    # r1: 30 - 10 = 20 h; b says 2 h itself; the commit of c is younger than its deployment.
    assert (lead.value, lead.n, lead.excluded) == (11 * HOURS, 2, {"unknownCommit": 1})


async def test_a_rollback_marks_the_last_before_it_within_a_day_or_the_one_it_names() -> None:
    def events(rolled_back: Event) -> list[Event]:
        return [
            happened(80 * DAY, "incident.detected"),
            deployed(60 * HOUR, id="a", version="1.0"),
            deployed(50 * HOUR, id="b", version="1.1"),
            deployed(49 * HOUR, id="web", service="web"),
            rolled_back,
        ]

    async def failed(rolled_back: Event, **options: object) -> list[float]:
        answer = await ask(events(rolled_back), options={"dora": options}, service="chat", step="1d")
        return [point.failed for point in answer.series if point.failed]

    assert await failed(happened(40 * HOUR, "service.rolledback")) == [1]
    assert await failed(happened(20 * HOUR, "deployment.rolledback")) == []  # 30 h later: that was another reason.
    assert await failed(happened(20 * HOUR, "deployment.rolledback"), rollback_within="36h") == [1]
    assert await failed(happened(20 * HOUR, "deployment.rolledback", data={"from": "1.0"})) == [1]
    assert await failed(happened(20 * HOUR, "deployment.rolledback", data={"cause": "b"})) == [1]
    assert await failed(happened(40 * HOUR, "service.rolledback", environment="staging")) == []
    assert await failed(happened(40 * HOUR, "service.rolledback", service="web")) == []


async def test_one_rollback_told_twice_marks_one_deployment() -> None:
    events = [
        deployed(60 * HOUR, id="a"),
        deployed(50 * HOUR, id="b"),
        happened(49 * HOUR, "service.rolledback", subject="chat"),
        deployed(48.9 * HOUR, id="c", kind="rollback"),
    ]
    answer = await ask(events)
    assert (answer.counts.deployments, answer.counts.failed) == (3, 1)
    # b was better again with the first of the two, an hour after it had finished.
    assert answer.metrics.failed_deployment_recovery_time.value == 1 * HOURS


async def test_a_rollback_after_a_failure_mends_it_and_blames_nobody_else() -> None:
    events = [
        happened(80 * DAY, "incident.detected"),
        deployed(60 * HOUR, id="a"),
        deployed(50 * HOUR, "failure", id="b"),
        happened(49.5 * HOUR, "deployment.rolledback"),
    ]
    answer = await ask(events)
    assert shown(answer.metrics.change_fail_rate) == (50, 2, [])
    assert shown(answer.metrics.failed_deployment_recovery_time) == (0.5 * HOURS, 1, [])


async def test_incidents_are_attributed_by_what_they_name_else_to_the_last_success() -> None:
    deployments = [
        deployed(90 * HOUR, id="a", version="1.0", artifact="pkg:oci/chat@1.0", revision="r1"),
        deployed(80 * HOUR, id="b", version="1.1", artifact="pkg:oci/chat@1.1", revision="r2"),
        deployed(70 * HOUR, "failure", id="c", version="1.2"),
        deployed(60 * HOUR, id="w", service="web"),
        deployed(10 * HOUR, id="late", version="1.3"),
    ]

    async def failed(**fields: Any) -> tuple[int, int, int]:
        """How many failed of chat, of web, and how many incidents blame nobody; `c` has failed anyway."""
        events = [*deployments, happened(50 * HOUR, "incident.detected", subject="i", **fields)]
        chat, web = await ask(events, service="chat"), await ask(events, service="web")
        both = await ask(events)
        loose = both.metrics.change_fail_rate.excluded.get("unattributedIncidents", 0)
        return chat.counts.failed, web.counts.failed, loose

    assert await failed() == (2, 0, 0)
    assert await failed(service=None) == (1, 1, 0)  # The last of all was that of web.
    assert await failed(version="1.2") == (1, 0, 0)  # That one had failed already.
    assert await failed(version="1.3") == (1, 0, 1)  # It came later: it cannot be what this version did.
    assert await failed(service="search") == (1, 0, 1)
    assert await failed(environment="staging") == (1, 0, 0)
    assert await failed(data={"cause": "somebody tripped"}) == (2, 0, 0)
    every: list[dict[str, Any]] = [
        {"data": {"cause": "a"}},
        {"version": "1.0"},
        {"artifact": "pkg:oci/chat@1.0"},
        {"vcs": Vcs(revision="r1")},
    ]
    for named in every:
        events = [*deployments, happened(50 * HOUR, "incident.detected", subject="i", **named)]
        answer = await ask(events, service="chat")
        # a is 90 h old: of the day that began 96 h ago; c of the one that began 72 h ago.
        assert [(NOW * MS - point.start) / HOURS for point in answer.series if point.failed] == [96, 72], named


async def test_an_incident_is_joined_whoever_tells_of_it() -> None:
    deployments = [deployed(90 * HOUR)]

    async def incidents(*events: Event) -> tuple[int, float | None]:
        answer = await ask([*deployments, *events])
        return answer.counts.incidents, answer.metrics.failed_deployment_recovery_time.value

    detected = happened(80 * HOUR, "incident.detected", subject="i")
    reported = happened(79 * HOUR, "incident.reported", subject="i")
    resolved = happened(70 * HOUR, "incident.resolved", subject="i", service=None, environment=None)
    assert await incidents(detected, reported, resolved) == (1, 20 * HOURS)
    assert await incidents(resolved, reported, detected) == (1, 20 * HOURS)
    assert await incidents(detected, resolved, happened(60 * HOUR, "incident.detected", subject="i")) == (2, 20 * HOURS)
    assert await incidents(msgspec.structs.replace(resolved, duration_ms=5 * HOURS)) == (1, 20 * HOURS)
    assert await incidents(resolved) == (0, None)  # Of what began nobody knows when.
    assert await incidents(detected, happened(70 * HOUR, "incident.resolved", subject="j")) == (1, None)


async def test_what_a_node_has_no_records_of_is_not_covered() -> None:
    young = await ask([deployed(DAY), deployed(2 * DAY)], running=3 * DAY)
    assert (young.coverage.since, young.coverage.percent) == ((NOW - 3 * DAY) * MS, 10)
    frequency = young.metrics.deployment_frequency
    assert (frequency.value, frequency.completeness) == (2 / 3, ["partial_coverage"])  # By three days, not by thirty.
    assert frequency.previous.value is None
    told_later = await ask([deployed(DAY), deployed(20 * DAY)], running=3 * DAY)
    assert told_later.coverage.since == (NOW - 20 * DAY) * MS
    assert told_later.coverage.percent == pytest.approx(200 / 3)
    hour = await ask([deployed(60.0)], running=HOUR)
    assert hour.metrics.deployment_frequency.value == 1  # An hour promises no 24 of them.


async def test_a_period_beyond_what_is_kept_is_refused_with_the_remedy(tmp_path: Path) -> None:
    async def refused(period: str, **options: object) -> Refused:
        async with step(REST_STORE, context=Context("store", data_dir=tmp_path), **options).open() as store:
            with pytest.raises(Refused) as refused:
                await store.dora(AskDora(period=period), Caller())
            return refused.value

    assert (await ask([], period="90d")).period_ms == 90 * DAY * MS
    longer = await refused("91d")
    assert str(longer) == "period: 91d is longer than the 90d for which deployments and incidents are kept"
    assert (longer.reason, "lasting_keep" in str(longer.hint)) == ("bad_request", True)
    assert "longer than the 1d" in str(await refused("30d", lasting=["alert.*"]))


async def test_the_period_before_is_compared_where_there_are_records_of_it() -> None:
    events = [deployed(5 * DAY, committed=5 * DAY + 2 * HOUR), deployed(6 * DAY, committed=6 * DAY + 2 * HOUR)]
    events += [deployed(10 * DAY, committed=10 * DAY + 8 * HOUR)]
    figures = (await ask(events, period="7d")).metrics
    # One in the week before with 8 h, two in this one with 2 h: half as many, and four times as long.
    assert msgspec.structs.astuple(figures.deployment_frequency.previous) == (1 / 7, 1, pytest.approx(100))
    assert msgspec.structs.astuple(figures.change_lead_time.previous) == (8 * HOURS, 1, pytest.approx(-75))
    assert (await ask(events, period="60d")).metrics.deployment_frequency.previous.value is None


async def test_a_deployment_that_nobody_heard_of_again_is_set_aside() -> None:
    lost = Event("s/lost", "/cd", "deployment.lost", NOW - DAY, "s", environment="production", service="chat")
    answer = await ask([deployed(3 * DAY), lost])
    assert answer.metrics.deployment_frequency.excluded == {"lost": 1}
    came = await ask([deployed(3 * DAY), lost, deployed(0.5 * DAY, id="s", subject="s")])
    assert came.metrics.deployment_frequency.excluded == {}
    assert came.counts.deployments == 2


async def test_records_are_kept_when_everything_else_of_a_day_is_gone(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with step(REST_STORE, context=Context("store", data_dir=tmp_path, clock=clock)).open() as store:
        assert isinstance(store, RestStore)
        await store.position("metrics", 0, begin=0)
        kept = [deployed(DAY, committed=2 * DAY), happened(HOUR, "incident.detected", subject="i")]
        gone = Event("b", "/ci", "build.finished", NOW - HOUR)
        await store.write(Batch((*kept, gone), (), "metrics", 0, 1))
        await store.commit()
        clock.step(88 * DAY)
        await store.sweep()
        answer = await store.dora(AskDora(period="90d"), Caller())
        assert (answer.counts.deployments, answer.counts.failed) == (1, 1)
        clock.step(3 * DAY)
        await store.sweep()
        assert (await store.dora(AskDora(period="90d"), Caller())).metrics.deployment_frequency.value is None


async def test_a_record_that_comes_again_counts_once_and_a_damaged_one_is_left_out(tmp_path: Path) -> None:
    async with step(REST_STORE, context=Context("store", data_dir=tmp_path, clock=VirtualClock(NOW))).open() as store:
        assert isinstance(store, RestStore)
        for reader in ("metrics", "again"):
            await store.position(reader, 0, begin=0)
            await store.write(Batch([deployed(DAY, id="a"), deployed(2 * DAY, id="b")], (), reader, 0, 1))
            await store.commit()
        assert (await store.dora(AskDora(), Caller())).counts.deployments == 2
    async with step(REST_STORE, context=Context("store", data_dir=tmp_path, clock=VirtualClock(NOW))).open() as store:
        assert isinstance(store, RestStore)
        with closing(sqlite3.connect(tmp_path / "metrics.db")) as file, file:
            file.execute("UPDATE events SET body = substr(body, 1, 20) WHERE id = 'a'")
        answer = await store.dora(AskDora(), Caller())
        assert answer.counts.deployments == 1
        assert "unreadable_records" in answer.metrics.deployment_frequency.completeness


async def test_of_too_many_records_the_newest_count_and_the_answer_says_so(tmp_path: Path) -> None:
    clock = VirtualClock(NOW - 90 * DAY)
    async with step(REST_STORE, context=Context("store", data_dir=tmp_path, clock=clock)).open() as store:
        assert isinstance(store, RestStore)
        clock.step(90 * DAY)
        await store.position("metrics", 0, begin=0)
        await store.write(Batch([deployed(n * DAY - HOUR) for n in range(1, 61)], (), "metrics", 0, 1))
        await store.commit()
        few = asking.Dora(store._database, store.config, store.context, most=20)  # pyright: ignore[reportPrivateUsage]
        answer = await few.answer(AskDora())
        assert answer.counts.deployments == 20
        assert 66 < answer.coverage.percent < 70
        assert answer.metrics.deployment_frequency.value == pytest.approx(1, rel=0.05)
        assert answer.metrics.deployment_frequency.completeness == ["partial_coverage", "too_many_records"]


SERVICES = st.sampled_from(["chat", "web", None])
PLACES = st.sampled_from(["production", "prod-eu", "staging", None])
HOURS_AGO = st.integers(1, 60).map(lambda n: n * 12 * HOUR)
NAMES = st.sampled_from(["", "x", "y", "z"])


@st.composite
def records(draw: st.DrawFn) -> list[Event]:
    """A few of everything, at the same few times and under the same few names, so that much meets."""
    events: list[Event] = []
    for number in range(draw(st.integers(0, 10))):
        name = draw(NAMES)
        at = draw(HOURS_AGO)
        events.append(
            deployed(
                at,
                draw(st.sampled_from(["success", "failure", "cancel", None])),
                id=f"d{number}",
                type=draw(st.sampled_from(["deployment.finished", "service.deployed"])),
                service=draw(SERVICES),
                environment=draw(PLACES),
                run=Run(id=name, attempt=draw(st.integers(1, 2))) if draw(st.booleans()) else None,
                version=draw(NAMES) or None,
                revision=draw(NAMES),
                committed=None if (hours := draw(st.none() | st.integers(0, 30))) is None else at + hours * HOUR,
                kind=draw(st.sampled_from(["", "rollback", "hotfix", "feature"])),
                data={"cause": draw(NAMES)},
            )
        )
    for number in range(draw(st.integers(0, 8))):
        type = draw(
            st.sampled_from(["incident.detected", "incident.reported", "incident.resolved", "service.rolledback"])
        )
        events.append(
            msgspec.structs.replace(
                happened(draw(HOURS_AGO), type, subject=draw(NAMES), service=draw(SERVICES)),
                id=f"i{number}",
                environment=draw(PLACES),
                version=draw(NAMES) or None,
                data={"cause": draw(NAMES), "from": draw(NAMES)},
            )
        )
    return events


@given(records(), st.randoms(use_true_random=False))
@settings(max_examples=50, derandomize=True, phases=[Phase.generate, Phase.shrink])
async def test_the_order_of_records_does_not_matter(events: list[Event], chance: random.Random) -> None:
    shuffled = list(events)
    chance.shuffle(shuffled)
    assert await ask(events) == await ask(shuffled)


UNRELATED = [
    Event("u1", "/ci", "build.finished", NOW - DAY, outcome="failure", environment="production", service="chat"),
    deployed(3 * DAY, "failure", environment="staging", revision="other", id="u2"),
    happened(3 * DAY, "service.rolledback", environment="staging", subject="u3"),
    Event("u4", "/cd", "deployment.started", NOW - DAY, "u4", environment="production", service="chat"),
    Event("u5", "bers:alerts", "alert.firing", NOW - DAY),
    happened(3 * DAY, "change.merged", vcs=Vcs(revision="other", committed_at=NOW - 4 * DAY)),
]


@given(records(), st.sets(st.sampled_from(range(len(UNRELATED))), min_size=1))
@settings(max_examples=30, derandomize=True, phases=[Phase.generate, Phase.shrink])
async def test_a_record_of_something_else_changes_nothing(events: list[Event], chosen: set[int]) -> None:
    more = [*events, *(UNRELATED[n] for n in chosen)]
    assert await ask(events) == await ask(more)


@given(records())
@settings(max_examples=50, derandomize=True, phases=[Phase.generate, Phase.shrink])
async def test_no_figure_stands_without_its_source(events: list[Event]) -> None:
    answer = await ask(events)
    figures = answer.metrics
    production = [one for one in events if one.type in ("deployment.finished", "service.deployed")]
    if not any(one.environment in ("production", "prod-eu") for one in production):
        assert all(figure.value is None for figure in msgspec.structs.asdict(figures).values())
    if not any(one.type.startswith("incident.") for one in events):
        assert figures.change_fail_rate.value is None
        assert "no_incident_source" in figures.change_fail_rate.completeness
    if not any(one.vcs and one.vcs.committed_at is not None for one in events):
        assert figures.change_lead_time.value is None
    for figure in msgspec.structs.asdict(figures).values():
        assert isinstance(figure, Figure)
        assert figure.value is None or figure.value >= 0
        assert (figure.unit != "ms") or (figure.value is None) == (figure.n == 0)
    total = sum(point.deployments for point in answer.series), sum(point.failed for point in answer.series)
    assert total == (answer.counts.succeeded, answer.counts.failed)
    assert sum(one.deployments for one in answer.services) == answer.counts.deployments
