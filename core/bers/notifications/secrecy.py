"""What nobody may read of a channel: the words of its secrets, which a receiver may well repeat in an error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import blake2s
from typing import Any

import msgspec

from bers.redaction import Redactor, Secret

SHORTEST = 8
"""Characters; a shorter word of a secret is one that texts contain by chance."""


class Masked:
    """Takes the words of a channel's secrets out of a text, and what the configuration masks everywhere."""

    def __init__(self, channel: msgspec.Struct, redactor: Redactor) -> None:
        words = {word for secret in _secrets(channel) for word in _words(secret)}
        self._words = sorted(words, key=len, reverse=True)
        self._redactor = redactor

    def __call__(self, text: str) -> str:
        for word in self._words:
            text = text.replace(word, "***")
        return self._redactor.text(text)


def mark_of(channel: msgspec.Struct) -> str:
    """By what a channel is known to be configured as it was, without that it could be read."""
    return blake2s(repr(_revealed(channel)).encode(), digest_size=16, person=b"channel").hexdigest()


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _secrets(each)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _secrets(each)


def _words(secret: str) -> Iterator[str]:
    """Of an address the parts of its path and its query; of anything else the words, and all of it."""
    _, address, rest = secret.partition("://")
    pieces = re.split(r"[/?&=#]", rest.partition("/")[2]) if address else [secret, *secret.split()]
    yield from (piece for piece in pieces if len(piece) >= SHORTEST)


def _revealed(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, msgspec.Struct):
        return [(name, _revealed(getattr(value, name))) for name in value.__struct_fields__]
    if isinstance(value, Mapping):
        return sorted((str(name), _revealed(each)) for name, each in value.items())
    return [_revealed(each) for each in value] if isinstance(value, tuple | list) else value
