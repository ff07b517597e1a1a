"""What emit takes, what it makes of it, and that it never raises."""

from __future__ import annotations

import asyncio
import enum
import json
import math
import os
import random
import string
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import bers_emit
from bers_emit import Emitter, emit
from bers_emit.ring import MAX_EVENTS
from bers_emit.testing import Receiver


class Color(str, enum.Enum):
    RED = "red"


class Hostile:
    """Raises wherever it is touched."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__

    def __float__(self) -> float:
        raise RuntimeError("no number")

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no equality")

    __hash__ = None  # type: ignore[assignment]


def _odd_values() -> list[Any]:
    cycle: list[Any] = []
    cycle.append(cycle)
    deep: Any = None
    for _ in range(5000):
        deep = [deep]
    return [
        *(None, True, 0, -1, 10**4000, 2**63, 1.5, math.nan, math.inf, -math.inf, 1e300, 1 + 2j, Decimal("1.5")),
        *("", "x", "\0", "\ud800", "é\u2028\n\r", "x" * 300_000, "://" * 1000 + "@", b"\xff\0", bytearray(b"x")),
        *([], [1, [2]], (1,), {1, 2}, {}, {"a": {"b": Hostile()}}, {Hostile: 1}, {1: 2}, {None: None}, cycle, deep),
        *(Hostile(), Hostile, object(), Color.RED, len, lambda: None, threading.Lock(), os, range(10**12)),
        *(datetime.now(), datetime.max, datetime.now(timezone(timedelta(hours=2))), timedelta(1), Path("x")),
        *(["x"] * 100_000, {str(n): n for n in range(50_000)}, ValueError("x"), memoryview(b"x")),
    ]


FIELDS = (
    *("id", "source", "subject", "environment", "outcome", "reason", "duration_ms", "service", "version", "artifact"),
    *("measures", "labels", "chain", "traceparent", "time", "data", "type", "self", "vcs", "unknown field"),
)


def test_emit_never_raises_whatever_a_field_holds(nobody: str, spool: Path) -> None:
    random.seed(7)
    values = _odd_values()
    for field in FIELDS:
        for value in values:
            emit("build.finished", **{field: value})
    for _ in range(500):
        emit("build.finished", **{field: random.choice(values) for field in random.sample(FIELDS, 5)})
        emit("".join(random.choices(string.printable, k=9)), data={random.choice("abc"): random.choice(values)})
    lines = next(spool.glob("*.ndjson")).read_bytes().splitlines()[1:]
    assert len(lines) > 1000
    for line in lines:
        event = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert event["id"]
        assert event["source"]
        assert event["time"]


@pytest.mark.parametrize("type", [None, 1, "", b"x", [], Hostile()])
def test_an_event_without_a_type_is_not_kept(nobody: str, type: Any) -> None:
    assert emit(type) is False


def test_an_event_is_what_was_said_and_where_and_when(receiver: Receiver) -> None:
    with Emitter(receiver.url, source="/ci/x") as emitter:
        assert emitter.emit(
            "deployment.finished",
            subject="d-1",
            outcome="success",
            duration_ms=94_000,
            measures={"exit_code": 0, "nothing": math.nan},
            labels={"team": "web", "n": 1},
            time=datetime(2026, 1, 31, 12, tzinfo=timezone.utc),
            data={"any": ["thing", None]},
            reason=None,
        )
    [event] = receiver.events
    spool_name, _, number = event.pop("id").rpartition("-")
    assert spool_name.startswith(f"{os.getpid()}-")
    assert number == "0"
    assert event == {
        "source": "/ci/x",
        "type": "deployment.finished",
        "subject": "d-1",
        "outcome": "success",
        "duration_ms": 94_000.0,
        "measures": {"exit_code": 0.0},
        "labels": {"team": "web", "n": "1"},
        "time": "2026-01-31T12:00:00.000000Z",
        "data": {"any": ["thing", None]},
    }


def test_ids_count_from_zero_without_gaps(receiver: Receiver) -> None:
    with Emitter(receiver.url) as emitter:
        for _ in range(1200):
            emitter.emit("a.b")
    names, numbers = zip(*(event["id"].rsplit("-", 1) for event in receiver.events))
    assert len(set(names)) == 1
    assert list(numbers) == [str(n) for n in range(1200)]
    assert all(len(request[1]) < 512 * 1024 for request in receiver.requests)


def test_limits_of_the_intake_are_kept(receiver: Receiver) -> None:
    with Emitter(receiver.url) as emitter:
        labels = {f"k{n}": "v" * 300 for n in range(30)}
        emitter.emit("a.b", reason="r" * 5000, id="i" * 300, labels=labels, data="d" * 300_000)
    [event] = receiver.events
    assert (len(event["reason"]), len(event["id"]), len(event["labels"])) == (4096, 256, 20)
    assert set(map(len, event["labels"].values())) == {200}
    assert "the intake takes 262144" in event["data"]["dropped"]


def test_secrets_become_stars_in_every_text(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_TOKEN", "hunter2-hunter2")
    monkeypatch.setenv("npm_key", 'quote"d\\secret')
    monkeypatch.setenv("SHORT_SECRET", "short")
    with Emitter(receiver.url, token="bearer-of-news") as emitter:
        emitter.emit(
            "a.b",
            reason="git push https://user:pa@ss@example.org/x failed: hunter2-hunter2, short",
            labels={"hunter2-hunter2": 'quote"d\\secret'},
            data={"env": [{"x": "bearer-of-news"}], "at": "mail@example.org", "bytes": b"hunter2-hunter2"},
        )
    [event] = receiver.events
    assert event["reason"] == "git push https://***@example.org/x failed: ***, short"
    assert event["labels"] == {"***": "***"}
    assert event["data"] == {"env": [{"x": "***"}], "at": "mail@example.org", "bytes": "***"}


@pytest.mark.parametrize("settings", [{}, {"BERS_EMIT_URL": "http://127.0.0.1:1", "BERS_EMIT": "off"}])
def test_without_a_url_or_switched_off_nothing_happens(
    settings: dict[str, str], spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    before = threading.active_count()
    with bers_emit.build("x"):
        assert emit("a.b") is False
    assert threading.active_count() == before
    assert not spool.exists()


def test_secrets_are_known_by_their_shape_and_by_the_name_of_the_field(receiver: Receiver) -> None:
    known = (
        "ghp_" + "a1" * 15,
        "glpat-" + "b2" * 10,
        "AKIA" + "A1" * 8,
        "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0",
        "npm_" + "c" * 36,
    )
    with Emitter(receiver.url) as emitter:
        emitter.emit(
            "a.b",
            reason=" ".join(known),
            data={
                "password": "p4ss",
                "nested": [{"apiKey": "k", "API_KEY": 7, "tokens": ["t"], "keyboard": "qwerty", "monkey": "see"}],
                "text": "curl -H 'Authorization: Bearer abcdefgh12345' http://x/?token=abcdef&page=2 --password=hunter",
                "cert": "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- end",
                "none": {"secret": None},
            },
            authorization="Bearer x",
        )
    [event] = receiver.events
    assert event["reason"] == " ".join(["***"] * len(known))
    assert event["authorization"] == "***"
    assert event["data"] == {
        "password": "***",
        "nested": [{"apiKey": "***", "API_KEY": "***", "tokens": "***", "keyboard": "qwerty", "monkey": "see"}],
        "text": "curl -H 'Authorization: Bearer ***' http://x/?token=***&page=2 --password=***",
        "cert": "*** end",
        "none": {"secret": None},
    }


def test_variables_that_only_sound_like_secrets_leave_texts_alone(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BUILDKITE_STEP_KEY", "AWS_ACCESS_KEY_ID", "TOKEN_URL", "SSH_KEY_PATH"):
        monkeypatch.setenv(name, "a-plain-word")
    monkeypatch.setenv("CACHE_KEY", "production")
    with Emitter(receiver.url) as emitter:
        emitter.emit("a.b", environment="production", reason="a-plain-word")
    [event] = receiver.events
    assert (event["environment"], event["reason"]) == ("production", "a-plain-word")


@pytest.mark.parametrize(
    "hostile", ["eyJ" * 60_000, "token=" * 30_000, "-----BEGIN PRIVATE KEY-----" * 8000, "://" * 60_000]
)
def test_texts_made_to_be_slow_to_search_are_not(hostile: str, nobody: str) -> None:
    with Emitter(nobody, budget=0) as emitter:
        start = time.process_time()
        emitter.emit("a.b", data=hostile)
        assert time.process_time() - start < 1


def test_await_is_the_same(receiver: Receiver) -> None:
    async def both() -> tuple[bool, bool]:
        with Emitter(receiver.url) as emitter:
            return await emitter.aemit("a.b", subject="1"), await bers_emit.aemit("a.c")

    assert asyncio.run(both()) == (True, True)
    bers_emit.Emitter(receiver.url).flush(60)
    assert receiver.of("a.b")[0]["subject"] == "1"


def test_a_process_that_ends_without_an_exit_handler_flushes_first(receiver: Receiver) -> None:
    script = """import os, bers_emit
bers_emit.emit('a.b', subject='1')
print(bers_emit.flush(60), flush=True)
os._exit(0)"""
    environment = {**os.environ, "BERS_EMIT_URL": receiver.url}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    assert [event["subject"] for event in receiver.events] == ["1"]


def test_without_a_url_there_is_nothing_to_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BERS_EMIT_URL", raising=False)
    assert bers_emit.flush(1) is False


def test_what_the_package_offers_is_what_it_names() -> None:
    assert all(getattr(bers_emit, name) is not None for name in bers_emit.__all__)
    with pytest.raises(AttributeError):
        bers_emit.__getattr__("nothing")


def test_a_report_of_what_was_dropped_drops_nothing_itself(tmp_path: Path) -> None:
    blocked = tmp_path / "a-file"
    blocked.write_text("no folder can be here")
    sending = Emitter("http://127.0.0.1:9", spool=str(blocked / "spool"), budget=0.0)  # Nobody listens there.
    for n in range(MAX_EVENTS + 200):
        sending.emit("build.finished", subject=str(n))
    assert sending.dropped == 200
    sending.close()
