"""The doors for emitters: `POST /api/monitoring/ingest`, and one below it for each format that a plugin offers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import anyio
import msgspec
from anyio import to_thread
from anyio.lowlevel import checkpoint
from starlette.requests import Request
from starlette.responses import Response

from bers import disk
from bers.catalog import Metric
from bers.clock import Clock
from bers.config.settings import IntakeSettings
from bers.decoding import MEDIA, PLAIN, SLICE, WHOLE, Decoded, Decoder, Rejection, cloudevents
from bers.errors import BersError, Full, PluginError, Refused
from bers.formats import Delivery, Documents
from bers.intake import Intake
from bers.memory import Hold, Memory
from bers.pace import AT_A_TIME, Pace
from bers.rates import Rates
from bers.records import EVENT_BYTES, Event
from bers.redaction import Redactor
from bers.web import bodies
from bers.web.doors import ENCODINGS, Door
from bers.web.dry_run import dry_run
from bers.web.envelope import STATUS, headers_of, success
from bers.web.inflating import inflate
from bers.web.strangers import Strangers, Visit

FORM = "application/x-www-form-urlencoded"
"""What `curl -d` says without a header: the body tells whether it is one."""

EXPANSION = 8
"""How many bytes of memory a byte of JSON becomes, until it is known better: 7 to 9 were measured, 1 of long texts."""

TURNS = 4
"""How many requests are decoded at a time. More would take longer together, and their events would be there at once."""

SEARCHED = 256 << 10
"""Bytes that are searched for secrets at once, within a millisecond; larger bodies are searched a slice at a time."""


class Receipt(msgspec.Struct, frozen=True):
    """What became of the events of one request."""

    accepted: int
    duplicates: int
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
        metrics: Mapping[str, Metric],
        strangers: Strangers,
    ) -> None:
        self._strangers = strangers
        self._redactor = redactor
        self._metrics = metrics
        self._intake = intake
        self._settings = settings
        self._clock = clock
        self._memory = memory
        self._pace = pace
        rate = settings.events_per_second
        self._rates = Rates(clock, per_second=rate, burst=max(1.0, rate)) if rate else None
        self._decoder = Decoder(max_event=settings.max_event, max_events=settings.max_events)
        self._turns = anyio.Semaphore(TURNS, fast_acquire=True)

    async def answer(self, request: Request, principal: str, door: Door | None = None) -> Response:
        """Take what the request holds; 202 says that it survives ``kill -9``. ``principal`` is who is counted.

        Without a ``door`` it comes in the words that the server itself understands.
        """
        try:
            with self._memory.hold() as hold:
                if door is None or door.format.verify is None:
                    return await self._take(request, principal, hold, door)
                with self._strangers.visit(principal) as visit:
                    return await self._take(request, principal, hold, door, visit)
        except Refused as refused:
            self._intake.refused[refused.reason] += 1
            if door and door.format.manners:
                told = door.format.manners.refused(bodies.media(request), self._masked_refusal(refused))
                return Response(told.body, STATUS[refused.reason], headers_of(refused), told.media)
            raise

    async def _take(
        self, request: Request, principal: str, hold: Hold, door: Door | None, visit: Visit | None = None
    ) -> Response:
        media = bodies.media(request)
        _check_media(media, request, door)
        rehearse = request.query_params.get("dry_run", "false")
        if rehearse not in ("0", "1", "false", "true"):
            raise Refused("invalid", f"dry_run: {rehearse[:40]!r} is neither 1 nor 0", hint="write dry_run=1")
        encoding = request.headers.get("content-encoding", "identity").strip().lower() or "identity"
        # What is signed is what was sent, and whoever signs sends it as it is.
        encodings = ENCODINGS[:1] if door and door.format.verify else ENCODINGS
        if encoding not in encodings:
            raise Refused("unsupported_encoding", f"{encoding!r} is not understood", known=encodings[1:])
        if self._rates is not None and (wait := self._rates.wait(principal)):
            raise self._too_fast(wait)
        expansion = door.format.expansion if door else EXPANSION
        if visit:
            body = await self._proven(request, media, hold, door, visit)
        else:
            body = await self._read(request, lambda size: hold.grow(size * expansion), door, expansion)
        if encoding != "identity":
            async with self._turns:
                limit = int(self._settings.max_inflated)
                limit = min(limit, door.format.max_inflated) if door else limit
                body = await inflate(body, encoding, limit, lambda size: hold.grow(size * expansion))
        # Who reads a format may take its time, and takes no turn meanwhile.
        documents = await self._documents(request, media, bytes(body), door) if door else ()
        async with self._turns:
            if door:
                decoded = await self._decode_format(documents, len(body), hold, door)
            else:
                decoded = await self._decode(request, media, body, hold)
            # In binary mode a CloudEvent has its words in the headers, where nobody has looked.
            whole = door is None and len(body) <= SEARCHED and not cloudevents.is_binary(request.headers, media)
            clean = whole and self._redactor.is_clean(body, foreign=True)
            del body
            hold.grow(len(decoded.events) * EVENT_BYTES)
        if rehearse in ("1", "true"):
            return success(dry_run(decoded, self._redactor, self._intake, self._metrics))
        manners = door.format.manners if door else None
        if not decoded.events and decoded.rejected and not manners:
            count = len(decoded.rejected)
            raise Refused(
                "invalid",
                f"none of the {count} events was taken" if count > 1 else "the event was not taken",
                details=[(f"[{one.index}]", one.error) for one in decoded.rejected[:100]],
            )
        if self._rates is not None and (wait := self._rates.take(principal, len(decoded.events))):
            raise self._too_fast(wait)
        new, repeated = await self._hand_in(decoded.events, clean=clean)
        rejected = await self._masked_rejections(decoded.rejected)
        if manners:
            told = manners.taken(media, rejected)
            return Response(told.body, 200, {"Cache-Control": "no-store"}, told.media)
        return success(Receipt(new, repeated, rejected), status=202, masked=True)

    async def _proven(
        self, request: Request, media: str, hold: Hold, door: Door | None, visit: Visit
    ) -> bytes | bytearray:
        """The body of somebody who shows no key, when it has proven whose it is. Until then nothing is made of it."""
        assert door and door.format.verify

        def grow(size: int) -> None:
            visit.grow(size)
            hold.grow(size)

        body = bytes(await self._read(request, grow, door, 1))
        delivery = self._delivery(request, media, body)
        async with self._strangers.turn:
            verify = partial(door.format.verify, door.reader(), delivery)
            with _blamed(door, "verified"):
                if len(body) > WHOLE:  # To sum up a large body takes milliseconds, without the lock of the interpreter.
                    await to_thread.run_sync(verify)
                else:
                    verify()
        visit.believe()
        hold.grow(len(body) * door.format.expansion)
        return body

    async def _read(
        self, request: Request, grow: Callable[[int], None], door: Door | None, expansion: int
    ) -> bytes | bytearray:
        limit = int(self._settings.max_body)
        if door:
            door.reader()  # Nobody has to send everything to be told that nobody reads it.
            limit = min(limit, door.format.max_bytes)
        if (size := bodies.declared(request)) <= limit:
            await self._memory.wait(size * expansion)
        return await bodies.read(
            request,
            limit=limit,
            within=self._settings.body_within,
            grow=grow,
            hint="send less at once" if door else "send fewer events at once",
        )

    async def _decode(self, request: Request, media: str, body: bytes | bytearray, hold: Hold) -> Decoded:
        now = self._clock.time()
        if cloudevents.is_binary(request.headers, media):
            content_type = request.headers.get("content-type", "")
            return self._decoder.binary(request.headers.raw, content_type, body, now=now)
        return await self._decoder.decode(body, now=now, media=media if media in MEDIA else PLAIN, grow=hold.grow)

    async def _documents(self, request: Request, media: str, body: bytes, door: Door) -> Documents:
        """What a request says in the words of a plugin's format."""
        stage, delivery = door.reader(), self._delivery(request, media, body)
        known = door.format.parameters
        if known and (others := sorted(delivery.query.keys() - known.keys())):
            raise Refused("invalid", f"{others[0][:40]!r} is no parameter of this", known=[*known, "dry_run"])
        with _read_as(door):
            documents = door.format.decode(stage, delivery)
            return await documents if isinstance(documents, Awaitable) else documents

    def _delivery(self, request: Request, media: str, body: bytes) -> Delivery:
        query = {name: value for name, value in request.query_params.items() if name != "dry_run"}
        return Delivery(request.headers, body, media, self._clock.time(), query)

    async def _decode_format(self, documents: Documents, size: int, hold: Hold, door: Door) -> Decoded:
        with _read_as(door):  # A generator finds faults only now.
            return await self._decoder.read(documents, now=self._clock.time(), size=size, grow=hold.grow)

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

    async def _masked_rejections(self, rejected: Sequence[Rejection]) -> list[Rejection]:
        """The same without what nobody may read, a slice at a time: there may be thousands, each with a long error."""
        told: list[Rejection] = []
        for at in range(0, len(rejected), SLICE):
            told += map(self._masked_rejection, rejected[at : at + SLICE])
            await checkpoint()
        return told

    def _masked_rejection(self, rejection: Rejection) -> Rejection:
        error, id = self._redactor.text(rejection.error), rejection.id and self._redactor.text(rejection.id)
        return Rejection(rejection.index, error, id)

    def _masked_refusal(self, refused: Refused) -> Refused:
        """The same without what nobody may read: in words of others nothing can be masked when they are bytes."""
        text = self._redactor.text
        hint, details = text(refused.hint), [(text(path), text(message)) for path, message in refused.details]
        return Refused(refused.reason, text(str(refused)), hint=hint, details=details, retry_after=refused.retry_after)

    def _too_fast(self, wait: float) -> Refused:
        return Refused(
            "rate_limited",
            f"more than {self._settings.events_per_second:g} events a second came from one sender",
            hint="nothing was kept; send it again",
            retry_after=wait,
        )


@contextmanager
def _read_as(door: Door) -> Generator[None]:
    """Refuse what is no JSON, where it should be, and what the format says that it is not."""
    with _blamed(door, "read"):
        try:
            yield
        except ValueError as exc:
            raise Refused("bad_request", f"the body is not what {door.format.name} sends: {exc}"[:400]) from exc


@contextmanager
def _blamed(door: Door, what: str) -> Generator[None]:
    """Whatever else a format raises is its plugin's fault: it is named, and costs this request alone."""
    try:
        yield
    except BersError:
        raise
    except (Exception, SystemExit) as exc:  # To end is for nobody to say who reads a request.
        if disk.disk_fault(exc):
            raise
        said = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
        place = f"{door.owner}: the format {door.format.name!r} failed when it {what} a request"
        raise PluginError(f"{place}: {said}"[:400]) from exc


def _check_media(media: str, request: Request, door: Door | None) -> None:
    """Raise Refused where nobody understands what is sent."""
    if door:
        known: Sequence[str] = door.format.media
    elif cloudevents.is_binary(request.headers, media):
        return
    else:
        known = (*MEDIA, FORM)
    if media and media not in known:
        raise Refused("unsupported_media_type", f"{media[:100]!r} is not understood", known=set(known) - {FORM})
