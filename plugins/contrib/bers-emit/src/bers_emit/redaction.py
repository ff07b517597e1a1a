"""Secrets never leave the machine: known values, what has the shape or the name of one, and credentials in URLs."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MASK = "***"
_VARIABLE = re.compile(r"TOKEN|SECRET|PASSW(OR)?D|PASSPHRASE|KEY|CREDENTIAL", re.IGNORECASE)
# Variables that are named like a secret, and hold a step of a build, an id, or the place of a secret.
_PUBLIC = re.compile(r"BUILDKITE_\w+_KEY|\w+_(KEY_ID|FILE|PATH|DIR|URL)", re.IGNORECASE)
# Values that keep nothing secret, and without which no text would mean anything any more.
_WORDS = frozenset(("production", "development", "disabled", "undefined"))
_SHORTEST = 8  # A shorter value is more likely a word that texts contain by chance.
_FIELD = re.compile(
    r"(?:^|[_.-]|(?<=[a-z0-9])(?=[A-Z]))"
    r"(?i:token|secret|passw(or)?d|pwd|passphrase|(api|private|access)[_-]?key|credential|authorization|cookie)s?$"
)
# What has to be in a text before it is searched, and what is searched. None looks at a character again and again.
_SHAPES: Sequence[tuple[tuple[str, ...], re.Pattern[str], str]] = (
    (("://",), re.compile(r"://[^/\s?#]*@"), f"://{MASK}@"),
    (
        ("gh", "glpat-", "xox", "AKIA", "npm_", "bers_"),
        re.compile(
            r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeprs]-[\w-]{10,}"
            r"|AKIA[A-Z0-9]{16}\b|npm_[A-Za-z0-9]{30,}|bers_[0-9a-f]{8}_[0-9a-f]{16,})"
        ),
        MASK,
    ),
    (("eyJ",), re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), MASK),  # A token of three parts: a JWT.
    (("earer ", "EARER "), re.compile(r"(?i)(?<=bearer )[A-Za-z0-9._~+/-]{8,}=*"), MASK),
    (
        ("=",),
        re.compile(r"(?i)((?:token|secret|credential|passw(?:or)?d|pwd|api[_-]?key)s?=)[^\s&\"'#;,)\]}]{4,}"),
        rf"\1{MASK}",
    ),
    (
        ("-----BEGIN",),
        re.compile(
            r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
        ),
        MASK,
    ),
)


class Redaction:
    """Replaces secrets: those that the environment held when this was made, and what looks like one anywhere."""

    def __init__(self, environ: Mapping[str, str], *more: str) -> None:
        """``more`` are secrets besides those of the environment."""
        named = (value for name, value in environ.items() if _VARIABLE.search(name) and not _PUBLIC.fullmatch(name))
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
                        text = pattern.sub(mask, text)
                        break
        return text


def is_secret(name: str) -> bool:
    """Whether what a field or an option of this name holds is nobody's business: ``password``, ``--api-key``."""
    return _FIELD.search(name) is not None


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
