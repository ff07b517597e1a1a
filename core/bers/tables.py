"""What a source remembers between events, lent to it by the intake so that it can be undone."""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Mapping

from bers.records import Event


class Table:
    """Events by key: bounded, and undone together with an append that fails."""

    def __init__(self, *, limit: int = 100_000) -> None:
        self._limit = limit
        self._events: dict[str, Event] = {}
        self._undo: list[tuple[str, Event | None]] = []

    def __len__(self) -> int:
        return len(self._events)

    def keys(self) -> KeysView[str]:
        return self._events.keys()

    def items(self) -> Iterable[tuple[str, Event]]:
        """What there is now, oldest first; safe to change the table while going through it."""
        return list(self._events.items())

    def get(self, key: str) -> Event | None:
        return self._events.get(key)

    def put(self, key: str, event: Event) -> None:
        """Remember an event; beyond the limit, the key that came first is forgotten."""
        self._set(key, event)
        if len(self._events) > self._limit:
            self._set(next(iter(self._events)), None)

    def discard(self, key: str) -> None:
        if key in self._events:
            self._set(key, None)

    def mark(self) -> int:
        """Name this moment, for :meth:`undo`."""
        return len(self._undo)

    def undo(self, mark: int = 0) -> None:
        """Make everything since the mark, or since :meth:`keep`, not have happened."""
        while len(self._undo) > mark:
            key, old = self._undo.pop()
            self._restore(key, old)

    def keep(self) -> None:
        """Say that what happened is durable, and cannot be undone any more."""
        self._undo.clear()

    def dump(self) -> Mapping[str, Event]:
        """What to write down, for :meth:`load`; only between :meth:`keep` and the next change."""
        return self._events

    def load(self, events: Mapping[str, Event]) -> None:
        self._events = dict(events)
        self._undo.clear()

    def expire(self, before: float) -> None:
        """Forget what was received before a time, in seconds since 1970; called by the intake alone."""
        for key, event in self.items():
            if event.received and event.received < before:
                self._set(key, None)

    def _set(self, key: str, event: Event | None) -> None:
        self._undo.append((key, self._events.get(key)))
        self._restore(key, event)

    def _restore(self, key: str, event: Event | None) -> None:
        if event is None:
            self._events.pop(key, None)
        else:
            self._events[key] = event
