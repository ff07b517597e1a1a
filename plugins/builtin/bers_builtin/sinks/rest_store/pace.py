"""Long work in the loop, cut into slices of about a millisecond."""

from time import perf_counter

from anyio.lowlevel import checkpoint

SLICE = 0.001


class Pace:
    """Asked between two small pieces of work; gives the loop to others when a slice is over."""

    def __init__(self) -> None:
        self._end = perf_counter() + SLICE

    async def __call__(self) -> None:
        if perf_counter() >= self._end:
            await checkpoint()
            self._end = perf_counter() + SLICE
