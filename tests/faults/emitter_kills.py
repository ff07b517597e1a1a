"""Kills of emitters and of their server: the metrics are those of a run in which nobody was ever killed.

    python -m tests.faults.emitter_kills [--events 10000] [--seed 1] [--kills 60]

Each of three emitters is a process that emits its share in an order of chance, some events twice, and is started anew
where it was killed. The server is `bers start`. All events have times and ids of their own, so that two runs are alike.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeAlias

from bers_builtin.sinks.rest_store import read_windows
from bers_emit import folder as spools
from tests.acceptance.conftest import Operator
from tests.integration.processes import configure, environ, free_ports, ready, spawned

EMITTERS = 3
SOURCE = "/ci/campaign"
METRICS = frozenset(
    {
        "build_performance",
        "build_total",
        "build_success_rate",
        "build_phase_time",
        "deployment_performance",
        "deployment_total",
        "deployment_success_rate",
        "test_suite_duration",
        "test_count",
        "test_failure_rate",
        "bundle_size_total",
    }
)
"""What follows from the events alone; how many are active depends on when they arrive."""

# One emitter: emits its share from where it was, and writes down how far it is after each event.
EMIT = """
import json, os, sys, time
from bers_emit import Emitter

share, progress, pause = sys.argv[1], sys.argv[2], float(sys.argv[3])
fd = os.open(progress, os.O_RDWR | os.O_CREAT)
begin = int(os.pread(fd, 20, 0) or 0)
with open(share) as file:
    events = [json.loads(line) for line in file]
emitter = Emitter(os.environ["BERS_EMIT_URL"])
for number in range(begin, len(events)):
    assert emitter.emit(events[number].pop("type"), **events[number])
    os.pwrite(fd, b"%20d" % (number + 1), 0)
    time.sleep(pause)
emitter.close()
"""

Fields: TypeAlias = dict[str, Any]
Row: TypeAlias = tuple[object, ...]


class Result(NamedTuple):
    """What a run ended in."""

    windows: list[Row]
    """Every window of every metric, as the store has it."""
    killed: int
    restarted: int
    """How often an emitter was killed, and how often the server."""

    def counted(self, metric: str) -> int:
        """How many samples of a metric there are in all."""
        return sum(int(str(row[4])) for row in self.windows if row[0] == metric)


def finished(told: Sequence[Fields], kind: str) -> int:
    """How many of a kind have finished, however often that was told."""
    return len({one["id"] for one in told if one["type"] == f"{kind}.finished"})


def events(count: int, rng: Random, now: float) -> list[Fields]:
    """So many events of builds, suites and deployments, with a tenth told twice, in an order of chance."""
    found: list[Fields] = []
    subject = 0
    while len(found) < count:
        subject += 1
        found += _activity(subject, rng, now - rng.randrange(5, 240))
    found = found[:count]
    found += [dict(one) for one in rng.sample(found, count // 10)]
    rng.shuffle(found)
    return found


def _activity(subject: int, rng: Random, began: float) -> list[Fields]:
    """One run. Many end in the same moment, as those do whose clocks know seconds alone."""
    kind = rng.choice(("build", "build", "testsuiterun", "deployment"))
    took = rng.choice((rng.randrange(1, 4000), 1000, 2000))
    outcome = rng.choice(("success", "success", "success", "failure"))
    both: Fields = {
        "subject": f"{kind}/{subject}",
        "source": SOURCE,
        "environment": rng.choice(("staging", "production")),
    }
    started = {**both, "type": f"{kind}.started", "id": f"s-{subject}", "time": began}
    finished = {
        **both,
        "type": f"{kind}.finished",
        "id": f"f-{subject}",
        "time": began + took / 1000,
        "outcome": outcome,
    }
    if rng.random() < 0.5:  # Else the time between the two is what is measured, in whatever order they come.
        finished["duration_ms"] = took
    if kind == "build":
        finished["measures"] = {"phase.bundle": took // 2, "bundle.size.raw": rng.randrange(1, 10**6)}
    elif kind == "testsuiterun":
        finished["measures"] = {
            "tests.total": (tests := rng.randrange(1, 400)),
            "tests.failed": rng.randrange(tests),
            "tests.errored": 0,
        }
        finished["labels"] = {"suite": rng.choice(("unit", "smoke"))}
    else:
        finished["service"] = rng.choice(("chat", "api"))
    return [started, finished]


class Run:
    """One server and its emitters in a folder."""

    def __init__(self, folder: Path, told: Sequence[Fields], *, pause: float, say: Callable[[str], None]) -> None:
        self.folder = folder
        self._say = say
        self._pause = pause
        folder.mkdir(parents=True)
        self._ports = free_ports()
        # Nobody is declared lost, and nothing is thinned or thrown away, while the two runs are compared.
        configure(
            folder,
            {
                "realtime: 300s, short_term: 60m, medium_term: 24h": "realtime: 2d, short_term: 3d, medium_term: 4d",
                "build: {}  ": "build: {lost_after: 9d}  ",
                "validation: {}  ": "validation: {lost_after: 9d}  ",
                "deployment: {}  ": "deployment: {lost_after: 9d}  ",
            },
            ports=self._ports,
        )
        for number in range(EMITTERS):
            share = told[number::EMITTERS]
            (folder / f"share-{number}").write_text("".join(json.dumps(one) + "\n" for one in share))
        self._environ = environ(folder, BERS_EMIT_URL=f"http://127.0.0.1:{self._ports['control']}")

    def undisturbed(self) -> Result:
        """Let everybody do their work."""
        with self._server() as server:
            for emitter in [self._emitter(number) for number in range(EMITTERS)]:
                assert emitter.wait(300) == 0
            self._flush()
            return Result(self._windows(server), 0, 0)

    def disturbed(self, rng: Random, kills: int) -> Result:
        """Kill emitters and the server at any moment, until the work is done and so many were killed."""
        killed = restarted = 0
        with ExitStack() as stack:
            emitters = [self._emitter(number) for number in range(EMITTERS)]
            stack.callback(_end, emitters)
            server = stack.enter_context(self._spawn())
            end = time.monotonic() + 900
            while any(one.poll() is None for one in emitters):
                assert time.monotonic() < end, "the emitters do not come to an end"
                time.sleep(rng.uniform(0.02, 0.4))
                if killed + restarted < kills:
                    if rng.random() < 0.25:
                        server.kill()  # At times before it has begun to listen.
                        server.wait()
                        server = stack.enter_context(self._spawn())
                        restarted += 1
                    else:
                        number = rng.randrange(EMITTERS)
                        emitters[number].kill()
                        emitters[number].wait()
                        killed += 1
                        self._say(f"{killed:4} emitters and {restarted} servers killed")
                for number, emitter in enumerate(emitters):
                    if emitter.poll() not in (None, 0):
                        emitters[number] = self._emitter(number)
            _end(emitters)
            operator = ready(self.folder, server, seconds=60)
            self._flush()
            return Result(self._windows(operator), killed, restarted)

    def _emitter(self, number: int) -> subprocess.Popen[bytes]:
        paths = [str(self.folder / f"{name}-{number}") for name in ("share", "progress")]
        return subprocess.Popen([sys.executable, "-c", EMIT, *paths, str(self._pause)], env=self._environ)

    @contextmanager
    def _server(self) -> Generator[Operator]:
        with self._spawn() as process:
            yield ready(self.folder, process, seconds=60)

    def _spawn(self) -> Any:
        return spawned(self.folder, "start")

    def _flush(self) -> None:
        """Send what killed emitters left, and see that nothing was refused or stays."""
        flush = [sys.executable, "-m", "bers_emit", "flush", "--deadline", "60s", "--strict"]
        done = subprocess.run(flush, env=self._environ, capture_output=True, text=True, check=False)
        left = spools.status(str(self.folder / "spool"))
        assert (done.returncode, left["waiting"], left["dead"]) == (0, 0, 0), (done, left)

    def _windows(self, server: Operator) -> list[Row]:
        """Stop the server, which writes down all that it knows, and read that."""
        server.process.terminate()
        assert server.process.wait(60) == 0
        rows: list[Row] = [
            (
                window.metric,
                tuple(sorted(window.labels)),
                window.start,
                window.width,
                window.count,
                round(window.sum, 6),  # The same numbers, added in another order.
                window.min,
                window.max,
                tuple(sorted(window.sketch.items())),
                window.seen[0],
                window.last,
            )
            for window in read_windows(self.folder / ".bers" / "metrics.db")
            if window.metric in METRICS
        ]
        return sorted(rows, key=repr)


def _end(emitters: Sequence[subprocess.Popen[bytes]]) -> None:
    for one in emitters:
        one.kill()
        one.wait()


def compare(
    folder: Path, *, count: int, kills: int, seed: int, pause: float, say: Callable[[str], None] = lambda line: None
) -> tuple[Result, Result]:
    """The same events, once undisturbed and once with kills; each is counted once in both."""
    rng = Random(seed)
    told = events(count, rng, float(int(time.time())))
    calm = Run(folder / "calm", told, pause=0.0, say=say).undisturbed()
    say(f"undisturbed: {sum(int(str(row[4])) for row in calm.windows)} measures in {len(calm.windows)} windows")
    killed = Run(folder / "kills", told, pause=pause, say=say).disturbed(rng, kills)
    for result in (calm, killed):
        assert result.counted("build_total") == finished(told, "build")
        assert result.counted("deployment_total") == finished(told, "deployment")
    return calm, killed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.emitter_kills")
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.005, help="Seconds of an emitter between two events.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        calm, killed = compare(
            Path(folder), count=given.events, kills=given.kills, seed=given.seed, pause=given.pause, say=print
        )
    same = calm.windows == killed.windows
    print(
        f"{given.events} events, {killed.killed} kills of emitters and {killed.restarted} of the server, in "
        f"{time.monotonic() - began:.0f} s: {len(calm.windows)} windows, which are {'' if same else 'NOT '}the same"
    )
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
