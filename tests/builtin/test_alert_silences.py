"""Silences and dependencies: what nobody is told of, for how long, and what is told when it is over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from bers import Caller, Database, Refused
from bers.testing import VirtualClock
from bers_builtin.sinks.alert_engine.desk import silences as desk
from bers_builtin.sinks.alert_engine.desk.answers import Answer, AskStats, ListAlerts
from bers_builtin.sinks.alert_engine.desk.silences import AddSilence, EndSilence, ListSilences
from bers_builtin.sinks.alert_engine.suppression.matching import Matchers
from bers_builtin.sinks.alert_engine.suppression.silences import Silence
from bers_builtin.sinks.alert_engine.written.letters import as_event
from tests.builtin.test_alert_engine import OPERATOR, Rig, engine, rule

QUEUE = rule(severity="warning")
CRITICAL = rule(severity="critical")


async def silence(rig: Rig, *matchers: str, **ask: Any) -> Silence:
    asked: dict[str, Any] = {"comment": "we know", "operator": "ada", "duration": "" if "ends" in ask else "1h", **ask}
    return await desk.add(rig.stage, AddSilence([*matchers], **asked), OPERATOR)


async def end(rig: Rig, id: str, operator: str = "ada") -> Silence:
    return await desk.end(rig.stage, EndSilence(id, operator), OPERATOR)


async def listed(rig: Rig, state: str = "active,pending") -> Sequence[Silence]:
    return await desk.list_all(rig.stage, ListSilences(state), OPERATOR)


# What a silence does


async def test_what_is_silenced_is_shown_with_the_silence_and_told_to_nobody() -> None:
    async with engine(rules=[QUEUE]) as rig:
        made = await silence(rig, "rule=Long Queue", "labels.name~^a")
        await rig.measure("queue", 11, name="a1")
        alert = await rig.only("suppressed")
        assert alert.suppressed_by is not None and alert.reason is not None
        assert (alert.suppressed_by.reason, alert.suppressed_by.id) == ("silence", made.id)
        assert alert.suppressed_by.until == made.ends == 1_700_003_600_000
        assert alert.reason.sentence == "silenced by ada until 2023-11-14T23:13:20.000Z: we know"
        assert (await listed(rig))[0].suppressing == 1
        await rig.measure("queue", 11, name="b")
        assert [one.labels["name"] for one in await rig.alerts("active")] == ["b"]
        await rig.measure("queue", 1, name="a1")
        assert await rig.told() == ["silence.created", "suppressed", "firing"], "nobody was told: it ends unsaid"


async def test_what_is_still_bad_when_a_silence_ends_fires_then() -> None:
    async with engine(rules=[QUEUE]) as rig:
        await silence(rig, "rule=Long Queue")
        await rig.measure("queue", 11, name="a")
        await rig.clock.advance(3599)
        assert await rig.names("active") == []
        await rig.clock.advance(1.1)
        assert await rig.names("active") == ["Long Queue"], "without any evidence that came since"
        assert await rig.told() == ["silence.created", "suppressed", "silence.expired", "firing"]
        assert [(one.state, one.ended_by, one.ended_at) for one in await listed(rig, "expired")] == [
            ("expired", None, 1_700_003_600_000)
        ]


async def test_who_was_told_that_it_fires_is_told_that_it_is_over_though_it_is_silenced() -> None:
    async with engine(rules=[QUEUE]) as rig:
        await rig.measure("queue", 11, name="a")
        await silence(rig, "rule=Long Queue")
        alert = await rig.only("suppressed")
        assert alert.told
        await rig.measure("queue", 12, name="a")
        await rig.measure("queue", 1, name="a")
        assert [kind for kind in await rig.told() if kind != "silence.created"] == ["firing", "suppressed", "resolved"]


async def test_an_alert_that_fired_goes_on_firing_when_its_silence_is_ended() -> None:
    async with engine(rules=[QUEUE]) as rig:
        await rig.measure("queue", 11, name="a")
        made = await silence(rig, "rule=Long Queue")
        over = await end(rig, made.id, "bob")
        assert (over.state, over.ended_by) == ("expired", "bob")
        assert (await rig.only("active")).suppressed_by is None
        assert await end(rig, made.id) == over, "doing it again changes nothing"
        assert (await rig.told())[-1] == "repeated"


async def test_what_is_silenced_is_neither_repeated_nor_escalated_and_goes_on_afterwards() -> None:
    fast: dict[str, Any] = {"escalation": [{"after": "5m", "contact": "secondary"}], "repeat": {"critical": "8m"}}
    async with engine(rules=[CRITICAL], **fast) as rig:
        await rig.measure("queue", 11, name="a")
        await silence(rig, "rule=Long Queue", duration="30m")
        await rig.clock.advance(1799)
        assert await rig.told() == ["firing", "silence.created", "suppressed"]
        await rig.clock.advance(2)
        with anyio.fail_after(20):
            while len(await rig.told()) < 5:
                await rig.clock.advance(1)
        assert (await rig.told())[3:] == ["silence.expired", "repeated"]
        with anyio.fail_after(20):
            while len(await rig.told()) < 7:
                await rig.clock.advance(10)
        assert sorted((await rig.told())[5:]) == ["escalated", "repeated"]


async def test_an_operator_may_silence_what_is_critical_and_what_is_acknowledged_stays_so() -> None:
    async with engine(rules=[CRITICAL]) as rig:
        await rig.measure("queue", 11, name="a")
        await rig.stage.acknowledge(Answer((await rig.only()).id, "ada"), OPERATOR)
        await silence(rig, "severity=critical")
        await rig.measure("queue", 11, name="b")
        assert (await rig.only("acknowledged")).labels == {"name": "a"}
        assert (await rig.only("suppressed")).labels == {"name": "b"}


async def test_of_several_silences_the_one_counts_that_ends_last() -> None:
    async with engine(rules=[QUEUE]) as rig:
        await silence(rig, "severity=warning", duration="10m")
        longest = await silence(rig, "rule~Queue$", duration="20m")
        await rig.measure("queue", 11, name="a")
        alert = await rig.only("suppressed")
        assert alert.suppressed_by is not None and alert.suppressed_by.id == longest.id
        await end(rig, longest.id)
        alert = await rig.only("suppressed")
        assert alert.suppressed_by is not None and alert.suppressed_by.id != longest.id
        await rig.clock.advance(601)
        assert await rig.names("active") == ["Long Queue"]


async def test_a_silence_may_begin_later() -> None:
    async with engine(rules=[QUEUE]) as rig:
        made = await silence(rig, "rule=Long Queue", starts=1_700_000_060_000, duration="60s")
        assert (made.state, made.ends) == ("pending", 1_700_000_120_000)
        await rig.measure("queue", 11, name="a")
        assert await rig.names("active") == ["Long Queue"]
        await rig.clock.advance(60.1)
        assert (await listed(rig))[0].state == "active"
        assert await rig.names("suppressed") == ["Long Queue"]
        await rig.clock.advance(60)
        assert await rig.names("active") == ["Long Queue"]


@pytest.mark.parametrize("seconds", [7200.0, -7200.0])
async def test_a_clock_that_is_set_neither_ends_nor_prolongs_a_silence(seconds: float) -> None:
    async with engine(rules=[QUEUE]) as rig:
        await silence(rig, "rule=Long Queue")
        await rig.measure("queue", 11, name="a")
        rig.clock.step(seconds)
        await rig.clock.advance(3599)
        assert await rig.names("active") == []
        await rig.clock.advance(1.1)
        assert await rig.names("active") == ["Long Queue"]


async def test_silences_survive_a_restart_and_end_while_nobody_was_there(tmp_path: Path) -> None:
    clock, made = VirtualClock(), ""
    for number in range(3):
        database = Database(tmp_path / "state.db")
        async with engine(clock, database, rules=[QUEUE]) as rig:
            if number == 0:
                made = (await silence(rig, "rule=Long Queue")).id
                await rig.measure("queue", 11, name="a")
            elif number == 1:
                assert [one.id for one in await listed(rig)] == [made]
                await rig.measure("queue", 12, name="b")
                assert len(await rig.alerts("suppressed")) == 2
            else:
                await rig.clock.advance(0.1)
                assert await listed(rig) == []
                assert len(await rig.alerts("active")) == 2
                assert "silence.expired" in await rig.told()
        database.close()
        clock.step(60 if number == 0 else 3600)


async def test_c103_of_a_storm_ten_are_told_and_none_is_lost() -> None:
    rules = [{"name": f"Storm {n}", "event": f"storm.s{n}", "group": ["service"]} for n in range(4)]
    async with engine(rules=rules) as rig:
        for start in range(0, 2000, 500):
            await rig.send(*(rig.event(f"storm.s{n % 4}", service=f"s{n}") for n in range(start, start + 500)))
        assert (await rig.told()).count("firing") == 10
        shown = await rig.stage.list_alerts(ListAlerts(status="active,suppressed", limit=10_000), OPERATOR)
        assert {alert.labels["service"] for alert in shown.data} == {f"s{n}" for n in range(2000)}
        stats = await rig.stage.count_alerts(AskStats(), OPERATOR)
        assert (stats.total, stats.active, stats.suppressed) == (2000, 10, 1990)
        assert stats.suppressed_by == {"rate_limit": 1990}


# What operators say of it


async def test_a_silence_is_audited_with_who_what_and_why() -> None:
    async with engine(rules=[QUEUE]) as rig:
        made = await silence(rig, "rule=Long Queue", comment="see https://ada:hunter2@example.com")
        await desk.end(rig.stage, EndSilence(made.id, notes="done"), Caller("key", "::1", key="k1"))
        ended, created = await rig.stage.context.audit.entries()
        assert (created.action, created.target, created.operator) == ("silences/create", made.id, "ada")
        assert (created.principal, created.address) == ("anonymous", "10.0.0.7")
        assert created.notes == "rule=Long Queue: see https://***@example.com"
        assert (ended.action, ended.operator, ended.principal) == ("silences/end", "key", "key (k1)")
        assert ended.notes == "rule=Long Queue: done"


@pytest.mark.parametrize(
    ("matchers", "ask", "field", "said"),
    [
        (["rule=a"], {"operator": " "}, "operator", "say who does this"),
        (["rule=a"], {"comment": "  "}, "comment", "say why"),
        (["rule=a"], {"duration": ""}, "duration", "say how long"),
        (["rule=a"], {"duration": "soon"}, "duration", "'soon'"),
        (["rule=a"], {"duration": "31d"}, "duration", "at most 30d"),
        (["rule=a"], {"ends": 1_600_000_000_000}, "ends", "after now"),
        (["rule=a"], {"starts": 1_800_000_000_000}, "duration", "at most 30d"),
        (["rule"], {}, "matchers[0]", "'rule' is not understood"),
        (["rule=a", "ruel=b"], {}, "matchers[1]", "unknown field 'ruel'"),
        (["rule~("], {}, "matchers[0]", "rule~: '(': a '(' is not closed"),
        (["labels.=b"], {}, "matchers[0]", "unknown field 'labels.'"),
        (["labels.who=ada@example.com"], {}, "matchers[0]", "looks like a secret"),
    ],
)
async def test_a_silence_that_says_too_little_is_refused(
    matchers: list[str], ask: dict[str, Any], field: str, said: str
) -> None:
    async with engine(rules=[QUEUE]) as rig:
        with pytest.raises(Refused) as refusal:
            await silence(rig, *matchers, **ask)
        assert (refusal.value.reason, refusal.value.details[0][0]) == ("invalid", field)
        assert said in refusal.value.details[0][1]
        assert await listed(rig) == []


async def test_a_silence_that_is_not_there_is_named_with_those_that_are() -> None:
    async with engine(rules=[QUEUE]) as rig:
        made = await silence(rig, "rule=Long Queue")
        with pytest.raises(Refused) as refusal:
            await end(rig, "nope")
        assert (refusal.value.reason, refusal.value.known) == ("not_found", [made.id])
        with pytest.raises(Refused, match="'loud'"):
            await listed(rig, "loud")


async def test_silences_are_bounded_and_forgotten_with_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "MOST", 2)
    async with engine(rules=[QUEUE]) as rig:
        for _ in range(2):
            await silence(rig, "rule=Long Queue")
        with pytest.raises(Refused, match="live already"):
            await silence(rig, "rule=Long Queue")
        await rig.clock.advance(3601)
        assert len(await listed(rig, "expired")) == 2
        ledger = rig.stage.books.ledger
        assert not await ledger.prune(1_700_003_600_000)
        assert len(await listed(rig, "expired")) == 2
        assert not await ledger.prune(1_700_003_600_001)
        assert await listed(rig, "expired") == []


async def test_what_is_told_of_a_silence_is_an_event_of_its_own() -> None:
    async with engine(rules=[QUEUE]) as rig:
        made = await silence(rig, "rule=Long Queue")
        (letter,) = await rig.stage.books.ledger.unsent(10, 0)
        event = as_event(letter, rig.stage.context)
        assert (event.type, event.subject, event.source) == ("silence.created", made.id, "bers:alert-engine")
        assert event.data == msgspec.to_builtins(made)


# Which alerts are meant


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("rule=Long Queue", True),
        ("rule = Long Queue ", True),
        ("rule!=Long Queue", False),
        ("rule~^Long", True),
        ("rule!~^Long", False),
        ("severity=warning", True),
        ("severity~^(error|critical)$", False),
        ("environment=production", True),
        ("environment!=staging", True),
        ("type=queue", True),
        ("labels.name=a b=c", True),
        ("labels.name~=c$", True),
        ("labels.other=", True),
        ("labels.other~.", False),
    ],
)
async def test_matchers_compare_and_look_for_patterns(text: str, matches: bool) -> None:
    async with engine(rules=[QUEUE]) as rig:
        await rig.send(
            rig.event("x", measures={"queue": 11}, labels={"name": "a b=c"}, environment="production"),
        )
        alert = await rig.only()
        assert Matchers([text]).match(alert) is matches
        assert Matchers([text, "rule~."]).match(alert) is matches
        assert Matchers(["type=other", text]).match(alert) is False


async def test_a_pattern_that_would_take_long_silences_nothing() -> None:
    async with engine(rules=[QUEUE]) as rig:
        await rig.measure("queue", 11, name="ab" * 5000)
        pattern = "(a?b?)*" * 13 + "c"
        assert Matchers([f"labels.name~{pattern}"]).match(await rig.only()) is False


# What follows from something else


def _rules(**fields: Any) -> list[dict[str, Any]]:
    host = {
        "name": "Host Down", "event": "host.down", "clears": {"event": "host.up"}, "group": ["name"], **fields,
    }  # fmt: skip
    return [host, dict(rule(depends_on=["Host Down"]))]


async def test_what_follows_from_another_alert_does_not_fire_while_that_is_alive() -> None:
    async with engine(rules=_rules()) as rig:
        await rig.happen("host.down", labels={"name": "a"})
        cause = await rig.only()
        await rig.measure("queue", 11, name="a")
        await rig.measure("queue", 11, name="b")
        alert = await rig.only("suppressed")
        assert alert.labels == {"name": "a"}
        assert alert.suppressed_by is not None and alert.reason is not None
        assert (alert.suppressed_by.reason, alert.suppressed_by.id) == ("dependency", cause.id)
        assert alert.reason.sentence == "it follows from another alert, 'Host Down: a'"
        await rig.stage.acknowledge(Answer(cause.id, "ada"), OPERATOR)
        await rig.measure("queue", 11, name="a")
        assert len(await rig.alerts("suppressed")) == 1, "a cause that somebody looks after is alive"
        await rig.happen("host.up", labels={"name": "a"})
        await rig.clock.advance(0.1)
        assert await rig.names("active") == ["Long Queue", "Long Queue"]


async def test_what_follows_may_end_without_a_word_or_was_told_and_goes_on() -> None:
    async with engine(rules=_rules()) as rig:
        await rig.measure("queue", 11, name="a")
        await rig.happen("host.down", labels={"name": "a"})
        await rig.measure("queue", 12, name="a")
        assert await rig.names("active") == ["Host Down", "Long Queue"]
        await rig.measure("queue", 1, name="a")
        assert await rig.told() == ["firing", "firing", "resolved"], "resolution is never suppressed"


async def test_an_environment_that_differs_keeps_alerts_apart_and_no_label_keeps_none() -> None:
    async with engine(rules=_rules(group=["environment"])) as rig:
        await rig.happen("host.down", environment="staging")
        for environment in ("production", "staging"):
            event = rig.event("x", measures={"queue": 11}, labels={"name": environment}, environment=environment)
            await rig.send(event)
        await rig.measure("queue", 11, name="anywhere")
        assert sorted(one.labels["name"] for one in await rig.alerts("suppressed")) == ["anywhere", "staging"]


async def test_labels_that_rules_put_on_their_alerts_keep_nothing_apart() -> None:
    rules = _rules(labels={"team": "hosts"})
    rules[1]["labels"] = {"team": "queues"}
    async with engine(rules=rules) as rig:
        await rig.happen("host.down", labels={"name": "a"})
        await rig.measure("queue", 11, name="a")
        assert (await rig.only("suppressed")).labels == {"name": "a", "team": "queues"}


async def test_what_is_critical_fires_whatever_it_follows_from() -> None:
    rules = _rules()
    rules[1]["severity"] = "critical"
    async with engine(rules=rules) as rig:
        await rig.happen("host.down", labels={"name": "a"})
        await rig.measure("queue", 11, name="a")
        assert len(await rig.alerts("active")) == 2


async def test_a_cause_that_survives_a_restart_still_is_one(tmp_path: Path) -> None:
    clock = VirtualClock()
    for number in range(2):
        database = Database(tmp_path / "state.db")
        async with engine(clock, database, rules=_rules()) as rig:
            if number == 0:
                await rig.happen("host.down", labels={"name": "a"})
            else:
                await rig.measure("queue", 11, name="a")
                assert len(await rig.alerts("suppressed")) == 1
        database.close()
