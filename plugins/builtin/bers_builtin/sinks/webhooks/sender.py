"""One channel at work: send what is due, and try again what was not taken."""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from functools import partial
from typing import NamedTuple

import anyio
import httpx2

from bers import Context, Target, __version__
from bers_builtin.sinks._disk import persist
from bers_builtin.sinks.webhooks.bodies import Body
from bers_builtin.sinks.webhooks.config import Channel
from bers_builtin.sinks.webhooks.deliveries import LONGEST_WAIT, Deliveries, Due

AT_ONCE = 4
"""How many deliveries one channel makes at the same time, each about another subject."""

_AGAIN = frozenset({408, 425, 429, *range(500, 600)})


class _Answer(NamedTuple):
    """What an attempt led to."""

    status: int | None
    error: str = ""
    again: bool = True
    """Whether it makes sense to try again."""
    wait: float = 0.0
    """How long the receiver asks us to wait, in seconds."""


class Sender:
    """Sends for one channel, for as long as it runs. What it has done is in the database, so that a restart goes on."""

    def __init__(self, channel: Channel, target: Target, body: Body, deliveries: Deliveries, context: Context) -> None:
        self._channel = channel
        self._target = target
        self._body = body
        self._deliveries = deliveries
        self._context = context
        self._news = anyio.Event()
        self._paused_until = 0.0
        self._base = context.clock.time() - context.clock.elapsed()

    def wake(self) -> None:
        """Say that there may be something to send."""
        self._news.set()

    async def run(self) -> None:
        """Send until cancelled."""
        # No proxy from the environment: it would look the name up again, behind our check.
        verify = await anyio.to_thread.run_sync(httpx2.create_ssl_context) if self._target.scheme == "https" else False
        async with httpx2.AsyncClient(verify=verify, follow_redirects=False, trust_env=False) as client:
            while True:
                while (pause := self._paused_until - self._context.clock.monotonic()) > 0:
                    await self._context.clock.sleep(pause)
                self._news = anyio.Event()
                due, later = await self._deliveries.due(self._channel.name, self._now(), AT_ONCE)
                async with anyio.create_task_group() as group:
                    for delivery in due:
                        group.start_soon(self._deliver, client, delivery)
                if not due:
                    wait = None if later is None else min(LONGEST_WAIT, later - self._now())
                    await self._rest(wait)

    def _now(self) -> float:
        """Wall time as it was when we began, and goes on: whoever sets the clock makes no attempt early or late."""
        return self._context.clock.elapsed() + self._base

    async def _deliver(self, client: httpx2.AsyncClient, delivery: Due) -> None:
        answer = await self._attempt(client, delivery)
        now, attempts, channel = self._context.clock.time(), delivery.attempts + 1, self._channel
        log = self._context.logger
        if not answer.error and answer.status is not None:
            await self._note(partial(self._deliveries.delivered, delivery.number, attempts, now, answer.status))
            log.info("channel %r was told: %s", channel.name, delivery.id)
        elif not answer.again or attempts >= channel.retries.attempts:
            await self._note(
                partial(self._deliveries.failed, delivery.number, attempts, now, answer.status, answer.error)
            )
            log.error(
                "channel %r was not told and will not be: %s: %s (attempt %d)",
                *(channel.name, delivery.id, answer.error, attempts),
            )
        else:
            wait = min(LONGEST_WAIT, max(answer.wait, self._back_off(attempts)))
            if answer.wait:  # The receiver has too much: all deliveries wait, not this one alone.
                self._paused_until = self._context.clock.monotonic() + min(LONGEST_WAIT, answer.wait)
            since = now if delivery.failing_since is None else delivery.failing_since
            await self._note(
                lambda: self._deliveries.postpone(
                    delivery.number,
                    attempts,
                    since=since,
                    next=self._now() + wait,
                    answer=answer.status,
                    error=answer.error,
                )
            )
            log.warning(
                "channel %r was not told yet: %s: %s (attempt %d, the next in %.1f s)",
                *(channel.name, delivery.id, answer.error, attempts, wait),
            )

    async def _note(self, write: Callable[[], Awaitable[object]]) -> None:
        """Write down what came of a delivery, as soon as the disk lets us: else it would be made again."""
        await persist(write, self._context.clock)

    async def _attempt(self, client: httpx2.AsyncClient, delivery: Due) -> _Answer:
        try:
            body = self._body.of(delivery.event)
        except Exception as exc:  # A template is the operator's: whatever it raises is an attempt that failed.
            return _Answer(None, self._masked(str(exc) or type(exc).__name__))
        headers = {name: value.reveal() for name, value in self._channel.headers.items()}
        known = {name.lower() for name in headers}
        ours = {"content-type": self._body.media, "user-agent": f"bers/{__version__}"}
        headers |= {name: value for name, value in ours.items() if name not in known}
        headers |= {"host": self._target.authority, "webhook-id": delivery.id, "idempotency-key": delivery.id}
        try:
            with anyio.fail_after(self._channel.timeout):
                return await self._post(client, body, headers)
        except TimeoutError:
            return _Answer(None, f"no answer within {self._channel.timeout:g} s")
        except Exception as exc:  # Whatever a receiver does to us is an attempt that failed, and no end of the others.
            return _Answer(None, self._masked(f"{type(exc).__name__}: {exc}".strip(": ")))

    async def _post(self, client: httpx2.AsyncClient, body: bytes, headers: dict[str, str]) -> _Answer:
        target = self._target
        addresses = await target.addresses()
        for address in addresses:
            request = client.build_request(
                "POST",
                target.at(address),
                content=body,
                headers=headers,
                extensions={**_patience(self._channel.timeout), "sni_hostname": target.host},
            )
            try:
                response = await client.send(request, stream=True)
            except httpx2.ConnectError:
                if address == addresses[-1]:
                    raise
                continue
            try:
                return await self._judge(response)
            finally:
                await response.aclose()
        raise OSError(f"{target.host} has no address")

    async def _judge(self, response: httpx2.Response) -> _Answer:
        status = response.status_code
        if 200 <= status < 300:
            return _Answer(status)
        said = ""
        async for piece in response.aiter_raw():
            said = piece[:200].decode(errors="replace")
            break
        error = self._masked(f"answered {status}: {said}" if said.strip() else f"answered {status}")
        if 300 <= status < 400:
            return _Answer(status, f"{error} (redirects are not followed: configure the final URL)", again=False)
        wait = self._asked_to_wait(response.headers.get("retry-after", "")) if status in (429, 503) else 0.0
        return _Answer(status, error, status in _AGAIN, wait)

    def _asked_to_wait(self, text: str) -> float:
        """Seconds of a Retry-After: a number, or a date."""
        text = text.strip()
        if text.isascii() and text.isdigit():
            return float(text[:9])
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - self._context.clock.time())
        except (ValueError, OverflowError):
            return 0.0

    def _masked(self, text: str) -> str:
        """An error without what the operator's headers and the URL say, which a receiver may well repeat."""
        _, _, path = self._channel.url.reveal().partition("://")
        words = [word for value in self._channel.headers.values() for word in value.reveal().split()]
        words += re.split(r"[/?&=#]", path.partition("/")[2])
        for word in words:
            if len(word) >= 8:
                text = text.replace(word, "***")
        return self._context.redactor.text(text)

    def _back_off(self, attempts: int) -> float:
        retries = self._channel.retries
        wait = min(retries.max, retries.initial * 2.0 ** min(attempts - 1, 30))
        return wait * random.uniform(0.75, 1.0)  # Not all who wait come back at the same moment.

    async def _rest(self, seconds: float | None) -> None:
        """Wait until there is news, or the time has passed."""
        async with anyio.create_task_group() as group:

            async def until(done: Callable[[], Awaitable[object]]) -> None:
                await done()
                group.cancel_scope.cancel()

            group.start_soon(until, self._news.wait)
            if seconds is not None:
                group.start_soon(until, lambda: self._context.clock.sleep(max(0.0, seconds)))


def _patience(seconds: float) -> dict[str, dict[str, float]]:
    return {"timeout": {"connect": seconds, "read": seconds, "write": seconds, "pool": seconds}}
