"""What a question may cost: refused before anything is read, put off where it is too much at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from math import ceil, floor

import anyio

from bers import Refused, format_duration

from .answers import POINTS
from .partials import Series
from .reading import Span

LONGEST = 50_000
"""How many windows of each series one question may read for its points."""
WINDOWS = 500_000
"""How many windows of all series one question may read: some seconds, in slices."""
ANSWER = 20_000
"""How many points one answer may have: about a megabyte."""
LIGHT = 20_000
"""Up to how many windows a question waits for no other: some hundredths of a second."""
AT_ONCE = 2
"""How many heavy questions are answered at a time."""
WAITING = 8
"""How many more may wait for that."""
LATER = 2.0
"""Seconds after which one that was refused may come again."""


_CLOCK = (
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10_800.0, 21_600.0,
    43_200.0, 86_400.0, 172_800.0, 604_800.0,
)  # fmt: skip
"""Steps as people read them from a clock, in seconds."""


class Heavy:
    """Lets few large questions be answered at a time, so that small ones and everything else go on beside them."""

    def __init__(self) -> None:
        self._free = anyio.Semaphore(AT_ONCE)

    @asynccontextmanager
    async def turn(self, windows: float) -> AsyncGenerator[None]:
        """Wait where it has to be; raise Refused where too many do."""
        if windows <= LIGHT:
            yield
            return
        if self._free.statistics().tasks_waiting >= WAITING:
            raise Refused(
                "rate_limited",
                f"{AT_ONCE} large questions are being answered and {WAITING} wait",
                hint="ask again later, or for a shorter period or fewer series",
                retry_after=LATER,
            )
        async with self._free:
            yield


def windows(span: Span) -> float:
    """How many windows a span may have, of all series together."""
    return sum((span.end - span.start) / series.tiers[tier].width for series, tier in span.tiers.items())


def afford(span: Span, start: float, end: float, now: float, most: float | None = None) -> Span:
    """The same time on coarser tiers, where there are more windows than a question may read, and such tiers."""
    while windows(span) > (WINDOWS if most is None else most) or span.size > LONGEST:
        coarser = {series: _coarser(series, tier, now - start) for series, tier in span.tiers.items()}
        if coarser == span.tiers:
            break
        width = max(series.tiers[tier].width for series, tier in coarser.items())
        until = floor(end / width) + 1 if end >= now else ceil(end / width)
        begin = until - ceil((end - start) / width) if end >= now else floor(start / width)
        span = replace(span, start=begin * width, end=until * width, width=width, tiers=coarser)
    return span


def check(span: Span) -> None:
    """Raise Refused where the span has more windows than a question may read."""
    width = format_duration(span.width)
    if span.size > LONGEST:
        raise Refused(
            "invalid",
            f"{span.size} windows of {width} are more than the {LONGEST} that a question may read",
            hint="ask for a shorter period, or keep a coarser tier of this metric",
        )
    if (total := windows(span)) > WINDOWS:
        raise Refused(
            "invalid",
            f"{len(span.tiers)} series have {total:.0f} windows of {width}; a question may read {WINDOWS}",
            hint="choose fewer series with labels=, ask for a shorter period, or keep a coarser tier of this metric",
        )


def step_for(span: Span, asked: float | None, points: int, lines: int) -> float:
    """How far apart points lie: whole windows, no more points than may be. Raise Refused where they are too many."""
    width = span.width
    if asked is None:
        step = next((one for one in _CLOCK if one % width == 0 and _buckets(span, one) <= points), None)
        step = step or _least(span, points)
    else:
        step = max(1, ceil(asked / width)) * width
    number = _buckets(span, step)
    if number > points:
        wide = "" if asked == step else f", as windows are {format_duration(width)} wide,"
        least = format_duration(_least(span, points))
        raise Refused(
            "invalid",
            f"step: {format_duration(asked or step)}{wide} makes {number} points; {points} may be at most",
            hint=f"ask for step={least} or more, for a shorter period, or for more points, {POINTS} at most",
        )
    if number * lines > ANSWER:
        raise Refused(
            "invalid",
            f"{lines} lines of {number} points are {number * lines}; an answer has {ANSWER} at most",
            hint="ask for fewer points or a larger step, or for fewer lines with limit=, labels= or by=",
        )
    return step


def _least(span: Span, points: int) -> float:
    """The smallest step that makes no more points."""
    times = ceil(span.size / points)
    while _buckets(span, times * span.width) > points:  # The first and the last may be cut.
        times += 1
    return times * span.width


def _buckets(span: Span, step: float) -> int:
    """How many points a span may have."""
    half = span.width / 2
    return floor((span.end - half) / step) - floor((span.start + half) / step) + 1 if span.size else 0


def _coarser(series: Series, tier: int, back: float) -> int:
    """The next coarser tier that reaches as far back; the same where there is none."""
    for other in range(tier + 1, len(series.tiers)):
        if series.tiers[other].keep + series.tiers[other].width >= back:
            return other
    return tier
