"""What power loss leaves is whole: the disk is a model that forgets whatever was not synced."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from bers.journal import Journal
from tests.faults.kills.blackouts import Blackouts
from tests.faults.kills.nodes import ROOT, STRACE
from tests.faults.kills.power import Disk
from tests.faults.kills.trace import TRACING, Step, read_trace
from tests.integration.processes import environ

pytestmark = pytest.mark.skipif(STRACE is None, reason="strace is not installed; it says what was written and synced")

LONG = bool(os.environ.get("BERS_TEST_LONG"))
SESSIONS, IMAGES = (60, 5) if LONG else (2, 1)

UNSYNCED_FRAME = """
import anyio, sys
from pathlib import Path
from bers.frames import Frame
from bers.journal import Journal
async def main():
    journal = Journal(Path(sys.argv[1]) / "journal")
    for n in range(3):
        journal.add(Frame(n * 5, n * 5 + 5, b"five events"))
        await journal.sync()
        print(journal.end, flush=True)
anyio.run(main)
"""

ACKNOWLEDGED_REPEAT = """
import anyio, sys
from pathlib import Path
from bers.journal import Journal
async def main():
    journal = Journal(Path(sys.argv[1]) / "journal")
    await journal.sync()
    print(journal.end, flush=True)
anyio.run(main)
"""

UNSYNCED_COMMIT = """
import sys
from pathlib import Path
from bers.database import Database
database = Database(Path(sys.argv[1]) / "state.db")
database.run_now(lambda db: db.execute("CREATE TABLE one (n INTEGER)"))
for n in range(20):
    database.run_now(lambda db: db.execute("INSERT INTO one VALUES (?)", (n,)))
"""

READ_COMMITS = """
import sys
from pathlib import Path
from bers.database import Database
database = Database(Path(sys.argv[1]) / "state.db")
print(database.run_now(lambda db: db.execute("SELECT count(*) FROM one").fetchone()[0]), flush=True)
"""

TRIMMED_BELOW = """
import anyio, sys
from pathlib import Path
from bers import Batch
from bers.all_positions import lowest_position
from bers.database import Database
from bers.positions import Positions
async def main():
    folder, readers = Path(sys.argv[1]), [("quick", "metrics"), ("slow", "metrics")]
    sinks = [Positions(Database(folder / f"{sink}.db", synchronous="NORMAL"), sink) for sink, _ in readers]
    for sink in sinks:
        await sink.begin("metrics", 0, 0)
    for n in range(1, 41):
        for sink in sinks[: 1 + n % 2]:
            await sink.commit(Batch([], reader="metrics", end=n), lambda db: None)
        if n % 5 == 0:
            print(lowest_position(folder, readers), flush=True)
anyio.run(main)
"""

HELD = """
import sys
from pathlib import Path
from bers.all_positions import lowest_position
print(lowest_position(Path(sys.argv[1]), [("quick", "metrics"), ("slow", "metrics")]))
"""


class Machine:
    """Runs programs on a folder whose disk forgets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: list[Step] = []
        """What has been done since power came."""
        folder.mkdir()
        self._begin = Disk(folder)

    def run(self, program: str, *tracing: str) -> None:
        trace = self.folder.with_name("trace")
        assert STRACE
        command = [STRACE, "-f", *TRACING, *tracing, "-o", str(trace), sys.executable, "-c", program, str(self.folder)]
        subprocess.run(command, cwd=ROOT, env=environ(self.folder), stdout=subprocess.DEVNULL, check=False)
        self.steps += read_trace(trace, ROOT)

    def told(self) -> Iterator[tuple[int, str]]:
        """What was printed, and when."""
        for at, step in enumerate(self.steps, 1):
            if step.call == "write" and step.path == "/dev/null" and step.data.strip():
                yield at, step.data.decode().strip()

    def lose_power(self, at: int, folder: Path) -> Path:
        """What is left after so many steps, of all that was not synced nothing."""
        disk = self._begin.copy()
        disk.follow(self.steps[:at])
        disk.lose_power(folder, Nothing())
        return folder


class Nothing(Random):
    """Chance that leaves nothing of what is not synced."""

    def random(self) -> float:
        return 0.0

    def randrange(self, *bounds: int) -> int:  # type: ignore[override]
        return 0


def test_a_repeat_of_what_a_killed_process_did_not_sync_is_acknowledged_only_when_that_is_synced(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path / "data")
    machine.run(UNSYNCED_FRAME, "-e", "inject=fdatasync:signal=KILL:when=3")
    machine.run(ACKNOWLEDGED_REPEAT)
    *_, (at, end) = machine.told()
    assert end == "15"
    assert Journal(machine.lose_power(at, tmp_path / "left") / "journal").end == 15


def test_an_event_acknowledged_in_a_new_journal_is_there_after_power_was_lost(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "data")
    machine.run(UNSYNCED_FRAME)
    ends = [(at, int(text)) for at, text in machine.told()]
    assert [end for _, end in ends] == [5, 10, 15]
    for at, end in ends:
        assert Journal(machine.lose_power(at, tmp_path / f"left-{end}") / "journal").end >= end


def test_what_is_read_of_a_database_that_syncs_each_commit_stays(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "data")
    machine.run(UNSYNCED_COMMIT, "-e", "inject=fdatasync:signal=KILL:when=15")
    machine.run(READ_COMMITS)
    *_, (at, count) = machine.told()
    left = machine.lose_power(at, tmp_path / "left")
    done = subprocess.run([sys.executable, "-c", READ_COMMITS, left], cwd=ROOT, capture_output=True, check=True)
    assert int(count) > 0 and done.stdout.decode().strip() == count


def test_a_journal_is_trimmed_only_below_what_no_loss_of_power_takes_back(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "data")
    machine.run(TRIMMED_BELOW)
    lowest = [(at, int(text)) for at, text in machine.told()]
    assert [position for _, position in lowest] == [5, 9, 15, 19, 25, 29, 35, 39]
    for at, position in lowest:
        left = machine.lose_power(at, tmp_path / f"left-{position}")
        done = subprocess.run([sys.executable, "-c", HELD, left], cwd=ROOT, capture_output=True, check=True)
        assert int(done.stdout) >= position


@pytest.mark.parametrize("seed", [1, 2, 3, 4] if LONG else [1])
def test_what_was_acknowledged_is_counted_once_whatever_power_loss_takes(seed: int, tmp_path: Path) -> None:
    blackouts = Blackouts(tmp_path / "node", seed)
    for _ in range(SESSIONS):
        assert blackouts.session(images=IMAGES) == []
    assert blackouts.settle() == []
    assert blackouts.losses > 0
