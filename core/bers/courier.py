"""How a batch gets to one sink, whatever the sink says to it."""

from __future__ import annotations

from random import Random

import anyio

from bers.attempts import TAKEN, Attempts, Kept, Part
from bers.burial import Burial
from bers.clock import Clock, SystemClock
from bers.counters import Edge
from bers.dead_letters import DeadLetters
from bers.delivery import Target
from bers.errors import Conflict, PluginError, Refused
from bers.in_hand import InHand
from bers.letters import Finding, Place
from bers.records import Batch, halves, only, without
from bers.replay import Replay, Replayed
from bers.stages import Written

PATIENCE = 5.0
"""Seconds that a replay waits for a sink that is busy with a batch."""


class Courier:
    """Brings the batches of one pipeline to one sink, one after another, and tells how that goes."""

    def __init__(
        self,
        pipeline: str,
        target: Target,
        edge: Edge,
        clock: Clock | None = None,
        random: Random | None = None,
        dead: DeadLetters | None = None,
    ) -> None:
        """``dead`` is where goes what can never be delivered; without, it is dropped and counted."""
        self.target = target
        self.edge = edge
        self.clock = clock or SystemClock()
        self.place = Place(pipeline, target.id)
        self.attempts = Attempts(target, edge, self.clock, random or Random())
        self.position = 0
        """After what was delivered last."""
        self._in_hand = InHand(self.attempts)
        self._burial = Burial(self.place, self.attempts, self._in_hand, dead)
        self._replay = Replay(self.place, self.attempts, self._in_hand, dead) if dead else None
        self._turn = anyio.Lock(fast_acquire=True)
        self._settled = False
        """Whether a durable sink has again what it may have lost with its memory."""

    @property
    def failing_since(self) -> float | None:
        """Since when, by the monotonic clock, the sink has taken nothing; None while it does."""
        return self.attempts.failing_since

    # What a pipeline does with it.

    async def begin(self, position: int) -> None:
        """Say from where batches come. What a durable sink will be handed again is no dead letter any more."""
        self.position = position
        if self._replay and self.target.durable:
            await self._replay.dead.take_back(self.place, position)

    async def settle(self) -> None:
        """Hand a durable sink what was on its way when the last process ended, or is not decided yet."""
        if not (self._replay and self.target.durable):
            return
        dead = self._replay.dead
        async with self._turn:
            if await dead.unsettled(self.place):
                await dead.resume(self.place, await self.attempts.position(self.place.reader, begin=0))
                for letter in await dead.undecided(self.place):
                    self._in_hand.take(letter.records)
                    await self._replay.hand_over(letter, end=self.position, for_ever=True)
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
            self._in_hand.records = len(batch)
            outcome = await self.attempts.ask(batch)
            if isinstance(outcome, Written) and not (outcome.rejected or outcome.kept):
                self._in_hand.delivered(len(batch), outcome)
            elif self.target.durable:
                await self._go_on_durably(batch, outcome)
            else:
                await self._go_on(batch, outcome)
            self.position = batch.end
        except BaseException as exc:
            self._in_hand.drop(self._in_hand.records, "failed" if isinstance(exc, Exception) else "stopped")
            raise
        finally:
            self._turn.release()

    async def _wait_turn(self, batch: Batch) -> None:
        try:
            await self._turn.acquire()
        except BaseException:
            self._in_hand.records += len(batch)
            self._in_hand.drop(len(batch), "stopped")
            raise

    # What an operator does with it.

    async def replay(self, id: int) -> Replayed | None:
        """Hand in a dead letter again, once; None where there is none. Asked twice at once, it is handed in once.

        Raise Refused where the sink is busy.
        """
        assert self._replay, "there are no dead letters"
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
                f"{self.target.id!r} does not take what it was handed last: {self.attempts.last_error or 'it is slow'}",
                hint="mend it first; see `bers status`",
                retry_after=PATIENCE,
            )
        try:
            if self.target.durable and not self._settled:
                raise Refused("unavailable", f"{self.target.id!r} is starting", retry_after=PATIENCE)
            letter = await self._replay.dead.get(id)
            if letter is None or letter.place != self.place:
                return None
            self._in_hand.take(letter.records)
            result = await self._replay.hand_over(letter, end=self.position, for_ever=False)
        finally:
            self._turn.release()
        await self._replay.dead.sweep()
        return result

    async def _lose_patience(self, scope: anyio.CancelScope) -> None:
        await self.clock.sleep(PATIENCE)
        scope.cancel()

    # To a sink that is not durable.

    async def _go_on(self, batch: Batch, outcome: Written | Exception) -> None:
        """Bring to an end what began with that outcome."""
        part, parts = Part(batch), list[Part]()
        while True:
            if isinstance(outcome, Written):
                self._in_hand.delivered(len(part.batch), outcome)
                if outcome.rejected:
                    await self._burial.bury(part, outcome.rejected, "rejected")
                if outcome.kept:
                    rest = part.of(only(part.batch, outcome.kept))
                    self.attempts.fail(rest, Kept(next(iter(outcome.kept.values()))))
                    await self._wait_or_bury(rest, parts)
            elif (rejected := self.attempts.fail(part, outcome)) is None:
                await self._wait_or_bury(part, parts)
            elif rejected:
                await self._burial.bury(part, rejected, "rejected")
                if len(rejected) < len(part.batch):
                    parts.append(part.of(without(part.batch, rejected)))
            elif len(part.batch):
                parts += [part.of(half) for half in reversed(halves(part.batch))]
            if not parts:
                return
            part = parts.pop()
            outcome = await self.attempts.ask(part.batch)

    async def _wait_or_bury(self, part: Part, parts: list[Part]) -> None:
        if await self.attempts.pause(part):
            parts.append(part)
        else:
            await self._burial.bury(part, dict.fromkeys(range(len(part.batch)), ""), "gave_up")

    # To a durable one.

    async def _go_on_durably(self, batch: Batch, outcome: Written | Exception) -> None:
        """The same; nothing of what it raised for is there. What is to blame is written down before it moves on."""
        part, blamed, undecided = Part(batch), list[Finding](), False
        while isinstance(outcome, Exception):
            if isinstance(outcome, Conflict):
                raise outcome
            rejected = self.attempts.fail(part, outcome)
            if rejected is None or not len(part.batch):
                await self.attempts.pause(part)
                rejected = None
            if await self._has_moved(batch):
                outcome = TAKEN  # It was there before it raised.
                break
            if rejected is not None:
                whole = not rejected
                undecided = undecided or whole
                rejected = rejected or dict.fromkeys(range(len(part.batch)), "")
                blamed += self._burial.findings(part, rejected, "undecided" if whole else "rejected")
                if not await self._burial.keep(part, blamed, batch.end):
                    self._in_hand.drop(len(rejected), "rejected")
                elif not whole:
                    self._in_hand.dead(len(rejected))
                part = part.of(without(part.batch, rejected))
            outcome = await self.attempts.ask(part.batch)
        self._in_hand.delivered(len(part.batch), outcome)
        if left := {**outcome.kept, **outcome.rejected}:
            # The rest is committed, and so nobody else knows of these any more.
            self.attempts.note(
                PluginError(f"durable sink {self.target.id!r} returned what it did not take; raise Rejected")
            )
            await self._burial.bury(part, left, "rejected")
        if undecided and self._replay:
            try:
                for letter in await self._replay.dead.undecided(self.place):
                    if letter.position == batch.end:
                        await self._replay.hand_over(letter, end=self.position, for_ever=True)
            finally:
                self._in_hand.dead(self._in_hand.records)  # They are letters, or found no room among them.

    async def _has_moved(self, batch: Batch) -> bool:
        """Whether a durable sink has the batch, though it raised. Raise Conflict where it has gone anywhere else."""
        at = await self.attempts.position(batch.reader, batch.partition, begin=self.position)
        if at == self.position:
            return False
        if at == batch.end:
            return True
        raise Conflict(f"sink {self.target.id!r} stands at {at}, and not at {self.position}; it is asked anew")
