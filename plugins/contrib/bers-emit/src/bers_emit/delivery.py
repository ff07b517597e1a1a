"""Delivery of one batch to the intake, over HTTP, and what its answer means."""

from __future__ import annotations

import contextlib
import json
import time
import zlib

from bers_emit import shapes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from http.client import HTTPConnection, HTTPResponse

PATH = "/api/monitoring/ingest"
_TIMEOUT = 5.0
_GZIP_FROM = 4096
_LONGEST_ANSWER = 8 * 1024 * 1024
_LONGEST_WAIT = 3600.0
# What is wrong with the events themselves. Anything else speaks of the key, the address, or the server: that is mended
# some day, and then they are welcome.
_FATAL = (400, 413, 415, 422)


class Unreachable(Exception):
    """Nobody answered: more attempts now would only cost time."""


class Denied(Unreachable):
    """Somebody answered, and will not take events: the key or the address is wrong."""


class Later(Exception):
    """The server answered that the events come again later; ``after`` seconds, where it named them."""

    def __init__(self, reason: str, after: float | None) -> None:
        super().__init__(reason)
        self.after = after


class Delivery:
    """A connection to the intake; it is opened when there is something to send."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url
        self._token = token
        self._connection: HTTPConnection | None = None
        self._path = ""

    def post(self, lines: Sequence[bytes]) -> list[tuple[int, str]]:
        """Hand the events over; return those refused for good: index and reason. Raise Unreachable or Later.

        A batch that is too large for whoever is in between is halved, until only an event that is too large by itself
        is refused.
        """
        response, answer = self._exchange(lines)
        if response.status == 413 and len(lines) > 1:
            half = len(lines) // 2
            return self.post(lines[:half]) + [(half + index, reason) for index, reason in self.post(lines[half:])]
        return _refused(response, answer, len(lines))

    def _exchange(self, lines: Sequence[bytes]) -> tuple[HTTPResponse, bytes]:
        from http.client import HTTPException  # 30 to 70 ms of import, so on the sender's thread.

        body = b"[" + b",".join(lines) + b"]"
        headers = {"Content-Type": "application/json", **_authorization(self._token)}
        if len(body) > _GZIP_FROM:
            packer = zlib.compressobj(6, zlib.DEFLATED, 31)  # 31: the gzip format.
            body = packer.compress(body) + packer.flush()
            headers["Content-Encoding"] = "gzip"
        try:
            connection = self._open()
            connection.request("POST", self._path, body, headers)
            response = connection.getresponse()
            answer = response.read(_LONGEST_ANSWER)
        except (OSError, HTTPException, ValueError) as exc:  # ValueError: the address or the token is none.
            self.close()
            raise Unreachable(f"{self._url}: {exc or type(exc).__name__}") from exc
        return response, answer

    def abort(self) -> None:
        """From another thread: end a request that is waited for."""
        connection = self._connection
        sock = connection.sock if connection else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(2)  # SHUT_RDWR, without an import of socket where nothing was sent.

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    def _open(self) -> HTTPConnection:
        if self._connection is None:
            self._connection, base = _connection(self._url, _TIMEOUT)
            self._path = base + PATH
        return self._connection


def get(url: str, path: str, token: str, within: float) -> tuple[int, object]:
    """Ask the server; status and what it says, as JSON. Raise Unreachable where it does not in so many seconds."""
    from http.client import HTTPException

    try:
        connection, base = _connection(url, within)
        try:
            connection.request("GET", base + path, headers=_authorization(token))
            response = connection.getresponse()
            return response.status, _json(response.read(_LONGEST_ANSWER))
        finally:
            connection.close()
    except (OSError, HTTPException, ValueError) as exc:
        raise Unreachable(f"{url}: {exc or type(exc).__name__}") from exc


def _connection(url: str, timeout: float) -> tuple[HTTPConnection, str]:
    """A connection to the server, and the path that its address begins with."""
    from http.client import HTTPConnection, HTTPSConnection
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("no address of a server; write http://HOST:PORT")
    connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    return connect(parts.hostname, parts.port, timeout=timeout), parts.path.rstrip("/")


def _authorization(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _refused(response: HTTPResponse, body: bytes, count: int) -> list[tuple[int, str]]:
    status = response.status
    answer = _json(body)
    if status == 202 or (200 <= status < 300 and _of(answer, "success") is True):
        return _rejected(_of(answer, "data"), count)
    detail = _of(_of(answer, "error"), "message")
    reason = f"{status} {response.reason}" + (f": {detail}" if detail else "")
    if status in _FATAL:
        told = _details(_of(_of(answer, "error"), "details"))
        return [(index, f"{reason}: {told[index]}" if index in told else reason) for index in range(count)]
    if 400 <= status < 500 and status not in (408, 429):
        raise Denied(reason)
    # A redirect or another server's 200 (a proxy's login page) is no receipt: the events stay.
    raise Later(reason, _retry_after(response.getheader("Retry-After")))


def _rejected(data: object, count: int) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for one in shapes.items(_of(data, "rejected")) or ():
        index = _of(one, "index")
        if isinstance(index, int) and 0 <= index < count:
            found.append((index, str(_of(one, "error") or "rejected")))
    return found


def _details(details: object) -> dict[int, str]:
    """What was told of single events, by their index."""
    told: dict[int, str] = {}
    for one in shapes.items(details) or ():
        path = str(_of(one, "path"))
        if path[:1] == "[" and path[-1:] == "]" and path[1:-1].isdigit():
            told[int(path[1:-1])] = str(_of(one, "message"))
    return told


def _json(body: bytes) -> object:
    try:
        parsed: object = json.loads(body)
        return parsed
    except ValueError:
        return None


def _of(value: object, key: str) -> object:
    return (shapes.pairs(value) or {}).get(key)


def _retry_after(value: str | None) -> float | None:
    """Seconds, out of a number of seconds or a date; None for anything else."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        from email.utils import parsedate_to_datetime

        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), _LONGEST_WAIT)
