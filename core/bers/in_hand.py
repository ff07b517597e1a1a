"""The records that a courier has in hand, counted until it is known of each what became of it."""

from __future__ import annotations

from dataclasses import dataclass

from bers.attempts import Attempts
from bers.stages import Written


@dataclass
class InHand:
    """They are counted as queued as long as they are here."""

    attempts: Attempts
    records: int = 0

    def take(self, records: int) -> None:
        """Some records come that nobody has counted yet."""
        edge = self.attempts.edge
        edge.taken += records
        edge.again += records
        edge.queued += records
        self.records += records

    def delivered(self, records: int, written: Written) -> None:
        """What became of records that a sink took; what it says it did not take is in hand still."""
        taken = records - len(written.rejected) - len(written.kept)
        self._settle(taken)
        edge = self.attempts.edge
        edge.merged += written.merged
        edge.out += taken - written.merged
        if taken or not written.kept:
            self.attempts.worked()

    def dead(self, records: int) -> None:
        """Some are dead letters."""
        self._settle(records)
        self.attempts.edge.dead += records

    def drop(self, records: int, reason: str) -> None:
        """Some are lost."""
        if records:
            self._settle(records)
            self.attempts.edge.dropped[reason] += records

    def _settle(self, records: int) -> None:
        self.attempts.edge.queued -= records
        self.records -= records
