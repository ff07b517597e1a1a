"""The server, as the command line talks to it."""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode

from bers import lock
from bers.errors import BersError

DEFAULT = "http://127.0.0.1:3003"
KEY = "BERS_MONITORING_API_KEY"
AUTHORITY = "BERS_MONITORING_CA"
"""The variable that names the file with the certificates to be believed, beside those of this machine."""


class Unreachable(BersError):
    """No server answers."""

    exit_code = 3


class Denied(BersError):
    """The server answered that it will not: there is no such thing, or the request is wrong."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
        self.exit_code = 2 if status in (400, 413, 415, 422) else 1


def address(data_dir: Path = Path(".bers")) -> str:
    """The server meant: BERS_EMIT_URL, or else that of this directory, or else the usual port of this machine."""
    if url := os.environ.get("BERS_EMIT_URL"):
        return url
    found = lock.announced(data_dir)
    if found is None and Path("pipelines.yaml").exists():
        from bers.cli.reading import kept  # It takes as long as all the rest, and hardly anybody needs it.

        with suppress(BersError):
            found = lock.announced(kept(None))
    return found[0] if found else _written()


def _written() -> str:
    """Where a server of this directory would listen, as its file says; the usual port where it says nothing."""
    if not Path("pipelines.yaml").exists():
        return DEFAULT
    from bers.config import control  # As above.

    with suppress(BersError):
        return control(Path("pipelines.yaml")) or DEFAULT
    return DEFAULT


def ask(
    method: str, path: str, fields: Mapping[str, Any] | None = None, *, url: str | None = None, within: float = 10
) -> Any:
    """The data of an answer. Raise Unreachable or Denied where there is none, or none comes in so many seconds."""
    return whole(method, path, fields, url=url, within=within)["data"]


def whole(
    method: str,
    path: str,
    fields: Mapping[str, Any] | None = None,
    *,
    url: str | None = None,
    within: float = 10,
    read: Callable[[IO[bytes]], Any] = json.load,
) -> Any:
    """The whole envelope of an answer; that something is unhealthy is an answer too. ``read`` reads what else it is."""
    base = url or address()
    target = f"{base}{quote(path)}" if path.startswith("/") else f"{base}/api/monitoring/{quote(path)}"
    headers = {"Accept": "application/json"}
    data = None
    known = {key: value for key, value in (fields or {}).items() if value is not None}
    if method == "GET" and known:
        target += "?" + urlencode(known)
    elif method != "GET":
        data, headers["Content-Type"] = json.dumps(known).encode(), "application/json"
    if key := os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(target, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=within, context=_trusted(base)) as reply:
            return read(reply)
    except urllib.error.HTTPError as exc:
        body = _body(exc)
        if body.get("success"):
            return body
        error = body.get("error", {})
        hint = f"; {error['hint']}" if error.get("hint") else ""
        hint += f"; this command sends what {KEY} holds" if exc.code == 401 else ""
        raise Denied(f"{error.get('message', exc.reason)}{hint}", exc.code) from exc
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "reason", exc)
        if isinstance(reason, ssl.SSLCertVerificationError):
            remedy = f"name its certificate in {AUTHORITY}, and ask for a host that stands in it"
            raise Unreachable(f"{base} is not believed: {reason.verify_message}; {remedy}") from exc
        raise Unreachable(f"no server answers at {base}: {reason}; start one with `bers start`") from exc


def _trusted(base: str) -> ssl.SSLContext | None:
    """Whose certificates are believed."""
    if not base.startswith("https:"):
        return None
    context = ssl.create_default_context()
    if file := os.environ.get(AUTHORITY):
        try:
            context.load_verify_locations(file)
        except OSError as exc:
            raise BersError(f"{AUTHORITY}: {file!r} cannot be used: {exc.strerror or exc}; name a file in PEM") from exc
    return context


def _body(error: urllib.error.HTTPError) -> dict[str, Any]:
    try:
        body = json.load(error)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}  # pyright: ignore[reportUnknownVariableType]
