"""Every write that somebody asked for is written down: who, from where, what, and how it ended."""

from pathlib import Path

from bers import Caller, Database
from bers.audit import Audit, Entry
from bers.testing import VirtualClock


async def test_a_write_is_told_with_its_principal_address_time_and_end(tmp_path: Path, clock: VirtualClock) -> None:
    state = Database(tmp_path / "state.db")
    audit = Audit(state, clock)
    assert await audit.entries() == []
    await audit.record(Caller("ada", "10.0.0.1"), "POST /api/monitoring/metrics/restart", "done")
    assert await audit.entries() == [
        Entry(1, 1_700_000_000_000, "ada", "10.0.0.1", "POST /api/monitoring/metrics/restart", "done")
    ]
    state.close()


async def test_the_newest_come_first_and_survive_a_restart(tmp_path: Path, clock: VirtualClock) -> None:
    for n in range(3):
        state = Database(tmp_path / "state.db")
        await Audit(state, clock).record(Caller(), f"POST /{n}", "done")
        state.close()
    state = Database(tmp_path / "state.db")
    assert [entry.action for entry in await Audit(state, clock).entries(limit=2)] == ["POST /2", "POST /1"]
    state.close()


async def test_a_credential_is_not_written_down(tmp_path: Path, clock: VirtualClock) -> None:
    state = Database(tmp_path / "state.db")
    audit = Audit(state, clock)
    await audit.record(Caller(), "POST /x https://ada:hunter2@example.com", "done")
    assert (await audit.entries())[0].action == "POST /x https://***@example.com"
    state.close()
    assert not any(b"hunter2" in path.read_bytes() for path in tmp_path.iterdir())
