"""A rule that somebody writes: what it would have done beside the rule in force, or what is wrong, and where."""

from __future__ import annotations

from typing import Any

import pytest

from bers import Refused
from bers_builtin.sinks.alert_engine.desk.why import AskRule, explain_rule
from bers_builtin.sinks.alert_engine.rehearsal.trial_answers import Account, AskTrial, Trial
from bers_builtin.sinks.alert_engine.rehearsal.trying import MOST_ALERTS, try_rule
from tests.builtin.test_backtest import BROKEN, CALLER, QUEUE, START, Rig, engine

LONG = "name: Long Queue\nmetric: queue\nabove: 10\nfor: 25s\n"


async def tried(rig: Rig, rule: str, beside: str = "Long Queue", **ask: Any) -> Trial:
    return await try_rule(rig.stage, AskTrial(rule, beside, since=START * 1000, **ask), CALLER)


def lasted(account: Account | None) -> tuple[int, int, list[tuple[int, int]]]:
    """How many fired, for how long together, and when, in seconds since the start."""
    assert account
    spans = [((begin // 1000) - START, (end // 1000) - START) for begin, end in account.spans]
    return account.fired, account.firing_ms // 1000, spans


async def test_an_edited_rule_is_told_beside_the_rule_in_force_and_what_that_did() -> None:
    async with engine(QUEUE, BROKEN) as rig:
        await rig.measure(15.0, 30)
        await rig.build("failure")
        await rig.measure(5.0, 5)
        found = await tried(rig, LONG)
    assert lasted(found.would) == (1, 5, [(25, 30)])
    assert lasted(found.in_force) == lasted(found.did) == (1, 20, [(10, 30)])
    assert (found.changes, found.faults) == ({"shorter": 1}, [])
    assert (found.condition, found.metric, found.threshold) == ("last > 10 for 25s", "queue", 10.0)
    assert found.would and found.would.alerts[0].change == "shorter"
    assert [one.fed_with for one in found.stretches] == ["events"]


async def test_a_rule_that_was_not_edited_did_what_it_would_do() -> None:
    async with engine(QUEUE) as rig:
        await rig.measure(15.0, 12)
        story = await explain_rule(rig.stage, AskRule("long-queue"), CALLER)
        found = await tried(rig, story.source)
    assert found.in_force is found.would
    assert (lasted(found.would), found.changes) == (lasted(found.did), {"same": 1})


async def test_a_new_rule_has_none_beside_it_and_one_that_was_renamed_has() -> None:
    async with engine(QUEUE) as rig:
        await rig.measure(15.0, 12)
        fresh = await tried(rig, LONG.replace("25s", "5s").replace("Long Queue", "Fresh"), beside="")
        renamed = await tried(rig, LONG.replace("25s", "5s").replace("Long Queue", "Renamed"))
    assert lasted(fresh.would)[0] == 1 and fresh.in_force is fresh.did is None
    assert fresh.changes == {"new": 1}
    assert lasted(renamed.did)[0] == 1 and renamed.changes == {"new": 1, "gone": 1}


async def test_what_explains_a_rule_is_at_work_beside_it() -> None:
    async with engine(QUEUE, {"name": "Any Queue", "metric": "queue", "above": "1"}) as rig:
        await rig.measure(15.0, 400)
        alone = await tried(rig, f"{LONG}severity: error\n")
        explained = await tried(rig, f"{LONG}severity: error\ndepends_on: [Any Queue]\n")
    assert alone.would and explained.would
    assert (alone.would.told, explained.would.told) == (2, 1), "nobody is called for what is suppressed"


async def test_alerts_are_all_counted_and_the_newest_of_them_told() -> None:
    many = MOST_ALERTS + 20
    async with engine(QUEUE) as rig:
        for n in range(many):
            await rig.measure(15.0, 1, name=f"q-{n}")
        found = await tried(rig, LONG.replace("25s", "0s"))
    assert found.would
    assert (found.would.fired, len(found.would.alerts)) == (many, MOST_ALERTS)
    assert found.would.alerts[0].from_ == (START + many - 1) * 1000
    assert len(found.would.spans) == 1, "one after the other fires, and none has ended"


@pytest.mark.parametrize(
    ("text", "place", "path", "message"),
    [
        ("name: X\nmetrc: queue\nabove: 1\n", (2, 1), "metrc", "did you mean 'metric'?"),
        ("- name: X\n  metric: queeu\n  above: 1\n", (2, 3), "metric", "did you mean 'queue'?"),
        ("# mine\nname: X\nmetric: queue\nabove: soon\n", (4, 1), "above", "'soon'"),
        ("name: X\nmetric: queue\nabove: 1\nfor: 3 apples\n", (4, 1), "for", "duration"),
        ("name: X\nmetric: queue\nabove: 1\ndepends_on: [Brokn]\n", (4, 14), "depends_on[0]", "did you mean 'Broken'?"),
        ("name: X\nmetric: queue\nabove: ${env:HOME}\n", (3, 1), "above", "read in files alone"),
        ("name: Broken\nmetric: queue\nabove: 1\n", (1, 1), "name", "is there already"),
        ("name: X\n  metric: queue\n", (2, 9), "$", "not YAML"),
        ("- name: X\n- name: Y\n", (2, 3), "[1]", "expected one entry"),
        ("[" * 5000, (1, 1), "$", "nested more than 32 levels deep"),
        ("", (1, 1), "$", "'name' is missing"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_told_by_line_and_column(
    text: str, place: tuple[int, int], path: str, message: str
) -> None:
    async with engine(QUEUE, BROKEN) as rig:
        await rig.clock.advance(60)
        found = await tried(rig, text)
    assert found.would is None
    assert ((found.faults[0].line, found.faults[0].column), found.faults[0].path) == (place, path)
    assert message in found.faults[0].message


async def test_everything_that_is_wrong_is_told_in_its_order() -> None:
    async with engine(QUEUE) as rig:
        await rig.clock.advance(60)
        found = await tried(rig, "name: X\nmetric: queue\nabove: 1\nseverity: loud\nfor: long\nfoo: 1\n")
    assert [(one.line, one.path) for one in found.faults] == [(4, "severity"), (5, "for"), (6, "foo")]


async def test_it_takes_turns_with_other_back_tests_and_knows_its_rules() -> None:
    async with engine(QUEUE) as rig:
        await rig.clock.advance(60)
        with rig.stage.rehearsing.taken("ada"), pytest.raises(Refused, match="another back-test is running"):
            await tried(rig, LONG)
        with pytest.raises(Refused, match="unknown rule 'Lon Queue'; did you mean"):
            await tried(rig, LONG, beside="Lon Queue")
        with pytest.raises(Refused, match="since: it must lie before until"):
            await tried(rig, LONG, until=START * 1000 - 1)


async def test_a_rule_is_told_as_it_is_written_and_what_follows_from_another_is_not() -> None:
    silent = {**QUEUE, "no_data_after": "5m", "annotations": {"step": "Look: at it"}}
    async with engine(silent) as rig:
        own = await explain_rule(rig.stage, AskRule("long-queue"), CALLER)
        companion = await explain_rule(rig.stage, AskRule("No Data: Long Queue"), CALLER)
    assert own.source == (
        "name: Long Queue\nmetric: queue\nabove: '10'\nfor: 10s\nno_data_after: 5m\n"
        "annotations:\n  step: 'Look: at it'\n"
    )
    assert companion.source == ""
