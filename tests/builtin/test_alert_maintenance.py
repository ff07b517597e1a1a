"""Maintenance windows: open when the clock on the wall says so, on every day there is, in every zone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice, takewhile
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bers.testing import step
from bers_builtin.sinks.alert_engine import ALERT_ENGINE
from bers_builtin.sinks.alert_engine.alerts import Moment
from bers_builtin.sinks.alert_engine.desk import silences as desk
from bers_builtin.sinks.alert_engine.desk.silences import AskMaintenance, MaintenanceReport
from bers_builtin.sinks.alert_engine.suppression import maintenance
from bers_builtin.sinks.alert_engine.suppression.maintenance import DAYS, Maintenance, MaintenanceWindow, Occurrence
from tests.builtin.test_alert_engine import OPERATOR, Rig, engine, rule

ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kolkata",
    "Asia/Kathmandu", "Pacific/Apia", "America/Santiago", "Africa/Casablanca", "Asia/Beirut", "Atlantic/Azores",
]  # fmt: skip
"""Whole hours and not, changes of an hour and of half an hour, at midnight, at odd times of a year, and a lost day."""


def window(zone: str = "UTC", **fields: Any) -> MaintenanceWindow:
    return msgspec.convert({"name": "w", "time_zone": zone, **fields}, MaintenanceWindow)


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def told(found: Iterator[Occurrence], number: int = 3) -> list[tuple[str, str]]:
    return [
        (f"{datetime.fromtimestamp(starts, UTC):%m-%d %H:%M}", f"{datetime.fromtimestamp(ends, UTC):%m-%d %H:%M}")
        for starts, ends in islice(found, number)
    ]


# What a window is


def test_a_window_of_every_day_comes_every_day() -> None:
    daily = window(**{"from": "22:00", "to": "23:30"})
    assert told(daily.occurrences(at("2026-03-01T22:30Z"))) == [
        ("03-01 22:00", "03-01 23:30"), ("03-02 22:00", "03-02 23:30"), ("03-03 22:00", "03-03 23:30"),
    ]  # fmt: skip


def test_a_window_of_some_days_may_end_on_the_next() -> None:
    weekly = window("Asia/Kolkata", **{"from": "23:00", "to": "01:00", "days": ["sat"]})
    assert told(weekly.occurrences(at("2026-03-01T00:00Z")), 2) == [
        ("03-07 17:30", "03-07 19:30"), ("03-14 17:30", "03-14 19:30"),
    ]  # fmt: skip


def test_a_whole_day_begins_and_ends_at_midnight() -> None:
    for text in ("00:00", "24:00"):
        sundays = window("Europe/Berlin", **{"from": "00:00", "to": text, "days": ["sun"]})
        assert told(sundays.occurrences(at("2026-03-28T00:00Z")), 1) == [("03-28 23:00", "03-29 22:00")], "23 hours"


def test_a_window_that_comes_once_goes_by_the_clock_of_its_zone_or_an_offset() -> None:
    once = window("Europe/Berlin", starts="2026-12-01T22:00", ends="2026-12-02T04:00:00+03:00")
    assert told(once.occurrences(at("2026-12-01T22:00Z"))) == [("12-01 21:00", "12-02 01:00")]
    assert told(once.occurrences(at("2026-12-02T01:00Z"))) == []


# Daylight saving


def test_on_the_day_that_lacks_the_hour_the_window_lasts_as_long_as_the_clock_shows_it() -> None:
    nightly = window("Europe/Berlin", **{"from": "02:30", "to": "03:30"})
    assert told(nightly.occurrences(at("2026-03-28T12:00Z")), 2) == [
        ("03-29 01:00", "03-29 01:30"),  # 03:00 to 03:30: there is no 02:30.
        ("03-30 00:30", "03-30 01:30"),
    ]


def test_a_window_that_the_clock_skips_is_skipped() -> None:
    nightly = window("Europe/Berlin", **{"from": "02:10", "to": "02:50"})
    assert told(nightly.occurrences(at("2026-03-28T12:00Z")), 1) == [("03-30 00:10", "03-30 00:50")]


def test_on_the_day_that_doubles_the_hour_the_window_lasts_from_its_first_begin_to_its_second_end() -> None:
    nightly = window("Europe/Berlin", **{"from": "02:30", "to": "03:30"})
    assert told(nightly.occurrences(at("2026-10-24T12:00Z")), 2) == [
        ("10-25 00:30", "10-25 02:30"),  # From the first 02:30 on, two hours.
        ("10-26 01:30", "10-26 02:30"),
    ]
    within = window("Europe/Berlin", **{"from": "02:10", "to": "02:50"})
    assert told(within.occurrences(at("2026-10-24T12:00Z")), 1) == [("10-25 00:10", "10-25 01:50")]


def test_a_day_that_a_zone_left_out_has_no_window() -> None:
    daily = window("Pacific/Apia", **{"from": "10:00", "to": "11:00"})
    local = [
        f"{datetime.fromtimestamp(one.starts, ZoneInfo('Pacific/Apia')):%d %H:%M}"
        for one in islice(daily.occurrences(at("2011-12-29T00:00Z")), 3)
    ]
    assert local == ["29 10:00", "31 10:00", "01 10:00"]


def _by_brute_force(one: MaintenanceWindow, first: date, last: date) -> list[tuple[int, int]]:
    """Every occurrence that begins in a period, found by looking at the clock there in each minute and at nothing else.

    An occurrence goes from the first minute in which the clock shows a time of it to behind the last.
    """
    place, found = ZoneInfo(one.time_zone), dict[date, list[int]]()
    begin, end = (int(text[:2]) * 60 + int(text[3:]) for text in (one.from_, one.to))
    minute = int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp()) // 60 - 3 * 1440
    for now in range(minute, minute + ((last - first).days + 6) * 1440):
        there = datetime.fromtimestamp(now * 60, place)
        shown = there.hour * 60 + there.minute
        if begin < end:
            day = there.date() if begin <= shown < end else None
        elif shown >= begin:
            day = there.date()
        else:
            day = there.date() - timedelta(days=1) if shown < end else None
        if day is not None and first <= day <= last and (not one.days or DAYS[day.weekday()] in one.days):
            found.setdefault(day, []).append(now)
    return [(min(minutes) * 60, (max(minutes) + 1) * 60) for _, minutes in sorted(found.items())]


def _assert_right(one: MaintenanceWindow, first: date, days: int) -> None:
    last = first + timedelta(days=days)
    right = _by_brute_force(one, first, last)
    begin = datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp() - 3 * 86_400
    found = [
        (int(each.starts), int(each.ends))
        for each in takewhile(lambda each: each.starts < begin + (days + 9) * 86_400, one.occurrences(begin))
    ]
    inside = [each for each in found if right and right[0][0] <= each[0] <= right[-1][0]]
    assert inside == right


_minutes = st.integers(0, 1439).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")


@settings(max_examples=60)
@given(
    st.sampled_from(ZONES), _minutes, _minutes, st.sets(st.sampled_from(DAYS), max_size=3),
    st.integers(2008, 2030), st.integers(0, 360),
)  # fmt: skip
def test_windows_are_as_the_clock_shows_in_every_minute(
    zone: str, begin: str, end: str, days: set[str], year: int, day: int
) -> None:
    found = window(zone, **{"from": begin, "to": end, "days": sorted(days)})
    _assert_right(found, date(year, 1, 1) + timedelta(days=day), 4)


def _changes(zone: str, years: range) -> Iterator[datetime]:
    """The days on which the clock of a zone is set."""
    place, before = ZoneInfo(zone), None
    for hour in range((years.stop - years.start) * 366 * 24):
        now = datetime(years.start, 1, 1, tzinfo=UTC) + timedelta(hours=hour)
        offset = now.astimezone(place).utcoffset()
        if before is not None and offset != before:
            yield now
        before = offset


@pytest.mark.parametrize("zone", ZONES[1:])
def test_windows_are_right_on_every_day_on_which_the_clock_is_set(zone: str) -> None:
    draw = random.Random(zone)
    for change in _changes(zone, range(2010, 2028)):
        local = change.astimezone(ZoneInfo(zone))
        for _ in range(2):  # Around the change, where everything can go wrong.
            near = (local.hour * 60 + local.minute + draw.randint(-150, 150)) % 1440
            end = (near + draw.choice([1, 20, 30, 60, 90, 240, 1380])) % 1440
            begin, until = (f"{minute // 60:02}:{minute % 60:02}" for minute in (near, end))
            _assert_right(window(zone, **{"from": begin, "to": until}), local.date() - timedelta(days=1), 2)


# What is refused


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "it has no time"),
        ({"from": "02:30"}, "it has no time"),
        ({"from": "2:30", "to": "03:00"}, "from: '2:30' is no time of a day"),
        ({"from": "24:00", "to": "03:00"}, "from: '24:00'"),
        ({"from": "02:30", "to": "25:00"}, "to: '25:00'"),
        ({"from": "02:30", "to": "03:00", "starts": "2026-12-01T22:00"}, "either once"),
        ({"starts": "soon", "ends": "later"}, "starts: 'soon' is no time"),
        ({"starts": "2026-12-01T22:00", "ends": "2026-12-01T21:00"}, "ends before it begins"),
        ({"from": "02:30", "to": "03:00", "time_zone": "Europe/Berlim"}, "did you mean 'Europe/Berlin'"),
        ({"from": "02:30", "to": "03:00", "matchers": ["ruel=a"]}, "unknown field 'ruel'"),
    ],
)
def test_a_window_that_cannot_be_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="maintenance window 'w'") as refusal:
        window(**fields)
    assert said in str(refusal.value)


def test_two_windows_of_one_name_are_refused() -> None:
    daily = {"name": "w", "from": "01:00", "to": "02:00"}
    with pytest.raises(Exception, match="'w' is there already"):
        step(ALERT_ENGINE, maintenance=[daily, daily])


def test_without_time_zones_utc_is_known_and_the_remedy_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object) -> Any:
        raise ZoneInfoNotFoundError

    monkeypatch.setattr(maintenance, "ZoneInfo", nothing)
    monkeypatch.setattr(maintenance, "available_timezones", set)
    assert told(window(**{"from": "22:00", "to": "23:00"}).occurrences(0.0), 1) == [("01-01 22:00", "01-01 23:00")]
    with pytest.raises(msgspec.ValidationError, match="pip install tzdata"):
        window("Europe/Berlin", **{"from": "22:00", "to": "23:00"})


# What it does to alerts


NIGHTLY = {"name": "nightly", "from": "22:20", "to": "22:30", "matchers": ["severity!=critical"]}
"""The clock of the tests begins at 22:13:20 UTC."""


async def reports(rig: Rig) -> list[MaintenanceReport]:
    return await desk.list_windows(rig.stage, AskMaintenance(2), OPERATOR)


async def test_what_is_expected_is_told_to_nobody_and_fires_when_the_window_closes() -> None:
    async with engine(rules=[rule()], maintenance=[NIGHTLY]) as rig:
        assert (await reports(rig))[0].state == "closed"
        await rig.clock.advance(400)
        await rig.measure("queue", 11, name="a")
        alert = await rig.only("suppressed")
        assert alert.suppressed_by is not None and alert.reason is not None
        assert (alert.suppressed_by.reason, alert.suppressed_by.id) == ("maintenance", "nightly")
        assert alert.suppressed_by.until == 1_700_001_000_000
        assert alert.reason.sentence == "the maintenance window 'nightly' is open until 2023-11-14T22:30:00.000Z"
        (report,) = await reports(rig)
        assert (report.state, report.closes, report.suppressing) == ("open", 1_700_001_000_000, 1)
        assert (report.schedule, report.time_zone) == ("every day, 22:20 to 22:30", "UTC")
        assert [(one.starts, one.ends) for one in report.next] == [
            (1_700_000_400_000, 1_700_001_000_000), (1_700_086_800_000, 1_700_087_400_000),
        ]  # fmt: skip
        await rig.clock.advance(599)
        assert await rig.names("active") == []
        await rig.clock.advance(1.1)
        assert await rig.names("active") == ["Long Queue"]
        assert await rig.told() == ["suppressed", "firing"]


async def test_what_fires_already_is_suppressed_when_the_window_opens_and_told_resolved() -> None:
    async with engine(rules=[rule()], maintenance=[NIGHTLY]) as rig:
        await rig.measure("queue", 11, name="a")
        await rig.clock.advance(401)
        assert (await rig.only("suppressed")).told
        await rig.measure("queue", 1, name="a")
        assert await rig.told() == ["firing", "suppressed", "resolved"]


async def test_what_no_matcher_means_fires_in_the_window() -> None:
    async with engine(rules=[rule(severity="critical")], maintenance=[NIGHTLY]) as rig:
        await rig.clock.advance(401)
        await rig.measure("queue", 11, name="a")
        assert await rig.names("active") == ["Long Queue"]


@pytest.mark.parametrize("seconds", [3600.0, -3600.0])
async def test_a_clock_that_is_set_in_a_window_makes_nothing_fire_before_it_would_have_closed(seconds: float) -> None:
    async with engine(rules=[rule()], maintenance=[NIGHTLY]) as rig:
        await rig.clock.advance(401)
        await rig.measure("queue", 11, name="a")
        rig.clock.step(seconds)
        await rig.clock.advance(300)
        await rig.measure("queue", 11, name="a")
        await rig.measure("queue", 11, name="b")
        assert await rig.names("active") == []
        await rig.clock.advance(300)
        assert await rig.names("active") == ["Long Queue", "Long Queue"]
        assert "resolved" not in await rig.told()


async def test_a_clock_that_is_set_into_a_window_is_noticed_within_seconds() -> None:
    async with engine(rules=[rule()], maintenance=[NIGHTLY]) as rig:
        rig.clock.step(500)
        await rig.clock.advance(maintenance.LOOK_EVERY + 0.1)
        await rig.measure("queue", 11, name="a")
        assert await rig.names("active") == []


def test_a_window_that_opened_this_instant_is_open_for_whoever_fires_in_it() -> None:
    works = Maintenance([msgspec.convert(NIGHTLY, MaintenanceWindow)])
    assert not works.look(Moment(0.0, 1_700_000_399.0))
    assert works.due == 1.0
    assert works.look(Moment(1.0, 1_700_000_400.0))
    assert works.due == 11.0
    assert not works.look(Moment(11.0, 1_700_000_410.0))


async def test_an_engine_that_starts_in_a_window_knows_it_at_once() -> None:
    clock_in_window = {**NIGHTLY, "from": "22:00"}
    async with engine(rules=[rule()], maintenance=[clock_in_window]) as rig:
        await rig.measure("queue", 11, name="a")
        assert await rig.names("active") == []
