"""The newest events of the bus, in memory: pieces that follow each other without a gap."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bers.records import Event


class Piece(NamedTuple):
    """Events that go together, from one position to another."""

    start: int
    end: int
    events: Sequence[Event]
    size: int
    """About what its events take in memory."""
    durable: bool = False
    """Whether somebody waits for it to be on disk."""


class Tail:
    """Pieces are added at its end, and forgotten at its start."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.size = 0
        """About how many bytes it takes in memory."""
        self._pieces: deque[Piece] = deque()

    @property
    def start(self) -> int:
        """The position after which everything is here."""
        return self._pieces[0].start if self._pieces else self.end

    def add(self, piece: Piece) -> None:
        """Go on with a piece that begins where this ends."""
        self._pieces.append(piece)
        self.size += piece.size
        self.end = piece.end

    def forget(self, unwanted: Callable[[Piece], bool]) -> None:
        """Give up the oldest, for as long as they are unwanted."""
        while self._pieces and unwanted(self._pieces[0]):
            self.size -= self._pieces.popleft().size

    def after(self, position: int) -> list[Piece]:
        """What is here from a position on. Looked for from the end, where most readers are."""
        found: list[Piece] = []
        for piece in reversed(self._pieces):
            if piece.end <= position:
                break
            found.append(piece)
        found.reverse()
        return found
