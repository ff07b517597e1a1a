"""A deployment step that asks whether it may go."""

from __future__ import annotations

import json
import os
import time
from typing import Callable

import pytest

from bers_emit import Emitter
from bers_emit.cli import main
from bers_emit.testing import Receiver

InTime = Callable[[float, "Callable[[], object]"], None]
ASK = ["gate", "--env", "production", "--for", "staging-validation"]


def _says(receiver: Receiver, state: str, status: int = 200) -> None:
    data = {"state": state, "open": state == "open", "reason": f"it is {state}"}
    receiver.answer(status, body=json.dumps({"data": data, "error": {"message": "no"}}).encode())


@pytest.mark.parametrize(("state", "code", "said"), [
    ("open", 0, "open: it is open"),
    ("closed", 1, "closed: it is closed"),
    ("waiting", 1, "closed: it is waiting yet; --timeout 60s waits for it"),
])  # fmt: skip
def test_the_exit_code_is_the_answer(
    state: str,
    code: int,
    said: str,
    receiver: Receiver,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BERS_EMIT_TOKEN", "t0ken")
    _says(receiver, state)
    assert main([*ASK, "--service", "chat", "--version", "1.5+x", "--max-age", "24h"]) == code
    captured = capsys.readouterr()
    assert (captured.out if code == 0 else captured.err) == f"{said}\n"
    assert receiver.paths == [
        "/api/monitoring/gate/production?for=staging-validation&service=chat&version=1.5%2Bx&maxAge=86400.0"
    ]
    assert receiver.requests[0][0]["Authorization"] == "Bearer t0ken"


def test_it_waits_for_a_validation_as_long_as_it_may(receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    for state in ("waiting", "waiting", "open"):
        _says(receiver, state)
    assert main([*ASK, "--timeout", "20s"]) == 0
    assert len(receiver.requests) == 3
    for _ in range(9):
        _says(receiver, "waiting")
    start = time.monotonic()
    assert main([*ASK, "--timeout", "1s"]) == 1
    assert time.monotonic() - start < 10  # Nine answers would take twice that.
    assert capsys.readouterr().err == "closed: it is waiting within 1 s\n"


def test_a_closed_gate_is_not_waited_for(receiver: Receiver) -> None:
    _says(receiver, "closed")
    _says(receiver, "open")
    assert main([*ASK, "--timeout", "20s"]) == 1
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(("more", "code"), [([], 0), (["--fail-closed"], 1)])
@pytest.mark.parametrize("trouble", ["down", "hung", "500", "401", "404", "no json", "inert"])
def test_where_nobody_says_it_may_go_with_a_warning_unless_told_otherwise(
    trouble: str,
    more: list[str],
    code: int,
    receiver: Receiver,
    in_time: InTime,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if trouble == "down":
        monkeypatch.setenv("BERS_EMIT_URL", "http://127.0.0.1:1")
    elif trouble == "inert":
        monkeypatch.delenv("BERS_EMIT_URL")
    elif trouble == "hung":
        receiver.hang_after = 0
    elif trouble == "no json":
        receiver.answer(200, body=b"<html>please log in</html>")
    else:
        receiver.answer(int(trouble))

    def ask() -> None:
        assert main([*ASK, *more]) == code
        error = capsys.readouterr().err
        assert "nobody says whether it may go" in error
        assert error.count("\n") == 1

    in_time(6.0, ask)


def test_a_server_that_comes_back_within_the_timeout_is_heard(receiver: Receiver) -> None:
    receiver.answer(503)
    _says(receiver, "open")
    assert main([*ASK, "--fail-closed", "--timeout", "20s"]) == 0


def test_a_wrong_question_is_wrong_usage(receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    _says(receiver, "x", 422)
    assert main([*ASK]) == 2
    assert capsys.readouterr().err == "wrong: no\n"


def test_what_a_server_says_is_one_line_and_no_command_of_a_terminal(
    receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {"state": "closed", "open": False, "reason": "\x1b[2Jno\n::stop-commands::x\r\u2028\x9b"}
    receiver.answer(200, body=json.dumps({"data": told}).encode())
    assert main(ASK) == 1
    assert capsys.readouterr().err == "closed:  [2Jno ::stop-commands::x   \n"


def test_an_answer_that_is_nested_without_end_says_nothing(
    receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.answer(200, body=b"[" * 1_000_000)
    assert main(ASK) == 0
    assert "nobody says" in capsys.readouterr().err


def test_the_password_in_an_address_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BERS_EMIT_URL", "http://me:hunter2@127.0.0.1:1/base")
    assert main(ASK) == 0
    with Emitter(os.environ["BERS_EMIT_URL"]) as emitter:
        emitter.emit("build.started")
    main(["flush", "--deadline", "1s"])
    found = "".join(capsys.readouterr())
    assert "http://127.0.0.1:1/base" in found
    assert "hunter2" not in found
