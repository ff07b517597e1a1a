"""What nobody may read: secrets, as a type that does not print, and as patterns and values in what others wrote."""

from __future__ import annotations

import base64
import html
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from hashlib import blake2s
from typing import Any, cast
from urllib.parse import quote, quote_plus, urlsplit

import msgspec

from bers.records import Event
from bers.shapes import EMAIL, SHAPES, Finder, Shape

MASK = "***"

SHORTEST = 6
"""Characters; a shorter value is a word that texts contain by chance, and is not masked."""

SHORTEST_PIECE = 12
"""Characters; shorter pieces of a secret address are words of everybody's."""

SHORTEST_LINE = 16
"""Characters; of a secret of many lines, each that is as long is one itself."""

KEY_BYTES = 32
"""How long the key is with which identities are marked."""

_WORDS = (
    "token", "secret", "password", "passwd", "pwd", "api[_-]?key", "private[_-]?key", "credential", "authorization",
    "cookie",
)  # fmt: skip


def _names(words: Iterable[str]) -> re.Pattern[str]:
    return re.compile(
        r"(?:^|[_\-.]|(?<=[a-z0-9])(?=[A-Z]))"
        rf"(?i:{'|'.join(words)})s?"
        r"(?:$|[_\-.]|(?=[A-Z][a-z]))",
    )


_NAMES = _names(_WORDS)


class Secret(str):
    """Text that only :meth:`reveal` gives away: it prints, logs and encodes as a mask."""

    __slots__ = ("_text",)
    _text: str

    def __new__(cls, text: str) -> Secret:
        secret = super().__new__(cls, MASK)
        secret._text = text
        return secret

    def reveal(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._text)

    def __deepcopy__(self, _: object) -> Secret:
        return self

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not written anywhere")


def is_secret_name(name: str) -> bool:
    """Whether a value of this name is one that nobody may read: ``api_key``, ``GITHUB_TOKEN``."""
    return bool(_NAMES.search(name))


def is_secret_variable(name: str) -> bool:
    """Whether a variable of the environment of this name holds a secret; a shell's own two hold a folder."""
    return name not in ("PWD", "OLDPWD") and is_secret_name(name)


def redact_text(text: str) -> str:
    """The text with everything that looks like a credential masked; a node's own :class:`Redactor` knows more."""
    return _shaped(text, SHAPES, _plain)


def redact(value: Any, name: str = "") -> Any:
    """A copy of a JSON-like value with secrets masked, by the names of keys and by patterns."""
    return _walk(value, name, is_secret_name, redact_text, str)


class Redactor:
    """Masks what nobody may read, as one configuration says: by name, by shape, and by the values of its secrets."""

    def __init__(
        self,
        values: Iterable[str] = (),
        *,
        names: Sequence[str] = (),
        patterns: Sequence[str] = (),
        emails: bool = True,
        key: Callable[[], bytes] | None = None,
    ) -> None:
        """``values`` are secrets; those of fewer than SHORTEST characters are left out. ``key`` gives what
        identities are marked with, when the first one is; without, one is made up.
        """
        self._settings = (tuple(names), tuple(patterns), emails)
        self._find_key = key or partial(secrets.token_bytes, KEY_BYTES)
        self._name = _names([*_WORDS, *(re.escape(name).replace("_", "[_-]?") for name in names)]) if names else _NAMES
        self._own = [Shape(re.compile(pattern), ()) for pattern in patterns]
        self._shapes = [*SHAPES, *([EMAIL] if emails else []), *self._own]
        self._harmless: set[str] = set()
        """Names that were looked at, and tell of no secret."""
        self._values = frozenset[str]()
        self.generation = 0
        """It goes up when there is more to mask than before."""
        self._search(values)

    def learn(self, other: Redactor) -> None:
        """Mask the values of another's secrets too, for a configuration that comes while a node runs. What was a
        secret before stays one.
        """
        self._search(self._values | other._values)
        self.generation += 1

    def _search(self, values: Iterable[str]) -> None:
        self._values = frozenset(value for value in values if len(value) >= SHORTEST and value.strip("*"))
        # The longest first: one may be part of another.
        self._literals = sorted({form for value in self._values for form in _forms(value)}, key=len, reverse=True)
        self._finder = Finder([*(hint for shape in self._shapes for hint in shape.hints), *self._literals])

    def keyed(self, key: Callable[[], bytes]) -> Redactor:
        """The same, marking identities with another key."""
        names, patterns, emails = self._settings
        return Redactor(self._values, names=names, patterns=patterns, emails=emails, key=key)

    def text(self, text: str) -> str:
        """The text with what nobody may read masked."""
        return self._masked(text, _plain)

    def identity(self, text: str) -> str:
        """The same for what joins events together: equal secrets have equal marks, and different ones different marks,
        from which nobody learns them who has not this node's key.
        """
        return self._masked(text, self._mark)

    def value(self, value: Any, name: str = "") -> Any:
        """A copy of a JSON-like value with secrets masked, by the names of keys, by shape and by value."""
        return _walk(value, name, self.is_secret, self.text, self.identity)

    def everywhere(self, value: Any) -> Any:
        """The same without a look at names: for answers whose shape is ours, where a name is a name of a field."""
        return _walk(value, "", _never, self.text, self.identity)

    def encoded(self, body: bytes) -> bytes:
        """JSON of ours, with what nobody may read masked in it."""
        if self.is_clean(body):
            return body
        return msgspec.json.encode(self.everywhere(msgspec.json.decode(body)))

    def page(self, body: bytes) -> bytes:
        """A page of ours, with the values of secrets masked in it."""
        text = body.decode(errors="replace")
        found = [literal for literal in self._literals if literal in text]
        for literal in found:
            text = text.replace(literal, MASK)
        return text.encode() if found else body

    def is_secret(self, name: str) -> bool:
        """Whether a value of this name is one that nobody may read."""
        return self._name.search(name) is not None

    def is_clean(self, data: bytes | bytearray, *, foreign: bool = False) -> bool:
        """Whether bytes hold nothing that has to be masked, names aside: quick, and never wrong when it says yes.

        ``foreign`` says that others wrote it: in JSON of theirs anything may hide behind a backslash.
        """
        return not (self._own or (foreign and b"\\" in data) or self._finder.finds(data))

    def events(self, events: Sequence[Event], *, clean: bool = False) -> list[Event]:
        """The events as they may be kept; ``clean`` says that only names have to be looked at."""
        if not (clean or self.is_clean(_json(events))):
            return [self.event(event) for event in events]
        harmless, named = self._harmless, self.named
        return [event if not event.data and event.labels.keys() <= harmless else named(event) for event in events]

    def event(self, event: Event) -> Event:
        """The event as it may be kept: the very same one where nothing in it has to be masked."""
        if self.is_clean(_json(event)):
            return self.named(event)
        text, identity = self.text, self.identity
        return msgspec.structs.replace(
            event,
            id=identity(event.id),
            source=identity(event.source),
            type=identity(event.type),
            subject=identity(event.subject),
            chain=event.chain and identity(event.chain),
            traceparent=event.traceparent and identity(event.traceparent),
            environment=event.environment and text(event.environment),
            reason=event.reason and text(event.reason),
            service=event.service and text(event.service),
            version=event.version and text(event.version),
            artifact=event.artifact and text(event.artifact),
            vcs=event.vcs and _fields(event.vcs, text),
            run=event.run and _fields(event.run, text),
            measures={identity(name): value for name, value in event.measures.items()},
            labels=self.value(event.labels),
            origin=text(event.origin),
            data=self.value(event.data),
        )

    def named(self, event: Event) -> Event:
        """The event with everything masked whose name tells of a secret: for one that is clean otherwise."""
        if self._are_harmless(event.labels) and (not event.data or self._are_harmless(event.data)):
            return event
        return msgspec.structs.replace(event, labels=self.value(event.labels), data=self.value(event.data))

    def _are_harmless(self, value: Any) -> bool:
        if isinstance(value, dict):
            names: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
            if not names.keys() <= self._harmless:
                if any(map(self.is_secret, names)):
                    return False
                if len(self._harmless) < 10_000:  # Names come from outside, and there is no end of them.
                    self._harmless.update(names)
            return all(map(self._are_harmless, names.values()))
        if isinstance(value, list):
            return all(map(self._are_harmless, value))  # pyright: ignore[reportUnknownArgumentType]
        return True

    def _masked(self, text: str, mark: Callable[[str], str]) -> str:
        for literal in self._literals:
            if literal in text:
                text = text.replace(literal, mark(literal))
        return _shaped(text, self._shapes, mark)

    @cached_property
    def _key(self) -> bytes:
        return self._find_key()

    def _mark(self, text: str) -> str:
        return MASK + blake2s(text.encode(errors="surrogatepass"), key=self._key, digest_size=4).hexdigest()


_json = msgspec.json.Encoder(enc_hook=str).encode


def _plain(_: str) -> str:
    return MASK


def _never(_: str) -> bool:
    return False


def _shaped(text: str, shapes: Iterable[Shape], mark: Callable[[str], str]) -> str:
    def marked(match: re.Match[str]) -> str:
        whole = match[0]
        if not match.re.groups or match[1] is None:
            return mark(whole)
        start, stop = match.start(1) - match.start(), match.end(1) - match.start()
        return whole[:start] + mark(match[1]) + whole[stop:]

    for shape in shapes:
        if not shape.hints or any(hint in text for hint in shape.hints):
            text = shape.pattern.sub(marked, text)
    return text


def _walk(
    value: Any,
    name: str,
    is_secret: Callable[[str], bool],
    text: Callable[[str], str],
    key_text: Callable[[str], str],
) -> Any:
    if isinstance(value, Mapping):
        fields = cast("Mapping[object, Any]", value)  # Whatever its keys are: what is no text stays as it is.
        secret = is_secret(name)  # What lies within a secret is one too.
        return {
            (key_text(key) if isinstance(key, str) else key): _walk(
                inner, name if secret else str(key), is_secret, text, key_text
            )
            for key, inner in fields.items()
        }
    if isinstance(value, (list, tuple)):
        return [_walk(inner, name, is_secret, text, key_text) for inner in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, str):
        return MASK if value and is_secret(name) else text(value)
    return value


def _fields(part: Any, text: Callable[[str], str]) -> Any:
    """A part of an event with each of its texts masked."""
    return msgspec.structs.replace(
        part,
        **{name: text(value) for name, value in msgspec.structs.asdict(part).items() if isinstance(value, str)},
    )


def pieces(secret: str) -> Iterator[str]:
    """What is secret about a secret: all of it, its words, its lines, and what an address hides."""
    yield secret
    words = secret.split()
    if len(words) > 1:  # `Bearer` and what bears it.
        yield from (word for word in words if len(word) >= SHORTEST_PIECE)
        yield from (line.strip() for line in secret.splitlines() if len(line.strip()) >= SHORTEST_LINE)
    try:
        parts = urlsplit(secret)
        hidden = [parts.username or "", parts.password or ""] if parts.scheme and parts.netloc else []
    except ValueError:
        return
    if hidden:
        yield hidden[1]
        found = re.split(r"[/?&=#]", secret.partition("://")[2].partition("/")[2])
        # Words of everybody's are no secret; what is drawn at random has digits in it.
        yield from (one for one in [hidden[0], *found] if len(one) >= SHORTEST_PIECE and re.search(r"\d", one))


def _forms(value: str) -> Iterator[str]:
    """How a value may stand in what is written: as it is, and as URLs, JSON, HTML, Python and base64 have it."""
    yield value
    yield quote(value, safe="")
    yield quote(value)
    yield quote_plus(value)
    yield html.escape(value)
    yield msgspec.json.encode(value)[1:-1].decode()
    yield value.encode("unicode_escape").decode("ascii")
    data = value.encode(errors="surrogatepass")
    for skipped in range(3):  # What stands before it moves it by so many bytes.
        encoded = base64.b64encode(b"\0" * skipped + data).decode()
        start = (0, 2, 3)[skipped]
        stop = len(encoded) - (0, 3, 2)[(skipped + len(data)) % 3]
        if stop - start >= SHORTEST + 2:
            yield encoded[start:stop]
            yield encoded[start:stop].replace("+", "-").replace("/", "_")
