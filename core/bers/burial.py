"""What can never be delivered becomes dead letters; where there is no place for them, it is dropped and counted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from bers.attempts import Attempts, Part
from bers.dead_letters import DeadLetters
from bers.in_hand import InHand
from bers.letters import Finding, Place, Why
from bers.records import Batch, only, single


@dataclass
class Burial:
    """Of the records of one courier."""

    place: Place
    attempts: Attempts
    in_hand: InHand
    dead: DeadLetters | None

    async def bury(self, part: Part, why: Mapping[int, str], reason: Why) -> None:
        """Make dead letters of some records."""
        if await self.keep(part, self.findings(part, why, reason), None):
            self.in_hand.dead(len(why))
        else:
            self.in_hand.drop(len(why), reason)

    async def keep(self, part: Part, findings: Collection[Finding], position: int | None) -> bool:
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
                self.attempts.fail(part, exc)
                if not self.attempts.target.waited_for:
                    return False
            await self.attempts.pause(part)

    def findings(self, part: Part, why: Mapping[int, str], reason: Why) -> list[Finding]:
        """One for each record that is to blame by itself; one for all that were given up together."""

        def of(batch: Batch, text: str) -> Finding:
            last = text or part.last_error
            return Finding(batch, reason, part.attempts, part.first_time, part.first_error or last, last)

        if reason == "rejected":
            return [of(single(part.batch, n), text) for n, text in why.items()]
        return [of(only(part.batch, why), "")]
