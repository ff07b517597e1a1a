"""How a batch gets to one sink: attempts, their limits, and what becomes of records that are not taken."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from time import perf_counter
from typing import Annotated, Literal, NamedTuple, TypeAlias, TypeVar, cast

import anyio
from msgspec import Meta

from bers.clock import Clock, SystemClock
from bers.counters import Edge
from bers.dead_letters import DeadLetters, Finding, Letter, Place, Why
from bers.errors import BersError, Conflict, PluginError, Refused, Rejected, leaves
from bers.metering import metered
from bers.records import Batch, halves, only
from bers.redaction import redact_text
from bers.stages import Config, Durable, Sink, Written
from bers.units import Duration, Interval, Size

T = TypeVar("T")

WhenFull: TypeAlias = Literal["drop_oldest", "drop_newest"]

LONGEST_ERROR = 2_000
"""Characters of an error that are remembered."""
PATIENCE = 5.0
"""Seconds that a replay waits for a sink that is busy with a batch."""

_log = logging.getLogger(__name__)


class Retry(Config, frozen=True):
    """When a batch is handed in again that a sink did not take."""

    first: Annotated[
        Interval,
        Meta(
            description="The longest pause before the second attempt; it doubles with each. A pause is a random part."
        ),
    ] = Interval("250ms")
    longest: Annotated[Interval, Meta(description="What the longest pause doubles to at most.")] = Interval("30s")
    give_up_after: Annotated[
        Duration,
        Meta(
            description="How long a batch is handed in again before it becomes a dead letter. Required and durable "
            "sinks are asked for ever."
        ),
    ] = Duration("5m")


class Delivery(Config, frozen=True):
    """How a sink is fed."""

    required: Annotated[
        bool, Meta(description="Whether its pipelines wait for it; a durable one is waited for anyway.")
    ] = False
    within: Annotated[
        Interval | None,
        Meta(
            description="How long it may take for one batch before it is cancelled, and asked again; without, it is "
            "started anew after `supervision.write_within`."
        ),
    ] = None
    retry: Annotated[Retry, Meta(description="When it is asked again.")] = Retry()
    queue: Annotated[int, Meta(gt=0, description="How many records may wait for it where nobody does.")] = 10_000
    queue_bytes: Annotated[Size, Meta(description="About how many bytes they may have.")] = Size("64MiB")
    when_full: Annotated[WhenFull, Meta(description="Which go when too many wait.")] = "drop_oldest"


class Target(NamedTuple):
    """A sink that is open, and how batches get to it."""

    id: str
    sink: Sink
    durable: bool = False
    delivery: Delivery = Delivery()
    begin: int | None = None
    """Where a durable sink begins that does not know the pipeline yet: where the pipeline begins, if not told."""

    @property
    def waited_for(self) -> bool:
        """Whether the pipeline waits for it."""
        return self.durable or self.delivery.required


@dataclass(frozen=True)
class Replayed:
    """What became of letters that were handed in again, in records."""

    delivered: int = 0
    left: int = 0
    """How many are dead letters still."""
    error: str = ""
    """Why, of the last."""

    def __add__(self, other: Replayed) -> Replayed:
        return Replayed(self.delivered + other.delivered, self.left + other.left, other.error or self.error)


@dataclass
class _Part:
    """Some records on their way, and what is known of the attempts so far."""

    batch: Batch
    attempts: int = 0
    since: float = 0.0
    """When the first attempt failed, by the monotonic clock."""
    first_time: float = 0.0
    first_error: str = ""
    last_error: str = ""

    def of(self, batch: Batch) -> _Part:
        return replace(self, batch=batch)


@dataclass
class Courier:
    """Brings the batches of one pipeline to one sink, one after another, and tells how that goes."""

    pipeline: str
    target: Target
    edge: Edge
    clock: Clock = field(default_factory=SystemClock)
    random: Random = field(default_factory=Random)
    dead: DeadLetters | None = None
    """Where goes what can never be delivered; dropped and counted where there is no such place."""

    position: int = 0
    """After what was delivered last."""
    failing_since: float | None = None
    """Since when, by the monotonic clock, the sink has taken nothing; None while it does."""
    attempts: int = 0
    """How many failed in a row."""
    last_error: str = ""
    deadline: float | None = None
    """When, by the monotonic clock, the write under way is cancelled; past that, the sink withstands it."""

    _turn: anyio.Lock = field(default_factory=lambda: anyio.Lock(fast_acquire=True))
    _scope: anyio.CancelScope | None = None
    """Around the write under way, until it is cancelled."""
    _begun: anyio.Event | None = None
    """What the watch waits for while nothing is under way."""
    _pause: anyio.CancelScope | None = None
    _hurried: bool = False
    _settled: bool = False
    """Whether a durable sink has again what it may have lost with its memory."""
    _in_hand: int = 0
    """How many records are counted as queued and are here."""

    @property
    def place(self) -> Place:
        return Place(self.pipeline, self.target.id)

    # What a pipeline does with it.

    async def begin(self, position: int) -> None:
        """Say from where batches come. What a durable sink will be handed again is no dead letter any more."""
        self.position = position
        if self.dead and self.target.durable:
            await self.dead.take_back(self.place, position)

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

    async def settle(self) -> None:
        """Hand a durable sink what was on its way when the last process ended, or is not decided yet."""
        if not (self.dead and self.target.durable):
            return
        async with self._turn:
            if await self.dead.unsettled(self.place):
                await self.dead.resume(self.place, await self._position_of(self.place.reader))
                for letter in await self.dead.undecided(self.place):
                    self._take(letter.records)
                    await self._hand_over(letter, for_ever=True)
            self._settled = True

    async def take(self, batch: Batch) -> None:
        """Count a batch as queued, and deliver it."""
        self.edge.taken += len(batch)
        self.edge.queued += len(batch)
        await self.deliver(batch)

    async def deliver(self, batch: Batch) -> None:
        """Return when every record was delivered, is a dead letter, or is counted as dropped.

        The records are counted as queued by whoever asks. What is cancelled is counted as dropped.
        """
        try:
            self._turn.acquire_nowait()
        except anyio.WouldBlock:  # Somebody replays a dead letter.
            await self._wait_turn(batch)
        try:
            self._in_hand = len(batch)
            outcome = await self._attempt(batch)
            if isinstance(outcome, Written) and not (outcome.rejected or outcome.kept):
                self._count(len(batch), outcome)
            elif self.target.durable:
                await self._go_on_durably(batch, outcome)
            else:
                await self._go_on(batch, outcome)
            self.position = batch.end
        except BaseException as exc:
            self._drop(self._in_hand, "failed" if isinstance(exc, Exception) else "stopped")
            raise
        finally:
            self._turn.release()

    async def _wait_turn(self, batch: Batch) -> None:
        try:
            await self._turn.acquire()
        except BaseException:
            self._in_hand += len(batch)
            self._drop(len(batch), "stopped")
            raise

    def hurry(self) -> None:
        """No more records come, and nobody waits any longer: attempt once more what is in hand, then give it up."""
        self._hurried = True
        if self._pause:
            self._pause.cancel()

    # What an operator does with it.

    async def replay(self, id: int) -> Replayed | None:
        """Hand in a dead letter again, once; None where there is none. Asked twice at once, it is handed in once.

        Raise Refused where the sink is busy.
        """
        assert self.dead, "there are no dead letters"
        held = False
        try:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._lose_patience, scope)
                    await self._turn.acquire()
                    held = True
                    group.cancel_scope.cancel()
        except BaseException:  # Who asked may go between getting its turn and leaving the group.
            if held:
                self._turn.release()
            raise
        if not held:
            raise Refused(
                "unavailable",
                f"{self.target.id!r} does not take what it was handed last: {self.last_error or 'it is slow'}",
                hint="mend it first; see `bers status`",
                retry_after=PATIENCE,
            )
        try:
            if self.target.durable and not self._settled:
                raise Refused("unavailable", f"{self.target.id!r} is starting", retry_after=PATIENCE)
            letter = await self.dead.get(id)
            if letter is None or letter.place != self.place:
                return None
            self._take(letter.records)
            result = await self._hand_over(letter, for_ever=False)
        finally:
            self._turn.release()
        await self.dead.sweep()
        return result

    async def _lose_patience(self, scope: anyio.CancelScope) -> None:
        await self.clock.sleep(PATIENCE)
        scope.cancel()

    # To a sink that is not durable.

    async def _go_on(self, batch: Batch, outcome: Written | Exception) -> None:
        """Bring to an end what began with that outcome."""
        part, parts = _Part(batch), list[_Part]()
        while True:
            if isinstance(outcome, Written):
                self._count(len(part.batch), outcome)
                if outcome.rejected:
                    await self._bury(part, outcome.rejected, "rejected")
                if outcome.kept:
                    rest = part.of(only(part.batch, outcome.kept))
                    self._fail(rest, _Kept(next(iter(outcome.kept.values()))))
                    await self._wait_or_bury(rest, parts)
            elif (rejected := self._fail(part, outcome)) is None:
                await self._wait_or_bury(part, parts)
            elif rejected:
                await self._bury(part, rejected, "rejected")
                if len(rejected) < len(part.batch):
                    parts.append(part.of(_without(part.batch, rejected)))
            elif len(part.batch):
                parts += [part.of(half) for half in reversed(halves(part.batch))]
            if not parts:
                return
            part = parts.pop()
            outcome = await self._attempt(part.batch)

    async def _wait_or_bury(self, part: _Part, parts: list[_Part]) -> None:
        if await self._wait(part):
            parts.append(part)
        else:
            await self._bury(part, dict.fromkeys(range(len(part.batch)), ""), "gave_up")

    # To a durable one.

    async def _go_on_durably(self, batch: Batch, outcome: Written | Exception) -> None:
        """The same; nothing of what it raised for is there. What is to blame is written down before it moves on."""
        part, blamed, undecided = _Part(batch), list[Finding](), False
        while isinstance(outcome, Exception):
            if isinstance(outcome, Conflict):
                raise outcome
            rejected = self._fail(part, outcome)
            if rejected is None or not len(part.batch):
                await self._wait(part)
                rejected = None
            if await self._has_moved(batch):
                outcome = _ALL  # It was there before it raised.
                break
            if rejected is not None:
                whole = not rejected
                undecided = undecided or whole
                rejected = rejected or dict.fromkeys(range(len(part.batch)), "")
                blamed += self._findings(part, rejected, "undecided" if whole else "rejected")
                if not await self._keep(part, blamed, batch.end):
                    self._drop(len(rejected), "rejected")
                elif not whole:
                    self._dead(len(rejected))
                part = part.of(_without(part.batch, rejected))
            outcome = await self._attempt(part.batch)
        self._count(len(part.batch), outcome)
        if left := {**outcome.kept, **outcome.rejected}:
            # The rest is committed, and so nobody else knows of these any more.
            self._note(PluginError(f"durable sink {self.target.id!r} returned what it did not take; raise Rejected"))
            await self._bury(part, left, "rejected")
        if undecided and self.dead:
            try:
                for letter in await self.dead.undecided(self.place):
                    if letter.position == batch.end:
                        await self._hand_over(letter, for_ever=True)
            finally:
                self._dead(self._in_hand)  # They are letters, or found no room among them.

    async def _has_moved(self, batch: Batch) -> bool:
        """Whether a durable sink has the batch, though it raised. Raise Conflict where it has gone anywhere else."""
        at = await self._position_of(batch.reader, batch.partition)
        if at == self.position:
            return False
        if at == batch.end:
            return True
        raise Conflict(f"sink {self.target.id!r} stands at {at}, and not at {self.position}; it is asked anew")

    async def _position_of(self, reader: str, partition: int = 0) -> int:
        """Where a durable sink stands, however often it has to be asked."""
        part = _Part(Batch(()))
        while True:
            try:
                return await self._ask_position(reader, partition)
            except Conflict:
                raise
            except Exception as exc:
                self._fail(part, exc)
            await self._wait(part)

    async def _ask_position(self, reader: str, partition: int = 0) -> int:
        durable = cast("Durable", self.target.sink)  # Its spec is a DurableSpec, which proves it.
        begin = 0 if reader == self.place.reader else self.position
        return await self._limited(durable.position(reader, partition, begin=begin), "tell its position")

    # What is dead.

    async def _hand_over(self, letter: Letter, *, for_ever: bool) -> Replayed:
        """Hand in a letter that is counted as in hand; in parts where that finds out which records are to blame."""
        waiting, part, result = [letter], _Part(letter.batch), Replayed()
        others = self._in_hand - letter.records
        try:
            while waiting:
                one = waiting.pop()
                part = part.of(one.batch)
                outcome: Written | Exception
                try:
                    batch = await self._addressed(one)
                    outcome = _ALL if batch is None else await self._attempt(batch)
                except Exception as exc:
                    outcome = exc
                if isinstance(outcome, Exception):
                    rejected = self._fail(part, outcome)
                    if isinstance(outcome, Conflict) and for_ever:
                        raise outcome
                    if rejected is None and for_ever:
                        await self._wait(part)
                        waiting.append(one)
                    elif rejected is None:
                        result += await self._leave(one, part.last_error)
                    else:
                        again, left = await self._divide(one, rejected, part.last_error)
                        waiting += reversed(again)
                        result += left
                    continue
                result += await self._take_off(one, outcome)
        finally:
            self._dead(self._in_hand - others)  # Whatever happened: what was not delivered is a letter still.
        return result

    async def _addressed(self, letter: Letter) -> Batch | None:
        """The records of a letter as a batch that a durable sink takes exactly once; None where it has them."""
        assert self.dead, "there are no dead letters"
        if not self.target.durable:
            return replace(letter.batch, reader=self.pipeline, end=self.position)
        taken = await self._ask_position(self.place.reader)
        if not await self.dead.give_turn(letter, taken):
            return None
        return replace(letter.batch, reader=self.place.reader, partition=0, end=taken + 1)

    async def _leave(self, letter: Letter, error: str) -> Replayed:
        """An attempt failed that no other follows: the letter stays what it is, unless the sink has it after all."""
        assert self.dead, "there are no dead letters"
        if self.target.durable:
            try:
                if not await self.dead.give_turn(letter, await self._ask_position(self.place.reader)):
                    return await self._take_off(letter, _ALL)
            except Exception:  # Not known. It keeps its turn, by which the next attempt knows.
                return Replayed(0, letter.records, error)
        await self.dead.returned(letter, error, "gave_up" if letter.reason == "undecided" else letter.reason)
        return Replayed(0, letter.records, error)

    async def _divide(
        self, letter: Letter, rejected: Mapping[int, str], error: str
    ) -> tuple[Sequence[Letter], Replayed]:
        """Nothing of a letter was taken: those to blame become letters of their own, and the rest others."""
        assert self.dead, "there are no dead letters"
        if len(rejected) == letter.records == 1:
            await self.dead.returned(letter, rejected[0], "rejected")
            return [], Replayed(0, 1, rejected[0])
        findings = [_again(letter, _single(letter.batch, n), "rejected", why) for n, why in rejected.items()]
        rest = [_without(letter.batch, rejected)] if rejected else halves(letter.batch)
        # What is not decided when a process ends is handed in by the next one, where that can be done once only.
        reason: Why = "undecided" if self.target.durable else letter.reason
        findings += [_again(letter, batch, reason, error) for batch in rest if len(batch)]
        letters = await self.dead.divide(letter, findings)
        return letters[len(rejected) :], Replayed(0, len(rejected), error if rejected else "")

    async def _take_off(self, letter: Letter, written: Written) -> Replayed:
        """A letter was taken, or most of it."""
        assert self.dead, "there are no dead letters"
        left = {**written.kept, **written.rejected}
        if left:
            whys = [_again(letter, _single(letter.batch, n), "rejected", why) for n, why in left.items()]
            await self.dead.divide(letter, whys)
        else:
            await self.dead.handed_over(letter)
        self._count(letter.records, written)
        return Replayed(letter.records - len(left), len(left), next(iter(left.values()), ""))

    async def _bury(self, part: _Part, why: Mapping[int, str], reason: Why) -> None:
        """Make dead letters of some records."""
        if await self._keep(part, self._findings(part, why, reason), None):
            self._dead(len(why))
        else:
            self._drop(len(why), reason)

    async def _keep(self, part: _Part, findings: Collection[Finding], position: int | None) -> bool:
        """Write dead letters; whoever is waited for waits until there is room. False where they cannot be kept."""
        if self.dead is None:
            return False
        while True:
            try:
                if position is None:
                    await self.dead.add(self.place, list(findings))
                else:
                    await self.dead.put(self.place, position, list(findings))
                return True
            except Exception as exc:
                self._fail(part, exc)
                if not self.target.waited_for:
                    return False
            await self._wait(part)

    def _findings(self, part: _Part, why: Mapping[int, str], reason: Why) -> list[Finding]:
        """One for each record that is to blame by itself; one for all that were given up together."""

        def of(batch: Batch, text: str) -> Finding:
            last = text or part.last_error
            return Finding(batch, reason, part.attempts, part.first_time, part.first_error or last, last)

        if reason == "rejected":
            return [of(_single(part.batch, n), text) for n, text in why.items()]
        return [of(only(part.batch, why), "")]

    # Attempts.

    async def _attempt(self, batch: Batch) -> Written | Exception:
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
            outcome = _ALL if written is None else self._checked(written, batch)
        except Exception as exc:
            return exc
        if self.edge.taps:
            self.edge.show(batch)
        return outcome

    def _checked(self, written: object, batch: Batch) -> Written:
        """What a sink said, if it makes sense."""
        if written is None:
            return _ALL
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

    def _fail(self, part: _Part, exc: Exception) -> Mapping[int, str] | None:
        """Note an attempt that failed. None where it may succeed later; else the records to blame, none named: all.

        Of a single record it is known which one is to blame.
        """
        exc, rejected = _verdict(exc, part.batch, self.target.id)
        text = self._note(exc)
        part.attempts += 1
        part.last_error = text
        if part.attempts == 1:
            part.since, part.first_time, part.first_error = self.clock.monotonic(), self.clock.time(), text
        if rejected is None:
            self.attempts += 1
            if self.failing_since is None:
                self.failing_since = self.clock.monotonic()
        elif not rejected and len(part.batch) == 1:
            return {0: text}
        return rejected

    async def _wait(self, part: _Part) -> bool:
        """Pause before the next attempt; False where there is to be none."""
        retry = self.target.delivery.retry
        pause = self.random.uniform(0, min(retry.longest, retry.first * 2 ** min(part.attempts - 1, 60)))
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

    # Counting.

    def _note(self, exc: Exception) -> str:
        text = "; ".join(_as_text(leaf) for leaf in leaves(exc))
        self.edge.errors += 1
        self.edge.last_error = self.last_error = redact_text(text)[:LONGEST_ERROR]
        return self.last_error

    def _take(self, records: int) -> None:
        self.edge.taken += records
        self.edge.queued += records
        self._in_hand += records

    def _count(self, records: int, written: Written) -> None:
        """What became of records that a sink took; what it says it did not take is in hand still."""
        taken = records - len(written.rejected) - len(written.kept)
        self._settle_counts(taken)
        self.edge.merged += written.merged
        self.edge.out += taken - written.merged
        if taken or not written.kept:
            self.failing_since, self.attempts = None, 0

    def _dead(self, records: int) -> None:
        self._settle_counts(records)
        self.edge.dead += records

    def _drop(self, records: int, reason: str) -> None:
        if records:
            self._settle_counts(records)
            self.edge.dropped[reason] += records

    def _settle_counts(self, records: int) -> None:
        self.edge.queued -= records
        self._in_hand -= records


_ALL = Written()


class _Kept(BersError):
    """A sink keeps some records for later."""


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


def _single(batch: Batch, n: int) -> Batch:
    number = len(batch.events)
    return replace(
        batch, events=batch.events[n : n + 1], windows=batch.windows[n - number : n - number + 1] if n >= number else ()
    )


def _without(batch: Batch, records: Collection[int]) -> Batch:
    return only(batch, set(range(len(batch))) - set(records))


def _again(letter: Letter, batch: Batch, reason: Why, error: str) -> Finding:
    return Finding(batch, reason, letter.attempts + 1, letter.first_time, letter.first_error, error)


def _texts(records: Mapping[int, str]) -> Mapping[int, str]:
    return {n: redact_text(str(why))[:LONGEST_ERROR] for n, why in sorted(records.items())}


def _as_text(exc: BaseException) -> str:
    return str(exc) if isinstance(exc, (Rejected, _Kept)) else f"{type(exc).__name__}: {exc}"
