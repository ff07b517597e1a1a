"""A look at an address: does it answer what it should, in time, and with a certificate that lasts."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec
from anyio import to_thread

from bers.checks import Finding, Status
from bers.clock import Clock
from bers.health.damping import worst
from bers.health.kinds import HttpCheck
from bers.health.tcp import addresses, lateness
from bers.health.watch import NoAnswer
from bers.plain import as_list, as_object
from bers.units import format_duration

if TYPE_CHECKING:
    from httpx2 import AsyncClient, Response

MAX_BODY = 1 << 20
"""The most bytes of an answer that are looked at."""

_DAY = 86400.0
_MISSING = object()


class Http:
    """Asks, one look after another."""

    def __init__(self, settings: HttpCheck, clock: Clock) -> None:
        self._settings = settings
        self._target = settings.target()
        self._clock = clock
        self._trust: ssl.SSLContext | None = None

    async def look(self) -> Finding:
        """Ask once. Raise NoAnswer where nobody answers."""
        from httpx2 import AsyncClient

        if self._trust is None:  # Reading the certificates of the machine takes tens of milliseconds.
            self._trust = await to_thread.run_sync(self._trusted)
        places = await addresses(self._target)
        async with AsyncClient(verify=self._trust, trust_env=False, timeout=None) as client:
            for address in places:
                try:
                    return await self._ask(client, address)
                except ConnectionError as exc:
                    if address == places[-1]:
                        raise NoAnswer(f"no connection to {self._target.host}: {exc}") from exc
        raise NoAnswer(f"{self._target.host} has no address")

    def _trusted(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._settings.authority:
            context.load_verify_locations(self._settings.authority)
        return context

    async def _ask(self, client: AsyncClient, address: str) -> Finding:
        """Raise ConnectionError where there is no connection to that address."""
        from httpx2 import ConnectError, HTTPError

        settings, target = self._settings, self._target
        # The address that was checked is the one that is asked: a name may lead elsewhere the next time.
        request = client.build_request(
            settings.method,
            target.at(address),
            headers={
                "accept-encoding": "identity",
                **{name: value.reveal() for name, value in settings.headers.items()},
                "host": target.authority,
                "connection": "close",
            },
            content=settings.body.reveal().encode() if settings.body is not None else None,
            extensions={"sni_hostname": target.host},
        )
        started = perf_counter()
        try:
            response = await client.send(request, stream=True, follow_redirects=False)
            try:
                body = await _body(response) if settings.contains or settings.json else b""
                return self._judge(response, body, perf_counter() - started)
            finally:
                await response.aclose()
        except ConnectError as exc:
            if fault := _certificate_fault(exc):
                return Finding("unhealthy", f"its certificate is not believed: {fault}", self._details())
            raise ConnectionError(_named(exc)) from exc
        except HTTPError as exc:
            raise NoAnswer(f"{target.host} broke off: {_named(exc)}") from exc

    def _judge(self, response: Response, body: bytes | None, seconds: float) -> Finding:
        details = {**self._details(), "statusCode": response.status_code, "latencyMs": round(seconds * 1000, 3)}
        expires = self._expires(response)
        if expires is not None:
            details["certificateExpires"] = round(expires * 1000)
        found = list(self._faults(response.status_code, body, seconds, expires))
        if not found:
            return Finding("healthy", f"{response.status_code} in {seconds * 1000:.0f} ms", details)
        return Finding(worst([status for status, _ in found]), "; ".join(why for _, why in found), details)

    def _details(self) -> dict[str, Any]:
        return {"host": self._target.authority}

    def _faults(
        self, code: int, body: bytes | None, seconds: float, expires: float | None
    ) -> Iterator[tuple[Status, str]]:
        settings = self._settings
        if code not in settings.status if settings.status else not 200 <= code < 300:
            wanted = " or ".join(map(str, settings.status)) or "200 to 299"
            yield "unhealthy", f"status {code}, and {wanted} is right"
        elif body is None:
            yield "unhealthy", "its answer is larger than 1 MiB"
        else:
            yield from _body_faults(settings, body)
        yield from lateness("the answer", seconds, settings.degraded_above, settings.unhealthy_above)
        if expires is not None and (left := expires - self._clock.time()) < settings.certificate:
            yield "degraded", f"its certificate ends in {_days(left)}"

    def _expires(self, response: Response) -> float | None:
        """When its certificate ends, in seconds since 1970; None where it has none, or nobody wants to know."""
        if not self._settings.certificate:
            return None
        stream: Any = response.extensions.get("network_stream")
        connection: Any = stream.get_extra_info("ssl_object") if stream else None
        certificate: dict[str, Any] = (connection.getpeercert() or {}) if connection else {}
        ends = certificate.get("notAfter")
        return ssl.cert_time_to_seconds(ends) if ends else None


async def _body(response: Response) -> bytes | None:
    """What it answers; None where that is too much."""
    body = b""
    async for chunk in response.aiter_raw():  # As it came: a kilobyte that is unpacked may fill the memory.
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return body


def _body_faults(settings: HttpCheck, body: bytes) -> Iterator[tuple[Status, str]]:
    if settings.contains and settings.contains.encode() not in body:
        yield "unhealthy", f"its answer does not contain {settings.contains!r}"
    if not settings.json:
        return
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        yield "unhealthy", "its answer is not JSON"
        return
    for pointer, wanted in settings.json.items():
        found = at(document, pointer)
        if found is _MISSING or found != wanted or isinstance(found, bool) != isinstance(wanted, bool):
            said = "is not there" if found is _MISSING else f"is {_shown(found)}"
            yield "unhealthy", f"{pointer or '/'} {said}, and {_shown(wanted)} is right"


def at(document: Any, pointer: str) -> Any:
    """What a JSON pointer leads to."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        fields, items = as_object(document), as_list(document)
        if fields is not None:
            document = fields.get(key, _MISSING)
        elif items is not None and key.isascii() and key.isdigit():
            document = items[int(key)] if int(key) < len(items) else _MISSING
        else:
            return _MISSING
    return document


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}..."


def _days(seconds: float) -> str:
    if seconds <= 0:
        return "no time at all"
    return f"{int(seconds // _DAY)} days" if seconds >= 2 * _DAY else format_duration(seconds // 60 * 60 or 60)


def _certificate_fault(exc: BaseException) -> str:
    """What is wrong with a certificate, where that is why there is no connection."""
    error: BaseException | None = exc
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message or str(error)
        error = error.__cause__ or error.__context__
    return ""


def _named(exc: BaseException) -> str:
    return str(exc) or type(exc).__name__
