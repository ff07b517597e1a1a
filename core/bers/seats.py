"""Where a stage that is in place meets the intake: it reads what it owns, and hands in what it measures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bers.cells import Cell
from bers.claims import UNMAPPED, covers
from bers.errors import Full, PluginError
from bers.intake import Intake
from bers.metering import Cost, metered
from bers.receivers import Receivers, Seat
from bers.records import Event
from bers.roster import Roster
from bers.stages import Receiver

_log = logging.getLogger(__name__)


class Seats:
    """The seats in the intake of one node, for those who are in its roster."""

    def __init__(self, intake: Intake, roster: Roster) -> None:
        self._intake = intake
        self._roster = roster
        self._strange: set[str] = set()
        """Types that a stage emitted without claiming them, and that were told of."""

    def of(self, cell: Cell) -> Seat:
        """The seat of one stage, which is there for it while it is in place, and for nobody else."""
        return _Seat(self._intake.receivers, partial(self._sits, cell))

    async def emit(self, cell: Cell, events: Sequence[Event], /, *, durable: bool = False) -> None:
        """Hand in what a stage measured by itself; raise Full where they have to be ``durable`` and are not taken."""
        if wrong := [type(event).__name__ for event in events if not _is_event(event)]:
            raise PluginError(f"{cell.name}: it emitted a {wrong[0]}; emit a list of events")
        owners = self._roster.plan.owners
        cell.sent += len(events)
        owners_of = {event.type: owners.of(event.type) for event in events}
        for kind in owners_of.keys() - self._strange:
            if owners_of[kind] != cell.key and not any(covers(brought, kind) for brought in cell.spec.brings):
                self._strange.add(kind)
                _log.warning("stage %r emits %r and does not claim it: pipelines take it for unmapped", cell.key, kind)
        # What another source has to read is refused while this node stops, because that source may have stopped.
        own = set(owners_of.values()) <= {cell.key, UNMAPPED}
        try:
            # What it takes to take them in is the intake's, not the stage's that waits for it.
            await metered(self._intake.submit(events, durable=durable, own=own), Cost(), within=cell.running)
        except Full:
            if durable:
                raise

    def _sits(self, cell: Cell) -> bool:
        return self._roster.has(cell) and not self._roster.is_handed_over(cell)


@dataclass(frozen=True)
class _Seat:
    receivers: Receivers
    mine: Callable[[], bool]

    def attach(self, key: str, receiver: Receiver) -> None:
        if self.mine():
            self.receivers.attach(key, receiver)

    def detach(self, key: str) -> None:
        if self.mine():
            self.receivers.detach(key)


def _is_event(one: object) -> bool:
    """Whatever its type says: a plugin may be typed less strictly than we are."""
    return isinstance(one, Event)
