"""What becomes of living alerts where the configuration that comes after a restart is another one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bers.testing import VirtualClock
from bers_builtin.sinks.alert_engine.desk import silences
from bers_builtin.sinks.alert_engine.desk.answers import Acknowledge
from tests.builtin.test_alert_engine import OPERATOR, Rig, rule
from tests.builtin.test_alert_holding import through

BROKEN: Mapping[str, Any] = {"name": "Broken", "event": "build.finished", "outcome": "failure"}
NIGHT = {"name": "night", "starts": "2023-11-14T22:00", "ends": "2023-11-14T22:30"}
"""A window in which the first minutes of a virtual clock lie."""


async def breaks(rig: Rig) -> None:
    await rig.happen("build.finished", "failure")


async def is_told(rig: Rig) -> None:
    await rig.clock.advance(1)
    assert await rig.names() == ["Broken"]


async def test_two_rules_that_look_at_the_same_both_wait_on_through_a_restart(tmp_path: Path) -> None:
    clock = VirtualClock()
    both = [rule(**{"for": "60s"}), rule(name="Page", severity="critical", labels={"team": "b"}, **{"for": "60s"})]

    async def half(rig: Rig) -> None:
        await rig.measure("queue", 11)
        await rig.clock.advance(40)
        await rig.measure("queue", 11)

    async def rest(rig: Rig) -> None:
        assert await rig.names("pending") == ["Long Queue", "Page"]
        await rig.clock.advance(20)
        await rig.measure("queue", 11)
        assert await rig.names() == ["Long Queue", "Page"]

    await through(tmp_path, clock, half, rest, rules=both)


async def test_a_rule_by_another_name_has_alerts_of_its_own(tmp_path: Path) -> None:
    clock = VirtualClock()
    ids: list[str] = []

    async def fire(rig: Rig) -> None:
        await rig.measure("queue", 11)
        ids.append((await rig.only()).id)

    async def another(rig: Rig) -> None:
        assert [(one.rule, one.status) for one in await rig.history()] == [("Long Queue", "resolved")]
        await rig.measure("queue", 11)
        assert (await rig.only()).id not in ids
        assert len(await rig.history()) == 2

    await through(tmp_path, clock, fire, rules=[rule()])
    await through(tmp_path, clock, another, rules=[rule(name="Queue Too Long")])


async def test_what_a_window_kept_back_is_told_when_a_server_starts_after_it(tmp_path: Path) -> None:
    clock = VirtualClock()

    async def later(rig: Rig) -> None:
        assert await rig.names("suppressed") == ["Broken"]
        await rig.clock.suspend(3600)

    async def told(rig: Rig) -> None:
        await rig.clock.advance(1)
        assert (await rig.names("suppressed"), await rig.names()) == ([], ["Broken"])

    await through(tmp_path, clock, breaks, later, told, rules=[BROKEN], maintenance=[NIGHT])


async def test_what_a_window_kept_back_is_told_when_the_window_is_taken_out(tmp_path: Path) -> None:
    clock = VirtualClock()
    await through(tmp_path, clock, breaks, rules=[BROKEN], maintenance=[NIGHT])
    await through(tmp_path, clock, is_told, rules=[BROKEN])


async def test_what_followed_from_another_alert_is_told_when_its_rule_says_so_no_more(tmp_path: Path) -> None:
    clock = VirtualClock()

    async def follows(rig: Rig) -> None:
        await rig.measure("queue", 11)
        await breaks(rig)
        assert await rig.names("suppressed") == ["Broken"]

    async def told(rig: Rig) -> None:
        await rig.clock.advance(1)
        assert await rig.names() == ["Broken", "Long Queue"]

    await through(tmp_path, clock, follows, rules=[rule(), {**BROKEN, "depends_on": ["Long Queue"]}])
    await through(tmp_path, clock, told, rules=[rule(), BROKEN])


async def test_beyond_the_rate_limit_an_alert_waits_for_evidence_whatever_else_is_silenced_or_started(
    tmp_path: Path,
) -> None:
    clock = VirtualClock()

    async def storm(rig: Rig) -> None:
        for name in "abc":
            await rig.measure("queue", 11, name=name)
        await rig.clock.advance(600)
        one = await silences.add(
            rig.stage, silences.AddSilence(["rule=Another"], "why", "1h", operator="ada"), OPERATOR
        )
        await silences.end(rig.stage, silences.EndSilence(one.id, "ada"), OPERATOR)
        await rig.clock.advance(1)
        assert len(await rig.alerts("suppressed")) == 2

    async def still(rig: Rig) -> None:
        await rig.clock.advance(1)
        assert len(await rig.alerts("suppressed")) == 2
        await rig.measure("queue", 11, name="b")
        assert len(await rig.alerts("suppressed")) == 1

    await through(tmp_path, clock, storm, still, rules=[rule()], rate_limiting={"max_alerts": 1, "window": "5m"})


async def test_an_acknowledgement_that_expires_in_a_silence_is_told_to_nobody(tmp_path: Path) -> None:
    clock = VirtualClock()

    async def expire(rig: Rig) -> None:
        await rig.measure("queue", 11)
        alert = await rig.only()
        await rig.stage.acknowledge(Acknowledge(alert.id, "ada", expires="5m"), OPERATOR)
        await silences.add(rig.stage, silences.AddSilence(["rule=Long Queue"], "why", "1h", operator="ada"), OPERATOR)
        await rig.clock.advance(301)
        assert (await rig.only("suppressed")).acknowledgment is None
        assert (await rig.told())[2:] == ["silence.created", "suppressed"]

    await through(tmp_path, clock, expire, rules=[rule()])


async def test_what_a_window_kept_back_is_told_though_nobody_was_there_when_it_closed(tmp_path: Path) -> None:
    clock = VirtualClock()
    await through(tmp_path, clock, breaks, rules=[BROKEN], maintenance=[NIGHT])
    await clock.advance(3600)
    await through(tmp_path, clock, is_told, rules=[BROKEN], maintenance=[NIGHT])
