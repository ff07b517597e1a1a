"""What a stage costs: how long each of its calls takes, and how much CPU of the thread that runs the event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from time import thread_time
from types import coroutine
from typing import Any, Protocol, TypeVar

from bers import sketch
from bers.sketch import Sketch

T = TypeVar("T")

WINDOW = 60.0
"""Seconds after which latencies begin to be forgotten; after twice as many they are."""


class Latencies:
    """How long something took in the last one to two minutes, in bounded memory: two sketches that take turns."""

    __slots__ = ("_before", "_now", "_since")

    def __init__(self) -> None:
        self._now: Sketch = {}
        self._before: Sketch = {}
        self._since = float("-inf")

    def add(self, seconds: float, at: float) -> None:
        """Note how long one call took; ``at`` is any clock that only goes forward."""
        if at - self._since >= WINDOW:
            self._turn(at)
        sketch.add(self._now, seconds)

    def quantile(self, share: float, at: float) -> float | None:
        """The time that this share of the calls stayed within; None where there was none lately."""
        if at - self._since >= WINDOW:
            self._turn(at)
        lately = dict(self._before)
        sketch.merge(lately, self._now)
        return sketch.quantile(lately, share) if lately else None

    def _turn(self, at: float) -> None:
        self._before = self._now if at - self._since < 2 * WINDOW else {}
        self._now, self._since = {}, at


class Charged(Protocol):
    """What CPU can be charged to."""

    cpu: float
    inside: bool
    """Whether a step that is charged to it runs at this moment."""


@dataclass(slots=True)
class Cost:
    """What something costs that nobody asks about."""

    cpu: float = 0.0
    inside: bool = False


@coroutine
def metered(work: Awaitable[T], to: Charged, *, within: Charged | None = None) -> Generator[Any, Any, T]:
    """Await the work, and charge it with the CPU that it takes between its pauses, which is then not ``within``'s.

    While it waits, others have the thread: that is never charged. Neither is what it leaves to threads or to tasks
    of its own. A step costs about a microsecond.
    """
    steps = work.__await__()
    resume: Callable[[Any], Any] = steps.send
    value: Any = None
    while True:
        to.inside, began = True, thread_time()
        try:
            pause = resume(value)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            took = thread_time() - began
            to.inside = False
            to.cpu += took
            if within is not None and within.inside:  # Another task of it may be who waits.
                within.cpu -= took
        try:
            value, resume = (yield pause), steps.send
        except GeneratorExit:
            steps.close()
            raise
        except BaseException as exc:  # A cancellation, say: the work's to answer.
            value, resume = exc, steps.throw
