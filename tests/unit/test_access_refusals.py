"""Writes that were refused: the first of a kind is written down at once, and the others as a number."""

import pytest

from bers import Caller, Database
from bers.access.refusals import MOST, Refusals
from bers.audit import Audit
from bers.testing import VirtualClock


async def test_what_somebody_with_a_key_wanted_is_told_apart(clock: VirtualClock) -> None:
    state = Database()
    audit = Audit(state, clock)
    refusals = Refusals(audit)
    ada = Caller("ada", "10.0.0.1", frozenset(), "0a0a0a0a")
    for action in ("POST /one", "POST /two", "POST /one"):
        await refusals.record(ada, action, "forbidden")
    await refusals.tell()
    await refusals.tell()
    found = [(one.principal, one.action) for one in await audit.entries()]
    who = "ada (0a0a0a0a)"
    assert found == [(who, "1 more like POST /one"), (who, "POST /two"), (who, "POST /one")]
    state.close()


async def test_many_addresses_are_counted_together(clock: VirtualClock) -> None:
    state = Database()
    audit = Audit(state, clock)
    refusals = Refusals(audit)
    for n in range(MOST + 1000):
        await refusals.record(Caller(address=f"10.0.{n // 256}.{n % 256}"), "POST /x", "unauthenticated")
    await refusals.tell()
    entries = await audit.entries(10_000)
    assert len(entries) == MOST + 2
    assert (entries[0].address, entries[0].action) == ("many addresses", "999 more writes")
    state.close()


async def test_a_path_without_end_is_cut(clock: VirtualClock) -> None:
    state = Database()
    audit = Audit(state, clock)
    await Refusals(audit).record(Caller(), "POST /" + "x" * 60_000, "unauthenticated")
    assert len((await audit.entries())[0].action) == 200
    state.close()


async def test_that_nothing_can_be_written_down_raises_nothing_and_is_logged(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    state = Database()
    state.close()
    await Refusals(Audit(state, clock)).record(Caller(), "POST /x", "unauthenticated")
    assert "a refused write could not be written down: the database is closed" in caplog.text
