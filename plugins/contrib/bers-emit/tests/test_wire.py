"""HTTP as servers and proxies speak it, and what is none."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from bers_emit.wire import Broken, Wire


@contextmanager
def answering(
    *pieces: bytes, pause: float = 0.0, times: int = 1, closed: threading.Event | None = None
) -> Generator[tuple[str, list[bytes]], None, None]:
    """A server that says this to each of so many connections, whatever it is asked, and closes them.

    ``closed`` is set as soon as one is.
    """
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(times):
                connection, _ = server.accept()
                with connection:
                    asked.append(connection.recv(65536))
                    try:
                        for piece in pieces:
                            connection.sendall(piece)
                            time.sleep(pause)
                    except OSError:  # Who asked has gone: that is what some of these tests are about.
                        pass
                if closed:
                    closed.set()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked


@pytest.mark.parametrize(
    "said",
    [
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\nhello",),
        (
            b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: x\r\n\r\n",
        ),
        (b"HTTP/1.0 202 Accepted\r\n\r\nhello",),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\nhello",),
        (b"HTTP/1.1 202 Accepted\nContent-Length: 5\n\nhello",),
        (b"HTTP/1.1 202 Acce", b"pted\r\nCONTENT-length:5\r", b"\n\r\nhel", b"lo"),
    ],
)
def test_answers_are_read_in_whatever_form_they_come(said: tuple[bytes, ...]) -> None:
    with answering(*said, pause=0.01) as (url, asked):
        wire = Wire(url + "/base/", 5)
        answer = wire.ask("POST", "/x", {"Name": "value"}, b"body")
        wire.close()
    assert (answer.status, answer.reason, answer.body) == (202, "Accepted", b"hello")
    assert asked[0].startswith(b"POST /base/x HTTP/1.1\r\nHost: 127.0.0.1:")
    assert asked[0].endswith(b"\r\nName: value\r\nContent-Length: 4\r\n\r\nbody")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 " + b"O" * 200_000,
    ],
)
def test_what_is_no_answer_is_an_error_of_the_network(said: bytes) -> None:
    with answering(said) as (url, _):
        wire = Wire(url, 5)
        with pytest.raises(OSError):
            wire.ask("GET", "/", {})
        wire.close()


def test_a_server_that_sends_a_byte_at_a_time_does_not_hold_us() -> None:
    with answering(*[b"H"] * 600, pause=0.05) as (url, _):
        wire = Wire(url, 0.5)
        start = time.monotonic()
        with pytest.raises(OSError, match="timed out"):
            wire.ask("GET", "/", {})
        assert time.monotonic() - start < 15  # All of it would take twice that.
        wire.close()


def test_a_connection_that_was_given_up_in_the_meantime_is_opened_again() -> None:
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    closed = threading.Event()
    with answering(said, times=2, closed=closed) as (url, asked):
        wire = Wire(url, 5)
        assert wire.ask("GET", "/", {}).body == b"ok"
        assert closed.wait(30)
        assert wire.ask("GET", "/", {}).body == b"ok"
        wire.close()
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h", (False, "h", 80, "")),
        ("HTTPS://h/", (True, "h", 443, "")),
        ("http://h:3003/a/b/", (False, "h", 3003, "/a/b")),
        ("http://[::1]:3003", (False, "::1", 3003, "")),
        ("http://user:pass@h:1/x", (False, "h", 1, "/x")),
    ],
)
def test_addresses(url: str, expected: tuple[bool, str, int, str]) -> None:
    wire = Wire(url, 1)
    assert (wire._secure, wire._host, wire._port, wire._base) == expected  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("header", ["x\r\nInjected: y", "x\n"])
def test_a_key_cannot_add_headers(header: str) -> None:
    with pytest.raises(ValueError, match="line end"):
        Wire("http://127.0.0.1:1", 1).ask("GET", "/", {"Authorization": header})


@pytest.mark.parametrize("size", [b"-5", b"1_0", b"+3", b"", b"f" * 17, b"7fffffffffffffff", b"800001"])
def test_a_chunk_of_no_size_or_of_any_is_not_waited_for(size: bytes) -> None:
    said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\nhello\r\n"
    with answering(said, b"x" * 1000, pause=0.3) as (url, _):
        wire = Wire(url, 5)
        with pytest.raises(Broken):
            wire.ask("GET", "/", {})
        wire.close()
