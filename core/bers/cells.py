"""Declared stages, and how each of them is doing."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import anyio

from bers.clock import Clock
from bers.config import Declared
from bers.errors import leaves
from bers.metering import Charged, Cost
from bers.pipeline import Step
from bers.redaction import redact_text
from bers.stages import AnySpec, Context, DurableSpec
from bers.states import StageState, Standing

Kind: TypeAlias = Literal["source", "processor", "sink"]

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 2.0
"""Seconds between two attempts to start a stage, at first and at most: who is well again is seen to be within 5 s."""


class Budget:
    """How often something may happen within some time."""

    def __init__(self, clock: Clock, most: int, within: float) -> None:
        self._clock = clock
        self._most = most
        self._within = within
        self._spent: deque[float] = deque()

    @property
    def left(self) -> int:
        self._forget()
        return max(0, self._most - len(self._spent))

    def spend(self) -> bool:
        """Count one more; False where that is too many."""
        self._forget()
        self._spent.append(self._clock.monotonic())
        return len(self._spent) <= self._most

    def restore(self) -> None:
        self._spent.clear()

    def _forget(self) -> None:
        while self._spent and self._spent[0] <= self._clock.monotonic() - self._within:
            self._spent.popleft()


@dataclass
class Cell:
    """One declared stage, and how it is doing. A processor has one for each pipeline that names it."""

    declared: Declared
    context: Context
    kind: Kind
    standing: Standing
    budget: Budget
    """The restarts that it has left before it is quarantined."""
    blocks: Budget
    """How often it may block the event loop before it is quarantined."""
    edges: Sequence[str]
    """Where it is counted."""
    pipeline: str = ""
    """Of a processor, the pipeline."""
    stage: Any = None
    """The stage while it is open."""
    restarts: int = 0
    sent: int = 0
    """How many events it has handed in that it measured by itself."""
    running: Charged = field(default_factory=Cost)
    """What is charged with the CPU that it takes to measure by itself."""
    raised: BaseException | None = None
    """What it let out last, so that who catches it knows whose it is."""
    users: int = 0
    """How many are at work with the open stage, and have to let go before it is closed."""
    done: anyio.Event = field(default_factory=anyio.Event)
    """Set when it has stopped for good."""

    @property
    def key(self) -> str:
        return self.declared.key

    @property
    def name(self) -> str:
        """What tells it from all others: its key; of a processor, with the pipeline."""
        return f"{self.pipeline}/{self.key}" if self.pipeline else self.key

    @property
    def spec(self) -> AnySpec:
        return self.declared.spec

    @property
    def step(self) -> Step[Any]:
        return Step(self.key, self.spec, self.declared.config, self.context)

    @property
    def state(self) -> StageState:
        return self.standing.state

    @property
    def error(self) -> str:
        """Why it failed last."""
        return self.standing.error

    @property
    def down(self) -> bool:
        """Whether it does not work, or is just tried again after that."""
        return self.standing.settled in ("failing", "quarantined")

    @property
    def waited_for(self) -> bool:
        """Of a sink, whether its pipelines stand still while it is closed, rather than let a queue wait for it."""
        return isinstance(self.spec, DurableSpec) or self.declared.delivery.required

    def stop(self) -> None:
        self.standing.stopped()
        self.done.set()


class Pause:
    """How long to wait before the next attempt: longer each time, short again after a good minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seconds = FIRST_PAUSE
        self._began: float | None = None

    def begin(self) -> None:
        """Say that the attempt has led to something that runs."""
        self._began = self._clock.monotonic()

    async def wait(self) -> None:
        if self._began is not None and self._clock.monotonic() - self._began > 60:
            self._seconds = FIRST_PAUSE
        self._began = None
        await self._clock.sleep(self._seconds)
        self._seconds = min(LONGEST_PAUSE, self._seconds * 2)


def reasons(exc: BaseException) -> str:
    """What went wrong, as it may be shown to anybody."""
    return "; ".join(redact_text(f"{type(leaf).__name__}: {leaf}") for leaf in leaves(exc))
