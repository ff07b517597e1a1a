"""As much of HTTP/1.1 as the intake needs: http.client brings e-mail and TLS along, half of a start's time."""

from __future__ import annotations

import contextlib
import socket
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_LINE = 64 * 1024
_MOST_HEADERS = 200
_PIECE = 64 * 1024
_LONGEST_SIZE = 16  # Digits of the size of a chunk.
_LONGEST_ANSWER = 8 * 1024 * 1024


class Broken(OSError):
    """What came is no answer of HTTP."""


class Answer:
    """What the server said. The names of headers are in lower case."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body


class Wire:
    """A connection to one server; it is opened when there is something to ask, and kept while the server keeps it."""

    def __init__(self, url: str, timeout: float) -> None:
        """``timeout`` is for one request and its whole answer, in seconds. Raise ValueError for what is no address."""
        self._secure, self._host, self._port, self._base = _address(url)
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._rest = b""
        self._end = 0.0

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """One request, and its answer; raise OSError where there is none in time."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        lines = [f"{method} {self._base}{path} HTTP/1.1", f"Host: {host}:{self._port}", "Accept: application/json"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("the address or the key has a line end in it")
        head = "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n"
        self._end = monotonic() + self._timeout
        kept = self._socket is not None
        try:
            return self._exchange(head + body)
        except (ConnectionError, Broken):
            self.close()
            if not kept:
                raise
        # The server gave up the connection while nobody asked: that says nothing about a new one.
        return self._exchange(head + body)

    def abort(self) -> None:
        """From another thread: end a request that is waited for."""
        sock = self._socket
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._rest = None, b""

    def _exchange(self, request: bytes) -> Answer:
        if self._socket is None:
            self._socket = self._connect()
        self._socket.settimeout(self._left())
        self._socket.sendall(request)
        status, reason = 100, ""
        headers: dict[str, str] = {}
        while 100 <= status < 200:
            status, reason, headers = self._head()
        body = b"" if status in (204, 304) else self._body(headers)
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, reason, headers, body)

    def _connect(self) -> socket.socket:
        # As bytes: a str would be encoded by the idna codec, whose import takes longer than the whole connection.
        host = self._host.encode() if self._host.isascii() else self._host
        sock = socket.create_connection((host, self._port), self._left())  # type: ignore[arg-type]
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._secure:
                from ssl import create_default_context

                sock.settimeout(self._left())
                return create_default_context().wrap_socket(sock, server_hostname=self._host)
        except BaseException:
            sock.close()
            raise
        return sock

    def _head(self) -> tuple[int, str, dict[str, str]]:
        version, _, rest = self._line().partition(" ")
        status, _, reason = rest.partition(" ")
        if not version.startswith("HTTP/1.") or not status.isdigit():
            raise Broken(f"no answer of HTTP: {version[:40]!r}")
        headers: dict[str, str] = {}
        if version == "HTTP/1.0":
            headers["connection"] = "close"
        for _ in range(_MOST_HEADERS):
            line = self._line()
            if not line:
                return int(status), reason, headers
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        raise Broken(f"more than {_MOST_HEADERS} headers")

    def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks()
        length = headers.get("content-length", "")
        if length.isdigit():
            return self._take(min(int(length), _LONGEST_ANSWER))
        body = self._rest
        while len(body) < _LONGEST_ANSWER:
            piece = self._receive()
            if not piece:
                break
            body += piece
        self.close()
        return body

    def _chunks(self) -> bytes:
        body = b""
        while len(body) < _LONGEST_ANSWER:
            text = self._line().partition(";")[0].strip()
            if not text or len(text) > _LONGEST_SIZE or text.strip("0123456789abcdefABCDEF"):
                raise Broken("a chunk without its size")
            size = int(text, 16)
            if size == 0:
                while self._line():
                    pass
                return body
            if len(body) + size > _LONGEST_ANSWER:
                break
            body += self._take(size)
            self._line()
        raise Broken(f"an answer of more than {_LONGEST_ANSWER} bytes")

    def _line(self) -> str:
        while b"\n" not in self._rest:
            if len(self._rest) > _LONGEST_LINE:
                raise Broken("an endless line")
            self._more()
        line, _, self._rest = self._rest.partition(b"\n")
        return line.rstrip(b"\r").decode("latin-1")

    def _take(self, count: int) -> bytes:
        while len(self._rest) < count:
            self._more()
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def _more(self) -> None:
        piece = self._receive()
        if not piece:
            raise Broken("the server closed the connection without an answer")
        self._rest += piece

    def _receive(self) -> bytes:
        if self._socket is None:
            raise Broken("the connection was given up")
        self._socket.settimeout(self._left())
        return self._socket.recv(_PIECE)

    def _left(self) -> float:
        left = self._end - monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


def _address(url: str) -> tuple[bool, str, int, str]:
    """Whether it is secure, the host, the port, and what its paths begin with; urllib costs 5 ms to import."""
    scheme, colon, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    place = authority.rpartition("@")[2]
    if place.startswith("["):
        host, bracket, port = place[1:].partition("]")
        port = port[1:] if bracket and port.startswith(":") else port
    else:
        host, _, port = place.partition(":")
    secure = scheme.lower() == "https"
    if not colon or scheme.lower() not in ("http", "https") or not host or "?" in url or "#" in url:
        raise ValueError("no address of a server; write http://HOST:PORT")
    if port and not (port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{port!r} is no port; write http://HOST:PORT")
    path = path.rstrip("/")
    return secure, host, int(port or (443 if secure else 80)), f"/{path}" if path else ""
