"""A dead letter is handed in again: exactly once where the sink is durable, in parts where only some are to blame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bers.attempts import TAKEN, Attempts, Part
from bers.dead_letters import DeadLetters
from bers.errors import Conflict
from bers.in_hand import InHand
from bers.letters import Finding, Letter, Place, Why
from bers.records import Batch, halves, single, without
from bers.stages import Written


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
class Replay:
    """Of the dead letters of one courier."""

    place: Place
    attempts: Attempts
    in_hand: InHand
    dead: DeadLetters

    async def hand_over(self, letter: Letter, *, end: int, for_ever: bool) -> Replayed:
        """Hand in a letter that is counted as in hand; in parts where that finds out which records are to blame."""
        waiting, part, result = [letter], Part(letter.batch), Replayed()
        others = self.in_hand.records - letter.records
        try:
            while waiting:
                one = waiting.pop()
                part = part.of(one.batch)
                outcome: Written | Exception
                try:
                    batch = await self._addressed(one, end)
                    outcome = TAKEN if batch is None else await self.attempts.ask(batch)
                except Exception as exc:
                    outcome = exc
                if isinstance(outcome, Exception):
                    rejected = self.attempts.fail(part, outcome)
                    if isinstance(outcome, Conflict) and for_ever:
                        raise outcome
                    if rejected is None and for_ever:
                        await self.attempts.pause(part)
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
            # Whatever happened: what was not delivered is a letter still.
            self.in_hand.dead(self.in_hand.records - others)
        return result

    async def _addressed(self, letter: Letter, end: int) -> Batch | None:
        """The records of a letter as a batch that a durable sink takes exactly once; None where it has them."""
        if not self.attempts.target.durable:
            return replace(letter.batch, reader=self.place.pipeline, end=end)
        taken = await self.attempts.ask_position(self.place.reader, begin=0)
        if not await self.dead.give_turn(letter, taken):
            return None
        return replace(letter.batch, reader=self.place.reader, partition=0, end=taken + 1)

    async def _leave(self, letter: Letter, error: str) -> Replayed:
        """An attempt failed that no other follows: the letter stays what it is, unless the sink has it after all."""
        if self.attempts.target.durable:
            try:
                if not await self.dead.give_turn(letter, await self.attempts.ask_position(self.place.reader, begin=0)):
                    return await self._take_off(letter, TAKEN)
            except Exception:  # Not known. It keeps its turn, by which the next attempt knows.
                return Replayed(0, letter.records, error)
        await self.dead.returned(letter, error, "gave_up" if letter.reason == "undecided" else letter.reason)
        return Replayed(0, letter.records, error)

    async def _divide(
        self, letter: Letter, rejected: Mapping[int, str], error: str
    ) -> tuple[Sequence[Letter], Replayed]:
        """Nothing of a letter was taken: those to blame become letters of their own, and the rest others."""
        if len(rejected) == letter.records == 1:
            await self.dead.returned(letter, rejected[0], "rejected")
            return [], Replayed(0, 1, rejected[0])
        findings = [_again(letter, single(letter.batch, n), "rejected", why) for n, why in rejected.items()]
        rest = [without(letter.batch, rejected)] if rejected else halves(letter.batch)
        # What is not decided when a process ends is handed in by the next one, where that can be done once only.
        reason: Why = "undecided" if self.attempts.target.durable else letter.reason
        findings += [_again(letter, batch, reason, error) for batch in rest if len(batch)]
        letters = await self.dead.divide(letter, findings)
        return letters[len(rejected) :], Replayed(0, len(rejected), error if rejected else "")

    async def _take_off(self, letter: Letter, written: Written) -> Replayed:
        """A letter was taken, or most of it."""
        left = {**written.kept, **written.rejected}
        if left:
            whys = [_again(letter, single(letter.batch, n), "rejected", why) for n, why in left.items()]
            await self.dead.divide(letter, whys)
        else:
            await self.dead.handed_over(letter)
        self.in_hand.delivered(letter.records, written)
        return Replayed(letter.records - len(left), len(left), next(iter(left.values()), ""))


def _again(letter: Letter, batch: Batch, reason: Why, error: str) -> Finding:
    return Finding(batch, reason, letter.attempts + 1, letter.first_time, letter.first_error, error)
