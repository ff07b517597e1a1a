"""What the intake remembers at one position of the bus, as bytes."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Mapping

import msgspec
from anyio import to_thread

from bers.records import Event
from bers.repeats import Memory

AT_ONCE = 4_000
"""How many of the events that sources remember are written down before others have their turn."""

_log = logging.getLogger(__name__)


class Snapshot(msgspec.Struct, array_like=True):
    """What the intake remembers at one position of the bus."""

    position: int
    repeats: Memory
    tables: dict[str, dict[str, Event | bytes]]
    series: dict[str, list[str]] = {}


async def written(
    position: int, repeats: bytes, tables: Mapping[str, tuple[list[str], list[bytes]]], series: Mapping[str, list[str]]
) -> bytearray:
    """A snapshot of these, compressed piece by piece: all at once would be in memory twice, and hold up the others."""
    compress, body = zlib.compressobj(1), bytearray()
    for piece in _pieces(position, repeats, tables, series):
        body += await to_thread.run_sync(compress.compress, piece)
    body += compress.flush()
    return body


def position_of(snapshot: bytes) -> int:
    """The position of what :func:`written` returned; raise ValueError where it is none."""
    try:
        unpacker = zlib.decompressobj()
        head = unpacker.decompress(snapshot, 10)
    except zlib.error as exc:
        raise ValueError(f"the snapshot cannot be decompressed: {exc}") from exc
    if head[:1] != b"\x94":
        raise ValueError("the snapshot does not begin as one does")
    size = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}.get(head[1], 0)
    return int.from_bytes(head[2 : 2 + size], "big") if size else head[1]


def decoded(snapshot: bytes | bytearray | None) -> Snapshot | None:
    """A snapshot as it was written; None where there is none, or it is damaged: the bus has what it said, or most."""
    try:
        return msgspec.msgpack.decode(zlib.decompress(snapshot), type=Snapshot) if snapshot else None
    except (zlib.error, msgspec.MsgspecError, ValueError) as exc:
        _log.error(
            "the snapshot of the intake is damaged (%s): what it remembers is read from the journal, and what is older "
            "than that is forgotten, so that an event of then would be taken again",
            exc,
        )
        return None


def _pieces(
    position: int, repeats: bytes, tables: Mapping[str, tuple[list[str], list[bytes]]], series: Mapping[str, list[str]]
) -> Iterator[bytes]:
    """What :class:`Snapshot` is as MessagePack: an array of four, the third a map of maps."""
    encode = msgspec.msgpack.Encoder().encode
    yield b"\x94" + encode(position) + repeats + _map_of(len(tables))
    for key, (names, events) in tables.items():
        yield encode(key) + _map_of(len(names))
        for at in range(0, len(names), AT_ONCE):
            some = dict(zip(names[at : at + AT_ONCE], events[at : at + AT_ONCE], strict=True))
            yield encode(some)[1 if len(some) < 16 else 3 :]  # Without the head that says how many they are.
    yield encode(series)


def _map_of(length: int) -> bytes:
    """The head of a map of so many entries."""
    return b"\xdf" + length.to_bytes(4, "big")
