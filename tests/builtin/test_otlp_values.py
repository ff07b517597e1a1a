"""What OpenTelemetry tells in sums and buckets, as the values that there were."""

from math import inf

import pytest

from bers_builtin.sources.otlp.distributions import Bucket, Values, explicit, exponential, mirrored, values
from bers_builtin.sources.otlp.told import Told, growth, values_of
from bers_builtin.sources.otlp.units import factor


def total(found: Values) -> float:
    return sum(value * count for value, count in found)


@pytest.mark.parametrize(
    ("unit", "wanted", "expected"),
    [
        ("s", "ms", 1000.0),
        ("ms", "s", 0.001),
        ("us", "ms", 0.001),
        ("", "ms", 1.0),
        ("min", "ms", 60_000.0),
        ("KiBy", "By", 1024.0),
        ("MBy", "By", 1e6),
        ("By/s", "By/s", 1.0),
        ("KiBy/s", "By/s", 1024.0),
        ("1", "%", 100.0),
        ("%", "1", 0.01),
        ("{run}", "{build}", 1.0),
        ("1", "{build}", 1.0),
        ("By", "ms", None),
        ("s", "{build}", None),
        ("By", "By/s", None),
        ("furlong", "ms", None),
    ],
)
def test_a_unit_is_converted_where_it_measures_the_same(unit: str, wanted: str, expected: float | None) -> None:
    assert factor(unit, wanted) == expected


def test_a_single_value_is_exact_whatever_bucket_it_was_in() -> None:
    assert values(explicit([5, 10], [0, 1, 0]), 7.25, None, None) == [(7.25, 1)]


def test_two_values_are_the_least_and_the_greatest() -> None:
    assert values(explicit([5, 10], [1, 1, 0]), 9.0, 2.0, 7.0) == [(2.0, 1), (7.0, 1)]


def test_number_sum_least_and_greatest_are_exact_and_each_value_is_in_its_bucket() -> None:
    found = values(explicit([10, 20, 30], [2, 5, 0, 3]), 260.0, 4.0, 52.0)
    assert (found[0], found[-1]) == ((4.0, 1), (52.0, 1))
    assert sum(count for _, count in found) == 10 and total(found) == pytest.approx(260.0)
    assert [sum(count for value, count in found if low < value <= high)
            for low, high in ((-inf, 10), (10, 20), (20, 30), (30, inf))] == [2, 5, 0, 3]  # fmt: skip


def test_without_least_and_greatest_the_last_bucket_is_as_high_as_the_sum_asks_for() -> None:
    found = values(explicit([10, 20], [0, 2, 2]), 130.0, None, None)
    assert found == [(15.0, 2), (50.0, 2)]


def test_a_histogram_without_buckets_has_its_mean() -> None:
    assert values([Bucket(-inf, inf, 4)], 20.0, None, None) == [(5.0, 4)]
    assert values([Bucket(-inf, inf, 4)], 20.0, 1.0, 9.0) == [(1.0, 1), (5.0, 2), (9.0, 1)]


def test_an_exponential_histogram_has_both_signs_and_what_is_about_zero() -> None:
    assert exponential(0, 1, [3, 0, 1]) == [Bucket(2.0, 4.0, 3), Bucket(8.0, 16.0, 1)]
    assert mirrored(exponential(0, 0, [1, 2])) == [Bucket(-4.0, -2.0, 2), Bucket(-2.0, -1.0, 1)]
    told = Told(
        "exponential", 1, count=5, sum=7.5, min=-2.0, max=8.0, zero=2, positive=(0, [1, 0, 1]), negative=(0, [1])
    )
    found = values_of(told)
    assert sum(count for _, count in found) == 5 and total(found) == pytest.approx(7.5)
    assert (found[0], found[-1]) == ((-2.0, 1), (8.0, 1))


@pytest.mark.parametrize(("scale", "offset"), [(0, 2000), (-11, 1), (-10_000, 0), (0, 10**400)])
def test_an_exponential_bucket_beyond_all_numbers_is_refused(scale: int, offset: int) -> None:
    with pytest.raises(ValueError, match="beyond all numbers"):
        exponential(scale, offset, [1])


@pytest.mark.parametrize(("bounds", "counts"), [([5, 10], [1, 1]), ([10, 5], [1, 1, 1]), ([5, 5], [0, 1, 0])])
def test_bounds_that_do_not_fit_are_refused(bounds: list[float], counts: list[int]) -> None:
    with pytest.raises(ValueError):
        explicit(bounds, counts)


def test_a_summary_has_so_many_values_between_two_quantiles() -> None:
    told = Told("summary", 1, count=10, sum=60.0, quantiles=[(0.5, 5.0), (0.9, 10.0), (1.0, 20.0)])
    found = values_of(told)
    assert sum(count for _, count in found) == 10 and total(found) == pytest.approx(60.0)
    assert [count for _, count in found] == [5, 4, 1]


def test_a_sum_grows_by_the_difference_and_begins_anew_where_its_start_says_so() -> None:
    def told(value: float, time: int, start: int = 1) -> Told:
        return Told("sum", time, start=start, cumulative=True, monotonic=True, value=value)

    def grown(before: Told, now: Told) -> float | None:
        found = growth(before, now)
        return found.value if found else None

    assert grown(told(10, 2), told(15, 3)) == 5
    assert grown(told(10, 2), told(4, 3, start=3)) == 4
    assert grown(told(10, 2), told(12, 4, start=3)) == 12, "it started anew, though it is higher"
    assert grown(told(10, 2, start=0), told(4, 3, start=0)) == 4, "it fell, so it started anew"
    assert grown(told(10, 3), told(8, 2)) is None, "it is older"
    assert grown(told(10, 5, start=4), told(80, 6, start=1)) is None, "it is of the run before"


def test_a_histogram_grows_bucket_by_bucket_and_forgets_the_extremes_of_all_time() -> None:
    before = Told("histogram", 2, start=1, count=3, sum=12.0, min=1.0, max=9.0, bounds=[5, 10], buckets=[2, 1, 0])
    now = Told("histogram", 3, start=1, count=5, sum=40.0, min=1.0, max=20.0, bounds=[5, 10], buckets=[2, 2, 1])
    found = growth(before, now)
    assert found and (found.count, found.sum, found.min, found.max, found.buckets) == (2, 28.0, None, None, [0, 1, 1])
    other = growth(before, Told("histogram", 3, start=1, count=5, sum=40.0, bounds=[7], buckets=[4, 1]))
    assert other and other.count == 5, "other bounds are another histogram"


def test_an_exponential_histogram_grows_at_the_coarser_of_two_resolutions() -> None:
    before = Told("exponential", 2, start=1, count=4, sum=8.0, resolution=1, zero=1, positive=(2, [1, 2]))
    now = Told("exponential", 3, start=1, count=7, sum=29.0, resolution=0, zero=1, positive=(1, [4, 0, 2]))
    found = growth(before, now)
    assert found and (found.count, found.resolution, found.zero, found.positive) == (3, 0, 0, (1, [1, 0, 2]))
