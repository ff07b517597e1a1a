"""A sink is asked: within its limit, and again after a pause, until it has answered or nobody waits any longer."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from time import perf_counter
from typing import TypeVar, cast

import anyio

from bers import disk
from bers.clock import Clock, SystemClock
from bers.counters import Edge
from bers.delivery import Target
from bers.errors import BersError, Conflict, PluginError, Rejected, leaves
from bers.metering import metered
from bers.records import Batch
from bers.redaction import redact_text
from bers.stages import Durable, Written

T = TypeVar("T")

LONGEST_ERROR = 2_000
"""Characters of an error that are remembered."""

DISK_PAUSE = 2.0
"""Seconds that a pause takes at most while a disk does not let a sink write: when there is room again, it goes on."""

TAKEN = Written()
"""The answer of a sink that took everything."""

_log = logging.getLogger(__name__)


class Kept(BersError):
    """A sink keeps some records for later."""


@dataclass
class Part:
    """Some records on their way, and what is known of the attempts so far."""

    batch: Batch
    attempts: int = 0
    since: float = 0.0
    """When the first attempt failed, by the monotonic clock."""
    first_time: float = 0.0
    first_error: str = ""
    last_error: str = ""
    waits: bool = False
    """Whether it was a disk that did not let the sink write."""

    def of(self, batch: Batch) -> Part:
        """The same of other records."""
        return replace(self, batch=batch)


@dataclass
class Attempts:
    """Asks one sink, and remembers how that goes."""

    target: Target
    edge: Edge
    clock: Clock = field(default_factory=SystemClock)
    random: Random = field(default_factory=Random)

    failing_since: float | None = None
    """Since when, by the monotonic clock, the sink has taken nothing; None while it does."""
    failed: int = 0
    """How many failed in a row."""
    last_error: str = ""
    deadline: float | None = None
    """When, by the monotonic clock, the write under way is cancelled; past that, the sink withstands it."""

    _scope: anyio.CancelScope | None = None
    """Around the write under way, until it is cancelled."""
    _begun: anyio.Event | None = None
    """What the watch waits for while nothing is under way."""
    _pause: anyio.CancelScope | None = None
    _hurried: bool = False

    async def ask(self, batch: Batch) -> Written | Exception:
        """Hand in a batch once: what the sink says of it, or what it raised."""
        sink = self.target.sink
        try:
            if self.target.delivery.within is not None:
                written = await self._limited(sink.write(batch), "take a batch")
            else:
                started = perf_counter()
                try:
                    written = await metered(sink.write(batch), self.edge)
                finally:
                    self.edge.took(started)
            outcome = TAKEN if written is None else self._checked(written, batch)
        except Exception as exc:
            return exc
        if self.edge.taps:
            self.edge.show(batch)
        return outcome

    async def position(self, reader: str, partition: int = 0, *, begin: int) -> int:
        """Where a durable sink stands, however often it has to be asked."""
        part = Part(Batch(()))
        while True:
            try:
                return await self.ask_position(reader, partition, begin=begin)
            except Conflict:
                raise
            except Exception as exc:
                self.fail(part, exc)
            await self.pause(part)

    async def ask_position(self, reader: str, partition: int = 0, *, begin: int) -> int:
        """The same, asked once: raise what it raises."""
        durable = cast("Durable", self.target.sink)  # Its spec is a DurableSpec, which proves it.
        return await self._limited(durable.position(reader, partition, begin=begin), "tell its position")

    def fail(self, part: Part, exc: Exception) -> Mapping[int, str] | None:
        """Note an attempt that failed. None where it may succeed later; else the records to blame, none named: all.

        Of a single record it is known which one is to blame.
        """
        exc, rejected = _verdict(exc, part.batch, self.target.id)
        text = self.note(exc)
        part.attempts += 1
        part.last_error = text
        part.waits = bool(disk.disk_fault(exc))
        if part.attempts == 1:
            part.since, part.first_time, part.first_error = self.clock.monotonic(), self.clock.time(), text
        if rejected is None:
            self.failed += 1
            if self.failing_since is None:
                self.failing_since = self.clock.monotonic()
        elif not rejected and len(part.batch) == 1:
            return {0: text}
        return rejected

    async def pause(self, part: Part) -> bool:
        """Pause before the next attempt; False where there is to be none."""
        retry = self.target.delivery.retry
        longest = min(retry.longest, DISK_PAUSE) if part.waits else retry.longest
        pause = self.random.uniform(0, min(longest, retry.first * 2 ** min(part.attempts - 1, 60)))
        if not self.target.waited_for:
            left = part.since + retry.give_up_after - self.clock.monotonic()
            if self._hurried or left <= 0:
                _log.error("sink %r did not take %d records: %s", self.target.id, len(part.batch), part.last_error)
                return False
            pause = min(pause, left)
        if part.attempts == 1:
            _log.warning("sink %r did not take a batch; it is asked again: %s", self.target.id, part.last_error)
        with anyio.CancelScope() as self._pause:
            await self.clock.sleep(pause)
        self._pause = None
        return True

    def worked(self) -> None:
        """Note that the sink took something."""
        self.failing_since, self.failed = None, 0

    def note(self, exc: Exception) -> str:
        """Count an error; return what is remembered of it."""
        text = "; ".join(_as_text(leaf) for leaf in leaves(exc))
        self.edge.errors += 1
        self.edge.last_error = self.last_error = redact_text(text)[:LONGEST_ERROR]
        return self.last_error

    async def watch(self) -> None:
        """Cancel what takes longer than allowed; for ever, where there is a limit."""
        within, clock = self.target.delivery.within, self.clock
        while within is not None:
            # Whatever begins while this sleeps may still take that long when it wakes: no write has to wake it.
            await clock.sleep(within if self.deadline is None else max(0.001, self.deadline - clock.monotonic()))
            if self._scope is None:
                self._begun = anyio.Event()
                await self._begun.wait()
                self._begun = None
            elif self.deadline is not None and self.deadline <= clock.monotonic():
                self._scope.cancel()
                self._scope = None

    def hurry(self) -> None:
        """No more records come, and nobody waits any longer: attempt once more what is in hand, then give it up."""
        self._hurried = True
        if self._pause:
            self._pause.cancel()

    # Privately.

    def _checked(self, written: object, batch: Batch) -> Written:
        """What a sink said, if it makes sense."""
        if written is None:
            return TAKEN
        if not isinstance(written, Written):
            raise PluginError(
                f"sink {self.target.id!r} returned {type(written).__name__!r} from write; return None or Written"
            )
        if written.merged or written.rejected or written.kept:
            _check_written(written, batch, self.target.id)
            if written.rejected or written.kept:
                return written._replace(rejected=_texts(written.rejected), kept=_texts(written.kept))
        return written

    async def _limited(self, call: Awaitable[T], what: str) -> T:
        """Await the sink for as long as is allowed; raise TimeoutError where that was not enough."""
        within, started = self.target.delivery.within, perf_counter()
        try:
            if within is None:
                return await metered(call, self.edge)
            self.deadline = self.clock.monotonic() + within
            with anyio.CancelScope() as scope:
                self._scope = scope
                if self._begun:
                    self._begun.set()
                return await metered(call, self.edge)
        finally:
            self._scope = self.deadline = None
            self.edge.took(started)
        raise TimeoutError(f"it did not {what} within {within:g} s")


def _verdict(exc: Exception, batch: Batch, sink: str) -> tuple[Exception, Mapping[int, str] | None]:
    """What an exception says about a batch: it, or a better one, and which records it rejects."""
    found = leaves(exc)
    if len(found) > 1 or not isinstance(rejected := found[0], Rejected):
        return exc, None
    if not all(isinstance(n, int) and 0 <= n < len(batch) for n in rejected.records):  # pyright: ignore[reportUnnecessaryIsInstance] - A plugin's word.
        text = f"sink {sink!r} rejected records {sorted(rejected.records)} of a batch of {len(batch)}"
        return PluginError(text), None
    return rejected, _texts(rejected.records)


def _check_written(written: Written, batch: Batch, sink: str) -> None:
    named = [*written.rejected, *written.kept]
    fits = all(isinstance(n, int) and 0 <= n < len(batch) for n in named) and len(set(named)) == len(named)  # pyright: ignore[reportUnnecessaryIsInstance] - A plugin's word.
    if not fits or not 0 <= written.merged <= len(batch) - len(named):
        raise PluginError(
            f"sink {sink!r} returned Written({written.merged} merged, {sorted(written.rejected)} rejected, "
            f"{sorted(written.kept)} kept) for a batch of {len(batch)}; name each record once, by its index"
        )


def _texts(records: Mapping[int, str]) -> Mapping[int, str]:
    return {n: redact_text(str(why))[:LONGEST_ERROR] for n, why in sorted(records.items())}


def _as_text(exc: BaseException) -> str:
    return str(exc) if isinstance(exc, (Rejected, Kept)) else f"{type(exc).__name__}: {exc}"
