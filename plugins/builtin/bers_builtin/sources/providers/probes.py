"""How a provider is asked: one function for each kind of probe, and the time it took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from math import isfinite
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import anyio
import msgspec
from anyio import CapacityLimiter, to_thread

from bers import Blocked, Outcome, Redactor, run_program
from bers_builtin.sources.providers.config import Probe

if TYPE_CHECKING:
    from httpx2 import AsyncClient, Response

MAX_BODY = 1 << 20
_MISSING = object()


class Result(NamedTuple):
    """How a probe went."""

    outcome: Outcome
    ms: float | None = None
    """Milliseconds of a success."""
    reason: str = ""


async def ask(probe: Probe, client: AsyncClient | None, thread: CapacityLimiter) -> Result:
    """Ask a provider, for as long as it may take. ``thread`` belongs to this provider, which may hang in it."""
    try:
        with anyio.fail_after(probe.timeout):
            match probe.kind:
                case "command":
                    return await _command(probe)
                case "python":
                    return await to_thread.run_sync(_python, probe, abandon_on_cancel=True, limiter=thread)
                case "http" if client is not None:
                    return await _http(probe, client)
                case _:
                    raise AssertionError(f"nobody asks a provider of kind {probe.kind!r}")
    except TimeoutError:
        return Result("timeout", reason=f"no answer within {probe.timeout}")


async def _command(probe: Probe) -> Result:
    try:
        ended = await run_program(probe.argv, last=True)
    except OSError as exc:
        return Result("error", reason=f"{probe.argv[0]} cannot be started: {exc.strerror}")
    if ended.code:
        return Result("failure", reason=f"exit code {ended.code}{_last_line(ended.err, ': ')}")
    return _judged(_decoded(_last_line(ended.out, "")), ended.seconds * 1000)


def _last_line(output: bytes, before: str) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return before + lines[-1].strip() if lines else ""


def _decoded(line: str) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None


def _python(probe: Probe) -> Result:
    module, _, name = probe.callable.partition(":")
    try:
        function: Any = import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
    except Exception as exc:  # Importing runs the code of others.
        return Result("error", reason=f"{probe.callable} cannot be imported: {_named(exc)}")
    start = perf_counter()
    try:
        answer = cast("Callable[[], object]", function)()
    except Exception as exc:
        return Result("failure", reason=_named(exc))
    ms = (perf_counter() - start) * 1000
    return Result("failure", reason="it returned False") if answer is False else _judged(answer, ms)


def _named(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__


def _judged(answer: object, ms: float) -> Result:
    """What a provider says of itself counts more than what we saw from outside."""
    if not isinstance(answer, Mapping):
        return Result("success", ms)
    said = cast("Mapping[str, object]", answer)
    if said.get("ok") is False:
        return Result("failure", reason=f"it says that it is not ok: {said.get('reason') or 'no reason given'}")
    own = said.get("initialization_ms")
    if own is None:
        return Result("success", ms)
    if isinstance(own, (int, float)) and not isinstance(own, bool) and isfinite(own) and own >= 0:
        return Result("success", float(own))
    return Result("error", reason="its initialization_ms is no number of milliseconds")


async def _http(probe: Probe, client: AsyncClient) -> Result:
    from httpx2 import ConnectError, HTTPError

    target = probe.target()
    start = perf_counter()
    try:
        addresses = await target.addresses()
    except Blocked as exc:
        return Result("error", reason=str(exc))
    except OSError as exc:
        return Result("error", reason=f"{target.host} cannot be resolved: {exc.strerror}")
    for address in addresses:
        # The address that was checked is the one that is asked: a name may lead elsewhere the next time.
        request = client.build_request(
            "GET",
            target.at(address),
            headers={"accept-encoding": "identity", "host": target.authority, "connection": "close"},
            extensions={"sni_hostname": target.host},
        )
        try:
            response = await client.send(request, stream=True, follow_redirects=False)
            try:
                ms = (perf_counter() - start) * 1000
                return await _answered(probe, response, ms)
            finally:
                await response.aclose()
        except ConnectError as exc:
            if address == addresses[-1]:
                return Result("error", reason=f"no connection to {target.host}: {_named(exc)}")
        except HTTPError as exc:
            return Result("error", reason=_named(exc))
    return Result("error", reason=f"{target.host} has no address")


async def _answered(probe: Probe, response: Response, ms: float) -> Result:
    if response.status_code != probe.expect.status:
        return Result("failure", reason=f"status {response.status_code}, and {probe.expect.status} is expected")
    if not probe.expect.json:
        return Result("success", ms)
    body = b""
    async for chunk in response.aiter_raw():  # As it came: a kilobyte that is unpacked may fill the memory.
        body += chunk
        if len(body) > MAX_BODY:
            return Result("failure", reason="its answer is larger than 1 MiB")
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        packed = response.headers.get("content-encoding", "identity") != "identity"
        return Result("failure", reason=f"its answer is {'compressed, unasked' if packed else 'not JSON'}")
    for path, expected in probe.expect.json.items():
        found = _at(document, path)
        if found is _MISSING or found != expected or isinstance(found, bool) != isinstance(expected, bool):
            wanted = msgspec.json.encode(expected).decode()
            return Result("failure", reason=f"{path or '/'} in its answer is not {wanted}")
    return Result("success", ms)


def _at(document: Any, path: str) -> Any:
    """What a JSON pointer leads to."""
    for part in path.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict):
            document = cast("dict[str, Any]", document).get(key, _MISSING)
        elif isinstance(document, list) and key.isascii() and key.isdigit():
            items: list[Any] = document  # pyright: ignore[reportUnknownVariableType]
            document = items[int(key)] if int(key) < len(items) else _MISSING
        else:
            return _MISSING
    return document


def told(reason: str, redactor: Redactor) -> str:
    """A reason as it may be told: what providers say may be long, and may hold credentials."""
    return redactor.text(reason)[:300]
