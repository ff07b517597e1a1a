"""Values with units: what people write is what is meant, and what is not understood says what would be."""

import math
import re
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bers import Duration, Interval, Percent, Quantity, Size, format_duration, format_value, period, quantity, units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("100ms", 0.1),
        ("0.5s", 0.5),
        (".5s", 0.5),
        ("1e3s", 1000.0),
        ("5m", 300.0),
        ("5min", 300.0),
        ("2h", 7200.0),
        ("7d", 604800.0),
        ("1w", 604800.0),
        (" 3 s ", 3.0),
        ("0s", 0.0),
    ],
)
def test_every_unit_of_time_is_seconds(text: str, seconds: float) -> None:
    assert Duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("7B", 7),
        ("7By", 7),
        ("1kB", 1000),
        ("1KB", 1000),
        ("2MB", 2_000_000),
        ("1GB", 10**9),
        ("1TB", 10**12),
        ("64KiB", 65536),
        ("1.5MiB", 1572864),
        ("1GiB", 2**30),
        ("1TiB", 2**40),
    ],
)
def test_every_unit_of_size_is_bytes(text: str, size: int) -> None:
    assert Size(text) == size


@pytest.mark.parametrize(
    ("type", "value", "message"),
    [
        (Duration, "5", "'5' has no unit; expected a duration such as 100ms, 5s, 5m or 7d"),
        (Duration, "5 parsecs", "'5 parsecs' is not understood; expected a duration such as 100ms, 5s, 5m or 7d"),
        (Duration, "", "'' is not understood; expected a duration such as 100ms, 5s, 5m or 7d"),
        (Duration, "-5s", "'-5s' is not a duration; it must not be negative"),
        (Duration, "1e999s", "'1e999s' is too large; expected a duration such as 100ms, 5s, 5m or 7d"),
        (Duration, "5S", "'5S' is not understood; expected a duration such as 100ms, 5s, 5m or 7d"),
        (Interval, "0ms", "'0ms' is too short; it must be more than 0s"),
        (Size, "12", "'12' has no unit; expected a size such as 64KiB or 512MiB"),
        (Size, "12Mb", "'12Mb' is not understood; expected a size such as 64KiB or 512MiB"),
        (Size, "-1B", "'-1B' is not a size; it must not be negative"),
        (Percent, "80", "'80' has no unit; expected a share such as 80%"),
        (Percent, "80pct", "'80pct' is not understood; expected a share such as 80%"),
    ],
)
def test_what_is_not_understood_says_what_would_be(type: type, value: str, message: str) -> None:
    with pytest.raises(ValueError) as info:
        units.decode(type, value)
    assert str(info.value) == message


@pytest.mark.parametrize(
    ("type", "value", "message"),
    [
        (Interval, 5, "5 has no unit; write it as in '1s'"),
        (Duration, 0.5, "0.5 has no unit; write it as in '5m'"),
        (Size, 64, "64 has no unit; write it as in '64MiB'"),
        (Percent, 80, "80 has no unit; write it as in '80%'"),
        (Duration, True, "expected text with a unit, as in '5m'"),
        (Size, [], "expected text with a unit, as in '64MiB'"),
        (Percent, None, "expected text with a unit, as in '80%'"),
    ],
)
def test_a_bare_value_is_refused_with_an_example(type: type, value: object, message: str) -> None:
    with pytest.raises(ValueError) as info:
        units.decode(type, value)
    assert str(info.value) == message


def test_a_threshold_is_kept_as_it_was_written() -> None:
    assert [units.decode(Quantity, value) for value in ("100ms", 5, 0.5)] == ["100ms", "5", "0.5"]
    with pytest.raises(ValueError, match="expected text with a unit, as in '100ms'"):
        units.decode(Quantity, True)


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("2s", "ms", 2000.0),
        ("1500ms", "s", 1.5),
        ("64KiB", "By", 65536.0),
        ("1MB", "By/s", 1e6),
        ("1MB/s", "By/s", 1e6),
        ("80%", "%", 80.0),
        ("-5%", "%", -5.0),
        ("12", "{test}", 12.0),
        ("1.5", "1", 1.5),
    ],
)
def test_a_threshold_is_converted_to_the_unit_of_its_metric(text: str, unit: str, value: float) -> None:
    assert quantity(text, unit) == value


@pytest.mark.parametrize(
    ("text", "unit", "message"),
    [
        ("80", "%", "'80' has no unit; expected a share such as 80%"),
        ("75", "ms", "'75' has no unit; expected a duration such as 100ms"),
        ("75%", "ms", "'75%' is not understood; expected a duration such as 100ms"),
        ("5m", "By", "'5m' is not understood; expected a size such as 1MB"),
        ("many", "{test}", "'many' is not a number; this metric counts '{test}'"),
        ("nan", "1", "'nan' is not a number; this metric counts '1'"),
        ("inf", "1", "'inf' is not a number; this metric counts '1'"),
        ("1e400ms", "ms", "'1e400ms' is too large; expected a duration such as 100ms"),
    ],
)
def test_a_threshold_in_the_wrong_unit_is_refused(text: str, unit: str, message: str) -> None:
    with pytest.raises(ValueError) as info:
        quantity(text, unit)
    assert str(info.value) == message


@pytest.mark.parametrize(
    ("text", "seconds"), [("5m", 300.0), ("7d", 604800.0), ("604800000", 604800.0), ("1", 0.001), ("1w", 604800.0)]
)
def test_a_period_is_a_duration_or_whole_milliseconds(text: str, seconds: float) -> None:
    assert period(text) == seconds


@pytest.mark.parametrize("text", ["abc", "", "1.5", "-5m", "٥", "1e400d", "9" * 400, "9" * 5000])
def test_what_is_no_period_is_a_value_error_and_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a period; write 5m, 24h, 7d, or milliseconds as a whole number$"):
        period(text)


@pytest.mark.parametrize("text", ["0", "0s", "401d", "99999999999999"])
def test_a_period_is_longer_than_nothing_and_not_endless(text: str) -> None:
    with pytest.raises(ValueError) as info:
        period(text)
    assert str(info.value) == (f"{text!r} is out of range; a period is longer than nothing and at most 400 days")


@given(st.text(max_size=20))
def test_a_period_never_fails_otherwise(text: str) -> None:
    with suppress(ValueError):
        assert 0 < period(text) <= 400 * 86400


@given(st.floats(0, 1e9, allow_nan=False))
def test_a_duration_survives_being_written_and_read(seconds: float) -> None:
    assert Duration(str(Duration(seconds))) == pytest.approx(seconds, rel=1e-9, abs=1e-300)


@given(st.integers(0, 2**60))
def test_a_size_survives_being_written_and_read(size: int) -> None:
    assert Size(str(Size(size))) == pytest.approx(size, rel=1e-12)


@given(st.integers(0, 10**10))
def test_whole_milliseconds_survive_being_written_and_read(milliseconds: int) -> None:
    assert round(Duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds


@given(st.integers(0, 10**9))
def test_milliseconds_are_exact_so_that_a_limit_is_met_exactly(milliseconds: int) -> None:
    assert Duration(f"{milliseconds}ms") == milliseconds / 1000
    assert quantity(f"{milliseconds}ms", "ms") == milliseconds


@given(st.floats(0, 1e6, allow_nan=False))
def test_a_share_survives_being_written_and_read(share: float) -> None:
    assert Percent(str(Percent(share))) == pytest.approx(share, rel=1e-5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.1, "100ms"), (1, "1s"), (90, "90s"), (300, "5m"), (7200, "2h"), (86400, "1d"), (1.5, "1.5s")],
)
def test_a_duration_is_written_in_the_largest_unit_that_divides_it(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (1000, "1000B"), (1024, "1KiB"), (16 << 20, "16MiB"), (3 << 30, "3GiB")]
)
def test_a_size_is_written_in_the_largest_unit_that_divides_it(size: int, text: str) -> None:
    assert str(Size(size)) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "ms", "–"),
        (math.nan, "ms", "–"),
        (math.inf, "By", "–"),
        (930, "ms", "930 ms"),
        (0.0928, "ms", "92.8 µs"),
        (0.9999, "ms", "1 ms"),
        (999.6, "ms", "1 s"),
        (2400, "ms", "2.4 s"),
        (-2400, "ms", "-2.4 s"),
        (90_000, "ms", "1.5 min"),
        (3_600_000, "ms", "1 h"),
        (1e9, "ms", "11.6 d"),
        (412_000, "By", "412 kB"),
        (999_900, "By", "1 MB"),
        (12, "By", "12 B"),
        (5e6, "By/s", "5 MB/s"),
        (3e12, "By", "3 TB"),
        (3e15, "By", "3000 TB"),
        (95.24, "%", "95.2 %"),
        (3, "{test}", "3"),
        (1234.5, "1", "1234"),
        (0.25, "", "0.25"),
    ],
)
def test_a_measured_value_is_written_for_people(value: float | None, unit: str, text: str) -> None:
    assert format_value(value, unit) == text


@pytest.mark.parametrize("type", units.TYPES)
def test_every_type_with_a_unit_has_an_example_that_it_understands(type: type) -> None:
    schema = units.schema(type)
    (example,) = schema["examples"]
    assert msgspec.convert(example, type, dec_hook=units.decode) == units.decode(type, example)
    assert units.encode(units.decode(type, example)) == example
    assert "string" in schema["type"]
    assert schema["description"].endswith((".", "known."))


@pytest.mark.parametrize(
    ("type", "text"),
    [
        *(
            (units.Duration, text)
            for text in ("0s", "5m", " 1.5 h ", ".5s", "1e3ms", "+1d", "5", "5 sec", "-1s", "m", "")
        ),
        *((units.Interval, text) for text in ("1ms", "0s", "0.0s", "0.05s")),
        *((units.Size, text) for text in ("64KiB", "1.5 GiB", "10MB", "10", "10 mb", "-1B")),
        *((units.Percent, text) for text in ("80%", "-5 %", "80", "%")),
    ],
)
def test_a_pattern_for_editors_takes_what_is_understood(type: type, text: str) -> None:
    try:
        units.decode(type, text)
        understood = True
    except ValueError:
        understood = False
    assert bool(re.search(units.schema(type)["pattern"], text)) is understood


def test_other_types_are_left_to_msgspec() -> None:
    for refuse in (lambda: units.decode(int, 5), lambda: units.encode(object()), lambda: units.schema(int)):
        with pytest.raises(NotImplementedError):
            refuse()
