"""The dead man's heartbeat: a URL is called while all is well, so that somebody else notices when it is not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal, Self

import anyio
from msgspec import Meta

from bers import (
    Batch,
    Check,
    Config,
    ConfigError,
    Context,
    Event,
    Finding,
    Interval,
    Masked,
    NotTaken,
    Poster,
    Secret,
    SinkSpec,
    Stage,
    Target,
    format_duration,
    hookimpl,
)

BEAT = "watchdog.beat"

FIRST_PAUSE = 1.0
"""Seconds between the first two attempts to call for one beat; they double."""

LONGEST_PAUSE = 15.0
"""Seconds that they double to at most: a newer beat is not to wait for long."""


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
        self._beat: Event | None = None
        self._news = anyio.Event()
        self._called_at: int | None = None
        self._good = context.clock.monotonic()
        """When there was a call last that succeeded, or else the start."""
        self._beaten = self._good
        """When the engine beat last, or else the start."""
        self._error = ""
        self._masked = Masked(config, context.redactor)
        self._target = _target(config, f"sinks.{context.stage_id}.", context.own_addresses)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with anyio.create_task_group() as group:
            if self._target:
                poster = Poster(self._target, self.context.clock, timeout=self.config.timeout, at_once=1)
                group.start_soon(self._call_regularly, poster)
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
        if (silent := now - self._beaten) > patience:
            remedy = "See alerts/heartbeat, and that a pipeline leads from the alert engine to this sink."
            message = f"the alert engine has told no heartbeat for {format_duration(round(silent))}"
            return Finding("degraded", message, details, remedy)
        if (lasted := now - self._good) > patience:
            message = f"no call has succeeded for {format_duration(round(lasted))}: {self._error or 'there was none'}"
            return Finding("degraded", message, details, "See that the url is right and can be reached from here.")
        return Finding(
            "healthy", "the place is called" if self._called_at else "waits for the first heartbeat", details
        )

    async def _call_regularly(self, poster: Poster) -> None:
        async with poster:
            while True:
                await self._news.wait()
                self._news = anyio.Event()
                assert self._beat
                await self._tell(poster, self._beat)

    async def _tell(self, poster: Poster, beat: Event) -> None:
        """Call until it succeeds, or there is a newer beat, or this one says nothing of how we are now."""
        clock, pause = self.context.clock, FIRST_PAUSE
        while beat is self._beat and clock.time() - beat.time <= self.config.max_age:
            error = await self._attempt(poster)
            if not error:
                self._called_at, self._good, self._error = int(clock.time() * 1000), clock.monotonic(), ""
                return
            if not self._error:
                self.context.logger.warning("the heartbeat was not told: %s", error)
            self._error = error
            await clock.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _attempt(self, poster: Poster) -> str:
        """Call once; why it failed, or nothing."""
        try:
            with anyio.fail_after(self.config.timeout):
                await poster.post(b"", {}, method=self.config.method)
        except TimeoutError:
            return f"no answer within {self.config.timeout:g} s"
        except NotTaken as exc:
            return self._masked(str(exc))
        except Exception as exc:  # Whatever the place does to us is a call that failed.
            return self._masked(f"{type(exc).__name__}: {exc}".strip(": "))
        return ""


def _target(config: HeartbeatConfig, path: str = "", own: Sequence[tuple[str, int]] = ()) -> Target | None:
    """Where to call. Raise ConfigError, with the path in front of the place, where nobody may call."""
    if not config.url or not (url := config.url.reveal()):
        return None
    try:
        return Target(url, own, internal=config.allow_internal)
    except ValueError as exc:
        raise ConfigError(str(exc), path=f"{path}url") from exc


HEARTBEAT = SinkSpec(
    "heartbeat",
    HeartbeatConfig,
    HeartbeatSink,
    verify=lambda config, metrics: _target(config),
    checks=(Check("heartbeat", HeartbeatSink.check, "Whether somebody is told that this server is well."),),
)


@hookimpl
def bers_sinks() -> Iterable[SinkSpec[Any]]:
    return [HEARTBEAT]
