"""Secrets never leave the machine: known values, what has the shape or the name of one, and credentials in URLs."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MASK = "***"
_VARIABLE = ("TOKEN", "SECRET", "PASSWD", "PASSWORD", "PASSPHRASE", "KEY", "CREDENTIAL")
# Variables that are named like a secret, and hold a step of a build, an id, or the place of a secret.
_PUBLIC = ("_KEY_ID", "_FILE", "_PATH", "_DIR", "_URL", "_STEP_KEY", "_GROUP_KEY")
# Values that keep nothing secret, and without which no text would mean anything any more.
_WORDS = frozenset(("production", "development", "disabled", "undefined"))
_SHORTEST = 8  # A shorter value is more likely a word that texts contain by chance.
_FIELD = (
    r"(?:^|[_.-]|(?<=[a-z0-9])(?=[A-Z]))"
    r"(?i:token|secret|passw(or)?d|pwd|passphrase|(api|private|access)[_-]?key|credential|authorization|cookie)s?$"
)
_SUSPECTS = (
    "token",
    "secret",
    "passwd",
    "password",
    "pwd",
    "passphrase",
    "key",
    "credential",
    "authorization",
    "cookie",
)
# What has to be in a text before it is searched, and what is searched. None looks at a character again and again. They
# are compiled when they are needed: together they would be a millisecond of each start.
_SHAPES: Sequence[tuple[tuple[str, ...], str, str]] = (
    (("://",), r"://[^/\s?#]*@", f"://{MASK}@"),
    (
        ("gh", "glpat-", "xox", "AKIA", "npm_", "bers_"),
        (
            r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeprs]-[\w-]{10,}"
            r"|AKIA[A-Z0-9]{16}\b|npm_[A-Za-z0-9]{30,}|bers_[0-9a-f]{8}_[0-9a-f]{16,})"
        ),
        MASK,
    ),
    (("eyJ",), r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*", MASK),  # A token of three parts: a JWT.
    (("earer ", "EARER "), r"(?i)(?<=bearer )[A-Za-z0-9._~+/-]{8,}=*", MASK),
    (
        ("=",),
        r"(?i)((?:token|secret|credential|passw(?:or)?d|pwd|api[_-]?key)s?=)[^\s&\"'#;,)\]}]{4,}",
        rf"\1{MASK}",
    ),
    (
        ("-----BEGIN",),
        r"(?s)-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)",
        MASK,
    ),
)


class Redaction:
    """Replaces secrets: those that the environment held when this was made, and what looks like one anywhere."""

    def __init__(self, environ: Mapping[str, str], *more: str) -> None:
        """``more`` are secrets besides those of the environment."""
        named = (value for name, value in environ.items() if _is_secret_variable(name.upper()))
        values = {value for value in (*named, *more) if len(value) >= _SHORTEST and value.lower() not in _WORDS}
        # The longest first: one secret may be part of another.
        self._secrets = sorted(values, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        if len(text) >= _SHORTEST:
            for hints, pattern, mask in _SHAPES:
                for hint in hints:
                    if hint in text:
                        text = re.sub(pattern, mask, text)
                        break
        return text


def is_secret(name: str) -> bool:
    """Whether what a field or an option of this name holds is nobody's business: ``password``, ``--api-key``."""
    return name.lower().rstrip("s").endswith(_SUSPECTS) and re.search(_FIELD, name) is not None


def _is_secret_variable(name: str) -> bool:
    return not name.endswith(_PUBLIC) and any(word in name for word in _VARIABLE)


def arguments(args: Sequence[str]) -> list[str]:
    """Arguments of a command without the values of options that are named like secrets."""
    found: list[str] = []
    hidden = False
    for arg in args:
        name, equals, _ = arg.partition("=")
        option = arg.startswith("-") and is_secret(name)
        if hidden:
            found.append(MASK)
        else:
            found.append(f"{name}={MASK}" if option and equals else arg)
        hidden = not hidden and option and not equals
    return found
