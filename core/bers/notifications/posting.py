"""One place that is asked by HTTP, over connections that are kept: guarded, bounded, and never twice for nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Self

from anyio import AsyncContextManagerMixin, to_thread

from bers import __version__
from bers.clock import Clock
from bers.notifications.messengers import NotTaken, Taken
from bers.targets import Target

if TYPE_CHECKING:
    import httpx2

_AGAIN = frozenset({408, 425, 429, *range(500, 600)})
_KEEP = 600.0
"""Seconds that a connection is kept on which nothing is asked; most receivers end it sooner."""

_KNOWN_FOR = 30.0
"""Seconds for which addresses that were looked up and checked are asked without looking again, while they answer."""


class Poster(AsyncContextManagerMixin):
    """Posts to one place. Redirects and proxies of the environment are not followed: they would go around the guard."""

    def __init__(self, target: Target, clock: Clock, *, timeout: float, at_once: int = 4) -> None:
        self._target = target
        self._clock = clock
        self._timeout = timeout
        self._at_once = at_once
        self._client: httpx2.AsyncClient | None = None
        self._addresses: list[str] = []
        self._known_until = 0.0

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        import httpx2  # Not imported for nothing: it is needed where there is a channel.

        verify = await to_thread.run_sync(httpx2.create_ssl_context) if self._target.scheme == "https" else False
        limits = httpx2.Limits(
            max_connections=self._at_once, max_keepalive_connections=self._at_once, keepalive_expiry=_KEEP
        )
        async with httpx2.AsyncClient(
            verify=verify, follow_redirects=False, trust_env=False, limits=limits
        ) as self._client:
            yield self

    async def post(self, body: bytes, headers: Mapping[str, str], *, method: str = "POST") -> Taken:
        """Ask once, by POST unless told otherwise; raise NotTaken for every answer that is no yes."""
        import httpx2

        target = self._target
        sent = {"user-agent": f"bers/{__version__}", **headers, "host": target.authority}
        if self._clock.monotonic() >= self._known_until:
            self._addresses = await target.addresses()
        self._known_until = 0.0  # Until one of them has answered.
        for address in (addresses := tuple(self._addresses)):
            try:
                taken = await self._send(method, target.at(address), body, sent)
            except httpx2.ConnectError:
                if address == addresses[-1]:
                    raise
            else:
                self._addresses = [address]
                self._known_until = self._clock.monotonic() + _KNOWN_FOR
                return taken
        raise OSError(f"{target.host} has no address")

    async def _send(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Taken:
        import httpx2

        for _ in range(self._at_once):
            connected: list[str] = []
            try:
                return await self._ask(method, url, body, headers, connected)
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
                # A connection that was kept may be ended by the other side just as it is used again. Nothing was
                # answered on it, so the next one is asked at once; one that was made for this request was not stale.
                if connected:
                    raise
        return await self._ask(method, url, body, headers, [])

    async def _ask(self, method: str, url: str, body: bytes, headers: Mapping[str, str], connected: list[str]) -> Taken:
        assert self._client, "the poster is not open"

        async def trace(name: str, info: Any) -> None:
            if name.endswith(("connect_tcp.started", "receive_response_headers.complete")):
                connected.append(name)

        extensions: dict[str, Any] = {
            "timeout": dict.fromkeys(("connect", "read", "write", "pool"), self._timeout),
            "sni_hostname": self._target.host,
            "trace": trace,
        }
        request = self._client.build_request(method, url, content=body or None, headers=headers, extensions=extensions)
        response = await self._client.send(request, stream=True)
        try:
            return await self._judge(response)
        finally:
            await response.aclose()

    async def _judge(self, response: httpx2.Response) -> Taken:
        status, said = response.status_code, b""
        async for piece in response.aiter_raw():  # To its end, where that is near: else the connection is not kept.
            said += piece[:4096]
            if len(said) >= 4096:
                break
        text = said[:400].decode(errors="replace").strip()
        if 200 <= status < 300:
            return Taken(status, text)
        error = f"answered {status}: {text}" if text else f"answered {status}"
        if 300 <= status < 400:
            raise NotTaken(f"{error} (redirects are not followed: configure the final URL)", status=status)
        wait = self._asked_to_wait(response.headers.get("retry-after", "")) if status in (429, 503) else 0.0
        raise NotTaken(error, status=status, again=status in _AGAIN, wait=wait, gone=status == 410)

    def _asked_to_wait(self, text: str) -> float:
        """Seconds of a Retry-After: a number, or a date."""
        text = text.strip()
        if text.isascii() and text.isdigit():
            return float(text[:9])
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - self._clock.time())
        except (ValueError, OverflowError):
            return 0.0
