"""Every metric is declared once, with a unit, and Prometheus hears of it in base units."""

import pytest

from bers import Catalog, Metric, PluginError, Refused
from bers.catalog import RESERVED

SPEED = Metric("resolution_time", "ms", "How long it takes.", target=100.0)
SHARE = Metric("hit_rate", "%", "How often.", target=80.0, better="higher")


@pytest.mark.parametrize(
    ("metric", "value", "meets"),
    [
        (SPEED, 100.0, True),
        (SPEED, 100.1, False),
        (SHARE, 80.0, True),
        (SHARE, 79.9, False),
        (Metric("load", "1", "Load."), 1e9, True),
        (Metric("load", "1", "Load.", target=1.0, better="neither"), 1e9, True),
    ],
)
def test_a_value_is_judged_from_the_right_side_of_its_target(metric: Metric, value: float, meets: bool) -> None:
    assert metric.meets(value) is meets


@pytest.mark.parametrize(
    ("name", "unit", "prometheus", "scale"),
    [
        ("resolution_time", "ms", "bers_resolution_seconds", 1e-3),
        ("hit_rate", "%", "bers_hit_rate_ratio", 1e-2),
        ("rss", "By", "bers_rss_bytes", 1.0),
        ("receive", "By/s", "bers_receive_bytes_per_second", 1.0),
        ("tests_total", "{test}", "bers_tests_total", 1.0),
        ("size_total", "By", "bers_size_bytes", 1.0),
        ("flaky_count", "{test}", "bers_flaky", 1.0),
        ("load_1m", "1", "bers_load_1m", 1.0),
        ("age", "s", "bers_age_seconds", 1.0),
    ],
)
def test_prometheus_hears_base_units(name: str, unit: str, prometheus: str, scale: float) -> None:
    metric = Metric(name, unit, "A metric.")
    assert (metric.prometheus, metric.scale) == (prometheus, scale)


@pytest.mark.parametrize("name", ["Build", "build-time", "1st", "a__b", "_a", "a_", "", *sorted(RESERVED)])
def test_a_name_is_lower_snake_case_and_no_route(name: str) -> None:
    with pytest.raises(PluginError) as info:
        Catalog([Metric(name, "1", "A metric.")])
    assert str(info.value) == (
        f"{name!r} cannot name a metric; names are lower_snake_case, "
        "and none of: circuit-breakers, clear-cache, current, report, restart, stats"
    )


def test_two_metrics_have_two_names_in_prometheus() -> None:
    with pytest.raises(PluginError, match="'load_time' and 'load' would both be 'bers_load_seconds' in Prometheus"):
        Catalog([Metric("load_time", "ms", "Time to load."), Metric("load", "s", "Time to load.")])


def test_a_metric_may_be_declared_twice_alike_and_never_differently() -> None:
    assert list(Catalog([SPEED, SPEED])) == ["resolution_time"]
    with pytest.raises(PluginError, match=r"metric 'resolution_time' is declared twice, and differently"):
        Catalog([SPEED, Metric("resolution_time", "s", "How long it takes.")])


def test_a_target_can_be_replaced_and_the_original_stays() -> None:
    catalog = Catalog([SPEED, SHARE])
    changed = catalog.with_targets({"resolution_time": 75.0})
    assert (changed["resolution_time"].target, changed["hit_rate"].target) == (75.0, 80.0)
    assert catalog["resolution_time"].target == 100.0
    assert len(changed) == 2


def test_an_unknown_metric_is_refused_with_those_there_are() -> None:
    with pytest.raises(Refused) as info:
        Catalog([SPEED, SHARE]).find("hit_rat")
    assert str(info.value) == "unknown metric 'hit_rat'; did you mean 'hit_rate'? Known: hit_rate, resolution_time"
    assert (info.value.reason, info.value.known) == ("not_found", ["hit_rate", "resolution_time"])
