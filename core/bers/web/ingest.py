"""The door for emitters: `POST /api/monitoring/ingest`."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import anyio
import msgspec
import zstandard
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from bers.clock import Clock
from bers.config.settings import IntakeSettings
from bers.decoding import MEDIA, Decoder, Rejection
from bers.errors import Full, Refused
from bers.intake import Intake
from bers.memory import Hold, Memory
from bers.pace import AT_A_TIME, Pace
from bers.rates import Rates
from bers.records import EVENT_BYTES, Event
from bers.redaction import Redactor
from bers.web import bodies
from bers.web.envelope import success

ENCODINGS = ("identity", "gzip", "deflate", "zstd")

EXPANSION = 8
"""How many bytes of memory a byte of JSON becomes, until it is known better: 7 to 9 were measured, 1 of long texts."""

TURNS = 4
"""How many requests are decoded at a time. More would take longer together, and their events would be there at once."""

PIECE = 1 << 20
"""Bytes that are decompressed at a time."""

MAX_WINDOW = 8 << 20
"""How far back a zstd stream may refer, in bytes: as much as its standard asks everybody to have."""

SEARCHED = 256 << 10
"""Bytes that are searched for secrets at once, within a millisecond; larger bodies are searched a slice at a time."""


class Receipt(msgspec.Struct, frozen=True):
    """What became of the events of one request."""

    accepted: int
    duplicates: int
    rejected: list[Rejection]


class DryRun(msgspec.Struct, frozen=True):
    """What would become of the events of one request: each as it would be kept."""

    events: list[Any]
    rejected: list[Rejection]


class Ingest:
    """Takes events over HTTP, as many at a time as there is memory for."""

    def __init__(
        self,
        intake: Intake,
        settings: IntakeSettings,
        clock: Clock,
        memory: Memory,
        pace: Pace,
        redactor: Redactor,
    ) -> None:
        self._redactor = redactor
        self._intake = intake
        self._settings = settings
        self._clock = clock
        self._memory = memory
        self._pace = pace
        rate = settings.events_per_second
        self._rates = Rates(clock, per_second=rate, burst=max(1.0, rate)) if rate else None
        self._decoder = Decoder(max_event=settings.max_event, max_events=settings.max_events)
        self._turns = anyio.Semaphore(TURNS, fast_acquire=True)

    async def answer(self, request: Request, principal: str) -> Response:
        """Take what the request holds; 202 says that it survives ``kill -9``. ``principal`` is who is counted."""
        try:
            with self._memory.hold() as hold:
                return await self._take(request, principal, hold)
        except Refused as refused:
            self._intake.refused[refused.reason] += 1
            raise

    async def _take(self, request: Request, principal: str, hold: Hold) -> Response:
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media and media not in MEDIA and media != "application/x-www-form-urlencoded":
            # curl -d without a header says "form": the body tells whether it is one.
            raise Refused("unsupported_media_type", f"{media!r} is not understood", known=MEDIA)
        dry_run = request.query_params.get("dry_run", "false")
        if dry_run not in ("0", "1", "false", "true"):
            raise Refused("invalid", f"dry_run: {dry_run[:40]!r} is neither 1 nor 0", hint="write dry_run=1")
        encoding = request.headers.get("content-encoding", "identity").strip().lower() or "identity"
        if encoding not in ENCODINGS:
            raise Refused("unsupported_encoding", f"{encoding!r} is not understood", known=ENCODINGS[1:])
        if self._rates is not None and (wait := self._rates.wait(principal)):
            raise self._too_fast(wait)
        if (size := bodies.declared(request)) <= self._settings.max_body:
            await self._memory.wait(size * EXPANSION)
        body = await bodies.read(
            request,
            limit=self._settings.max_body,
            within=self._settings.body_within,
            grow=lambda size: hold.grow(size * EXPANSION),
            hint="send fewer events at once",
        )
        async with self._turns:
            if encoding != "identity":
                body = await self._inflate(body, encoding, hold)
            decoded = await self._decoder.decode(body, now=self._clock.time(), grow=hold.grow)
            clean = len(body) <= SEARCHED and self._redactor.is_clean(body, foreign=True)
            del body
            hold.grow(len(decoded.events) * EVENT_BYTES)
        if dry_run in ("1", "true"):
            return success(
                DryRun([_shown(self._redactor.event(event)) for event in decoded.events], list(decoded.rejected))
            )
        if not decoded.events and decoded.rejected:
            raise Refused(
                "invalid",
                f"none of the {len(decoded.rejected)} events was taken",
                details=[(f"[{one.index}]", one.error) for one in decoded.rejected[:100]],
            )
        if self._rates is not None and (wait := self._rates.take(principal, len(decoded.events))):
            raise self._too_fast(wait)
        new, repeated = await self._hand_in(decoded.events, clean=clean)
        return success(Receipt(new, repeated, list(decoded.rejected)), status=202)

    async def _hand_in(self, events: Sequence[Event], *, clean: bool) -> tuple[int, int]:
        """Hand in events piece by piece, as fast as they are evaluated; how many were new, and how many were not."""
        new = repeated = 0
        try:
            async with self._pace.turn(len(events)):
                for at in range(0, len(events), AT_A_TIME):
                    piece = events[at : at + AT_A_TIME]
                    async with self._pace.passing(len(piece)):
                        receipt = await self._intake.submit(piece, clean=clean)
                    new, repeated = new + receipt.new, repeated + receipt.repeated
        except Full as full:
            kept = f"the first {new + repeated} were kept, and are known" if new + repeated else "nothing was kept"
            raise Refused(
                "unavailable" if full.broken else "full",
                str(full),
                hint=f"{kept}; send it again",
                retry_after=full.retry_after,
            ) from full
        return new, repeated

    async def _inflate(self, body: bytes | bytearray, encoding: str, hold: Hold) -> bytearray:
        """Decompress piece by piece, and stop at the limit: a bomb costs no more than it."""
        limit = self._settings.max_inflated
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
                hold.grow((len(inflated) + len(piece)) * EXPANSION)
                inflated += piece
        except (zlib.error, zstandard.ZstdError, EOFError) as exc:
            raise Refused("bad_request", f"the body is not {encoding}: {exc}") from exc
        return inflated

    def _too_fast(self, wait: float) -> Refused:
        return Refused(
            "rate_limited",
            f"more than {self._settings.events_per_second:g} events a second came from one sender",
            hint="nothing was kept; send it again",
            retry_after=wait,
        )


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


def _shown(event: Event) -> Any:
    return msgspec.to_builtins(event)
