"""A thousand clients of the live stream in one process, as cheap as they can be, told over stdin what to do."""

from __future__ import annotations

import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

PROBE = re.compile(rb'"subject":"probe-(\d{6})"')
"""What a client looks for in what it reads; frames of other kinds it reads and throws away."""

TAIL = len('"subject":"probe-000000"') - 1
SMALL = 4 << 10
"""Bytes that the system keeps of what somebody does not read who is to stall."""


def subject(number: int) -> str:
    """The subject of a build that is a probe."""
    return f"probe-{number:06}"


class Heard(NamedTuple):
    """What a client found: the number of a probe, and when it read it, as ``time.monotonic`` has it."""

    client: int
    probe: int
    at: float


class Report(msgspec.Struct):
    """What the crowd says of a span of time."""

    heard: list[Heard]
    bytes: int
    reads: int
    ended: int
    """How many streams the server has ended since the beginning."""
    cpu: float
    """Seconds of processor time since the last report."""


class Crowd:
    """The clients, from outside."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin and process.stdout
        self.pid = process.pid
        self._in: IO[bytes] = process.stdin
        self._out: IO[bytes] = process.stdout

    def join(self, count: int, *, small: bool = False) -> None:
        """Let so many more come; return when all of them have read their first frame. ``small`` are those that may
        stall later.
        """
        self._ask("join", count, small)

    def stall(self) -> None:
        """Let those that are small read no more."""
        self._ask("stall")

    def report(self) -> Report:
        """What was heard since the last report."""
        return msgspec.convert(self._ask("report"), Report)

    def _ask(self, *order: object) -> Any:
        self._in.write(msgspec.json.encode(order) + b"\n")
        self._in.flush()
        line = self._out.readline()
        assert line, "the crowd has ended"
        return msgspec.json.decode(line)


@contextmanager
def gathered(url: str) -> Generator[Crowd]:
    """A crowd, nobody in it yet, of the server at an address."""
    command = [sys.executable, "-m", "tests.bench.crowd", url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Crowd(process)
    finally:
        process.kill()
        process.wait()
        for end in (process.stdin, process.stdout):
            if end:
                end.close()


class _Clients:
    """The clients, from inside."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._at = parts.hostname or "", parts.port or 80
        self._path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self._poll = select.epoll()
        self._poll.register(sys.stdin.fileno(), select.EPOLLIN)
        self._sockets: dict[int, socket.socket] = {}
        self._tails: dict[int, bytes] = {}
        self._small: set[int] = set()
        self._waiting: set[int] = set()
        """Who has heard nothing yet."""
        self._heard: list[Heard] = []
        self._bytes = self._reads = self._ended = 0
        self._cpu = time.process_time()

    def run(self) -> None:
        stdin = sys.stdin.fileno()
        while True:
            for file, _ in self._poll.poll():
                if file != stdin:
                    self._read(file)
                elif not self._obey():
                    return

    def _obey(self) -> bool:
        line = sys.stdin.buffer.readline()
        if not line:
            return False
        order, *given = msgspec.json.decode(line)
        answer: object = None
        if order == "join":
            self._join(*given)
        elif order == "stall":
            for file in self._small:
                self._poll.unregister(file)
        else:
            cpu = time.process_time()
            answer = Report(self._heard, self._bytes, self._reads, self._ended, cpu - self._cpu)
            self._heard, self._bytes, self._reads, self._cpu = [], 0, 0, cpu
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()
        return True

    def _join(self, count: int, small: bool) -> None:
        for _ in range(count):
            one = socket.socket()
            if small:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            one.connect(self._at)
            one.sendall(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % self._path.encode())
            one.setblocking(False)
            file = one.fileno()
            self._sockets[file] = one
            self._tails[file] = b""
            self._waiting.add(file)
            if small:
                self._small.add(file)
            self._poll.register(file, select.EPOLLIN)
        stdin = sys.stdin.fileno()
        while self._waiting:
            for file, _ in self._poll.poll():
                if file != stdin:
                    self._read(file)

    def _read(self, file: int) -> None:
        try:
            data = self._sockets[file].recv(256 << 10)
        except (BlockingIOError, ConnectionResetError):
            data = b""
        at = time.monotonic()
        if not data:
            self._ended += 1
            self._poll.unregister(file)
            self._sockets.pop(file).close()
            return
        if file in self._waiting:
            assert self._tails[file] or data.startswith(b"HTTP/1.1 200 "), data[:300]
            if b"connected" in data:
                self._waiting.discard(file)
        self._reads += 1
        self._bytes += len(data)
        searched = self._tails[file] + data  # A probe may come in two pieces.
        self._tails[file] = searched[-TAIL:]
        for found in PROBE.finditer(searched):
            self._heard.append(Heard(file, int(found[1]), at))


if __name__ == "__main__":
    _Clients(sys.argv[1]).run()
