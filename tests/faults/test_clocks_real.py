"""The same with a real process: its wall clock is set, and it is stopped, from outside."""

import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Operator
from tests.integration.processes import at_leisure, configure, started

HOUR = 3600.0
SHIM = Path(__file__).with_name("wall_clock.c")


@pytest.fixture(scope="session")
def wall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that lets the wall clock of one process be set."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: the clock of this machine is not ours to set")
    library = tmp_path_factory.mktemp("wall") / "wall.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(SHIM), "-ldl"], check=True)
    return library


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_wall_clock_that_is_set_and_set_right_again(step: float, tmp_path: Path, wall: Path) -> None:
    configure(tmp_path, {"store: {use: rest-store, ": "store: {use: rest-store, fold_every: 1s, "})
    wrong = tmp_path / "wrong"
    wrong.write_text("0")
    with started(tmp_path, LD_PRELOAD=str(wall), BERS_TEST_WALL=str(wrong)) as server:
        began = time.time()
        emit(server, "before", 5, 0)
        time.sleep(2)
        wrong.write_text(f"{step:.0f}")
        jumps(server, 1)
        emit(server, "wrong", 5, step)
        time.sleep(3)  # Folded and swept, twice at least.
        wrong.write_text("0")
        jumps(server, 2)
        emit(server, "after", 5, 0)
        server.until("metrics/build_performance?period=4m", lambda data: data["count"] == 10)
        era = f"from={round((began + step - 60) * 1000)}&to={round((began + step + 60) * 1000)}"
        assert server.data(f"metrics/build_performance?{era}")["count"] == 5
        told = server.data("records?type=clock.jumped")
        assert {round(record["data"]["seconds"]) for record in told} == {-step, step}
        readings = server.data("metrics/system_memory_usage?period=4m&step=1s")["series"][0]["points"]
        counts = {start // 1000: count for start, count, *_ in readings}
        for first in counts:  # One that is late may come in the second of the next.
            for last in (second for second in counts if second >= first):
                assert sum(counts.get(second, 0) for second in range(first, last + 1)) <= last - first + 2, counts
        found = server.data("availability")
        assert (found["percent"], found["gapCount"]) == (100.0, 0)
        assert {alert["rule"] for alert in server.data("alerts")} <= {"Clock Was Set"}
        assert health(server)["details"]["clock"]["jumps"] == {"step": 2}


def test_a_process_that_was_stopped_says_for_how_long(tmp_path: Path) -> None:
    configure(tmp_path)
    with started(tmp_path) as server:
        emit(server, "before", 5, 0)
        time.sleep(1.5)
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(8)
        server.process.send_signal(signal.SIGCONT)
        (told,) = jumps(server, 1)
        assert told["data"]["cause"] == "stop" and 6 < told["data"]["seconds"] < 8 + at_leisure(2)
        emit(server, "after", 5, 0)
        server.until("metrics/build_performance?period=4m", lambda data: data["count"] == 10)
        (gap,) = server.data("availability")["gaps"]
        assert gap["duration"] == pytest.approx(told["data"]["seconds"] * 1000, abs=1)
        line = next(line for line in server.log("monitoring") if "was stopped" in line["message"])
        assert line["level"] == "WARNING"


def emit(server: Operator, name: str, count: int, step: float) -> None:
    """Builds that end now, by the clock of the server."""
    now = time.time() + step
    server.emit(
        *(
            {"id": f"{name}-{n}", "source": "/ci", "type": "build.finished", "time": now, "subject": f"{name}-{n}",
             "outcome": "success", "duration": 100 + n}
            for n in range(count)
        )
    )  # fmt: skip


def jumps(server: Operator, count: int) -> list[Any]:
    found: list[Any] = server.until(
        "records?type=clock.jumped", lambda records: len(records) == count, seconds=at_leisure(10)
    )
    return found


def health(server: Operator) -> Any:
    return next(check for check in server.data("health")["checks"] if check["name"] == "metrics-collector")
