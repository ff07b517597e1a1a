"""Series as promtool's tests write them: the examples of its own documentation, and what is refused."""

from __future__ import annotations

import pytest

from bers_builtin.sinks.alert_engine.rehearsal.notation import MOST_SAMPLES, expand, select


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("-2+4x3", [-2, 2, 6, 10]),
        (" 1-2x4", [1, -1, -3, -5, -7]),
        (" 1x4", [1, 1, 1, 1, 1]),
        (" 1 _x3 stale", [1, None, None, None, None]),
        ("0+10x5", [0, 10, 20, 30, 40, 50]),
        ("10+10x2 30+20x5", [10, 20, 30, 30, 50, 70, 90, 110, 130]),
        ("1+0x6 0 0", [1, 1, 1, 1, 1, 1, 1, 0, 0]),
        ("_", [None]),
        (".5 1.5e3 -0.25x1", [0.5, 1500.0, -0.25, -0.25]),
        ("1e+2x1", [100.0, 100.0]),
        ("3x0", [3]),
        ("", []),
    ],
)
def test_values_expand_as_promtool_says(text: str, values: list[float | None]) -> None:
    assert expand(text) == values


def test_a_tenth_that_is_added_ten_times_is_added_once_for_each_value() -> None:
    assert expand("0+0.1x10")[-1] == 1.0


@pytest.mark.parametrize("text", ["ten", "1x", "1+x3", "_3", "1+2", "x4", "1,2", "0x1F", "stalex2", "1x-3"])
def test_what_is_no_value_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(ValueError, match="is no value; write a number, "):
        expand(text)


@pytest.mark.parametrize("text", ["1x999999999999", f"_x{MOST_SAMPLES + 1}", "1x199998 1 1"])
def test_a_few_letters_do_not_become_endless_values(text: str) -> None:
    with pytest.raises(ValueError, match=f"makes more than {MOST_SAMPLES} values"):
        expand(text)


def test_a_series_is_a_metric_with_labels() -> None:
    assert select("queue") == ("queue", {})
    assert select('up{job="a b", instance="localhost:9090"}') == ("up", {"job": "a b", "instance": "localhost:9090"})
    assert select(r'said{text="a \"word\", and a \\"}') == ("said", {"text": 'a "word", and a \\'})


@pytest.mark.parametrize("text", ["", "queue{", "queue{name=mail}", 'queue{name="a" other="b"}', 'queue{a="1",a="2"}'])
def test_what_names_no_series_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(ValueError, match=r"; (write|remove) "):
        select(text)
