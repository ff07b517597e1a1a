"""Decompress the body of a request piece by piece, so that a bomb costs no more than the limit."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import zstandard
from anyio import to_thread

from bers.errors import Refused

PIECE = 1 << 20
"""Bytes that are decompressed at a time."""

MAX_WINDOW = 8 << 20
"""How far back a zstd stream may refer, in bytes: as much as its standard asks everybody to have."""


async def inflate(body: bytes | bytearray, encoding: str, limit: int, grow: Callable[[int], None]) -> bytearray:
    """Return the whole body; raise Refused where it is larger than ``limit``, or not compressed like that.

    ``grow`` is told how large it is, before it is that large.
    """
    inflated = bytearray()
    pieces = _pieces(body, encoding)
    try:
        while piece := await to_thread.run_sync(next, pieces, b""):
            if len(inflated) + len(piece) > limit:
                raise Refused(
                    "too_large",
                    f"the decompressed body has more than {limit:d} bytes",
                    hint="send fewer events at once",
                )
            grow(len(inflated) + len(piece))
            inflated += piece
    except (zlib.error, zstandard.ZstdError, EOFError) as exc:
        raise Refused("bad_request", f"the body is not {encoding}: {exc}") from exc
    return inflated


def _pieces(body: bytes | bytearray, encoding: str) -> Iterator[bytes]:
    """What a body is when it is decompressed, so much at a time."""
    if encoding == "zstd":
        inflater = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
        with inflater.stream_reader(body, read_across_frames=True) as reader:
            while piece := reader.read(PIECE):
                yield piece
        return
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32 if encoding == "gzip" else zlib.MAX_WBITS)
    rest: bytes | bytearray | memoryview = body
    while not inflate.eof:
        piece = inflate.decompress(rest, PIECE)
        rest = inflate.unconsumed_tail
        if piece:
            yield piece
        elif not inflate.eof:
            raise EOFError("it ends too early")
    if inflate.unused_data:
        raise EOFError("there is more behind its end")
