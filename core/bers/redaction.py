"""What nobody may read: secrets, as a type that does not print, and as patterns in what others wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"

_NAMES = re.compile(
    r"(?:^|[_\-.]|(?<=[a-z0-9])(?=[A-Z]))"
    r"(?i:token|secret|password|passwd|pwd|api[_-]?key|private[_-]?key|credential|authorization|cookie)s?"
    r"(?:$|[_\-.]|(?=[A-Z][a-z]))",
)
_PATTERNS = (
    # User information in a URL; it has no quotes, so that what stands behind it in a line of JSON is left alone.
    re.compile(r"(?<=://)[^/\s:@\"]+:[^/\s@\"]+(?=@)"),
    re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|glpat-[\w-]{16,}|xox[abprs]-[\w-]{10,}|AKIA[A-Z0-9]{16})\b"),
    re.compile(r"(?i)(?<=bearer )[A-Za-z0-9._~+/-]{8,}=*"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^\"]*?(?:-----END [A-Z ]*PRIVATE KEY-----|(?=\")|\Z)", re.DOTALL),
)


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


def redact_text(text: str) -> str:
    """The text with everything that looks like a credential masked."""
    for pattern in _PATTERNS:
        text = pattern.sub(MASK, text)
    return text


def redact(value: Any, name: str = "") -> Any:
    """A copy of a JSON-like value with secrets masked, by the names of keys and by patterns."""
    if isinstance(value, Mapping):
        secret = is_secret_name(name)  # What lies within a secret is one too.
        return {key: redact(inner, name if secret else str(key)) for key, inner in value.items()}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, (list, tuple)):
        return [redact(inner, name) for inner in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, str):
        return MASK if value and is_secret_name(name) else redact_text(value)
    return value
