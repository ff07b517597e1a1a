"""The processor `only`."""

import pytest
from bers import Batch, Event, Window
from bers.testing import check_spec, run_processor, step

from bers_toolbox.only import ONLY

EVENTS = [
    Event(str(number), "test", type, 0.0)
    for number, type in enumerate(["build.started", "build.finished", "deployment.finished", "builder.finished"])
]


async def test_the_spec_keeps_its_promises() -> None:
    await check_spec(ONLY, types=["*"])


@pytest.mark.parametrize(
    ("types", "kept"),
    [
        (["build.*"], ["build.started", "build.finished"]),
        (["build.finished"], ["build.finished"]),
        (["*.finished"], ["build.finished", "deployment.finished", "builder.finished"]),
        (["build.started", "deployment.*"], ["build.started", "deployment.finished"]),
    ],
)
async def test_events_of_other_types_go(types: list[str], kept: list[str]) -> None:
    batch = await run_processor(ONLY, EVENTS, types=types)
    assert [event.type for event in batch.events] == kept
    assert batch.end == len(EVENTS)


async def test_an_emptied_batch_still_has_its_end() -> None:
    async with step(ONLY, types=["nothing"]).open() as only:
        assert await only.process(Batch(EVENTS, end=4)) == Batch([], end=4)


async def test_windows_are_not_touched() -> None:
    window = Window.of(("took", (), 0.0, 1.0), 5.0, 0.5, 1)
    async with step(ONLY, types=["nothing"]).open() as only:
        assert await only.process(Batch(EVENTS, [window], "metrics", 0, 4)) == Batch([], [window], "metrics", 0, 4)
