"""Memory is flat: what a node remembers is bounded, so a long run takes no more of it than a short one."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from tests.faults.simulated import WARM, Sample

LONG = bool(os.environ.get("BERS_TEST_LONG"))
ROOT = Path(__file__).parents[2]
MIB = 1 << 20

long = [
    pytest.mark.long,
    pytest.mark.skipif(not LONG, reason="`make test-long` has the many minutes that this takes"),
]


def test_twenty_thousand_events_of_a_thousand_subjects_leave_memory_flat(tmp_path: Path) -> None:
    # The bus keeps the newest events in memory, and would need more of them than there are here to fill its part.
    samples = simulated(tmp_path, seconds=40, rate=500, subjects=1000, tail_bytes=MIB)
    assert growth(samples) < 8 * MIB, f"a leak of 0.7 KiB for each event: {samples}"


@pytest.mark.parametrize(
    ("seconds", "rate", "subjects"),
    [
        pytest.param(3600, 50, 500, marks=long, id="an hour"),
        pytest.param(1000, 1000, 100_000, marks=long, id="a million"),
    ],
)
def test_a_long_run_leaves_memory_flat(seconds: int, rate: int, subjects: int, tmp_path: Path) -> None:
    samples = simulated(tmp_path, seconds=seconds, rate=rate, subjects=subjects)
    assert samples[-1].events == seconds * rate
    assert growth(samples) < 64 * MIB, samples


def growth(samples: Sequence[Sample]) -> int:
    """By how many bytes the most at any time is more than what was needed after the first few thousand events."""
    first, *later = samples
    return max(one.memory for one in later) - first.memory


def simulated(folder: Path, *, seconds: int, rate: int, subjects: int, tail_bytes: int = 0) -> Sequence[Sample]:
    """Run the program, and check that what it was to do was done."""
    numbers = {"--seconds": seconds, "--rate": rate, "--subjects": subjects, "--tail-bytes": tail_bytes}
    options = [word for name, number in numbers.items() for word in (name, str(number))]
    command = [sys.executable, "-m", "tests.faults.simulated", str(folder), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=3600)
    assert done.returncode == 0, done.stderr
    samples = [msgspec.json.decode(line, type=Sample) for line in done.stdout.splitlines()]
    assert WARM <= samples[0].events < 2 * WARM
    assert samples[-1].seconds == seconds
    assert samples[-1].told > seconds, "the stream's client was told of it, too"
    return samples
