"""Whether what a source makes of events depends on the order in which they come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from hypothesis import strategies as st

from bers import Catalog, Context, Event, Receiver, SourceSpec, Table
from bers.testing import run_processor, run_receive
from bers_builtin.processors.aggregation import AGGREGATION

Orders = tuple[list[Event], list[Event]]


def in_two_orders(parts: Iterable[list[Event]]) -> st.SearchStrategy[Orders]:
    """What happened, part by part, and the same in any order."""
    events = list(chain.from_iterable(parts))
    return st.tuples(st.just(events), st.permutations(events))


async def figures(spec: SourceSpec[Any], events: Sequence[Event]) -> object:
    """Everything that can be asked later: every series, whole, whatever the order."""
    if not events:
        return []
    batch = await run_processor(AGGREGATION, events, context=Context("windows", metrics=Catalog(spec.metrics)))
    return sorted((w.key, w.count, w.sum, w.min, w.max, sorted(w.sketch.items())) for w in batch.windows)


async def figures_of(spec: SourceSpec[Any], events: Sequence[Event]) -> object:
    """The figures that a source makes of what it is told."""
    return await figures(spec, await run_receive(spec, events))


def remembers_the_same(receiver: Receiver, events: Sequence[Event]) -> bool:
    """Whether a restart, which reads what was stored, leads to the same table as what came."""
    came, stored = Table(), Table()
    for event in events:
        receiver.receive(receiver.receive(event, came)[0], stored)
    return came.dump() == stored.dump()
