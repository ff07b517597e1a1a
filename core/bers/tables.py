"""What a source remembers between events, lent to it by the intake so that it can be undone."""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Mapping
from itertools import islice
from struct import Struct
from sys import getsizeof

import msgspec

from bers.records import Event

ENTRY_BYTES = 64
"""About what an entry takes beside its key and its event."""

_RECEIVED = Struct("<d")
"""Stands before a written event, so that nobody reads all of it who asks for its age alone."""


class _Written(Event, frozen=True, gc=False, array_like=True):
    """An event without the names of its fields: they would be half of what is remembered."""


_USUAL = Event.__struct_fields__.index("weight") + 1
_REST = msgspec.structs.astuple(Event("", "", "", 0.0))[_USUAL:]
"""What stands in the fields behind those that most have: it is not written down."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Written).decode


class Table:
    """Events by key: bounded, and undone together with an append that fails.

    They are kept as bytes, because a source may remember a hundred thousand: as objects each would take a kilobyte.
    """

    def __init__(self, *, limit: int = 100_000, max_bytes: int = 4 << 20) -> None:
        """``max_bytes`` is about what all of it may take in memory."""
        self._limit = limit
        self._max_bytes = max_bytes
        self._events: dict[str, bytes] = {}
        self._undo: list[tuple[str, bytes | None]] = []
        self.size = 0
        """About how many bytes it takes."""

    def __len__(self) -> int:
        return len(self._events)

    def keys(self) -> KeysView[str]:
        return self._events.keys()

    def items(self) -> Iterable[tuple[str, Event]]:
        """What there is now, oldest first; safe to change the table while going through it."""
        return [(key, _read(written)) for key, written in self._events.items()]

    def get(self, key: str) -> Event | None:
        written = self._events.get(key)
        return None if written is None else _read(written)

    def put(self, key: str, event: Event) -> None:
        """Remember an event; beyond the limits, the keys that came first are forgotten."""
        self._set(key, _write(event))
        while len(self._events) > self._limit or (self.size > self._max_bytes and len(self._events) > 1):
            # Some together: to find the first, a dictionary goes past all that were there before it.
            for first in list(islice(self._events, len(self._events) // 100 or 1)):
                self._set(first, None)

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

    def dump(self) -> tuple[list[str], list[bytes]]:
        """What to write down as a map, for :meth:`load`: keys, and what is at each; not before :meth:`keep`.

        A copy of the dictionary would take five times as much, for as long as it takes to write it down.
        """
        return list(self._events), list(self._events.values())

    def load(self, events: Mapping[str, Event | bytes]) -> None:
        """Remember what :meth:`dump` returned, and nothing else; events, too, as it returned them once."""
        self._events, self.size = {}, 0
        for key, event in events.items():
            self._restore(key, event if isinstance(event, bytes) else _write(event))
        self._undo.clear()

    def expire(self, before: float, keys: Iterable[str] | None = None) -> None:
        """Forget what was received before a time, in seconds since 1970, among some keys or all; for the intake."""
        for key in list(self._events if keys is None else keys):
            written = self._events.get(key)
            if written is not None and 0 < _RECEIVED.unpack_from(written)[0] < before:
                self._set(key, None)

    def _set(self, key: str, written: bytes | None) -> None:
        self._undo.append((key, self._events.get(key)))
        self._restore(key, written)

    def _restore(self, key: str, written: bytes | None) -> None:
        old = self._events.get(key)
        if old is not None:
            self.size -= _weigh(key, old)
        if written is None:
            self._events.pop(key, None)
        else:
            self._events[key] = written
            self.size += _weigh(key, written)


def _write(event: Event) -> bytes:
    values = msgspec.structs.astuple(msgspec.structs.replace(event, received=0.0))
    return _RECEIVED.pack(event.received) + _encode(values[:_USUAL] if values[_USUAL:] == _REST else values)


def _read(written: bytes) -> Event:
    event = Event(*msgspec.structs.astuple(_decode(memoryview(written)[_RECEIVED.size :])))
    msgspec.structs.force_setattr(event, "received", _RECEIVED.unpack_from(written)[0])
    return event


def _weigh(key: str, written: bytes) -> int:
    return ENTRY_BYTES + getsizeof(key) + len(written) + 33
