"""What goes over the wire, and what the answers mean."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path
from typing import Callable

import pytest

from bers_emit import Emitter, folder
from bers_emit.testing import Receiver

InTime = Callable[[float, "Callable[[], object]"], None]


def _dead(spool: Path) -> list[tuple[str, str]]:
    """Type and reason of each dead letter."""
    lines = [line for file in (spool / "dead").glob("*.ndjson") for line in file.read_text().splitlines()]
    return [(json.loads(line)["event"]["type"], json.loads(line)["reason"]) for line in lines]


def test_a_batch_is_a_json_array_with_a_bearer_token(receiver: Receiver) -> None:
    with Emitter(receiver.url + "/", token="t0ken") as emitter:
        emitter.emit("a.b")
    headers, body = receiver.requests[0]
    assert headers["Authorization"] == "Bearer t0ken"
    assert headers["Content-Type"] == "application/json"
    assert "Content-Encoding" not in headers
    assert [event["type"] for event in json.loads(body)] == ["a.b"]


def test_a_large_batch_is_gzipped(receiver: Receiver) -> None:
    with Emitter(receiver.url) as emitter:
        emitter.emit("a.b", data="x" * 10_000)
    headers, body = receiver.requests[0]
    assert headers["Content-Encoding"] == "gzip"
    assert len(body) < 1000
    assert json.loads(gzip.decompress(body))[0]["data"] == "x" * 10_000


@pytest.mark.parametrize("status", [408, 429, 500, 301])
def test_what_may_pass_is_tried_again(status: int, receiver: Receiver) -> None:
    receiver.answer(status)
    with Emitter(receiver.url) as emitter:
        emitter.emit("a.b")
        assert emitter.flush(60)
    assert len(receiver.events) == 1
    assert len(receiver.requests) == 2


@pytest.mark.parametrize("when", ["1", "date"])
def test_retry_after_is_honoured(when: str, receiver: Receiver) -> None:
    begun = int(time.time())
    receiver.answer(503, {"Retry-After": formatdate(begun + 2, usegmt=True) if when == "date" else when})
    with Emitter(receiver.url) as emitter:
        emitter.emit("a.b")
        assert emitter.flush(60)  # Which would not wait for a time that is later than that.
    first, second = receiver.times
    assert second - first >= 0.99 if when == "1" else second >= begun + 1.99
    assert len(receiver.events) == 1


def test_nobody_waits_for_a_time_beyond_the_budget(receiver: Receiver) -> None:
    receiver.answer(429, {"Retry-After": "60"})
    with Emitter(receiver.url, budget=50) as emitter:
        emitter.emit("a.b")
        receiver.wait(lambda: len(receiver.requests) == 1)
        start = time.monotonic()
        emitter.flush(50)
        emitter.close()
        assert time.monotonic() - start < 25
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_what_is_refused_for_good_goes_to_the_dead_letters(status: int, receiver: Receiver, spool: Path) -> None:
    receiver.answer(status, body=b'{"success": false, "error": {"code": "x", "message": "no such thing"}}')
    with Emitter(receiver.url) as emitter:
        emitter.emit("a.b")
        emitter.flush(60)
        emitter.emit("a.c")
        emitter.flush(60)
        assert emitter.refused == 1
    [(type, reason)] = _dead(spool)
    assert type == "a.b"
    assert reason.startswith(f"{status} ")
    assert reason.endswith(": no such thing")
    assert [event["type"] for event in receiver.events] == ["a.c"]


@pytest.mark.parametrize("status", [401, 403, 404, 405, 410])
def test_what_a_wrong_key_or_address_is_told_loses_nothing(
    status: int, receiver: Receiver, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answer(status, body=b'{"error": {"message": "this key does not open it"}}', times=99)
    start = time.monotonic()
    with Emitter(receiver.url, token="old-key-1") as emitter:
        emitter.emit("a.b")
        assert not emitter.flush(60)
        assert "this key does not open it" in emitter.error
        assert emitter.refused == 0
    assert time.monotonic() - start < 25  # Nothing is gained by waiting for the same answer.
    assert (folder.status(str(spool))["waiting"], folder.status(str(spool))["dead"]) == (1, 0)
    with Receiver() as mended, Emitter(mended.url, token="new-key-1") as emitter:
        assert emitter.flush(60)
        assert [event["type"] for event in mended.events] == ["a.b"]


def test_a_batch_that_is_too_large_for_a_proxy_is_halved(receiver: Receiver, spool: Path) -> None:
    with Emitter(receiver.url, budget=0) as emitter:
        receiver.limit = 60_000
        for number in range(40):
            emitter.emit("a.b", subject=str(number), data=os.urandom(3000).hex())
        emitter.emit("a.large", data=os.urandom(100_000).hex())
        assert emitter.flush(60)
        assert emitter.refused == 1
    assert sorted(int(event["subject"]) for event in receiver.of("a.b")) == list(range(40))
    assert receiver.duplicates == 0
    [(type, reason)] = _dead(spool)
    assert (type, reason[:4]) == ("a.large", "413 ")


def test_each_event_that_is_refused_has_a_reason_of_its_own(receiver: Receiver, spool: Path) -> None:
    details = [{"path": "[0]", "message": "no such outcome"}, {"path": "[1].time", "message": "odd"}]
    receiver.answer(422, body=json.dumps({"error": {"message": "none was taken", "details": details}}).encode())
    with Emitter("http://127.0.0.1:1", budget=0) as away:  # What was left behind travels together for certain.
        away.emit("a.b")
        away.emit("a.c")
    with Emitter(receiver.url) as emitter:
        emitter.flush(60)
    reasons = dict(_dead(spool))
    assert reasons["a.b"].endswith("none was taken: no such outcome")
    assert reasons["a.c"].endswith("none was taken")


def test_one_rejected_event_does_not_sink_its_batch(receiver: Receiver, spool: Path) -> None:
    receiver.rejects = lambda event: event["type"] == "a.bad"
    with Emitter(receiver.url) as emitter:
        for type in ("a.b", "a.bad", "a.c"):
            emitter.emit(type)
    assert [event["type"] for event in receiver.events] == ["a.b", "a.c"]
    assert _dead(spool) == [("a.bad", "rejected to order")]
    assert folder.status(str(spool))["waiting"] == 0


@pytest.mark.parametrize("body", [b"", b"[1]", b"null", b'{"data": {"rejected": [7, {"index": 99}, {"index": "x"}]}}'])
def test_an_odd_receipt_is_a_receipt(body: bytes, receiver: Receiver) -> None:
    receiver.answer(202, body=body)
    with Emitter(receiver.url) as emitter:
        emitter.emit("a.b")
        assert emitter.flush(60)
    assert len(receiver.requests) == 1


def test_a_page_of_somebody_else_is_no_receipt(receiver: Receiver) -> None:
    receiver.answer(200, body=b"<html>please log in</html>")
    with Emitter(receiver.url) as emitter:
        emitter.emit("a.b")
        assert emitter.flush(60)
    assert len(receiver.events) == 1


@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://x", "http://", "http://[", "http://host:port", "http://no.such.invalid"]
)
def test_an_address_that_is_none_costs_nothing_but_its_events_wait(url: str, spool: Path, in_time: InTime) -> None:
    def emit() -> None:
        shutil.rmtree(spool, ignore_errors=True)
        with Emitter(url, budget=1.0) as emitter:
            assert emitter.emit("a.b")
            assert not emitter.flush()
            emitter.budget = 0.0
        assert folder.status(str(spool))["waiting"] == 1

    in_time(2.0, emit)
    if not url.endswith(".invalid"):
        with Emitter(url, budget=0.0) as emitter:
            emitter.flush(30)
            assert emitter.error


SCRIPT = "from bers_emit import emit; assert emit('a.b')"


@pytest.mark.usefixtures("usual_budget")
@pytest.mark.parametrize("trouble", ["down", "hung", "500"])
def test_a_server_in_trouble_costs_at_most_the_exit_budget(
    trouble: str, receiver: Receiver, spool: Path, in_time: InTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.hang_after = 0 if trouble == "hung" else None
    receiver.answer(500, times=99)
    if trouble == "down":
        monkeypatch.setenv("BERS_EMIT_URL", "http://127.0.0.1:1")

    def run() -> None:
        shutil.rmtree(spool, ignore_errors=True)
        done = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, timeout=20)
        assert (done.stdout, done.stderr) == (b"", b"")
        assert folder.status(str(spool))["waiting"] == 1

    in_time(1.5 + 1.0, run)


@pytest.mark.parametrize(
    ("setting", "budget"),
    [("CI=true", 3.0), ("BERS_EMIT_BUDGET=200ms", 0.2), ("BERS_EMIT_BUDGET=2", 2.0), ("BERS_EMIT_BUDGET=soon", 1.0)],
)
def test_the_budget_is_longer_in_ci_and_can_be_set(
    setting: str, budget: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*setting.split("="))
    assert Emitter("http://127.0.0.1:1").budget == budget


def test_events_arrive_while_the_process_works(receiver: Receiver) -> None:
    with Emitter(receiver.url) as emitter:
        emitter.emit("a.b")
        receiver.wait(lambda: len(receiver.events) == 1)
        emitter.emit("a.b")
        receiver.wait(lambda: len(receiver.events) == 2)
        assert [event["type"] for event in receiver.events] == ["a.b", "a.b"]


def test_a_server_that_comes_back_gets_everything(receiver: Receiver) -> None:
    receiver.answer(500, times=2)
    with Emitter(receiver.url) as emitter:
        emitter.emit("a.b")
        receiver.wait(lambda: len(receiver.events) == 1)  # After 0.5 s and 1 s, without being asked.
    assert len(receiver.requests) == 3
