"""Which tiers retention stamps windows with."""

from collections.abc import Mapping

import pytest

from bers import Batch, Catalog, ConfigError, Context, Metric, Tier, Window
from bers.testing import check_spec, step
from bers_builtin.processors.retention import RETENTION

CONTEXT = Context("retention", metrics=Catalog([Metric("took", "ms", "How long."), Metric("size", "By", "How big.")]))
DAY = 86_400.0


async def stamped(*windows: tuple[str, float], **options: object) -> list[Window]:
    batch = Batch([], [Window.of((name, (), 0.0, width), 1.0, 0.0, 1) for name, width in windows], end=1)
    async with step(RETENTION, context=CONTEXT, **options).open() as stage:
        return list((await stage.process(batch)).windows)


async def test_the_spec_keeps_its_promises() -> None:
    await check_spec(RETENTION)


async def test_windows_are_kept_longer_the_coarser_they_are() -> None:
    (window,) = await stamped(("took", 1.0))
    assert window.tiers == (Tier(1, 300), Tier(60, 3600), Tier(300, DAY), Tier(3600, 30 * DAY))


async def test_windows_share_their_tiers() -> None:
    first, second = await stamped(("took", 1.0), ("size", 1.0))
    assert first.tiers is second.tiers


async def test_a_time_of_zero_leaves_a_tier_out() -> None:
    (window,) = await stamped(("took", 1.0), short_term="0s", long_term="0s")
    assert window.tiers == (Tier(1, 300), Tier(300, DAY))


async def test_a_metric_may_be_kept_for_other_times() -> None:
    took, size = await stamped(("took", 1.0), ("size", 1.0), metrics={"took": {"realtime": "1h", "long_term": "365d"}})
    assert took.tiers == (Tier(1, 3600), Tier(60, 3600), Tier(300, DAY), Tier(3600, 365 * DAY))
    assert size.tiers[0] == Tier(1, 300)


async def test_a_metric_that_is_kept_nowhere_ends_here() -> None:
    never = {"realtime": "0s", "short_term": "0s", "medium_term": "0s", "long_term": "0s"}
    windows = await stamped(("took", 1.0), ("size", 1.0), metrics={"took": never})
    assert [window.metric for window in windows] == ["size"]


@pytest.mark.parametrize(
    ("width", "tiers"),
    [
        (60.0, (Tier(60, 3600), Tier(300, DAY), Tier(3600, 30 * DAY))),
        (600.0, (Tier(600, DAY), Tier(3600, 30 * DAY))),
        (7200.0, (Tier(7200, 30 * DAY),)),
    ],
)
async def test_no_tier_is_finer_than_the_window(width: float, tiers: tuple[Tier, ...]) -> None:
    (window,) = await stamped(("took", width))
    assert window.tiers == tiers


@pytest.mark.parametrize("options", [{"metrics": {"tok": {"realtime": "1h"}}}])
async def test_a_metric_that_is_not_known_is_refused_with_a_guess(options: Mapping[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"metrics\.tok: unknown metric 'tok'; did you mean 'took'\?"):
        await stamped(("took", 1.0), **options)
