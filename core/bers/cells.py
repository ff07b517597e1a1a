"""Declared stages, and how each of them is doing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import anyio
from anyio.abc import TaskStatus

from bers.clock import Clock
from bers.config import Declared, PipelineSettings
from bers.pipeline import Step
from bers.stages import AnySpec, Context

StageState: TypeAlias = Literal["starting", "ok", "failing", "stopping", "stopped"]

LONGEST_PAUSE = 30.0
"""Seconds; what the pauses between two attempts to start a stage grow to."""


@dataclass
class Cell:
    """One declared stage, and how it is doing."""

    declared: Declared
    context: Context
    state: StageState = "stopped"
    stage: Any = None
    """The stage while it is open."""
    restarts: int = 0
    error: str = ""
    """Why it failed last."""
    since: float = 0.0
    """When it came to the state it is in, by the monotonic clock."""
    done: anyio.Event = field(default_factory=anyio.Event)
    """Set when it has stopped for good."""

    @property
    def key(self) -> str:
        return self.declared.key

    @property
    def spec(self) -> AnySpec:
        return self.declared.spec

    @property
    def step(self) -> Step[Any]:
        return Step(self.key, self.spec, self.declared.config, self.context)

    def stop(self) -> None:
        self.become("stopped")
        self.done.set()

    def become(self, state: StageState, error: str = "") -> None:
        self.state, self.error, self.since = state, error or self.error, self.context.clock.monotonic()


@dataclass
class Unit:
    """What starts, stops and restarts together: sinks, and the pipelines that lead to them."""

    cells: Sequence[Cell]
    pipelines: Sequence[str]


def units(sinks: Mapping[str, Cell], pipelines: Mapping[str, PipelineSettings]) -> list[Unit]:
    """Group sinks that share a pipeline: they share its fate."""
    groups: list[set[str]] = [{key} for key in sinks]
    for pipeline in pipelines.values():
        joined = [group for group in groups if group & set(pipeline.sinks)]
        groups = [group for group in groups if group not in joined]
        groups.append(set[str]().union(*joined))
    return [
        Unit(
            [cell for key, cell in sinks.items() if key in group],
            [name for name, pipeline in pipelines.items() if group & set(pipeline.sinks)],
        )
        for group in groups
    ]


class Pause:
    """How long to wait before the next attempt: longer each time, short again after a good minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seconds = 0.25
        self._began: float | None = None

    def begin(self) -> None:
        """Say that the attempt has led to something that runs."""
        self._began = self._clock.monotonic()

    async def wait(self) -> None:
        if self._began is not None and self._clock.monotonic() - self._began > 60:
            self._seconds = 0.25
        self._began = None
        await self._clock.sleep(self._seconds)
        self._seconds = min(LONGEST_PAUSE, self._seconds * 2)


def once(task_status: TaskStatus[None]) -> Callable[[], None]:
    """A way to say "started" any number of times."""
    told = False

    def tell() -> None:
        nonlocal told
        if not told:
            told = True
            task_status.started()

    return tell
