"""Which events sampling keeps."""

from collections.abc import Mapping, Sequence

import pytest

from bers import Batch, Catalog, Context, Duration, Event, Metric, Outcome, Window
from bers.testing import VirtualClock, check_spec
from bers_builtin.processors.sampling import SAMPLING, Sampling, SamplingConfig

CONTEXT = Context(
    "sampling",
    metrics=Catalog(
        [
            Metric("took", "ms", "How long it took."),
            Metric("size", "By", "How big it is.", target=100),
            Metric("hits", "%", "Share of hits.", target=60, better="higher"),
        ]
    ),
)


def event(
    id: str,
    type: str = "x.y",
    *,
    subject: str = "",
    outcome: Outcome | None = None,
    duration_ms: float | None = None,
    measures: Mapping[str, float] | None = None,
) -> Event:
    return Event(id, "s", type, 0.0, subject=subject, outcome=outcome, duration_ms=duration_ms, measures=measures or {})


async def kept(events: Sequence[Event], rate: float, trigger: str = "200ms") -> list[str]:
    stage = Sampling(SamplingConfig(rate=rate, threshold_trigger=Duration(trigger)), CONTEXT)
    return [one.id for one in (await stage.process(Batch(events, end=len(events)))).events]


async def test_the_spec_keeps_its_promises() -> None:
    await check_spec(SAMPLING)


@pytest.mark.parametrize("name", ["e-{}", "{:032x}", "run/{}/job", "SPOOL-{}"])
async def test_c100_half_of_the_events_are_kept_at_a_rate_of_half(name: str) -> None:
    ids = [name.format(number) for number in range(100_000)]
    assert 0.48 <= len(await kept([event(id) for id in ids], 0.5)) / 100_000 <= 0.52


async def test_c100_windows_are_not_touched() -> None:
    window = Window.of(("took", (), 0.0, 1.0), 5.0, 0.5, 1)
    batch = Batch([event("e")], [window], "metrics", 3, 7)
    out = await Sampling(SamplingConfig(rate=0), CONTEXT).process(batch)
    assert out == Batch([], [window], "metrics", 3, 7)


async def test_a_lower_rate_keeps_a_part_of_what_a_higher_one_keeps() -> None:
    events = [event(f"e-{number}") for number in range(2000)]
    few, more = await kept(events, 0.1), await kept(events, 0.4)
    assert set(few) < set(more)
    assert await kept(events, 0.4) == more


async def test_all_events_of_a_run_are_kept_or_none() -> None:
    events = [event(f"{part}-{run}", subject=f"r/{run}") for run in range(500) for part in ("start", "end")]
    ids = set(await kept(events, 0.3))
    assert all((f"start-{run}" in ids) == (f"end-{run}" in ids) for run in range(500))
    assert 0 < len(ids) < 1000


@pytest.mark.parametrize(
    "one",
    [
        event("e", outcome="failure"),
        event("e", outcome="error"),
        event("e", outcome="timeout"),
        event("e", outcome="cancel"),
        event("e", "service.rolledback"),
        event("e", "deployment.rolledback"),
        event("e", "alert.firing"),
        event("e", "deployment.finished", outcome="success"),
        event("e", "incident.resolved"),
        event("e", "change.merged"),
        event("e", duration_ms=200),
        event("e", measures={"took": 200}),
        event("e", measures={"size": 101}),
        event("e", measures={"hits": 59}),
    ],
)
async def test_c100_what_went_wrong_is_always_kept(one: Event) -> None:
    assert await kept([one], 0) == ["e"]


@pytest.mark.parametrize(
    "one",
    [
        event("e"),
        event("e", outcome="success"),
        event("e", outcome="skip"),
        event("e", duration_ms=199),
        event("e", measures={"took": 199, "size": 100, "hits": 60, "unknown": 1e9}),
    ],
)
async def test_nothing_else_is_kept_at_a_rate_of_zero(one: Event) -> None:
    assert await kept([one], 0) == []


async def test_a18_the_trigger_is_a_time() -> None:
    slow = [event("e", duration_ms=900)]
    assert await kept(slow, 0, "1s") == []
    assert await kept(slow, 0, "900ms") == ["e"]


async def test_with_a_failure_its_whole_run_is_kept() -> None:
    events = [
        event("start", subject="r"),
        event("end", subject="r", outcome="failure"),
        event("phase", subject="r"),
        event("other", subject="q"),
    ]
    assert await kept(events, 0) == ["start", "end", "phase"]


async def test_c101_under_load_the_rate_falls_to_the_budget_and_rises_again(clock: VirtualClock) -> None:
    stage = Sampling(SamplingConfig(rate=0.8, adaptive=True, budget=500), Context("sampling", clock=clock))

    async def second(arriving: int) -> int:
        """A second in batches of 10 ms."""
        count = 0
        for step in range(100):
            await clock.advance(0.01)
            events = [event(f"{clock.time()}-{step}-{number}") for number in range(arriving // 100)]
            count += len((await stage.process(Batch(events, end=1))).events)
        return count

    for _ in range(5):
        await second(400)
    assert stage.effective_rate == 0.8
    for _ in range(5):
        await second(10_000)
    assert stage.effective_rate == pytest.approx(0.05, rel=0.05)
    assert await second(10_000) == pytest.approx(500, rel=0.2)
    for _ in range(10):
        await second(400)
    assert stage.effective_rate == 0.8


async def test_a_burst_is_thinned_in_its_first_batch(clock: VirtualClock) -> None:
    stage = Sampling(SamplingConfig(adaptive=True, budget=1000), Context("sampling", clock=clock))
    events = [event(f"e-{number}") for number in range(50_000)]
    assert len((await stage.process(Batch(events, end=1))).events) == pytest.approx(1000, rel=0.2)


async def test_without_adaptive_the_rate_stays(clock: VirtualClock) -> None:
    stage = Sampling(SamplingConfig(rate=1, budget=1), Context("sampling", clock=clock))
    events = [event(f"e-{number}") for number in range(1000)]
    assert len((await stage.process(Batch(events, end=1))).events) == 1000
    assert stage.effective_rate == 1
