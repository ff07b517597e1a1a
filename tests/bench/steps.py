"""The steps of an event loop, as they are run: for as long as one takes, nobody else has a turn."""

from __future__ import annotations

import time
from asyncio import events
from threading import get_ident
from typing import Any


class Steps:
    """Every step of this thread's loop from now on, in seconds of its processor: others on the machine do not count.

    Who is timed otherwise, by a task that always has its turn, competes with it for the interpreter.
    """

    def __init__(self) -> None:
        self.taken: list[float] = []
        run, thread = events.Handle._run, get_ident()

        def timed(handle: Any) -> None:
            began = time.thread_time()
            run(handle)
            if get_ident() == thread:
                self.taken.append(time.thread_time() - began)

        events.Handle._run = timed  # type: ignore[method-assign, assignment]

    def clear(self) -> None:
        self.taken.clear()

    @property
    def total(self) -> float:
        return sum(self.taken)

    @property
    def longest(self) -> float:
        return max(self.taken, default=0.0)
