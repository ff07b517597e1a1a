"""The gate: a deployment to production asks what the validation on staging said."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from bers import Event, Outcome, Refused, Table
from bers.testing import run_receive
from bers.testing.server import serving
from bers_builtin.sources._gate import KEPT, AskGate, GateState, answer, remember
from bers_builtin.sources.deployment import DEPLOYMENT


def validated(
    outcome: Outcome | None, time: float = 0.0, *, service: str = "chat", version: str = "1", place: str | None = None
) -> Event:
    return Event(
        f"{service}-{version}-{time}",
        "/ci/x",
        "deployment.validated",
        time,
        environment=place,
        service=service,
        version=version,
        outcome=outcome,
        reason=None if outcome == "success" else "login is broken",
    )


def asked(*events: Event, now: float = 1000.0, **ask: str | float) -> GateState:
    table = Table()
    for event in events:
        remember(event, table)
    return answer(AskGate("production", **ask), table, now)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_it_is_open_after_a_validation_that_succeeded() -> None:
    state = asked(validated("success", 10))
    assert (state.open, state.state, state.outcome, state.validated_at) == (True, "open", "success", 10_000)


@pytest.mark.parametrize("outcome", ["failure", "error", "timeout", "cancel", "skip"])
def test_it_is_closed_after_one_that_did_not_and_says_why(outcome: Outcome) -> None:
    state = asked(validated("success", 10), validated(outcome, 20))
    assert (state.open, state.state) == (False, "closed")
    assert state.reason == f"the validation of chat 1 on staging ended with {outcome}: login is broken"


def test_it_waits_where_nothing_was_validated() -> None:
    state = asked(version="1.5", service="chat")
    assert (state.open, state.state) == (False, "waiting")
    assert state.reason == "no validation of chat 1.5 on staging"
    assert asked(validated(None, 10)).state == "waiting"  # One that does not say how it ended.


def test_the_newest_counts_in_whatever_order_they_come() -> None:
    old, new = validated("failure", 10), validated("success", 20)
    assert asked(old, new).open
    assert asked(new, old).open
    assert asked(new, old, new) == asked(old, new)


def test_service_version_and_age_are_what_was_asked_for() -> None:
    told = (
        validated("success", 10, version="1"),
        validated("failure", 20, version="2"),
        validated("success", 30, service="api"),
    )
    assert asked(*told, service="chat", version="1").open
    assert asked(*told, service="chat", version="2").state == "closed"
    assert asked(*told, service="chat").state == "closed"
    assert asked(*told).open  # The last of all.
    assert asked(*told, service="chat", version="3").state == "waiting"
    assert asked(*told, max_age=980.0).open
    assert asked(*told, max_age=100.0).state == "waiting"


def test_other_places_are_asked_for_by_their_name() -> None:
    told = (validated("success", 10), validated("failure", 20, place="canary"))
    assert asked(*told).open
    assert asked(*told, wanted="canary-validation").state == "closed"
    with pytest.raises(Refused, match="not deployed yet"):
        asked(wanted="production-validation")


def test_the_last_versions_are_remembered_and_no_more() -> None:
    told = [validated("success", n, version=str(n)) for n in range(KEPT + 10)]
    assert asked(*told, version=str(KEPT + 9)).open
    assert asked(*told, version="10").open
    assert asked(*told, version="9").state == "waiting"


def test_one_from_the_future_does_not_stand_for_ever() -> None:
    assert asked(replace(validated("failure", 10_000), received=20.0), validated("success", 30)).open


async def test_the_source_keeps_its_promises_about_its_table() -> None:
    told = [validated("success", 10), validated("failure", 5), validated("success", 20, version="2")]
    assert len(await run_receive(DEPLOYMENT, told)) == 3


async def test_it_is_asked_over_http(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        said = await server.data("gate/production")
        assert (said["state"], said["for"]) == ("waiting", "staging-validation")
        event = {"type": "deployment.validated", "outcome": "success", "service": "chat", "version": "1.5.0"}
        await server.emit(event)
        said = await server.data("gate/production?for=staging-validation&service=chat&version=1.5.0&maxAge=60")
        assert (said["open"], said["service"], said["version"]) == (True, "chat", "1.5.0")
        assert (await server.get("gate/production?for=tests")).status_code == 422
