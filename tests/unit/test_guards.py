"""What stands between a pipeline and its stages blames who is to blame, and nobody else."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import anyio
import pytest

from bers import Batch, Config, Context, PluginError, SinkSpec
from bers.cells import Budget, Cell
from bers.clock import SystemClock
from bers.config import Declared
from bers.config.settings import SupervisionSettings
from bers.guards import Post, Way
from bers.metering import Cost
from bers.states import Standing
from bers.units import Interval
from bers.ward import Bell, Ward


class NoConfig(Config, frozen=True):
    """Nothing to configure."""


class Sink:
    """Writes as it is told."""

    def __init__(self, write: Callable[[], Awaitable[object]]) -> None:
        self._write = write

    async def write(self, batch: Batch) -> None:
        await self._write()


def cell(name: str, stage: Any = None) -> Cell:
    clock = SystemClock()
    spec = SinkSpec("sink", NoConfig, cast("Any", Sink))
    declared = Declared(name, spec, NoConfig())
    budget = Budget(clock, 5, 60)
    return Cell(declared, Context(name), "sink", Standing(clock), budget, budget, (), stage=stage)


async def test_who_hangs_is_found_though_something_else_is_replayed_meanwhile() -> None:
    hanging, other = cell("hanging"), cell("other")
    post = Post("pipeline", SupervisionSettings())
    async with anyio.create_task_group() as group:
        group.start_soon(post.inside, hanging, "process a batch", -1.0, anyio.sleep_forever)
        await anyio.wait_all_tasks_blocked()
        await post.inside(other, "write a batch", 60.0, anyio.lowlevel.checkpoint)
        overdue = post.overdue()
        assert overdue is not None and "hanging: it did not process a batch" in str(overdue)
        assert (hanging.raised, other.raised, post.at()) == (overdue, None, "hanging")
        post.excuse(60.0)
        assert post.overdue() is None
        group.cancel_scope.cancel()
    assert (post.at(), post.overdue()) == ("", None)


async def test_a_write_that_hung_in_a_closed_sink_is_no_fault_of_the_one_that_was_opened_since() -> None:
    blamed: list[Cell] = []

    def fail(cell: Cell, exc: BaseException, /, *, given_up: bool = False) -> None:
        blamed.append(cell)

    settings = SupervisionSettings(write_within=Interval("50ms"), close_within=Interval("50ms"))
    for replaced in (False, True):
        begun = anyio.Event()

        async def hang(begun: anyio.Event = begun) -> None:
            begun.set()
            await anyio.sleep_forever()

        sink = cell("sink", Sink(hang))
        async with Ward() as ward:
            way = Way(sink, ward, Bell(), settings, fail, Cost())
            async with anyio.create_task_group() as group:
                group.start_soon(_refused, way)
                await begun.wait()
                if replaced:
                    sink.stage = Sink(anyio.lowlevel.checkpoint)
        assert blamed == ([] if replaced else [sink])
        blamed.clear()


async def _refused(way: Way) -> None:
    with pytest.raises(PluginError, match="it did not write a batch within"):
        await way.write(Batch(()))
