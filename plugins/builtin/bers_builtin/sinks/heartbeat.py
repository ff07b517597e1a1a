"""The dead man's heartbeat: a URL is called while all is well, so that somebody else notices when it is not."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import anyio
from msgspec import Meta

from bers import (
    Batch,
    Blocked,
    Check,
    Config,
    ConfigError,
    Context,
    Event,
    Finding,
    Interval,
    Secret,
    SinkSpec,
    Stage,
    Target,
    __version__,
    format_duration,
    hookimpl,
)

if TYPE_CHECKING:
    import httpx2

BEAT = "watchdog.beat"

FIRST_PAUSE = 1.0
"""Seconds between the first two attempts to call for one beat; they double."""


class HeartbeatConfig(Config, frozen=True):
    """Call a URL for each heartbeat of the alert engine, so that its silence tells somebody else that we are down."""

    url: Annotated[
        Secret | None, Meta(description="Where to call; https, unless the place is internal. Not told: nobody is.")
    ] = None
    method: Annotated[Literal["GET", "HEAD", "POST"], Meta(description="How the place wants to be called.")] = "GET"
    timeout: Annotated[Interval, Meta(description="How long one attempt may take.")] = Interval("10s")
    max_age: Annotated[
        Interval,
        Meta(description="A heartbeat older than this is not told any more: it says nothing of how we are now."),
    ] = Interval("30s")
    patience: Annotated[
        Interval,
        Meta(description="How long there may be no call that succeeds before the check `heartbeat` is degraded."),
    ] = Interval("3m")
    allow_internal: Annotated[
        bool, Meta(description="Whether the place may be loopback or in a private network; http is allowed there too.")
    ] = False


class HeartbeatSink(Stage[HeartbeatConfig]):
    """Only the newest beat matters: one that nobody could be told of is forgotten when the next comes."""

    def __init__(self, config: HeartbeatConfig, context: Context) -> None:
        super().__init__(config, context)
        self._url = config.url.reveal() if config.url else ""
        self._beat: Event | None = None
        self._news = anyio.Event()
        self._called_at: int | None = None
        self._good = context.clock.monotonic()
        """When there was a call last that succeeded, or else the start."""
        self._beaten = self._good
        """When the engine beat last, or else the start."""
        self._error = ""
        try:
            self._target = (
                Target(self._url, context.own_addresses, internal=config.allow_internal) if self._url else None
            )
        except ValueError as exc:
            raise ConfigError(str(exc), path=f"sinks.{context.stage_id}.url") from exc

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with anyio.create_task_group() as group:
            if self._target:
                group.start_soon(self._call_regularly, self._target)
            yield self
            group.cancel_scope.cancel()

    async def write(self, batch: Batch) -> None:
        for event in batch.events:
            if event.type == BEAT:
                self._beat, self._beaten = event, self.context.clock.monotonic()
                self._news.set()

    async def check(self) -> Finding:
        """Whether the place is called."""
        if not self._target:
            return Finding("healthy", "no url is configured, so nobody notices when this server is down")
        now, patience = self.context.clock.monotonic(), self.config.patience
        details = {"calledAt": self._called_at, "lastError": self._error}
        lasted = format_duration(round(now - self._good))
        if now - self._beaten > patience:
            remedy = "See alerts/heartbeat, and that a pipeline leads from the alert engine to this sink."
            return Finding("degraded", f"the alert engine has told no heartbeat for {lasted}", details, remedy)
        if now - self._good > patience:
            message = f"no call has succeeded for {lasted}: {self._error or 'there was none'}"
            return Finding("degraded", message, details, "See that the url is right and can be reached from here.")
        return Finding(
            "healthy", "the place is called" if self._called_at else "waits for the first heartbeat", details
        )

    async def _call_regularly(self, target: Target) -> None:
        import httpx2  # It is not imported for nothing.

        verify = await anyio.to_thread.run_sync(httpx2.create_ssl_context) if target.scheme == "https" else False
        async with httpx2.AsyncClient(verify=verify, follow_redirects=False, trust_env=False) as client:
            while True:
                await self._news.wait()
                self._news = anyio.Event()
                assert self._beat
                await self._tell(client, target, self._beat)

    async def _tell(self, client: httpx2.AsyncClient, target: Target, beat: Event) -> None:
        """Call until it succeeds, or there is a newer beat, or this one says nothing of how we are now."""
        clock, pause = self.context.clock, FIRST_PAUSE
        while beat is self._beat and clock.time() - beat.time <= self.config.max_age:
            error = await self._attempt(client, target)
            if not error:
                self._called_at, self._good, self._error = int(clock.time() * 1000), clock.monotonic(), ""
                return
            if not self._error:
                self.context.logger.warning("the heartbeat was not told: %s", error)
            self._error = error
            await clock.sleep(pause)
            pause *= 2

    async def _attempt(self, client: httpx2.AsyncClient, target: Target) -> str:
        """Call once; why it failed, or nothing."""
        import httpx2

        try:
            with anyio.fail_after(self.config.timeout):
                addresses = await target.addresses()
                for number, address in enumerate(addresses, 1):
                    request = client.build_request(
                        self.config.method, target.at(address),
                        headers={"host": target.authority, "user-agent": f"bers/{__version__}"},
                        extensions={"sni_hostname": target.host, "timeout": {}},
                    )  # fmt: skip
                    try:
                        response = await client.send(request, stream=True)
                    except httpx2.ConnectError:
                        if number == len(addresses):
                            raise
                        continue
                    await response.aclose()
                    return "" if response.is_success else f"answered {response.status_code}"
                return f"{target.host} has no address"
        except TimeoutError:
            return f"no answer within {self.config.timeout:g} s"
        except (Exception, Blocked) as exc:
            return self._masked(f"{type(exc).__name__}: {exc}".strip(": "))

    def _masked(self, text: str) -> str:
        """An error without what the URL says: whoever knows it can call in our place."""
        _, _, path = self._url.partition("://")
        for word in re.split(r"[/?&=#]", path.partition("/")[2]):
            if len(word) >= 8:
                text = text.replace(word, "***")
        return self.context.redactor.text(text)


HEARTBEAT = SinkSpec(
    "heartbeat",
    HeartbeatConfig,
    HeartbeatSink,
    checks=(Check("heartbeat", HeartbeatSink.check, "Whether somebody is told that this server is well."),),
)


@hookimpl
def bers_sinks() -> Iterable[SinkSpec[Any]]:
    return [HEARTBEAT]
