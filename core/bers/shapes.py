"""What credentials and addresses of people look like in text, and a test for it that clean text passes at no cost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Shape(NamedTuple):
    """One kind of thing that nobody may read. All patterns are linear: none looks at a character again and again."""

    pattern: re.Pattern[str]
    """What is masked is its first group, or all of it where it has none."""
    hints: tuple[str, ...]
    """Text that has none of these has nothing of this shape."""


SHAPES: Sequence[Shape] = (
    # User information in a URL; it has no quotes, so that what stands behind it in a line of JSON is left alone.
    Shape(re.compile(r"(?<=://)(?!\*\*\*(?:[0-9a-f]{8})?@)[^/\s?#\"]+(?=@)"), ("@",)),
    Shape(
        re.compile(
            r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}+|github_pat_\w{20,}+|glpat-[\w-]{16,}+|xox[abeprs]-[\w-]{10,}+"
            r"|AKIA[A-Z0-9]{16}\b)"
        ),
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "AKIA"),
    ),
    Shape(re.compile(r"(?i)(?<=bearer )(?!\*\*\*)[A-Za-z0-9._~+/-]{8,}+=*"), ("earer ", "EARER ")),
    Shape(re.compile(r"\bbers_[0-9a-f]{8}_[0-9a-f]{16,}+"), ("bers_",)),  # Our own keys.
    # A token of three parts, as JWTs are.
    Shape(re.compile(r"(?<![\w-])eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+"), ("eyJ",)),
    # A query of a URL, or a line of settings.
    Shape(
        re.compile(
            r"(?i)(?:token|secret|credential|passw(?:or)?d|pwd|api[_-]?key)s?=(?!\*\*\*)([^\s&\"'#;,)\]}]{4,})"
        ),
        ("=",),
    ),
    Shape(
        re.compile(
            r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^\"]*?"
            r"(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|(?=\")|\Z)",
            re.DOTALL,
        ),
        ("-----BEGIN",),
    ),
)  # fmt: skip

EMAIL = Shape(
    # `git@host:path` is a place and no person, and `name@1.2.3-rc.one` is a version.
    re.compile(r"(?<![\w.%+*\\-])(?!git@)[\w.%+-]++@(?!\d+\.\d+\.\d+)(?:[\w-]+\.)+[^\W\d_]{2,}"),
    ("@",),
)

_RARE = "\\~^`|<>@$%&*+=!?;#'()[]QZXJKVWYGHUFBDPNMRLCSOIEAT9876543210zqxjkvwbfygpuhdmlcrsonite"
"""Characters, those first that are rarest in events."""


class Finder:
    """Tells whether bytes can be clean of all these texts. One that has a rare character in it costs next to nothing:
    its text is searched only where the character is there.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        known = {text for text in texts if text}
        # `ghp_` and its siblings are searched together: few texts have a `gh` in them, and those are looked at.
        self._pairs = [(_rarest(text).encode(), text.encode()) for text in sorted(known - _SIBLINGS)]
        self._siblings = bool(known & _SIBLINGS)

    def finds(self, data: bytes | bytearray) -> bool:
        """Whether any of the texts is in the data."""
        for rare, whole in self._pairs:
            if rare in data and whole in data:
                return True
        return self._siblings and b"gh" in data and _SIBLING.search(data) is not None


_SIBLINGS = frozenset({"ghp_", "gho_", "ghu_", "ghs_", "ghr_"})
_SIBLING = re.compile(rb"gh[pousr]_")


def _rarest(text: str) -> str:
    ranked = [one for one in text if one in _RARE]
    return min(ranked, key=_RARE.index, default=text)


def objection(pattern: str) -> str:
    """Why a pattern of an operator's must not be used; empty where it may."""
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as exc:
        return f"{pattern!r} is no pattern: {exc}; see the syntax of Python's re"
    if compiled.search(""):
        return f"{pattern!r} matches where nothing is, and would mask everything; write at least one character"
    if _repeats_a_repeat(pattern):
        return f"{pattern!r} repeats what repeats itself, which may take for ever; take one of the repetitions out"
    if _begins_without_end(pattern):
        remedy = r"put (?<!\w) before it, or give it an end, as in {1,64}"
        return f"{pattern!r} begins with a repetition without end, which looks at long texts again and again; {remedy}"
    return ""


_OPENING = re.compile(r"(?:\((?:\?(?::|P<\w+>|[aimsux]+[:)]))?)*")


def _begins_without_end(pattern: str) -> bool:
    """Whether each place of a text may be the beginning of a long search that finds nothing: as with ``\\w+@``."""
    opening = _OPENING.match(pattern)
    at = opening.end() if opening else 0
    if at >= len(pattern) or pattern[at] in ")|":
        return False
    behind = _behind_class(pattern, at) + 1 if pattern[at] == "[" else at + (2 if pattern[at] == "\\" else 1)
    match = _ENDLESS.match(pattern, behind)
    return match is not None and bool(pattern[match.end() :].strip(")"))


def _repeats_a_repeat(pattern: str) -> bool:
    """Whether a group that has a repetition without end in it is repeated without end itself: ``(a+)+``."""
    inside = [False]
    at = 0
    while at < len(pattern):
        one = pattern[at]
        if one == "\\":
            at += 1
        elif one == "[":
            at = _behind_class(pattern, at)
        elif one == "(":
            inside.append(False)
        elif one == ")" and len(inside) > 1:
            repeats = inside.pop()
            if _endless(pattern, at + 1):
                if repeats:
                    return True
                repeats = True
            inside[-1] = inside[-1] or repeats
        elif _endless(pattern, at):
            inside[-1] = True
        at += 1
    return False


_ENDLESS = re.compile(r"[*+](?!\+)|\{\d*,\}(?!\+)")


def _endless(pattern: str, at: int) -> bool:
    """Whether a repetition without end stands there; a possessive one never looks back, and is as good as none."""
    return _ENDLESS.match(pattern, at) is not None


def _behind_class(pattern: str, at: int) -> int:
    """The position of the bracket that closes a class."""
    at += 2 if pattern[at + 1 : at + 2] == "^" else 1
    if pattern[at : at + 1] == "]":
        at += 1
    while at < len(pattern) and pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return at
