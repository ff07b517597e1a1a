"""Every write that somebody asked for is written down: who, from where, what, and how it ended."""

from __future__ import annotations

from pathlib import Path

from bers import Caller, Database
from bers.audit import Audit
from bers.testing import VirtualClock


async def test_a_write_is_told_with_its_principal_address_time_and_end(tmp_path: Path, clock: VirtualClock) -> None:
    state = Database(tmp_path / "state.db")
    audit = Audit(state, clock)
    assert await audit.entries() == []
    await audit.record(Caller("ada", "10.0.0.1"), "POST /api/monitoring/metrics/restart", "done")
    (row,) = await audit.entries()
    assert (row.id, row.time, row.principal, row.address) == (1, 1_700_000_000_000, "ada", "10.0.0.1")
    assert (row.action, row.outcome) == ("POST /api/monitoring/metrics/restart", "done")
    state.close()


async def test_the_newest_come_first_and_survive_a_restart(tmp_path: Path, clock: VirtualClock) -> None:
    for n in range(3):
        state = Database(tmp_path / "state.db")
        await Audit(state, clock).record(Caller(), f"POST /{n}", "done")
        state.close()
    state = Database(tmp_path / "state.db")
    audit = Audit(state, clock)
    assert [entry.action for entry in await audit.entries(limit=2)] == ["POST /2", "POST /1"]
    assert [entry.action for entry in await audit.entries(before=2)] == ["POST /0"]
    state.close()


async def test_rows_are_found_by_who_did_it_and_to_what(clock: VirtualClock) -> None:
    audit = Audit(Database(), clock)
    await audit.record(Caller("ada"), "alerts/acknowledge", "done", target="a1", operator="ops", notes="looking")
    await audit.record(Caller("bob"), "alerts/acknowledge", "done", target="a2")
    (row,) = await audit.entries(target="a1")
    assert (row.principal, row.operator, row.target, row.notes) == ("ada", "ops", "a1", "looking")
    assert [row.target for row in await audit.entries(principal="bob")] == ["a2"]


async def test_a_credential_is_not_written_down(tmp_path: Path, clock: VirtualClock) -> None:
    state = Database(tmp_path / "state.db")
    audit = Audit(state, clock)
    url = "https://ada:hunter2@example.com"
    await audit.record(Caller(), f"POST /x {url}", "done", target=url, notes=f"{url} ada@example.com", operator=url)
    row = (await audit.entries())[0]
    assert row.action == "POST /x https://***@example.com"
    assert (row.target, row.operator) == ("https://***@example.com", "https://***@example.com")
    assert row.notes == "https://***@example.com ***"
    state.close()
    assert not any(b"hunter2" in path.read_bytes() for path in tmp_path.iterdir())
