"""What reporting costs a session of pytest: CPU time with and without, by turns, so that a busy machine shows in both.

python tests/bench/pytest_plugin.py --tests 5000 --rounds 7

A round is a session without the plugin, one where it is inert, and one that reports, in changing order. What the
sessions compile is kept, as it is on a developer's machine; with --fresh it is not, as in a job of CI that has just
installed all. The receiver runs in this process, whose time is not theirs.
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

VARIANTS = ("without", "inert", "reporting")


def main() -> None:
    parser = argparse.ArgumentParser(description="What reporting costs a session of pytest.")
    parser.add_argument("--tests", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cases", default="failed", choices=("all", "failed", "none"))
    parser.add_argument("--alone", action="store_true", help="Without the plugins that others have installed here.")
    parser.add_argument("--fresh", action="store_true", help="Keep nothing that is compiled.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Receiver() as receiver:
        folder = Path(name)
        for file in range(10):
            tests = (f"def test_{n}(): pass\n" for n in range(options.tests // 10))
            (folder / f"test_{file}.py").write_text("".join(tests))
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("BERS_", "PYTEST_"))}
        environ |= {"BERS_EMIT_SPOOL": str(folder / "spool"), "PYTHONDONTWRITEBYTECODE": "1" if options.fresh else ""}
        if options.fresh:  # What earlier sessions have kept lies elsewhere.
            environ["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
        plugin = ["-p", "bers_emit.pytest_plugin"] if options.alone else []
        if options.alone:
            environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        reporting = {**environ, "BERS_EMIT_URL": receiver.url, "PYTEST_ADDOPTS": f"--bers-cases={options.cases}"}
        sessions = {
            "without": (environ, [] if options.alone else ["-p", "no:bers-emit"]),
            "inert": (environ, plugin),
            "reporting": (reporting, plugin),
        }
        for variant in VARIANTS:  # Into the page cache, and compiled.
            run(folder, *sessions[variant])
        took: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        for turn in range(options.rounds):
            for variant in VARIANTS[turn % 3 :] + VARIANTS[: turn % 3]:
                took[variant].append(run(folder, *sessions[variant]))
            print(", ".join(f"{variant} {took[variant][-1]:.3f} s" for variant in VARIANTS), flush=True)
        ends = receiver.of("testsuiterun.finished")
        assert [end["measures"]["tests.passed"] for end in ends] == [options.tests] * (options.rounds + 1)
    for variant in VARIANTS[1:]:
        pairs = statistics.median(one / other for one, other in zip(took[variant], took["without"], strict=True))
        least = min(took[variant]) / min(took["without"])
        print(
            f"{options.tests} tests, {variant}: {percent(pairs)} CPU time (median of pairs), {percent(least)} (least)"
        )


def percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"


def run(folder: Path, environ: dict[str, str], options: list[str]) -> float:
    """The CPU seconds of one session."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(folder)],
        env=environ, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
