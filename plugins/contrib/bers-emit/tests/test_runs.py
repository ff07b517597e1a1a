"""Commands under ``run``: nothing about them changes, and their end is reported."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Callable

import pytest

from bers_emit import Activity, Emitter, folder, run
from bers_emit.runs import Signals, run_with
from bers_emit.testing import Receiver

# The tests' own process has threads, and these commands and terminals are born by fork.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
WRAPPED = [sys.executable, "-m", "bers_emit", "run"]
InTime = Callable[[float, "Callable[[], object]"], None]


@pytest.fixture(autouse=True)
def default_signals() -> Generator[None, None, None]:
    """A background job ignores some signals, and ``run`` keeps that for its child; these tests need them."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
    ignored = [number for number in numbers if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


EXITS = [
    ("exit 0", 0, "success", None),
    ("exit 1", 1, "failure", "exit code 1"),
    ("exit 3", 3, "failure", "exit code 3"),
    ("exit 126", 126, "failure", "exit code 126"),
    ("exit 143", 143, "failure", "exit code 143"),
    ("kill -KILL $$", 137, "failure", "killed by SIGKILL"),
    ("kill -TERM $$", 143, "failure", "killed by SIGTERM"),
]


@pytest.mark.parametrize(("script", "code", "outcome", "reason"), EXITS)
def test_the_exit_code_is_the_commands(
    script: str, code: int, outcome: str, reason: str | None, receiver: Receiver
) -> None:
    done = subprocess.run(
        [*WRAPPED, "--kind", "build", "--name", "app", "--env", "staging", "--", "sh", "-c", script], check=False
    )
    assert done.returncode == code
    [started], [finished] = receiver.of("build.started"), receiver.of("build.finished")
    assert started["subject"] == finished["subject"]
    assert finished["environment"] == "staging"
    assert finished["labels"] == {"build": "app"}
    assert (finished["outcome"], finished.get("reason")) == (outcome, reason)
    assert finished["data"] == {"command": "sh"}
    assert finished["measures"]["exit_code"] == code
    assert finished["measures"]["max_rss_bytes"] > 100_000
    assert {"cpu_user_ms", "cpu_system_ms"} < set(finished["measures"])


def test_a_command_that_cannot_start_is_127_or_126(receiver: Receiver, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    for command, code, text in (
        ("no-such-command", 127, "not found"),
        (str(plain), 126, "denied"),
        (str(tmp_path), 126, ""),
    ):
        done = subprocess.run([*WRAPPED, "--", command], capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert done.stderr.startswith(f"bers-emit: '{command}': ")
        assert text in done.stderr
    assert [event["measures"]["exit_code"] for event in receiver.of("task.finished")] == [127, 126, 126]
    assert {event["outcome"] for event in receiver.of("task.finished")} == {"failure"}


def test_a_script_that_names_no_interpreter_runs_as_in_a_shell(receiver: Receiver, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$1"; exit 7\n')
    script.chmod(0o755)
    done = subprocess.run([*WRAPPED, "--", str(script), "a b"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (7, "a b\n")
    script.write_bytes(b"\x7fELF\0\0")
    done = subprocess.run([*WRAPPED, "--", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, "Exec format error" in done.stderr) == (126, True)


def test_the_duration_is_the_commands(receiver: Receiver) -> None:
    start = time.perf_counter()
    subprocess.run([*WRAPPED, "--", "sleep", "0.5"], check=True)
    assert 500 <= receiver.of("task.finished")[0]["duration_ms"] < (time.perf_counter() - start) * 1000


def test_arguments_are_reported_on_demand_alone(receiver: Receiver) -> None:
    subprocess.run([*WRAPPED, "--", "echo", "a", "b"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*WRAPPED, "--capture-args", "--", "echo", "a", "--", "b"], check=True, stdout=subprocess.DEVNULL)
    first, second = receiver.of("task.finished")
    assert first["data"] == {"command": "echo"}
    assert second["data"] == {"command": "echo", "args": ["a", "--", "b"]}


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGQUIT"])
def test_a_signal_reaches_the_child_which_cleans_up(name: str, receiver: Receiver, tmp_path: Path) -> None:
    cleanup = f"echo cleaned > {tmp_path}/out; exit 5"
    script = f"trap '{cleanup}' {name[3:]}; echo $$ > {tmp_path}/pid; echo up; while :; do sleep 0.05; done"
    with _running("--kind", "deploy", "--", "sh", "-c", script) as wrapper:
        assert wrapper.stdout is not None
        assert wrapper.stdout.readline() == b"up\n"
        wrapper.send_signal(signal.Signals[name])
        assert wrapper.wait(30) == 5
    assert (tmp_path / "out").read_text() == "cleaned\n"
    with pytest.raises(ProcessLookupError):  # No orphan.
        os.kill(int((tmp_path / "pid").read_text()), 0)
    [finished] = receiver.of("deployment.finished")
    assert (finished["outcome"], finished["reason"]) == ("cancel", f"stopped by {name}")


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGUSR2"])
def test_signals_of_a_users_own_are_passed_on_and_stop_nothing(name: str, receiver: Receiver) -> None:
    script = f"trap 'echo usr; exit 0' {name[3:]}; echo up; while :; do sleep 0.05; done"
    with _running("--", "sh", "-c", script) as wrapper:
        assert wrapper.stdout is not None
        assert wrapper.stdout.readline() == b"up\n"
        wrapper.send_signal(signal.Signals[name])
        assert wrapper.stdout.read() == b"usr\n"
        assert wrapper.wait(30) == 0
    assert receiver.of("task.finished")[0]["outcome"] == "success"


def test_an_interrupt_without_a_terminal_is_passed_on(receiver: Receiver) -> None:
    """CI systems cancel a step so; only a terminal would have told the child already."""
    script = "trap 'echo int; exit 130' INT; echo up; while :; do sleep 0.05; done"
    with _running("--", "sh", "-c", script) as wrapper:
        assert wrapper.stdout is not None
        assert wrapper.stdout.readline() == b"up\n"
        wrapper.send_signal(signal.SIGINT)
        assert wrapper.stdout.read() == b"int\n"
        assert wrapper.wait(30) == 130
    [finished] = receiver.of("task.finished")
    assert (finished["outcome"], finished["reason"]) == ("cancel", "stopped by SIGINT")


def test_an_interrupt_at_the_terminal_reaches_the_child_once(receiver: Receiver) -> None:
    script = """
import time
try:
    print("up", flush=True)
    time.sleep(30)
except KeyboardInterrupt:
    print("bye", flush=True)
    time.sleep(0.1)
    raise SystemExit(130)
"""
    code, output = _in_terminal([*WRAPPED, "--", sys.executable, "-c", script], interrupt_after=b"up")
    assert code == 130
    assert output.count(b"bye") == 1
    [finished] = receiver.of("task.finished")
    assert (finished["outcome"], finished["reason"]) == ("cancel", "stopped by SIGINT")


def test_terminals_stay_terminals(receiver: Receiver) -> None:
    script = "import os; print([os.isatty(fd) for fd in (0, 1, 2)])"
    code, output = _in_terminal([*WRAPPED, "--", sys.executable, "-c", script])
    assert (code, output.strip()) == (0, b"[True, True, True]")


def test_pipes_stay_pipes(receiver: Receiver) -> None:
    done = subprocess.run([*WRAPPED, "--", "cat"], input=b"\0\xff" * 100_000, capture_output=True, check=True)
    assert done.stdout == b"\0\xff" * 100_000
    assert done.stderr == b""


def test_a_closed_pipe_ends_the_child_as_ever(receiver: Receiver) -> None:
    command = " ".join([*WRAPPED, "--", "yes", "| head -1; echo ${PIPESTATUS[0]}"])
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout.split() == ["y", str(128 + signal.SIGPIPE)]


def test_a_run_inside_a_run_names_its_parent(receiver: Receiver) -> None:
    subprocess.run([*WRAPPED, "--kind", "deploy", "--", *WRAPPED, "--kind", "build", "--", "true"], check=True)
    [outer], [inner] = receiver.of("deployment.finished"), receiver.of("build.finished")
    assert inner["data"] == {"command": "true", "parent": outer["subject"]}
    assert inner["chain"] == outer["chain"] == outer["subject"]


ECHO = ["sh", "-c", 'echo "$TRACEPARENT $BERS_PARENT"']


def test_a_trace_is_kept_or_begun_and_is_that_of_all_inside(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.run([*WRAPPED, "--", *WRAPPED, "--", *ECHO], check=True, capture_output=True, text=True)
    trace, parent = done.stdout.split()
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", trace)
    assert {event["traceparent"] for event in receiver.events} == {trace}
    assert parent in {event["subject"] for event in receiver.events}
    monkeypatch.setenv("TRACEPARENT", given := f"00-{'a' * 32}-{'b' * 16}-00")
    done = subprocess.run([*WRAPPED, "--", *ECHO], check=True, capture_output=True, text=True)
    assert done.stdout.split()[0] == given
    assert receiver.of("task.finished")[-1]["traceparent"] == given


def test_without_a_url_a_command_has_the_environment_that_it_had(spool: Path) -> None:
    done = subprocess.run([*WRAPPED, "--", "env"], check=True, capture_output=True, text=True)
    assert "BERS_PARENT" not in done.stdout
    assert "TRACEPARENT" not in done.stdout
    assert not spool.exists()


def test_arguments_that_are_secrets_are_hidden(receiver: Receiver) -> None:
    command = ["true", "--token", "abc", "--password=def", "https://user:pw@example.org/", "-v"]
    subprocess.run([*WRAPPED, "--capture-args", "--", *command], check=True)
    [finished] = receiver.of("task.finished")
    assert finished["data"]["args"] == ["--token", "***", "--password=***", "https://***@example.org/", "-v"]


@pytest.mark.usefixtures("usual_budget")
def test_a_budget_of_its_own(receiver: Receiver, in_time: InTime) -> None:
    receiver.hang_after = 0

    def run() -> None:
        start = time.monotonic()
        subprocess.run([*WRAPPED, "--budget", "2.5s", "--", "true"], check=True)
        assert time.monotonic() - start >= 2.5

    in_time(3.0 + 1.0, run)


@pytest.mark.usefixtures("usual_budget")
@pytest.mark.parametrize("trouble", ["down", "hung", "500", "unresolvable", "no disk"])
def test_a_server_in_trouble_changes_nothing_and_costs_little(
    trouble: str, receiver: Receiver, in_time: InTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.hang_after = 0 if trouble == "hung" else None
    receiver.answer(500, times=99)
    urls = {"down": "http://127.0.0.1:1", "unresolvable": "http://no.such.host.invalid"}
    monkeypatch.setenv("BERS_EMIT_URL", urls.get(trouble, receiver.url))
    if trouble == "no disk":
        monkeypatch.setenv("BERS_EMIT_SPOOL", "/dev/full/spool")

    def run() -> None:
        done = subprocess.run([*WRAPPED, "--", "sh", "-c", "echo out; exit 3"], capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"")

    in_time(1.5 + 1.0, run)


@pytest.mark.usefixtures("usual_budget")
def test_in_ci_the_budget_is_three_seconds(
    receiver: Receiver, in_time: InTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.hang_after = 0
    monkeypatch.setenv("CI", "1")

    def run() -> None:
        assert subprocess.run([*WRAPPED, "--", "sh", "-c", "exit 137"], check=False).returncode == 137

    in_time(3.5 + 1.0, run)


def test_without_a_url_the_command_runs_alone(spool: Path) -> None:
    assert subprocess.run([*WRAPPED, "--", "sh", "-c", "kill -KILL $$"], check=False).returncode == 137
    assert not spool.exists()


def test_a_killed_wrapper_has_told_the_start(receiver: Receiver, spool: Path) -> None:
    with _running("--", "sh", "-c", "echo $$; exec sleep 30") as wrapper:
        assert wrapper.stdout is not None
        child = int(wrapper.stdout.readline())
        wrapper.kill()
        wrapper.wait()
        os.kill(child, signal.SIGKILL)
    with Emitter(receiver.url) as emitter:
        emitter.flush(60)
    assert len(receiver.of("task.started")) == 1
    assert receiver.of("task.finished") == []


def test_run_is_a_function_too_on_any_thread(receiver: Receiver) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    codes: list[int] = []
    with Emitter(receiver.url) as emitter:
        codes.append(run(["sh", "-c", "exit 4"], kind="test", name="unit", emitter=emitter, labels={"team": "web"}))
        thread = threading.Thread(target=lambda: codes.append(run(["true"], emitter=emitter)))
        thread.start()
        thread.join()
    assert codes == [4, 0]
    assert receiver.of("testsuiterun.finished")[0]["labels"] == {"suite": "unit", "team": "web"}
    assert {number: signal.getsignal(number) for number in before} == before


def test_an_ignored_sigchld_hides_no_exit_code(receiver: Receiver) -> None:
    script = (
        "import os, signal, sys\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nos.execv(sys.argv[1], sys.argv[1:])"
    )
    assert (
        subprocess.run([sys.executable, "-c", script, *WRAPPED, "--", "sh", "-c", "exit 3"], check=False).returncode
        == 3
    )


def test_events_wait_for_the_next_run(nobody: str, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([*WRAPPED, "--", "true"], check=True)
    assert folder.status(str(spool))["waiting"] == 2
    with Receiver() as receiver:
        monkeypatch.setenv("BERS_EMIT_URL", receiver.url)
        subprocess.run([*WRAPPED, "--", "true"], check=True)
        assert len(receiver.of("task.finished")) == 2
    assert list(spool.glob("*")) == []


@contextlib.contextmanager
def _running(*command: str) -> Generator[subprocess.Popen[bytes], None, None]:
    """A wrapped command at work; neither it nor its child outlives the block, whatever a test finds."""
    with subprocess.Popen([*WRAPPED, *command], stdout=subprocess.PIPE, start_new_session=True) as wrapper:
        try:
            yield wrapper
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(wrapper.pid, signal.SIGKILL)


def _in_terminal(command: list[str], interrupt_after: bytes = b"") -> tuple[int, bytes]:
    """Run a command with a terminal of its own; return its exit code and what it wrote."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(command[0], command)
    output = b""
    while True:
        try:
            output += os.read(terminal, 4096)
        except OSError:  # Linux's way to say that the other end is closed.
            break
        if interrupt_after and interrupt_after in output:
            interrupt_after = b""
            os.write(terminal, b"\x03")
    os.close(terminal)
    return os.WEXITSTATUS(os.waitpid(child, 0)[1]), output


class Sizes:
    """Goes along, tells the command what it needs, and reports what that left."""

    def before(self, activity: Activity, environ: dict[str, str]) -> None:
        environ["OUT"] = "7"

    def after(self, activity: Activity, code: int) -> None:
        time.sleep(0.3)
        activity.measure("files", code)
        activity.emit("artifact.packaged", data={"asset": "main.js"})


class Broken:
    """Does all that it can to spoil a run."""

    def before(self, activity: Activity, environ: dict[str, str]) -> None:
        raise RuntimeError("before")

    def after(self, activity: Activity, code: int) -> None:
        raise RuntimeError("after")


def test_what_goes_along_reports_what_the_command_left_and_spoils_nothing(receiver: Receiver) -> None:
    with Emitter(receiver.url) as emitter, Signals() as signals:
        argv = ["sh", "-c", "exit $OUT"]
        assert run_with(signals, argv, kind="build", emitter=emitter, companions=[Broken(), Sizes(), Broken()]) == 7
    [finished], [asset] = receiver.of("build.finished"), receiver.of("artifact.packaged")
    assert finished["measures"]["files"] == 7
    assert finished["duration_ms"] < 300
    assert asset["data"] == {"parent": finished["subject"], "asset": "main.js"}
    assert asset["chain"] == finished["chain"]
