"""Rates are over the last ten seconds, or what there is of them."""

import anyio

from bers.counters import Counters
from bers.speedometer import SPAN, Rates, Speedometer
from bers.testing import VirtualClock


async def test_a_rate_is_what_passed_in_the_last_ten_seconds() -> None:
    clock, counters = VirtualClock(), Counters()
    edge = counters.edge("p/s")
    speed = Speedometer(counters, clock)
    assert speed.rates()[0] == {"p/s": Rates()}
    async with anyio.create_task_group() as group:
        group.start_soon(speed.run)
        await clock.advance(0)
        edge.taken, edge.out, edge.cpu = 20, 10, 0.5
        edge.dropped["full"] += 10
        await clock.advance(2)
        assert speed.rates()[0]["p/s"] == Rates(taken=10.0, out=5.0, dropped=5.0, cpu=25.0)
        await clock.advance(SPAN)
        assert speed.rates()[0]["p/s"] == Rates()
        counters.edge("new").taken = 30
        await clock.advance(5)
        assert speed.rates()[0]["new"].taken == 3.0
        group.cancel_scope.cancel()
