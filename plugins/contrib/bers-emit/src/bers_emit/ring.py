"""Where events wait when the disk refuses them: the last thousand, in memory."""

from __future__ import annotations

import threading
from collections import deque

from bers_emit.spool import BATCH_BYTES, BATCH_EVENTS

MAX_EVENTS = 1000


class Ring:
    """Takes every event; the oldest goes when there is no room."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.refused = 0
        self._lines: deque[tuple[int, bytes]] = deque()
        self._count = 0
        self._taken = 0
        self._lock = threading.RLock()

    def append(self, line: bytes) -> int:
        """Keep the event; return how many had to go."""
        with self._lock:
            self._count += 1
            self._lines.append((self._count, line))
            if len(self._lines) <= MAX_EVENTS:
                return 0
            self._lines.popleft()
            return 1

    def batch(self) -> list[bytes]:
        """The next events to send, without their line ends."""
        with self._lock:
            lines: list[bytes] = []
            size = 0
            for count, line in self._lines:
                size += len(line)
                if len(lines) == BATCH_EVENTS or size > BATCH_BYTES:
                    break
                lines.append(line[:-1])
                self._taken = count
            return lines

    def done(self) -> None:
        """The last batch has been answered: it is never sent again."""
        with self._lock:
            while self._lines and self._lines[0][0] <= self._taken:
                self._lines.popleft()

    @property
    def empty(self) -> bool:
        return not self._lines

    @property
    def crowded(self) -> bool:
        """Whether so much waits that it had better be sent soon."""
        return len(self._lines) > MAX_EVENTS // 4
