"""What the emitter costs: a call, a start, and a command under `run`, beside what cannot be saved.

    python tests/bench/emitter.py [--calls 100000] [--rounds 20]

A call is measured by wall time and by the CPU time of its thread, with a server that takes everything and with one that
is down. Starts and commands are measured by the CPU time of the process, and by the best wall time of many, beside a
Python that does nothing; the server is in another process.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from bers_emit import Emitter

SERVE = """
import sys
from bers_emit.testing import Receiver

with Receiver() as receiver:
    print(receiver.url, flush=True)
    sys.stdin.read()
"""


def main(calls: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder, _server() as url:
        for name, address in (("takes all", url), ("is down", "http://127.0.0.1:1")):
            wall, cpu = _calls(calls, address, f"{folder}/spool")
            print(f"emit, server {name:9}: wall {_shown(wall)}; cpu {_shown(cpu)}")
        base = {key: value for key, value in os.environ.items() if not key.startswith("BERS_")}
        base["BERS_EMIT_SPOOL"] = f"{folder}/starts"
        base.pop("PYTHONDONTWRITEBYTECODE", None)
        base["PYTHONPYCACHEPREFIX"] = f"{folder}/compiled"  # As where it is installed.
        told, down = {**base, "BERS_EMIT_URL": url}, {**base, "BERS_EMIT_URL": "http://127.0.0.1:1"}
        script = ["sh", "-c", "exit 0"]
        program = [sys.executable, "-c", "import sys; from bers_emit.cli import main; sys.exit(main())"]
        python, alone = [sys.executable, "-c", "pass"], _starts(script, base, rounds)
        nothing = _starts(python, base, rounds)
        print(f"python -c pass       : {nothing[0]:6.1f} ms cpu, {nothing[1]:6.1f} ms wall")
        for title, arguments, environ, less in (
            ("--help", ["--help"], base, 0.0),
            ("run, no URL", ["run", "--", *script], base, alone[1]),
            ("run, all is well", ["run", "--", *script], told, alone[1]),
            ("run, server is down", ["run", "--", *script], down, alone[1]),
            ("TYPE, all is well", ["a.b"], told, 0.0),
        ):
            cpu_ms, wall_ms = _starts([*program, *arguments], environ, rounds)
            print(
                f"{title:21}: {cpu_ms:6.1f} ms cpu, {cpu_ms / nothing[0]:4.1f} times a Python that does nothing; "
                f"added {wall_ms - less:6.1f} ms wall"
            )


def _calls(calls: int, url: str, spool: str) -> tuple[list[float], list[float]]:
    wall: list[float] = []
    cpu: list[float] = []
    with Emitter(url, spool=spool, budget=30 if calls < 1000 else 0) as emitter:
        for number in range(calls):
            begun, spent = time.perf_counter(), time.thread_time()
            emitter.emit(
                "build.finished",
                subject="widget/7",
                environment="staging",
                outcome="success",
                duration_ms=float(number),
                measures={"bundle.size.raw": 412_331},
                labels={"build": "widget"},
            )
            cpu.append(time.thread_time() - spent)
            wall.append(time.perf_counter() - begun)
    return wall, cpu


def _shown(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    median, late = (ordered[int(len(ordered) * share)] * 1e6 for share in (0.5, 0.99))
    return f"{median:5.1f} us p50, {late:6.1f} us p99"


def _starts(command: Sequence[str], environ: dict[str, str], rounds: int) -> tuple[float, float]:
    """The least CPU time and the least wall time of so many, in milliseconds."""
    cpu = wall = float("inf")
    for _ in range(rounds):
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begun
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        cpu, wall = min(cpu, spent * 1000), min(wall, took * 1000)
    return cpu, wall


@contextmanager
def _server() -> Generator[str]:
    with subprocess.Popen([sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        try:
            yield process.stdout.readline().decode().strip()
        finally:
            process.stdin.close()
            process.wait(10)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    main(given.calls, given.rounds)
