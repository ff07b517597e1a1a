"""Processes that are born by fork: each has a spool of its own, and nothing is lost or told twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from bers_emit import Emitter
from bers_emit.testing import Receiver

# A master that has emitted, and is sending, forks workers again and again, as gunicorn does; each is killed in the end.
PREFORK = """
import os, signal, sys, time
from bers_emit import build, emit

def work(name):
    for number in range(50):
        assert emit("a.worker", subject=f"{name}-{number}")
    os.kill(os.getpid(), signal.SIGKILL)

with build("around"):
    for generation in range(4):
        for number in range(25):
            assert emit("a.master", subject=f"{generation}-{number}")
        workers = []
        for number in range(3):
            child = os.fork()
            if child == 0:
                work(f"{generation}-{number}")
            workers.append(child)
        for worker in workers:
            os.waitpid(worker, 0)
"""
POOL = """
import multiprocessing, sys
from bers_emit import emit

def work(number):
    return emit("a.worker", subject=str(number))

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    assert emit("a.master")
    with multiprocessing.Pool(3) as pool:
        assert all(pool.map(work, range(200)))
    import concurrent.futures
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        assert all(pool.map(work, range(200, 220)))
"""
# The thread that sends holds every lock in turn while its process forks; no child may find one of them locked.
BUSY = """
import os, sys, threading
from bers_emit import emit

stop = threading.Event()
def chatter():
    while not stop.is_set():
        emit("a.chatter")
threads = [threading.Thread(target=chatter) for _ in range(2)]
for thread in threads: thread.start()
for number in range(60):
    child = os.fork()
    if child == 0:
        os._exit(0 if emit("a.child", subject=str(number)) else 9)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads: thread.join()
"""


def _rest(receiver: Receiver) -> None:
    with Emitter(receiver.url) as emitter:
        assert emitter.flush(60)


def test_workers_of_a_master_that_forks_lose_nothing_and_tell_nothing_twice(receiver: Receiver) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", PREFORK], check=True, timeout=120)
    _rest(receiver)
    master = Counter(event["subject"] for event in receiver.of("a.master"))
    worker = Counter(event["subject"] for event in receiver.of("a.worker"))
    assert master == Counter(f"{g}-{n}" for g in range(4) for n in range(25))
    assert worker == Counter(f"{g}-{w}-{n}" for g in range(4) for w in range(3) for n in range(50))
    assert len(receiver.of("build.started")) == len(receiver.of("build.finished")) == 1
    assert len({json.dumps([event["source"], event["id"]]) for event in receiver.events}) == len(receiver.events)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes(method: str, receiver: Receiver, tmp_path: object) -> None:
    script = os.path.join(str(tmp_path), "pool.py")
    with open(script, "w", encoding="utf-8") as file:
        file.write(POOL)
    subprocess.run([sys.executable, "-W", "ignore", script, method], check=True, timeout=120)
    _rest(receiver)
    assert Counter(event["subject"] for event in receiver.of("a.worker")) == Counter(map(str, range(220)))
    assert len(receiver.of("a.master")) == 1


def test_no_lock_of_a_thread_that_a_child_does_not_have_stops_it(receiver: Receiver) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", BUSY], check=True, timeout=120)
    _rest(receiver)
    assert Counter(event["subject"] for event in receiver.of("a.child")) == Counter(map(str, range(60)))
