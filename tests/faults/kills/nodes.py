"""Nodes as processes: the real one, that speaks HTTP, and a lean one that is up quickly; both of one configuration."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

import msgspec

from bers import lock
from tests.faults.kills.emitters import Busy, Taken
from tests.integration.processes import at_leisure, environ

ROOT = Path(__file__).parents[3]
LEAN = Path(__file__).with_name("lean.py")
UP_WITHIN = at_leisure(60.0)

STRACE = shutil.which("strace")
"""None where it is not installed, and nothing can be aimed at a single call."""


class Gone(Exception):
    """The node ended before it was up."""


class HttpDoor:
    """The way in of the real node."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)

    def post(self, number: str, body: bytes) -> Taken:
        self._connection.request("POST", "/api/monitoring/ingest", body, {"Content-Type": "application/json"})
        reply = self._connection.getresponse()
        answer = msgspec.json.decode(reply.read())
        if reply.status in (429, 503):
            raise Busy
        assert reply.status == 202 and not answer["data"]["rejected"], answer
        return Taken(answer["data"]["accepted"], answer["data"]["duplicates"])

    def close(self) -> None:
        self._connection.close()


class LineDoor:
    """The way in of the lean one. As that of the real one, it is tried when it is used first: somebody may be dead."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open = ExitStack()
        self._way: tuple[socket.socket, BufferedReader] | None = None

    def post(self, number: str, body: bytes) -> Taken:
        if self._way is None:
            one = self._open.enter_context(socket.create_connection(("127.0.0.1", self._port), timeout=30))
            self._way = one, self._open.enter_context(one.makefile("rb"))
        one, answers = self._way
        one.sendall(b"%s %s\n" % (number.encode(), body))
        line = answers.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the node is gone")
        word, about, *counts = line.split()
        assert about.decode() == number
        if word == b"busy":
            raise Busy
        return Taken(*map(int, counts))

    def close(self) -> None:
        self._open.close()


class Node:
    """A process at work on a folder."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], *, lean: bool) -> None:
        self.folder = folder
        self.lean = lean
        self.process = process
        self.port = 0

    def wait_until_up(self) -> None:
        """Raise Gone if it ends before; its signal must have been ours."""
        deadline = time.monotonic() + UP_WITHIN
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Gone
            if self.lean:
                assert self.process.stdout
                word, _, port = self.process.stdout.readline().partition(b" ")
                if word != b"ready":
                    self.process.wait(UP_WITHIN)
                    raise Gone
                self.port = int(port)
                return
            with suppress(ValueError, OSError):
                if found := lock.announced(self.folder / ".bers"):
                    self.port = int(found[0].rpartition(":")[2])
                    return
            time.sleep(0.01)
        raise AssertionError(f"the node is not up after {UP_WITHIN} s")

    def door(self) -> HttpDoor | LineDoor:
        return LineDoor(self.port) if self.lean else HttpDoor(self.port)

    def ask(self, path: str) -> Mapping[str, Any]:
        """The data that the real node answers with."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", f"/api/monitoring/{path}")
            answer = msgspec.json.decode(connection.getresponse().read())
            assert answer["success"], f"{path}: {answer}"
            data: Mapping[str, Any] = answer["data"]
            return data
        finally:
            connection.close()

    def kill(self) -> None:
        self.process.kill()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@contextmanager
def started(folder: Path, *, lean: bool, tracing: Sequence[str] = ()) -> Generator[Node]:
    """A node that is starting; killed when the block is left, if it still runs.

    ``tracing`` is what strace is told. The tracer is a grandchild: what we signal and wait for is the node itself.
    """
    command = [sys.executable, str(LEAN), str(folder)] if lean else [sys.executable, "-m", "bers", "start"]
    if tracing:
        assert STRACE, "strace is not installed"
        command = [STRACE, "-D", "-f", *tracing, *command]
    with (folder / "said.log").open("ab") as said:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environ(folder, PYTHONPATH=str(ROOT)),
            stdin=subprocess.DEVNULL,
            stdout=_out(lean, said),
            stderr=said,
        )
    with process:
        try:
            yield Node(folder, process, lean=lean)
        finally:
            process.kill()
            process.wait()


def drain(folder: Path) -> None:
    """Let every sink read everything."""
    subprocess.run(
        [sys.executable, LEAN, folder, "--drain"], cwd=folder, env=environ(folder, PYTHONPATH=str(ROOT)), check=True
    )


def _out(lean: bool, said: IO[bytes]) -> IO[bytes] | int:
    return subprocess.PIPE if lean else said
