"""How long ``emit`` takes: its caller's thread does nothing but write one line."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from bers_emit import Emitter
from bers_emit.testing import Receiver

LONG = bool(os.environ.get("BERS_TEST_LONG"))
CALLS = 100_000 if LONG else 10_000
P99 = 1e-3
"""Ten times what it is where the machine has nothing else to do; tests/bench/emitter.py has that figure."""


@pytest.mark.parametrize("server", ["there", "down"])
def test_a_call_takes_microseconds_at_its_99th_percentile_too(server: str, receiver: Receiver) -> None:
    """By the time that the thread itself spends: the machine may have other things to do meanwhile."""
    url = receiver.url if server == "there" else "http://127.0.0.1:1"
    took: list[int] = []
    with Emitter(url, budget=0 if server == "down" else 30) as emitter:
        emitter.emit("build.finished")
        clock = time.thread_time_ns
        for number in range(CALLS):
            begun = clock()
            emitter.emit(
                "build.finished",
                subject="widget/7",
                environment="staging",
                outcome="success",
                duration_ms=float(number),
                measures={"bundle.size.raw": 412_331},
                labels={"build": "widget"},
            )
            took.append(clock() - begun)
        took.sort()
        assert took[int(CALLS * 0.99)] / 1e9 <= P99
        emitter.flush(60)
    if server == "there":
        assert len(receiver.of("build.finished")) + emitter.dropped == CALLS + 1
        assert emitter.dropped == 0 or LONG  # A hundred thousand in a row are more than a spool has room for.


def test_the_callers_thread_never_touches_the_network(
    nobody: str, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    callers: set[int] = set()
    real = socket.create_connection

    def connect(*args: object, **kwargs: object) -> socket.socket:
        callers.add(threading.get_ident())
        return real(*args, **kwargs)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(socket, "create_connection", connect)
    with Emitter(nobody, budget=0.3) as emitter:
        for _ in range(100):
            emitter.emit("a.b")
        emitter.flush(2)
    assert callers
    assert threading.get_ident() not in callers
