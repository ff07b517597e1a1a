"""What a node began is over when it is stopped: nothing of it stays in a process that starts and stops many."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from tests.faults.starts import NODES_PER_LOOP, Left

ROOT = Path(__file__).parents[2]
STARTS = 200 if os.environ.get("BERS_TEST_LONG") else 12
MIB = 1 << 20


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Left]:
    """What was left after each node, and after each loop."""
    folder = tmp_path_factory.mktemp("starts")
    arguments = [sys.executable, "-m", "tests.faults.starts", str(folder), str(STARTS)]
    said = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True, timeout=STARTS * 10)
    assert "Task was destroyed" not in said.stderr and "never awaited" not in said.stderr, said.stderr
    return [msgspec.json.decode(line, type=Left) for line in said.stdout.splitlines()]


def test_no_task_thread_descriptor_or_process_outlives_its_node(left: Sequence[Left]) -> None:
    assert len(left) == STARTS + STARTS // NODES_PER_LOOP
    for number, one in enumerate(left):
        assert (one.tasks, one.threads, one.descriptors, one.children) == ([], [], [], 0), f"after start {number}"


def test_starts_and_stops_leave_neither_objects_nor_memory_behind(left: Sequence[Left]) -> None:
    loops = left[NODES_PER_LOOP :: NODES_PER_LOOP + 1]  # After a whole loop: what its idle workers held is gone, too.
    first, half, last = loops[0], loops[len(loops) // 2], loops[-1]
    # A cache of a hundred entries may fill; what is left behind goes on growing.
    assert abs(last.objects - first.objects) < 200, f"{last.objects - first.objects} objects more than after the first"
    assert abs(last.objects - half.objects) < 50, f"{last.objects - half.objects} objects more than half way"
    assert last.memory - first.memory < 8 * MIB, f"{(last.memory - first.memory) / MIB:.1f} MiB more"


def test_a_loop_that_runs_one_node_after_another_does_not_fill_up(left: Sequence[Left]) -> None:
    after = left[:NODES_PER_LOOP]
    each = (after[-1].objects - after[1].objects) / (NODES_PER_LOOP - 2)
    assert each < 100, f"every node leaves {each:.0f} objects behind"
