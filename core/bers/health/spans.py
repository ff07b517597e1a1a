"""Spans of equal status, and what they add up to: how much of the time a thing was well, and how often it was not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from bers.checks import Status
from bers.clock import Stamp

PAUSE = 1.0
"""Seconds; when nobody looked for less, as while a configuration was changed, that is no gap."""

WELL = ("healthy", "degraded")

Word: TypeAlias = Literal["healthy", "degraded", "unhealthy", "unknown", "absent"]


@dataclass
class Span:
    """A check had one status without a break; in the order of the table's columns."""

    number: int
    check: str
    status: Status
    because: str
    """Which check was to blame, where it was unknown because of one."""
    message: str
    away: float
    """For how many seconds nobody looked, before."""
    began: float
    """By the wall clock."""
    lasted: float | None
    """None while it goes on. Both are counted by a clock that nobody sets."""
    boot: str
    elapsed: float
    """When it began, as the machine counts; for :class:`bers.clock.Stamp`."""

    def length(self, elapsed: float) -> float:
        """For how long it has lasted at that moment, if it goes on."""
        return max(0.0, elapsed - self.elapsed) if self.lasted is None else self.lasted

    @property
    def end(self) -> Stamp:
        """When a span that is over ended."""
        lasted = self.lasted or 0.0
        return Stamp(self.began + lasted, self.boot, self.elapsed + lasted)


class Share(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """How much of the time a check was well, healthy or degraded; times in milliseconds."""

    percent: float | None
    """Of the time in which it was known; null where it was at no time."""
    up_ms: int
    downtime_ms: int
    unknown_ms: int
    """It was not known how it was, because of another check or for another reason: counted on neither side."""
    absent_ms: int
    """This node did not look, as it was not there."""
    outages: int
    longest_ms: int
    """The downtime of the longest outage."""


class Stretch(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A time of equal status; `absent` where this node was not there. Times in milliseconds since 1970."""

    status: Word
    message: str
    because_of: str | None = None
    from_: int = msgspec.field(name="from")
    to: int
    duration: int
    """By a clock that nobody sets."""
    ongoing: bool = False


class CheckHistory(Share, rename="camel", frozen=True, kw_only=True):
    """What became of a check in a period, the newest first; times in milliseconds."""

    name: str
    period_ms: int
    known_ms: int
    """How much of the period is remembered."""
    since: int
    """Where the first of it begins, in milliseconds since 1970."""
    left_out: int
    """How many older times of the period are not told."""
    spans: list[Stretch]


class _Piece(NamedTuple):
    """What of a span, or of a gap, lies within a period."""

    span: Span
    status: Word
    seconds: float
    start: float
    """By the wall clock."""


@dataclass(frozen=True)
class Line:
    """The spans of one check, in their order, at a moment."""

    spans: Sequence[Span]
    elapsed: float
    """The moment, as the machine counts."""
    now: float
    """And by the wall clock."""
    quiet: float
    """For how many seconds nobody has looked, since the newest of them ended; none where it goes on."""


def share(line: Line, period: float) -> Share:
    """What they add up to over the last so many seconds."""
    return _added(list(_pieces(line, period)))


def history(name: str, line: Line, period: float, limit: int) -> CheckHistory:
    """The same, with the newest times one by one."""
    pieces = list(_pieces(line, period))
    stretches: list[Stretch] = []
    for piece in pieces:
        to = piece.start + piece.seconds
        ongoing = piece.status != "absent" and piece.span.lasted is None
        because = piece.span.because if piece.status != "absent" else ""
        message = piece.span.message if piece.status != "absent" else "this node was not there"
        last = stretches[-1] if stretches else None
        if last and (last.status, last.because_of or "") == (piece.status, because):
            stretches[-1] = msgspec.structs.replace(
                last, from_=_ms(piece.start), duration=last.duration + _ms(piece.seconds), message=message
            )
            continue
        stretches.append(
            Stretch(
                status=piece.status, message=message, because_of=because or None, from_=_ms(piece.start), to=_ms(to),
                duration=_ms(piece.seconds), ongoing=ongoing,
            )
        )  # fmt: skip
    known = sum(piece.seconds for piece in pieces)
    return CheckHistory(
        name=name,
        period_ms=_ms(period),
        known_ms=_ms(known),
        since=stretches[-1].from_ if stretches else _ms(line.now),
        left_out=max(0, len(stretches) - limit),
        spans=stretches[:limit],
        **msgspec.structs.asdict(_added(pieces)),
    )


def _pieces(line: Line, period: float) -> Iterator[_Piece]:
    """The newest first, until the period is over."""
    quiet = min(period, line.quiet)
    if line.spans and quiet >= PAUSE:
        yield _Piece(line.spans[-1], "absent", quiet, line.now - quiet)
    left = period - quiet
    for span in reversed(line.spans):
        if left <= 0:
            return
        length = span.length(line.elapsed)
        if (seconds := min(length, left)) > 0:
            yield _Piece(span, span.status, seconds, span.began + length - seconds)
        left -= length
        if left <= 0:
            return
        if (away := min(span.away, left)) >= PAUSE:
            yield _Piece(span, "absent", away, span.began - away)
        left -= span.away


def _added(pieces: Sequence[_Piece]) -> Share:
    seconds = dict.fromkeys(("up", "unhealthy", "unknown", "absent"), 0.0)
    outages = 0
    longest = current = 0.0
    """Of the outage that goes on: until it is seen to be over, nobody knows that it was two."""
    for piece in reversed(pieces):
        seconds["up" if piece.status in WELL else piece.status] += piece.seconds
        if piece.status == "unhealthy":
            outages += not current
            current += piece.seconds
            longest = max(longest, current)
        elif piece.status in WELL:
            current = 0.0
    known = seconds["up"] + seconds["unhealthy"]
    return Share(
        percent=round(100.0 * seconds["up"] / known, 4) if known else None,
        up_ms=_ms(seconds["up"]),
        downtime_ms=_ms(seconds["unhealthy"]),
        unknown_ms=_ms(seconds["unknown"]),
        absent_ms=_ms(seconds["absent"]),
        outages=outages,
        longest_ms=_ms(longest),
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
