"""
Our exceptions.

* BersError
  x ConfigError        the person who wrote pipelines.yaml can fix it
  x PluginError        the person who wrote the plugin can fix it
  x Full               the emitter keeps its events and hands them in again later
  x Conflict           a position is not what its holder believes: somebody else moved it
  x Rejected           a sink will never take a batch, or some of its records
  x Refused            a request cannot be answered as it was put; the person who sent it can fix it
  x Unwritable         a disk does not take what has to be written; it is tried again until it does
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, TypeAlias


class BersError(Exception):
    """Base class of every error that bers raises on purpose."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a configuration: where, what, and what to do about it."""

    path: str
    message: str
    place: str = ""
    """``file:line:col`` where there is a file."""

    @property
    def position(self) -> tuple[str, int | None, int | None]:
        """The file, the line and the column; empty and None where there is none."""
        file, *numbers = self.place.rsplit(":", 2)
        if len(numbers) == 2 and all(number.isdigit() for number in numbers):
            return file, int(numbers[0]), int(numbers[1])
        return self.place, None, None

    def __str__(self) -> str:
        return f"{self.place}: {self.path}: {self.message}" if self.place else f"{self.path}: {self.message}"


class ConfigError(BersError):
    """The configuration asks for something that cannot be built. ``faults`` names everything that is wrong with it."""

    def __init__(self, faults: Sequence[Fault] | str, *, path: str = "$") -> None:
        self.faults = [Fault(path, faults)] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(map(str, self.faults)))


class PluginError(BersError):
    """A plugin breaks the contract of the hook it implements."""


class Full(BersError):
    """The bus takes nothing at present; nothing was remembered, and a resend is no repeat."""

    def __init__(self, message: str, *, retry_after: float = 1.0, broken: bool = False) -> None:
        """``broken`` says that the journal cannot be written at all, rather than that it is full."""
        super().__init__(message)
        self.retry_after = retry_after
        self.broken = broken


class Conflict(BersError):
    """A position lies where it cannot be; going on would lose events or count them twice."""


class Rejected(BersError):
    """A sink can never take a batch, or some records of it, however often it is asked; nothing of it was taken."""

    def __init__(self, message: str, records: Mapping[int, str] | None = None) -> None:
        """``records`` says why of each record that is to blame, by index: events first, then windows.

        Where it names none, the batch is handed in again in parts until the ones to blame are found.
        """
        super().__init__(message)
        self.records = dict(records or {})


Reason: TypeAlias = Literal[
    "bad_request",
    "conflict",
    "forbidden",
    "full",
    "invalid",
    "not_found",
    "rate_limited",
    "slow",
    "too_large",
    "unauthenticated",
    "unavailable",
    "unsupported_encoding",
    "unsupported_media_type",
]


class Refused(BersError):
    """An operation says no: why, what would be right, and what is known."""

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        hint: str = "",
        known: Iterable[str] = (),
        details: Iterable[tuple[str, str]] = (),
        retry_after: float | None = None,
    ) -> None:
        """``retry_after`` is in how many seconds the same request may be answered, where that is known."""
        super().__init__(message)
        self.reason: Reason = reason
        self.hint = hint
        self.known = sorted(known)
        self.details = list(details)
        self.retry_after = retry_after


class Unwritable(BersError):
    """A disk does not take at present what has to be written; nothing of it was taken, and it is tried again."""


MOST_NAMED = 200
"""Names that are listed where one is not known."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Say that a name is not known, which one was probably meant, and which there are."""
    names = sorted(known)
    if not names:
        return f"unknown {kind} {name!r}; there is none"
    close = get_close_matches(name, names, 1)
    guess = f"; did you mean {close[0]!r}?" if close else ""
    if len(names) > MOST_NAMED:  # Nobody reads them all.
        count = f"{guess} There" if guess else "; there"
        return f"unknown {kind} {name!r}{count} are {len(names)}, such as {', '.join(names[:3])}"
    return (
        f"unknown {kind} {name!r}{guess} Known: {', '.join(names)}"
        if guess
        else (f"unknown {kind} {name!r}; known: {', '.join(names)}")
    )


def leaves(error: BaseException) -> list[BaseException]:
    """The errors inside nested exception groups, as somebody would want to read them."""
    inner: Sequence[BaseException] = getattr(error, "exceptions", ())
    return [leaf for one in inner for leaf in leaves(one)] or [error]
