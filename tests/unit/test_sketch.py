import random
from collections.abc import Callable
from math import ceil

import pytest

from bers import sketch

SHARES = (0.0, 0.01, 0.5, 0.95, 0.99, 1.0)


def values(seed: int) -> list[float]:
    rng = random.Random(seed)
    draw: Callable[[], float] = rng.choice(
        [rng.random, lambda: rng.lognormvariate(3, 2), lambda: rng.gauss(0, 1e6), lambda: float(rng.randrange(5))]
    )
    return [draw() for _ in range(rng.randint(1, 2000))]


@pytest.mark.parametrize("seed", range(50))
def test_quantiles_lie_within_the_stated_error(seed: int) -> None:
    exact = sorted(values(seed))
    for share in SHARES:
        rank = max(1, ceil(share * len(exact)))
        assert sketch.quantile(sketch.of(exact), share) == pytest.approx(
            exact[rank - 1], rel=sketch.ERROR * 1.000001, abs=0
        )


@pytest.mark.parametrize("seed", range(20))
def test_merging_in_any_order_is_adding_everything(seed: int) -> None:
    all = values(seed)
    parts = [sketch.of(all[n::3]) for n in range(3)]
    random.Random(seed).shuffle(parts)
    for part in parts[1:]:
        sketch.merge(parts[0], part)
    assert parts[0] == sketch.of(all)


def test_beyond_the_limit_small_values_blur_and_large_ones_do_not() -> None:
    wide = sketch.of(10.0**n * digit for n in range(-300, 300) for digit in (1, 2, 3, 4, 5, 6, 7))
    assert len(wide) == sketch.LIMIT and sum(wide.values()) == 4200
    assert sketch.quantile(wide, 1.0) == pytest.approx(7e299, rel=sketch.ERROR)
