"""The gate before every answer: where a request comes from, whose it is, how many there were, and what it may do."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import anyio
from starlette.requests import Request

from bers.access.addresses import address, client, group, is_loopback, networks, within
from bers.access.credentials import Credentials
from bers.access.keys import SCOPES, Key, id_of
from bers.access.refusals import Refusals
from bers.access.settings import AccessSettings
from bers.audit import Audit
from bers.clock import Clock
from bers.database import Database
from bers.errors import Refused
from bers.operations import Caller, Scope
from bers.rates import Rates

GUESSES_PER_SECOND, GUESSES = 0.5, 20
"""How many wrong keys one address may send: some at once, and then one every other second."""

LOOK_AGAIN = 5.0
"""Seconds after which the holder of an open stream is looked at again."""

_EVERYTHING = frozenset(SCOPES)
_HINT = "send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`; `bers keys create` makes one"
_IN_ADDRESS = ("key", "api_key", "apikey", "token", "access_token")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Errand:
    """What a request needs in order to be answered."""

    scope: Scope | None = None
    """None where any key will do."""
    public: bool = False
    """Whether it is answered to whoever has no key."""
    counted: bool = True
    """Whether the rate limit applies."""
    health: bool = False
    """Whether it reads health, which this machine itself may do as often as it likes."""
    pages: bool = False
    """Whether pages of the sites in ``access.origins`` may ask for it."""


class Gate:
    """Everything about who may ask one node what. Until it is attached to the node's state nobody has a key."""

    def __init__(self, settings: AccessSettings, clock: Clock, *, host: str = "127.0.0.1", tls: bool = False) -> None:
        """``host`` is where the node listens."""
        self.settings = settings
        self._clock = clock
        self._tls = tls
        self._allowed = networks(settings.allowed, "allowed")
        self._proxies = networks(settings.trusted_proxies, "trusted_proxies")
        self._hosts = {"localhost", host.lower(), *(name.lower() for name in settings.hosts)}
        self._rates = Rates(clock, per_second=settings.rate.per_second, burst=settings.rate.burst)
        self._guesses = Rates(clock, per_second=GUESSES_PER_SECOND, burst=GUESSES)
        self._credentials: Credentials | None = None
        self._refusals: Refusals | None = None
        self._keeping: anyio.CancelScope | None = None

    def attach(self, state: Database, audit: Audit) -> None:
        """Know the keys and sessions of a node from now on."""
        self._credentials = Credentials(self.settings, state, self._clock)
        self._refusals = Refusals(audit)

    @property
    def credentials(self) -> Credentials:
        if self._credentials is None:
            raise Refused("unavailable", "this server is starting", retry_after=1)
        return self._credentials

    async def run(self) -> None:
        """Every minute, write down what was counted; until :meth:`close`."""
        with anyio.CancelScope() as self._keeping:
            while True:
                await self._clock.sleep(60)
                await self.save()

    async def save(self) -> None:
        try:
            if self._refusals:
                await self._refusals.tell()
            if self._credentials:
                await self._credentials.save()
        except Exception as exc:
            _log.warning("when keys were used could not be written down: %s", exc)

    def close(self) -> None:
        if self._keeping:
            self._keeping.cancel()

    async def arrive(self, request: Request, *, probe: bool = False) -> str:
        """The address that a request comes from; raise Refused where it may not come from there, or under that name.

        A ``probe`` asks only whether this process lives: from this machine itself it is answered whatever is allowed.
        """
        headers = request.headers
        peer = request.client.host if request.client else ""
        source = client(peer, headers.getlist("x-forwarded-for"), headers.getlist("forwarded"), self._proxies)
        try:
            if self._allowed and not self._is_allowed(source) and not (probe and is_loopback(source)):
                hint = "access.allowed in pipelines.yaml, or BERS_MONITORING_ALLOWED_IPS, names who may"
                raise Refused("forbidden", f"{source or 'this address'} may not ask here", hint=hint)
            if not probe and not self._is_ours(headers.get("host", "")):
                hint = "ask for localhost, or for an address, or name this host in access.hosts of pipelines.yaml"
                raise Refused("forbidden", f"this is not {headers['host'][:100]!r}", hint=hint)
        except Refused as refused:
            await self.note(request, Caller(address=source), refused)
            raise
        return source

    async def admit(self, request: Request, source: str, errand: Errand) -> Caller:
        """Who asks, and may; raise Refused where nobody is known, there were too many, or a scope is missing."""
        caller = Caller(address=source)
        try:
            if _writes(request) and _from_elsewhere(request) and not (errand.pages and self.guest(request)):
                hint = "only pages of this server may"
                if errand.pages:
                    hint += ", and those of access.origins in pipelines.yaml"
                raise Refused("forbidden", "a page of another site asked for this", hint=hint)
            if errand.public and not errand.counted:
                return caller
            if not self.settings.enabled:
                self._count(caller, errand)
                return caller._replace(scopes=_EVERYTHING)
            key, by_cookie = await self._identify(request, source)
            if key is not None:
                caller = Caller(key.name, source, key.scopes, key.id)
            self._count(caller, errand)
            if key is None:
                if errand.public:
                    return caller
                raise Refused("unauthenticated", "a key is asked for here", hint=_hint(request))
            if errand.scope is not None and errand.scope not in caller.scopes:
                has = ", ".join(one for one in SCOPES if one in caller.scopes) or "none"
                hint = f"it needs the scope {errand.scope!r}; this key has {has}"
                raise Refused("forbidden", f"the key {key.name!r} may not do this", hint=hint)
            if by_cookie and _writes(request) and not _from_here(request):
                hint = "a browser says so in `Sec-Fetch-Site` or `Origin`; programs send a key instead of a cookie"
                raise Refused("forbidden", "nothing says that a page of this server asked for this", hint=hint)
        except Refused as refused:
            if errand.scope != "ingest":
                await self.note(request, caller, refused)
            raise
        return caller

    def guest(self, request: Request) -> str | None:
        """The site of the page that asks, where it is one that may hand in events."""
        origin = request.headers.get("origin")
        return origin if origin in self.settings.origins else None

    async def until_barred(self, request: Request, errand: Errand) -> None:
        """Return when whoever opened a stream may not any more."""
        while True:
            await self._clock.sleep(LOOK_AGAIN)
            try:
                key, _ = await self._holder(request)
            except Refused:
                continue  # It could not be looked up; that is not to say that it is gone.
            if key is None or errand.scope not in key.scopes:
                return

    async def guess(self, text: str, source: str) -> Key | None:
        """The key that somebody gives; raise Refused where that address gave too many that were wrong.

        A key of our make is looked at in any case, as nobody guesses 256 bits: who shares an address with somebody who
        tries is not shut out.
        """
        name = group(source)
        if not id_of(text) and (wait := self._guesses.wait(name)):
            raise Refused("rate_limited", "too many wrong keys came from this address", retry_after=wait)
        key = await self.credentials.holder(text)
        if key is None and (wait := self._guesses.take(name)):
            raise Refused("rate_limited", "too many wrong keys came from this address", retry_after=wait)
        return key

    def account(self, caller: Caller) -> str:
        """On whose account requests and events are counted: a key, or where there is none an address."""
        return f"key {caller.key}" if caller.key else group(caller.address)

    def secure(self, request: Request) -> bool:
        """Whether the way to whoever asks is encrypted: by us, or by a proxy that we trust to say so."""
        if self._tls:
            return True
        peer = address(request.client.host) if request.client else None
        told = request.headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
        return peer is not None and within(peer, self._proxies) and told == "https"

    def cookie(self, request: Request) -> str:
        """The name of the session's cookie. A browser keeps one that begins so from being set by another host."""
        return "__Host-bers" if self.secure(request) else "bers"

    async def _identify(self, request: Request, source: str) -> tuple[Key | None, bool]:
        """The key with which somebody asks, and whether it was a session's; None where nothing was sent."""
        sent = _sent(request.headers)
        if sent is None:
            return await self._holder(request)
        key = await self.guess(sent, source)
        if key is None:
            # The same words for a key that never was and for one that is no more: they tell nobody which.
            raise Refused("unauthenticated", "this key is not known, or not valid any more", hint=_HINT)
        return key, False

    async def _holder(self, request: Request) -> tuple[Key | None, bool]:
        sent = _sent(request.headers)
        if sent is not None:
            return await self.credentials.holder(sent), False
        token = request.cookies.get(self.cookie(request))
        return (await self.credentials.visitor(token), True) if token else (None, False)

    def _count(self, caller: Caller, errand: Errand) -> None:
        if not self.settings.rate.enabled or not errand.counted or (errand.health and is_loopback(caller.address)):
            return
        wait = self._rates.take(self.account(caller))
        if wait:
            rate = self.settings.rate
            message = f"more than {rate.per_second:g} requests a second, and {rate.burst} at once"
            raise Refused("rate_limited", message, hint="follow /api/monitoring/events instead", retry_after=wait)

    def _is_allowed(self, source: str) -> bool:
        found = address(source)
        if found is None:
            return False
        return within(found, self._allowed) or (self.settings.allow_loopback and found.is_loopback)

    def _is_ours(self, header: str) -> bool:
        """Whether a browser may call this node so.

        A name that leads to us without our knowledge makes a page of its owner one of ours (DNS rebinding). That needs
        a name, so addresses are well; and it brings nothing where a key is asked for, as a browser has none for it.
        """
        if not header or (self.settings.enabled and not self.settings.hosts):
            return True
        try:
            name = urlsplit(f"//{header}").hostname
        except ValueError:
            return False
        return name is not None and (
            name in self._hosts or name.rstrip(".") in self._hosts or address(name) is not None
        )

    async def note(self, request: Request, caller: Caller, refused: Refused) -> None:
        """Write down that a write was refused."""
        if self._refusals and _writes(request):
            await self._refusals.record(caller, f"{request.method} {request.url.path}", refused.reason)


def _sent(headers: Mapping[str, str]) -> str | None:
    """The key in the headers; None where there is none."""
    authorization = headers.get("authorization")
    if authorization is None:
        return headers.get("x-api-key")
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _hint(request: Request) -> str:
    if any(name in request.query_params for name in _IN_ADDRESS):
        return f"a key in an address is written into logs, and never accepted; {_HINT}"
    return _HINT


def _writes(request: Request) -> bool:
    return request.method not in ("GET", "HEAD")


def _from_elsewhere(request: Request) -> bool:
    """Whether a browser says that a page of another site asks. Programs say nothing, and are no danger."""
    site = request.headers.get("sec-fetch-site")
    if site in ("same-origin", "none", "same-site", "cross-site"):
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and _place(origin) != request.headers.get("host", "")


def _place(origin: str) -> str | None:
    """The host and port of an origin; None where it names none, as `null` does."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


def _from_here(request: Request) -> bool:
    """Whether a browser says that a page of ours asks. A cookie comes along without anybody's doing."""
    return request.headers.get("sec-fetch-site") == "same-origin" or (
        "origin" in request.headers and not _from_elsewhere(request)
    )
