"""Maintenance windows: when alerts are expected and told to nobody, by the clock on the wall of some place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Annotated, Literal, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import msgspec
from msgspec import Meta

from bers import unknown
from bers_builtin.sinks.alert_engine.alerts import Alert, Moment, Suppressed
from bers_builtin.sinks.alert_engine.suppression.matching import Matcher, Matchers, Meant

Day: TypeAlias = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: Sequence[Day] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

LOOK_EVERY = 10.0
"""Seconds after which windows are looked at again though none begins or ends: the wall clock may have been set."""

_AHEAD = 800
"""Days that are looked through for the next occurrence."""

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")


class Occurrence(NamedTuple):
    """One time that a window is open, in seconds since 1970; its end is no part of it."""

    starts: float
    ends: float


class MaintenanceWindow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A time in which alerts are expected: every day or some, or once."""

    name: Annotated[str, Meta(min_length=1, max_length=100, description="What it is called.")]
    from_: Annotated[
        str,
        Meta(description="When it begins, as the clock says there: `02:30`. Times that the clock skips, it skips too."),
    ] = msgspec.field(default="", name="from")
    to: Annotated[
        str,
        Meta(
            description="When it ends, `24:00` at the latest; at or before `from`, it is the next day. An hour that "
            "comes twice counts to its second end."
        ),
    ] = ""
    days: Annotated[tuple[Day, ...], Meta(description="The days on which it begins; all, if not told.")] = ()
    starts: Annotated[
        str,
        Meta(
            description="When it begins, where it comes once: `2026-12-01T22:00`, by the clock of the time zone unless "
            "an offset stands behind it."
        ),
    ] = ""
    ends: Annotated[str, Meta(description="When it ends, where it comes once.")] = ""
    time_zone: Annotated[
        str, Meta(description="Whose clock is meant: the name of a zone of the IANA, such as `Europe/Berlin`.")
    ] = "UTC"
    matchers: Annotated[
        tuple[Matcher, ...],
        Meta(description="Which alerts are meant; all of these must hold, and none means every alert."),
    ] = ()

    def __post_init__(self) -> None:
        for fault in self._faults():
            raise ValueError(f"maintenance window {self.name!r}: {fault}")

    def _faults(self) -> Iterator[str]:
        once, daily = [self.starts, self.ends], [self.from_, self.to]
        if any(once) and any([*daily, self.days]):
            yield "it comes either once, with `starts` and `ends`, or on days, with `from` and `to`; remove one of them"
        if not all(once) and not all(daily):
            yield "it has no time; give `from` and `to`, or `starts` and `ends`"
        for name, text in (("from", self.from_), ("to", self.to)):
            if text and (not _TIME.fullmatch(text) or (name, text) == ("from", "24:00")):
                yield f"{name}: {text!r} is no time of a day; write hours and minutes, as in 02:30"
        for name, text in (("starts", self.starts), ("ends", self.ends)):
            try:
                datetime.fromisoformat(text or "1970-01-01")
            except ValueError:
                yield f"{name}: {text!r} is no time; write a day and a time, as in 2026-12-01T22:00"
                return
        try:
            zone(self.time_zone)
            Matchers(self.matchers)
        except ValueError as exc:
            yield str(exc)
            return
        if self.starts and self.ends and not (found := self._once()).starts < found.ends:
            yield "it ends before it begins; see `starts` and `ends`"

    def occurrences(self, after: float) -> Iterator[Occurrence]:
        """Those that end after a time, in their order."""
        if self.starts:
            found = self._once()
            if found.ends > after:
                yield found
            return
        place = zone(self.time_zone)
        begin, end = _clock(self.from_), _clock(self.to)
        day = datetime.fromtimestamp(after, place).date() - timedelta(days=2)
        for _ in range(_AHEAD):
            if not self.days or DAYS[day.weekday()] in self.days:
                starts = first(datetime.combine(day, time()) + begin, place)
                ends = last(datetime.combine(day, time()) + end + timedelta(days=end <= begin), place)
                if after < ends and starts < ends:
                    yield Occurrence(starts, ends)
            if day == date.max:
                return
            day += timedelta(days=1)

    def _once(self) -> Occurrence:
        place = zone(self.time_zone)
        starts, ends = datetime.fromisoformat(self.starts), datetime.fromisoformat(self.ends)
        return Occurrence(
            starts.timestamp() if starts.tzinfo else first(starts, place),
            ends.timestamp() if ends.tzinfo else last(ends, place),
        )


class Maintenance:
    """Every window at work.

    One that is open stays open for as long as it was to last by the engine's own clock, which never steps: a wall clock
    that is set while it is open makes nothing fire.
    """

    def __init__(self, windows: Sequence[MaintenanceWindow]) -> None:
        self.windows = windows
        self._meant = Meant[int]()
        for number, window in enumerate(windows):
            self._meant.add(number, Matchers(window.matchers))
        self._next: list[Occurrence | None] = [None] * len(windows)
        self._open: dict[int, tuple[Occurrence, float]] = {}
        """The windows that are open, by their number, with the end of each by the engine's own clock."""
        self.due: float | None = 0.0 if windows else None

    def look(self, moment: Moment) -> bool:
        """See which windows are open at a moment; True where that is not as it was."""
        before = [one.ends for one, _ in self._open.values()], [*self._open]
        due = moment.at + LOOK_EVERY
        for number, window in enumerate(self.windows):
            found = self._next[number] = self._following(number, window, moment.wall)
            held = self._open.get(number)
            if found and found.starts <= moment.wall:
                if not held or held[0] != found:
                    closes = moment.at + found.ends - moment.wall
                    self._open[number] = (found, max(closes, held[1] if held else 0.0))
            elif held and held[1] <= moment.at:
                del self._open[number]
            for at in (self._open[number][1] if number in self._open else None, _due(found, moment)):
                if at is not None and moment.at < at:
                    due = min(due, at)
        self.due = due if self.windows else None
        return before != ([one.ends for one, _ in self._open.values()], [*self._open])

    def of(self, alert: Alert) -> Suppressed | None:
        """The open window that an alert falls into."""
        if not self._open:
            return None
        found = [(self._open[number][0].ends, number) for number in self._meant.of(alert) if number in self._open]
        if not found:
            return None
        ends, number = max(found)
        return Suppressed("maintenance", self.windows[number].name, int(ends * 1000))

    def forget(self, alert: Alert) -> None:
        """Note that an alert is not alive any more."""
        self._meant.forget(alert)

    def closes(self, window: MaintenanceWindow) -> float | None:
        """When a window that is open ends; nothing where it is not open."""
        found = self._open.get(self.windows.index(window))
        return found[0].ends if found else None

    def _following(self, number: int, window: MaintenanceWindow, wall: float) -> Occurrence | None:
        known = self._next[number]
        if known and known.starts <= wall < known.ends:
            return known
        return next(window.occurrences(wall), None)


def zone(name: str) -> tzinfo:
    """The time zone of a name; raise ValueError where it is not known."""
    if name == "UTC":
        return UTC  # It needs no data.
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        known = available_timezones()
        if not known:
            remedy = "install the package tzdata of the operating system, or `pip install tzdata`"
            raise ValueError(f"time_zone: this machine has no time zones but UTC; {remedy}") from exc
        raise ValueError(f"time_zone: {unknown('time zone', name, sorted(known))}") from exc


def first(naive: datetime, place: tzinfo) -> float:
    """When a clock there shows a time first; the end of what it skips, where it does not show that."""
    early, late = _folds(naive, place)
    return early if early <= late else _step(late, early, place)


def last(naive: datetime, place: tzinfo) -> float:
    """When a clock there shows a time last."""
    early, late = _folds(naive, place)
    return late if early <= late else _step(late, early, place)


def _folds(naive: datetime, place: tzinfo) -> tuple[float, float]:
    """By the offset before a change and by that after it: equal but where the clock is set, and in order but where it
    skips that time.
    """
    return tuple(naive.replace(tzinfo=place, fold=fold).timestamp() for fold in (0, 1))  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def _step(low: float, high: float, place: tzinfo) -> float:
    """When the clock is set between two times, to the second."""
    before = datetime.fromtimestamp(low, place).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, place).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


def _clock(text: str) -> timedelta:
    hours, _, minutes = text.partition(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


def _due(found: Occurrence | None, moment: Moment) -> float | None:
    return moment.at + found.starts - moment.wall if found else None
