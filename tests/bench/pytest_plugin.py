"""What reporting costs a session of pytest: CPU time with and without, by turns, so that a busy machine shows in both.

python tests/bench/pytest_plugin.py --tests 5000 --rounds 7
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bers_emit.testing import Receiver


def main() -> None:
    parser = argparse.ArgumentParser(description="What reporting costs a session of pytest.")
    parser.add_argument("--tests", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cases", default="failed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Receiver() as receiver:
        folder = Path(name)
        for file in range(10):
            tests = (f"def test_{n}(): pass\n" for n in range(options.tests // 10))
            (folder / f"test_{file}.py").write_text("".join(tests))
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("BERS_", "PYTEST_"))}
        environ |= {"BERS_EMIT_SPOOL": str(folder / "spool")}
        told = {**environ, "BERS_EMIT_URL": receiver.url}
        ratios: list[float] = []
        run(folder, environ, options.cases)  # Into the page cache, and compiled.
        run(folder, told, options.cases)
        for turn in range(options.rounds):
            first, second = (environ, told) if turn % 2 else (told, environ)
            one, other = run(folder, first, options.cases), run(folder, second, options.cases)
            without, with_it = (one, other) if turn % 2 else (other, one)
            ratios.append(with_it / without)
            print(f"without {without:.3f} s, with {with_it:.3f} s: {100 * (ratios[-1] - 1):+.1f} %", flush=True)
        ends = receiver.of("testsuiterun.finished")
        assert [end["measures"]["tests.passed"] for end in ends] == [options.tests] * (options.rounds + 1)
    print(f"{options.tests} tests: {100 * (statistics.median(ratios) - 1):+.1f} % CPU time (median)")


def run(folder: Path, environ: dict[str, str], cases: str) -> float:
    """The CPU seconds of one session."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--bers-cases={cases}", str(folder)],
        env=environ, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
