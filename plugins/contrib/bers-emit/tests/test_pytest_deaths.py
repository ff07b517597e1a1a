"""What is told of a session while it runs, and when its process dies or is stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bers_emit import Emitter
from bers_emit.testing import Receiver, cases_told, last_line, suite_end

pytest_plugins = ["pytester"]


def test_a_worker_that_dies_names_its_test(session: pytest.Pytester, receiver: Receiver) -> None:
    session.makepyfile("import os\ndef test_dies(): os._exit(9)\ndef test_lives(): pass")
    result = session.runpytest_subprocess("-n2")
    event = suite_end(receiver)
    assert last_line(event["measures"]) == result.parseoutcomes() == {"passed": 1, "failed": 1}
    [(name, (outcome, reason))] = cases_told(receiver).items()
    assert name.endswith("::test_dies") and outcome == "failure" and "crashed while running" in str(reason)


@pytest.mark.parametrize("last", ["os._exit(9)", "os.kill(os.getpid(), 9)"])
def test_a_process_that_dies_leaves_the_name_of_its_last_test(
    last: str, session: pytest.Pytester, receiver: Receiver
) -> None:
    session.makepyfile(f"import os\ndef test_lives(): pass\ndef test_dies(): {last}\ndef test_never(): pass")
    session.runpytest_subprocess()
    assert receiver.of("testsuiterun.finished") == []
    with Emitter(receiver.url) as next_one:
        next_one.flush(60)
    [started], [lost] = receiver.of("testsuiterun.started"), receiver.of("testsuiterun.lost")
    assert (lost["subject"], lost["outcome"], lost["labels"]) == (started["subject"], "error", started["labels"])
    assert lost["data"]["test"].endswith("::test_dies") and lost["data"]["test"] in lost["reason"]
    assert lost["time"][:17] >= started["time"][:17]


def test_what_a_process_said_last_is_taken_back_by_itself_alone(
    session: pytest.Pytester, receiver: Receiver, spool: Path
) -> None:
    session.makepyfile("""
        import os, sys
        def test_forks():
            child = os.fork()
            if not child:
                os._exit(0)
            os.waitpid(child, 0)
        def test_dies_beside_a_child():
            if os.fork():
                os._exit(9)
            import time
            time.sleep(60)
    """)
    session.run(sys.executable, "-m", "pytest", "-s")
    with Emitter(receiver.url) as next_one:  # The child still lives, and must not hold what its parent left.
        end = time.monotonic() + 60  # It lets go of it as it begins to run, which may be later than we do.
        while not receiver.of("testsuiterun.lost") and time.monotonic() < end:
            next_one.flush(1)
    [lost] = receiver.of("testsuiterun.lost")
    assert lost["data"]["test"].endswith("test_dies_beside_a_child")
    assert list(spool.iterdir()) == []


def test_secrets_in_the_names_of_tests_stay_here(
    session: pytest.Pytester, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOY_TOKEN", "hunter2-hunter2")
    session.makepyfile("""
        import os, pytest
        @pytest.mark.parametrize("token", [os.environ["DEPLOY_TOKEN"]])
        def test_it(token): os.kill(os.getpid(), 9)
    """)
    session.runpytest_subprocess()
    with Emitter(receiver.url) as next_one:
        next_one.flush(60)
    assert receiver.of("testsuiterun.lost")[0]["data"]["test"].endswith("test_it[***]")
    assert "hunter2" not in json.dumps(receiver.events)


def test_a_session_is_live(session: pytest.Pytester, receiver: Receiver) -> None:
    path = session.makepyfile("""
        import pathlib, time
        def test_passes(): pass
        def test_fails(): assert 0
        def test_waits():
            while not pathlib.Path("go").exists(): time.sleep(0.01)
    """)
    process = subprocess.Popen([sys.executable, "-m", "pytest", str(path)], stdout=subprocess.DEVNULL)
    try:
        receiver.wait(lambda: bool(receiver.of("testcaserun.finished")), 30)
        receiver.wait(lambda: any(event["data"]["running"] for event in receiver.of("testsuiterun.progress")), 30)
        progress = receiver.of("testsuiterun.progress")[-1]
        assert progress["measures"] == {"progress.passed": 1, "progress.failed": 1, "progress.selected": 3}
        assert progress["data"]["running"] == ["test_a_session_is_live.py::test_waits"]
        assert receiver.of("testsuiterun.finished") == []
        (session.path / "go").touch()
        assert process.wait(30) == 1
    finally:
        process.kill()
        process.wait()
    assert suite_end(receiver)["measures"]["tests.total"] == 3


def test_a_session_that_is_asked_to_stop_is_cancelled(session: pytest.Pytester, receiver: Receiver) -> None:
    path = session.makepyfile("import time\ndef test_waits(): time.sleep(60)")
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)  # Whoever started us in the background has it ignored.
    try:
        process = subprocess.Popen([sys.executable, "-m", "pytest", str(path)], stdout=subprocess.DEVNULL)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        receiver.wait(lambda: any(event["data"]["running"] for event in receiver.of("testsuiterun.progress")), 30)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 2
    finally:
        process.kill()
        process.wait()
    event = suite_end(receiver)
    assert event["outcome"] == "cancel" and event["measures"]["tests.total"] == 0
