"""The door for emitters: `POST /api/monitoring/ingest`."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec
import zstandard
from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from bers.config.settings import IntakeSettings
from bers.decoding import MEDIA, Decoder, Rejection
from bers.errors import Full, Refused
from bers.intake import Intake
from bers.records import Event
from bers.web.envelope import failure, success


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
    """Takes events over HTTP."""

    def __init__(self, intake: Intake, settings: IntakeSettings, now: Any) -> None:
        self._intake = intake
        self._settings = settings
        self._now = now
        self._decoder = Decoder(max_event=settings.max_event, max_events=settings.max_events)

    async def answer(self, request: Request) -> Response:
        """Take what the request holds; 202 says that it survives ``kill -9``."""
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media and media not in MEDIA and media != "application/x-www-form-urlencoded":
            # curl -d without a header says "form": the body tells whether it is one.
            return failure(415, "unsupported_media_type", f"{media!r} is not understood", known=list(MEDIA))
        body = await self._read(request)
        if isinstance(body, Response):
            return body
        decoded = await self._decoder.decode(body, now=self._now())
        if request.query_params.get("dry_run") in ("1", "true"):
            return success(DryRun([_shown(event) for event in decoded.events], list(decoded.rejected)))
        if not decoded.events and decoded.rejected:
            return failure(
                422,
                "invalid",
                f"none of the {len(decoded.rejected)} events was taken",
                details=[{"path": f"[{one.index}]", "message": one.error} for one in decoded.rejected[:100]],
            )
        try:
            receipt = await self._intake.submit(decoded.events)
        except Full as full:
            seconds = str(max(1, round(full.retry_after)))
            if full.broken:
                return failure(
                    503,
                    "unavailable",
                    str(full),
                    hint="nothing was kept; send it again",
                    headers={"Retry-After": seconds},
                )
            return failure(
                429, "full", str(full), hint="nothing was kept; send it again", headers={"Retry-After": seconds}
            )
        return success(Receipt(receipt.new, receipt.repeated, list(decoded.rejected)), status=202)

    async def _read(self, request: Request) -> bytes | Response:
        limit = self._settings.max_body
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            return _too_large("the body", limit)
        pieces: list[bytes] = []
        size = 0
        try:
            async for piece in request.stream():
                size += len(piece)
                if size > limit:
                    return _too_large("the body", limit)
                pieces.append(piece)
        except ClientDisconnect:
            return failure(400, "bad_request", "the client left before it had sent everything")
        body = b"".join(pieces)
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding in ("", "identity"):
            return body
        if encoding not in ("gzip", "deflate", "zstd"):
            return failure(
                415, "unsupported_encoding", f"{encoding!r} is not understood", known=["gzip", "deflate", "zstd"]
            )
        try:
            return await to_thread.run_sync(_inflate, body, encoding, int(self._settings.max_inflated))
        except OverflowError:
            return _too_large("the decompressed body", self._settings.max_inflated)
        except (zlib.error, zstandard.ZstdError, EOFError) as exc:
            raise Refused("bad_request", f"the body is not {encoding}: {exc}") from exc


def _inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Decompress, and stop at the limit: a bomb costs no more than it."""
    if encoding == "zstd":
        with zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True) as reader:
            inflated = reader.read(limit + 1)
    else:
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 32 if encoding == "gzip" else zlib.MAX_WBITS)
        inflated = inflater.decompress(body, limit + 1)
        if len(inflated) <= limit and not inflater.eof:
            raise EOFError("it ends too early")
        if inflater.unused_data:
            raise EOFError("there is more behind its end")
    if len(inflated) > limit:
        raise OverflowError
    return inflated


def _too_large(what: str, limit: int) -> Response:
    return failure(413, "too_large", f"{what} has more than {limit:d} bytes", hint="send fewer events at once")


def _shown(event: Event) -> Any:
    return msgspec.to_builtins(event)
