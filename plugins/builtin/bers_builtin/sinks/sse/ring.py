"""The newest frames, for clients that come back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from bers_builtin.sinks.sse.frames import Frame


class Ring:
    """What everybody was told of events last, and the counts of what was not told, in the order of their positions."""

    def __init__(self, capacity: int) -> None:
        self._frames: deque[Frame] = deque()
        self._capacity = capacity
        self._oldest: int | None = None
        self.end = 0
        """The position up to which everything has been told."""

    def extend(self, frames: Iterable[Frame], end: int) -> None:
        """Add what is being told; from now on the end is ``end``."""
        for frame in frames:
            if self._oldest is None:
                self._oldest = frame.position - 1
            self._frames.append(frame)
            if len(self._frames) > self._capacity:
                self._oldest = self._frames.popleft().position
        self.end = max(self.end, end)

    def after(self, id: str) -> Sequence[Frame] | None:
        """What was told after the frame with that id; None where that is not known (any more)."""
        if not (id.isascii() and id.isdigit() and len(id) < 20):
            return None
        position = int(id)
        if position == self.end and position:
            return []
        if self._oldest is None or not self._oldest <= position <= self.end:
            return None
        return [frame for frame in self._frames if frame.position > position]
