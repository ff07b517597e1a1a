"""The life of alerts: why they change, who answers them, who is told next, and what is made of those that flap."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from bers import Database, Event, Refused
from bers.testing import VirtualClock, check_spec, step
from bers_builtin.sinks.alert_engine import ALERT_ENGINE
from bers_builtin.sinks.alert_engine.alerts import Alert
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.desk.answers import Acknowledge, Answer, AskAlert, AskStats, ListHistory
from bers_builtin.sinks.alert_engine.desk.listing import get_alert, get_log
from bers_builtin.sinks.alert_engine.written.log import Entry
from tests.builtin.test_alert_engine import OPERATOR, Rig, engine

_QUEUE: dict[str, Any] = {"name": "Long Queue", "metric": "queue", "above": "10", "severity": "error"}


def queue(*, escalation: Any = (), repeat: Any = None, **fields: Any) -> dict[str, Any]:
    """Options of an engine with one rule, and nothing that happens by itself."""
    return {"rules": [{**_QUEUE, **fields}], "defaults": False, "escalation": escalation, "repeat": repeat or {}}


async def log(rig: Rig, alert: Alert) -> Sequence[Entry]:
    return await get_log(rig.stage, AskAlert(alert.id), OPERATOR)


async def steps(rig: Rig, alert: Alert) -> Sequence[tuple[str, str | None, str, str]]:
    return [(entry.kind, entry.was, entry.status, entry.reason.word) for entry in await log(rig, alert)]


async def wait(rig: Rig, seconds: int) -> None:
    """Let time pass in steps, so that what is written down in between is written at its own time."""
    for _ in range(seconds // 50):
        await rig.clock.advance(50)
        await rig.told()


async def flip(rig: Rig, *values: float) -> None:
    for value in values:
        await rig.measure("queue", value)
        await rig.clock.advance(10)


# Why


async def test_every_step_has_a_reason_and_stands_in_the_log() -> None:
    async with engine(**queue(**{"for": "30s"})) as rig:
        await rig.keep_measuring("queue", 20.0, 30)
        alert = await rig.only()
        await rig.stage.acknowledge(Answer(alert.id, "ada", "looking"), OPERATOR)
        await rig.stage.unacknowledge(Answer(alert.id, "ada", "going home"), OPERATOR)
        await rig.measure("queue", 1.0)
        await rig.keep_measuring("queue", 20.0, 30)
        await rig.stage.resolve(Answer(alert.id, "bob"), OPERATOR)
        assert await steps(rig, alert) == [
            ("pending", None, "pending", "breach"),
            ("firing", "pending", "active", "breach"),
            ("acknowledged", "active", "acknowledged", "by_hand"),
            ("unacknowledged", "acknowledged", "active", "by_hand"),
            ("resolved", "active", "resolved", "recovered"),
            ("pending", "resolved", "pending", "reopened"),
            ("firing", "pending", "active", "reopened"),
            ("resolved", "active", "resolved", "by_hand"),
        ]
        entries = await log(rig, alert)
        assert [entry.reason.sentence for entry in entries[2:5]] == [
            "ada: looking", "ada: going home", "what it watches is good again",
        ]  # fmt: skip
        assert entries[1].time - entries[0].time == 30_000
        assert [entry.told for entry in entries] == [False, True, True, True, True, False, True, True]
        assert entries[2].details["acknowledgment"]["operator"] == "ada"
        assert entries[-1].details["resolution"]["operator"] == "bob"
        found = await get_alert(rig.stage, AskAlert(alert.id), OPERATOR)
        assert (found.status, found.reason) == ("resolved", entries[-1].reason)


async def test_events_say_why() -> None:
    async with engine(**queue()) as rig:
        await flip(rig, 20, 1)
        rows = await rig.stage.context.state.run(
            lambda connection: connection.execute("SELECT body FROM alert_outbox ORDER BY seq").fetchall()
        )
        firing, resolved = (msgspec.json.decode(body) for (body,) in rows)
        assert firing["reason"] == {"word": "breach", "sentence": "queue is 20, above 10"}
        assert (resolved["reason"]["word"], resolved["told"]) == ("recovered", True)


async def test_a_pending_alert_is_found_by_its_id_and_has_no_log_yet() -> None:
    async with engine(**queue(**{"for": "30s"})) as rig:
        await rig.measure("queue", 20.0)
        alert = await rig.only("pending")
        assert (await get_alert(rig.stage, AskAlert(alert.id), OPERATOR)).status == "pending"
        assert await log(rig, alert) == []
        with pytest.raises(Refused, match="no alert 'nope'"):
            await get_alert(rig.stage, AskAlert("nope"), OPERATOR)


async def test_what_has_begun_and_came_to_nothing_leaves_no_log() -> None:
    async with engine(**queue(**{"for": "30s"})) as rig:
        await flip(rig, 20, 1, 20, 1)
        rows = await rig.stage.context.state.run(
            lambda connection: connection.execute("SELECT count(*) FROM alert_log").fetchall()
        )
        assert rows == [(0,)]


async def test_the_log_is_forgotten_with_the_history() -> None:
    async with engine(**queue(), history="1d") as rig:
        await flip(rig, 20, 1)
        (ended,) = await rig.history()
        assert len(await log(rig, ended)) == 2
        with anyio.fail_after(30):
            while await rig.stage.books.ledger.log(ended.id):  # The sweep has a thread of its own.
                await rig.clock.advance(3600)


# Who answers


async def test_an_acknowledgement_expires_and_the_alert_is_active_again() -> None:
    async with engine(**queue()) as rig:
        await rig.measure("queue", 20.0)
        alert = await rig.only()
        taken = await rig.stage.acknowledge(Acknowledge(alert.id, "ada", "lunch", "1h"), OPERATOR)
        assert taken.acknowledgment is not None
        assert taken.acknowledgment.expires == taken.acknowledgment.timestamp + 3_600_000
        await rig.clock.advance(3599)
        assert (await rig.only()).status == "acknowledged"
        await rig.clock.advance(1)
        again = await rig.only()
        assert (again.status, again.acknowledgment) == ("active", None)
        assert again.reason is not None
        assert again.reason.sentence == "the acknowledgement by ada has expired"
        assert await rig.told() == ["firing", "acknowledged", "unacknowledged"]
        assert (await rig.stage.acknowledge(Answer(alert.id, "bob"), OPERATOR)).status == "acknowledged"


async def test_acknowledgements_expire_by_default_where_that_is_configured() -> None:
    async with engine(**queue(), acknowledgement={"expires_after": "10m"}) as rig:
        await rig.measure("queue", 20.0)
        await rig.stage.acknowledge(Answer((await rig.only()).id, "ada"), OPERATOR)
        await rig.clock.advance(600)
        assert (await rig.only()).status == "active"


async def test_an_acknowledgement_of_a_resolved_alert_does_not_expire() -> None:
    async with engine(**queue()) as rig:
        await rig.measure("queue", 20.0)
        await rig.stage.acknowledge(Acknowledge((await rig.only()).id, "ada", "", "1h"), OPERATOR)
        await rig.measure("queue", 1.0)
        await rig.clock.advance(3600)
        assert await rig.told() == ["firing", "acknowledged", "resolved"]


async def test_giving_back_what_nobody_has_changes_nothing() -> None:
    async with engine(**queue()) as rig:
        await rig.measure("queue", 20.0)
        alert = await rig.only()
        assert await rig.stage.unacknowledge(Answer(alert.id, "ada"), OPERATOR) == alert
        await rig.measure("queue", 1.0)
        with pytest.raises(Refused, match="is resolved") as refusal:
            await rig.stage.unacknowledge(Answer(alert.id, "ada"), OPERATOR)
        assert refusal.value.reason == "conflict"


@pytest.mark.parametrize("expires", ["soon", "0s", "-1h", "1000d"])
async def test_an_acknowledgement_that_ends_at_no_time_is_refused(expires: str) -> None:
    async with engine(**queue()) as rig:
        await rig.measure("queue", 20.0)
        with pytest.raises(Refused, match="expires: ") as refusal:
            await rig.stage.acknowledge(Acknowledge((await rig.only()).id, "ada", "", expires), OPERATOR)
        assert refusal.value.reason == "bad_request"


async def test_whoever_was_not_told_that_it_fires_is_not_told_that_it_is_resolved() -> None:
    limit = {"max_alerts": 1, "window": "1h"}
    async with engine(**queue(), rate_limiting=limit) as rig:
        await rig.measure("queue", 20.0, name="a")
        await rig.measure("queue", 20.0, name="b")
        hidden = await rig.only("suppressed")
        assert (hidden.told, hidden.suppressed_by and hidden.suppressed_by.reason) == (False, "rate_limit")
        await rig.stage.acknowledge(Answer(hidden.id, "ada"), OPERATOR)
        await rig.measure("queue", 1.0, name="b")
        assert await rig.told() == ["firing", "suppressed"]
        assert (await log(rig, hidden))[-1].told is False


async def test_a_suppressed_alert_that_is_given_back_stays_suppressed_while_there_is_no_room() -> None:
    async with engine(**queue(), rate_limiting={"max_alerts": 1, "window": "60s"}) as rig:
        await rig.measure("queue", 20.0, name="a")
        await rig.measure("queue", 20.0, name="b")
        hidden = await rig.only("suppressed")
        await rig.stage.acknowledge(Acknowledge(hidden.id, "ada", "", "30s"), OPERATOR)
        await rig.clock.advance(30)
        assert (await rig.only("suppressed")).id == hidden.id
        await rig.stage.acknowledge(Acknowledge(hidden.id, "ada", "", "2m"), OPERATOR)
        await rig.clock.advance(120)
        assert {alert.id: alert.told for alert in await rig.alerts("active")}[hidden.id] is True
        assert [kind for kind, *_ in await steps(rig, hidden)] == [
            "suppressed", "acknowledged", "unacknowledged", "suppressed", "acknowledged", "unacknowledged", "firing",
        ]  # fmt: skip


# Who is told next (A34)

_STEPS: Sequence[Mapping[str, Any]] = [
    {"after": "5m", "contact": "secondary"},
    {"after": "15m", "contact": "escalation"},
]


async def contacts(rig: Rig) -> Sequence[tuple[int, str]]:
    alerts = [*await rig.alerts(), *await rig.history()]
    entries = [entry for id in sorted({alert.id for alert in alerts}) for entry in await rig.stage.books.ledger.log(id)]
    return [
        (entry.time // 1000 - 1_700_000_000, entry.details["escalation"]["contact"])
        for entry in entries
        if entry.kind == "escalated"
    ]


async def test_a34_who_is_not_answered_goes_to_the_next_contact_and_each_is_told_once() -> None:
    async with engine(**queue(escalation=_STEPS)) as rig:
        await rig.measure("queue", 20.0)
        for _ in range(40):
            await rig.clock.advance(60)
            await rig.measure("queue", 20.0)
        assert await contacts(rig) == [(300, "secondary"), (900, "escalation")]
        escalation = (await rig.only()).escalation
        assert escalation is not None
        assert (escalation.step, escalation.contact) == (2, "escalation")


async def test_a34_nobody_has_waited_for_an_answer_before_the_alert_was_told() -> None:
    async with engine(**queue(escalation=_STEPS)) as rig:
        late = rig.event("custom.measured", measures={"queue": 20.0})
        await rig.clock.advance(240)  # It lay in the journal, as after a kill.
        await rig.send(late)
        await rig.clock.advance(290)
        assert await contacts(rig) == []
        await rig.clock.advance(20)
        assert await contacts(rig) == [(540, "secondary")]


async def test_a34_the_runbooks_three_contacts_are_there_from_the_start() -> None:
    shipped = [
        {"after": f"{step.after:g}s", "contact": step.contact, "severities": step.severities}
        for step in AlertConfig().escalation
    ]
    async with engine(escalation=shipped) as rig:
        await rig.measure("build_performance", 6000.0)
        await rig.happen("deployment.rolledback", environment="staging")  # A warning, which waits.
        await wait(rig, 1000)
        assert await contacts(rig) == [(300, "secondary"), (900, "escalation")]


async def test_a34_an_answer_stops_it_and_it_goes_on_where_it_was_once_that_has_expired() -> None:
    async with engine(**queue(escalation=_STEPS)) as rig:
        await rig.measure("queue", 20.0)
        await rig.clock.advance(100)
        await rig.stage.acknowledge(Acknowledge((await rig.only()).id, "ada", "", "1h"), OPERATOR)
        await rig.clock.advance(3600)
        assert await contacts(rig) == []
        await wait(rig, 1000)
        assert await contacts(rig) == [(3600 + 300, "secondary"), (3600 + 900, "escalation")]


async def test_a34_what_is_resolved_escalates_no_more() -> None:
    async with engine(**queue(escalation=_STEPS)) as rig:
        await flip(rig, 20, 1)
        await rig.clock.advance(2000)
        assert await contacts(rig) == []
        await flip(rig, 20)
        await rig.clock.advance(290)
        assert [contact for _, contact in await contacts(rig)] == ["secondary"]


async def test_a34_steps_go_by_severity() -> None:
    chosen = [{"after": "1m", "contact": "chief", "severities": ["critical"]}]
    async with engine(**queue(escalation=chosen)) as rig:
        await rig.measure("queue", 20.0)
        await rig.clock.advance(600)
        assert await contacts(rig) == []


async def test_a34_a_step_names_its_contact_in_a_label() -> None:
    async with engine(**queue(escalation=_STEPS)) as rig:
        await rig.measure("queue", 20.0)
        await rig.clock.advance(300)
        await rig.only()  # Answered when what followed is written down, on a thread that no clock of ours sets.
        sent: list[Event] = []

        async def emit(events: Sequence[Event], *, durable: bool = False) -> None:
            sent.extend(events)
            raise InterruptedError

        with pytest.raises(InterruptedError):
            await rig.stage.run(emit)
        assert [event.type for event in sent] == ["alert.firing", "alert.escalated"]
        assert sent[1].labels == {"rule": "Long Queue", "severity": "error", "contact": "secondary"}
        assert sent[1].data["escalation"] == {"step": 1, "contact": "secondary"}
        assert sent[1].data["reason"]["sentence"] == "nobody has acknowledged it for 5m; secondary is told"


async def test_what_still_fires_is_told_again_and_nothing_else_is() -> None:
    async with engine(**queue(repeat={"error": "1h"})) as rig:
        await rig.measure("queue", 20.0)
        await wait(rig, 3600 * 3)
        assert await rig.told() == ["firing", "repeated", "repeated", "repeated"]
        await rig.stage.acknowledge(Answer((await rig.only()).id, "ada"), OPERATOR)
        await wait(rig, 3600 * 3)
        assert await rig.told() == ["firing", "repeated", "repeated", "repeated", "acknowledged"]


# What comes and goes


async def test_an_alert_that_flaps_says_so_once_and_is_resolved_once_it_is_good_for_long_enough() -> None:
    async with engine(**queue()) as rig:
        await flip(rig, *[20, 1] * 10)
        assert await rig.told() == ["firing", "resolved"] * 2 + ["firing", "flapping"]
        alert = await rig.only()
        assert (alert.status, alert.flapping, alert.count) == ("active", True, 10)
        assert alert.reason is not None
        assert alert.reason.sentence.startswith("it came and went 5 times within 10m")
        await rig.clock.advance(280)
        assert (await rig.only()).flapping
        await rig.clock.advance(10)
        assert await rig.names() == []
        assert await rig.told() == ["firing", "resolved"] * 2 + ["firing", "flapping", "resolved"]
        await flip(rig, 20, 1)  # Nothing of it is remembered.
        assert (await rig.told())[-2:] == ["firing", "resolved"]


async def test_an_alert_that_flaps_and_then_stays_bad_is_told_once_as_firing_for_good() -> None:
    async with engine(**queue()) as rig:
        await flip(rig, *[20, 1] * 5, 20)
        await rig.clock.advance(300)
        alert = await rig.only()
        assert (alert.status, alert.flapping) == ("active", False)
        assert await rig.told() == ["firing", "resolved"] * 2 + ["firing", "flapping", "repeated"]
        assert alert.reason is not None
        assert alert.reason.sentence == "it came and went, and fires without a break for 5m now"
        await rig.measure("queue", 1.0)
        assert (await rig.told())[-1] == "resolved"


async def test_a_critical_alert_fires_all_the_while_that_it_flaps_and_goes_to_the_next_contact() -> None:
    async with engine(**queue(severity="critical", escalation=_STEPS[:1])) as rig:
        await flip(rig, *[20, 1] * 3)
        for _ in range(35):
            assert (await rig.only()).status == "active"
            await flip(rig, 20, 1)
        assert (await rig.told()).count("escalated") == 1


async def test_who_took_on_an_alert_that_flaps_keeps_it() -> None:
    async with engine(**queue()) as rig:
        await flip(rig, *[20, 1] * 3)
        await rig.stage.acknowledge(Answer((await rig.only()).id, "ada"), OPERATOR)
        await flip(rig, *[20, 1] * 5)
        assert (await rig.only()).status == "acknowledged"
        assert (await rig.told())[-2:] == ["flapping", "acknowledged"]


async def test_resolving_an_alert_that_flaps_by_hand_ends_it() -> None:
    async with engine(**queue()) as rig:
        await flip(rig, *[20, 1] * 3)
        await rig.stage.resolve(Answer((await rig.only()).id, "ada"), OPERATOR)
        await rig.clock.advance(600)
        assert await rig.told() == ["firing", "resolved"] * 2 + ["firing", "flapping", "resolved"]


async def test_coming_and_going_slowly_is_not_flapping() -> None:
    async with engine(**queue()) as rig:
        for _ in range(6):
            await rig.measure("queue", 20.0)
            await rig.clock.advance(150)
            await rig.measure("queue", 1.0)
            await rig.clock.advance(150)
        assert await rig.told() == ["firing", "resolved"] * 6


async def test_where_flapping_is_switched_off_every_turn_is_told() -> None:
    async with engine(**queue(), flapping={"enabled": False}) as rig:
        await flip(rig, *[20, 1] * 10)
        assert await rig.told() == ["firing", "resolved"] * 10


# Restarts


async def test_a_restart_stops_no_timer(tmp_path: Path) -> None:
    clock, options = VirtualClock(), queue(escalation=_STEPS, repeat={"error": "2h"})
    database = Database(tmp_path / "state.db")
    try:
        async with engine(clock, database, **options) as rig:
            await rig.measure("queue", 20.0)
            await clock.advance(200)
        await clock.advance(50)
        async with engine(clock, database, **options) as rig:
            await clock.advance(49)
            assert await contacts(rig) == []
            await clock.advance(1)
            assert await contacts(rig) == [(300, "secondary")]
            await rig.stage.acknowledge(Acknowledge((await rig.only()).id, "ada", "", "1h"), OPERATOR)
        await clock.advance(1800)
        async with engine(clock, database, **options) as rig:
            await clock.advance(1799)
            assert (await rig.only()).status == "acknowledged"
        await clock.advance(10_000)  # Longer than all that is left: each is due at once, and each is told once.
        async with engine(clock, database, **options) as rig:
            await clock.advance(1)
            assert (await rig.only()).status == "active"
            assert (await rig.told())[-1:] == ["unacknowledged"]
            await wait(rig, 600)
            assert [contact for _, contact in await contacts(rig)] == ["secondary", "escalation"]
    finally:
        database.close()


async def test_a_restart_forgets_neither_turns_nor_that_an_alert_flaps(tmp_path: Path) -> None:
    clock, database = VirtualClock(), Database(tmp_path / "state.db")
    try:
        for value in [20, 1] * 6:
            async with engine(clock, database, **queue()) as rig:
                await flip(rig, value)
        async with engine(clock, database, **queue()) as rig:
            assert await rig.told() == ["firing", "resolved"] * 2 + ["firing", "flapping"]
            await clock.advance(289)
            assert (await rig.only()).flapping
            await clock.advance(1)
            assert await rig.names() == []
    finally:
        database.close()


async def test_a_node_of_an_older_version_goes_on_with_its_alerts(tmp_path: Path) -> None:
    """It had neither courses nor a log, and its alerts did not say whether they were told."""
    clock, database = VirtualClock(), Database(tmp_path / "state.db")
    limit = {"max_alerts": 1, "window": "1h"}
    try:
        async with engine(clock, database, **queue(escalation=_STEPS), rate_limiting=limit) as rig:
            for name in "ab":
                await rig.measure("queue", 20.0, name=name)

        def forget(connection: sqlite3.Connection) -> None:
            for table in ("alert_courses", "alert_log"):
                connection.execute(f"DROP TABLE {table}")
            for id, body in connection.execute("SELECT id, body FROM alert_alerts").fetchall():
                alert = msgspec.json.decode(body, type=dict[str, Any])
                for name in ("told", "suppressedBy", "reason", "flapping", "escalation"):
                    del alert[name]
                connection.execute("UPDATE alert_alerts SET body = ? WHERE id = ?", (msgspec.json.encode(alert), id))

        await database.run(forget)
        async with engine(clock, database, **queue(escalation=_STEPS), rate_limiting=limit) as rig:
            assert {alert.status: alert.told for alert in await rig.alerts("active,suppressed")} == {
                "active": True, "suppressed": False,
            }  # fmt: skip
            await clock.advance(300)
            assert [contact for _, contact in await contacts(rig)] == ["secondary"]
            for name in "ab":
                await rig.measure("queue", 1.0, name=name)
            assert await rig.told() == ["firing", "suppressed", "escalated", "resolved"]
    finally:
        database.close()


# What is counted


async def test_c031_stats_say_how_fast_somebody_came_and_what_is_noise() -> None:
    async with engine(**queue(), rate_limiting={"max_alerts": 100, "window": "1h"}) as rig:
        for number in range(20):
            await rig.measure("queue", 20.0, name=f"q{number}")
            alert = next(one for one in await rig.alerts() if one.labels == {"name": f"q{number}"})
            await rig.clock.advance(number + 1)
            if number >= 10:
                await rig.stage.acknowledge(Answer(alert.id, "ada"), OPERATOR)
            await rig.measure("queue", 1.0, name=f"q{number}")
        stats = await rig.stage.count_alerts(AskStats("1h"), OPERATOR)
        assert msgspec.to_builtins(stats.time_to_resolve) == {
            "count": 20, "meanMs": 10_500.0, "p50Ms": 10_000, "p95Ms": 19_000,
        }  # fmt: skip
        assert msgspec.to_builtins(stats.time_to_acknowledge) == {
            "count": 10, "meanMs": 15_500.0, "p50Ms": 15_000, "p95Ms": 20_000,
        }  # fmt: skip
        assert (stats.total, stats.by_rule, stats.by_severity) == (20, {"Long Queue": 20}, {"error": 20})
        assert msgspec.to_builtins(stats.noise) == [
            {"rule": "Long Queue", "fired": 20, "resolvedUnattended": 10, "flapped": 0}
        ]


async def test_c031_stats_count_what_was_suppressed_by_what_and_over_any_period() -> None:
    async with engine(**queue(), rate_limiting={"max_alerts": 1, "window": "1h"}) as rig:
        for name in "abc":
            await rig.measure("queue", 20.0, name=name)
        assert (await rig.stage.count_alerts(AskStats("1h"), OPERATOR)).suppressed_by == {"rate_limit": 2}
        until = int(rig.clock.time() * 1000) + 1
        await rig.clock.advance(7200)
        assert (await rig.stage.count_alerts(AskStats("1h"), OPERATOR)).suppressed_by == {}
        before = await rig.stage.count_alerts(AskStats("1h", until), OPERATOR)
        assert (before.suppressed_by, before.total) == ({"rate_limit": 2}, 3)
        assert (await rig.stage.count_alerts(AskStats("1h", until - 3_600_000), OPERATOR)).total == 0


async def test_history_is_read_page_by_page() -> None:
    async with engine(**queue(), rate_limiting={"max_alerts": 100, "window": "1h"}) as rig:
        for number in range(7):
            await rig.measure("queue", 20.0, name=f"q{number // 2}" if number % 2 else f"p{number}")
        seen: list[str] = []
        after = ""
        for size in (3, 3, 1):
            reply = await rig.stage.list_history(ListHistory(limit=3, after=after), OPERATOR)
            assert len(reply.data) == size
            seen += [alert.id for alert in reply.data]
            after = reply.beside["next"] or ""
        assert (after, len(set(seen))) == ("", 7)
        assert seen == [alert.id for alert in await rig.history()]
        with pytest.raises(Refused, match="no place in the history"):
            await rig.stage.list_history(ListHistory(after="nowhere"), OPERATOR)


async def test_history_can_be_asked_for_several_severities() -> None:
    async with engine() as rig:
        await rig.measure("build_performance", 6000.0)
        await rig.happen("deployment.rolledback", environment="staging")
        await rig.happen("deployment.finished", "failure", environment="production")
        reply = await rig.stage.list_history(ListHistory(severity="error,critical"), OPERATOR)
        assert sorted(alert.severity for alert in reply.data) == ["critical", "error"]


# What cannot be


@pytest.mark.parametrize(
    "options",
    [
        {"flapping": {"transitions": 1}},
        {"escalation": [{"after": "5m"}]},
        {"escalation": [{"after": "0s", "contact": "x"}]},
        {"escalation": [{"after": "5m", "contact": ""}]},
        {"repeat": {"dire": "1h"}},
        {"repeat": {"error": "0s"}},
        {"acknowledgement": {"expires_after": "never"}},
    ],
)
def test_options_that_make_no_sense_are_refused(options: Mapping[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        step(ALERT_ENGINE, **options)


async def test_the_spec_keeps_its_promises_with_all_of_it() -> None:
    await check_spec(ALERT_ENGINE)
