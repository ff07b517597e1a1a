"""Delivery of one batch to the intake, over HTTP, and what its answer means."""

from __future__ import annotations

import json
import time
import zlib

from bers_emit import shapes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bers_emit.wire import Answer, Wire

PATH = "/api/monitoring/ingest"
_TIMEOUT = 5.0
_GZIP_FROM = 4096
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
    """Hands events to one intake; its connection is opened when there is something to send."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url
        self._token = token
        self._wire: Wire | None = None

    def post(self, lines: Sequence[bytes]) -> list[tuple[int, str]]:
        """Hand the events over; return those refused for good: index and reason. Raise Unreachable or Later.

        A batch that is too large for whoever is in between is halved, until only an event that is too large by itself
        is refused.
        """
        answer = self._exchange(lines)
        if answer.status == 413 and len(lines) > 1:
            half = len(lines) // 2
            return self.post(lines[:half]) + [(half + index, reason) for index, reason in self.post(lines[half:])]
        return _refused(answer, len(lines))

    def abort(self) -> None:
        """From another thread: end a request that is waited for."""
        if self._wire is not None:
            self._wire.abort()

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()

    def _exchange(self, lines: Sequence[bytes]) -> Answer:
        body = b"[" + b",".join(lines) + b"]"
        headers = {"Content-Type": "application/json", **_authorization(self._token)}
        if len(body) > _GZIP_FROM:
            packer = zlib.compressobj(6, zlib.DEFLATED, 31)  # 31: the gzip format.
            body = packer.compress(body) + packer.flush()
            headers["Content-Encoding"] = "gzip"
        try:
            if self._wire is None:
                from bers_emit.wire import Wire  # 5 ms, on the sender's thread.

                self._wire = Wire(self._url, _TIMEOUT)
            return self._wire.ask("POST", PATH, headers, body)
        except (OSError, ValueError) as exc:  # ValueError: the address or the token is none.
            self.close()
            raise Unreachable(f"{public(self._url)}: {exc or type(exc).__name__}") from exc


def get(url: str, path: str, token: str, within: float) -> tuple[int, object]:
    """Ask the server; status and what it says, as JSON. Raise Unreachable where it does not in so many seconds."""
    from bers_emit.wire import Wire

    try:
        wire = Wire(url, within)
        try:
            answer = wire.ask("GET", path, _authorization(token))
        finally:
            wire.close()
    except (OSError, ValueError) as exc:
        raise Unreachable(f"{public(url)}: {exc or type(exc).__name__}") from exc
    return answer.status, _json(answer.body)


def public(url: str) -> str:
    """An address without the name and the password in it, for all to read."""
    scheme, colon, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{colon}{authority.rpartition('@')[2]}{slash}{path}"


def _authorization(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _refused(received: Answer, count: int) -> list[tuple[int, str]]:
    status = received.status
    answer = _json(received.body)
    if status == 202 or (200 <= status < 300 and _of(answer, "success") is True):
        return _rejected(_of(answer, "data"), count)
    detail = _of(_of(answer, "error"), "message")
    reason = f"{status} {received.reason}" + (f": {detail}" if detail else "")
    if status in _FATAL:
        told = _details(_of(_of(answer, "error"), "details"))
        return [(index, f"{reason}: {told[index]}" if index in told else reason) for index in range(count)]
    if 400 <= status < 500 and status not in (408, 429):
        raise Denied(reason)
    # A redirect or another server's 200 (a proxy's login page) is no receipt: the events stay.
    raise Later(reason, _retry_after(received.headers.get("retry-after")))


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
    except (ValueError, RecursionError):
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
