"""One process for one data directory; a killed one leaves no lock."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bers import ConfigError, lock

HOLD = """
import sys, time
from pathlib import Path
from bers import lock
with lock.hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


# Somebody who is kept from going on between asking and having been answered, as on a machine that is busy.
ASK = """
import fcntl, os, sys, time
from pathlib import Path
from bers import lock
path = Path(sys.argv[1]) / lock.PID_FILE
path.touch()
def flock(file, how, real=fcntl.flock):
    real(file, how)
    print("asking", flush=True)
    time.sleep(SECONDS)
fcntl.flock = flock
lock.holder(path.parent)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert process.stdout
    process.stdout.close()


def test_a_second_process_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        assert lock.holder(tmp_path) == process.pid
        with pytest.raises(ConfigError) as info, lock.hold(tmp_path):
            pass
    finally:
        end(process)
    assert str(info.value) == (
        f"data_dir: {str(tmp_path)!r} is in use by process {process.pid}; "
        "stop it with `bers stop`, or choose another directory"
    )


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    process = holder(tmp_path)
    end(process)
    assert (tmp_path / lock.PID_FILE).read_text() == f"{process.pid}\n"
    assert lock.holder(tmp_path) is None
    with lock.hold(tmp_path):
        assert lock.holder(tmp_path) == os.getpid()


def test_who_waits_gets_it_when_it_is_let_go(tmp_path: Path) -> None:
    program = HOLD.replace("time.sleep(60)", "time.sleep(0.2)")
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    with lock.hold(tmp_path, wait=30):
        assert lock.holder(tmp_path) == os.getpid()
    process.wait(30)
    process.stdout.close()


def test_who_only_asks_keeps_nobody_from_it_however_long_that_takes(tmp_path: Path) -> None:
    program = ASK.replace("SECONDS", "0.6")
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "asking\n"
        with lock.hold(tmp_path):
            assert lock.holder(tmp_path) == os.getpid()


def test_what_is_announced_is_found_only_while_it_runs(tmp_path: Path) -> None:
    assert lock.announced(tmp_path) is None
    with lock.hold(tmp_path):
        assert lock.announced(tmp_path) is None
        lock.announce(tmp_path, "http://127.0.0.1:3003", None)
        assert lock.announced(tmp_path) == ("http://127.0.0.1:3003", None)
        lock.announce(tmp_path, "http://127.0.0.1:3003", tmp_path / "pipelines.yaml")
        assert lock.announced(tmp_path) == ("http://127.0.0.1:3003", tmp_path / "pipelines.yaml")
        assert lock.holder(tmp_path) == os.getpid()
    assert lock.announced(tmp_path) is None
    assert (tmp_path / lock.PID_FILE).read_text() == ""


def test_the_directory_is_let_go_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), lock.hold(tmp_path):
        raise RuntimeError
    with lock.hold(tmp_path):
        pass


def test_what_a_killed_process_announced_is_not_taken_for_its_successors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the lock and the first line, the file is what was left."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path = tmp_path / lock.PID_FILE
    path.write_text(f"{gone.pid}\nhttp://127.0.0.1:3003\n\n")
    with path.open("r+") as successor:
        fcntl.flock(successor, fcntl.LOCK_EX)

        def come_to_it(seconds: float) -> None:
            path.write_text(f"{os.getpid()}\n")

        monkeypatch.setattr("time.sleep", come_to_it)
        assert lock.announced(tmp_path) is None
        assert lock.holder(tmp_path) == os.getpid()


def test_a_holder_that_cannot_be_seen_from_here_is_believed_after_a_moment(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path = tmp_path / lock.PID_FILE
    path.write_text(f"{gone.pid}\nhttp://127.0.0.1:3003\n\n")
    with path.open("r+") as elsewhere:
        fcntl.flock(elsewhere, fcntl.LOCK_EX)
        assert lock.announced(tmp_path) == ("http://127.0.0.1:3003", None)
