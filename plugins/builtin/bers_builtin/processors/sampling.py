"""Decide which events are kept in detail; figures are not touched, and what went wrong is always kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import exp
from typing import Annotated, Any
from zlib import crc32

from anyio.lowlevel import checkpoint
from msgspec import Meta

from bers import Batch, Config, Context, Duration, Event, ProcessorSpec, Stage, hookimpl
from bers_builtin.sinks._types import RECORDS


class SamplingConfig(Config, frozen=True):
    """Keep the details of a share of all events. Failures, alerts, slow ones and whatever `always` names are kept."""

    rate: Annotated[
        float,
        Meta(ge=0, le=1, description="Share of the events to keep, from 0 (only what is always kept) to 1 (all)."),
    ] = 1.0
    adaptive: Annotated[
        bool, Meta(description="Whether to keep a smaller share while more events arrive than the budget allows.")
    ] = False
    budget: Annotated[
        float, Meta(gt=0, description="Events per second that an adaptive sampling keeps, besides what is always kept.")
    ] = 1000.0
    always: Annotated[
        tuple[str, ...],
        Meta(
            description="The types of events that are always kept, because each is a record that is counted later; "
            "`change.*` means all of a kind."
        ),
    ] = RECORDS
    threshold_trigger: Annotated[
        Duration, Meta(description="Whatever takes as long as this, or longer, is always kept.")
    ] = Duration("200ms")


class Sampling(Stage[SamplingConfig]):
    effective_rate: float
    """The share of events that is kept at present."""

    def __init__(self, config: SamplingConfig, context: Context) -> None:
        super().__init__(config, context)
        self.effective_rate = config.rate
        self._slow = config.threshold_trigger * 1000
        self._judged = {
            name: metric for name, metric in context.metrics.items() if metric.target is not None or metric.unit == "ms"
        }
        self._always = frozenset(config.always)
        self._load = 0.0
        self._seen = context.clock.monotonic()

    async def process(self, batch: Batch) -> Batch:
        if self.config.adaptive:
            self._adapt(len(batch.events))
        if self.effective_rate >= 1:
            return batch
        below = self.effective_rate * 2**32
        kept: list[bool] = []
        bad: set[tuple[str, str]] = set()
        for number, event in enumerate(batch.events, 1):
            if not number % SLICE:
                await checkpoint()
            must = self._must_be_kept(event)
            if must and event.subject:
                bad.add((event.source, event.subject))
            # One run is kept or left out as a whole, here and wherever else it is sampled at this rate.
            kept.append(must or _number(event) < below)
        events = [
            event
            for event, keep in zip(batch.events, kept, strict=True)
            if keep or (bad and (event.source, event.subject) in bad)
        ]
        return replace(batch, events=events)

    async def explain(self, event: Event) -> Sequence[str]:
        if self._must_be_kept(event):
            return ["Its like is always kept, because of how it ended, what it is, how long it took or what it missed."]
        if self.effective_rate >= 1:
            return ["Everything is kept at present."]
        whole = "a bad one of the same run, read together with it, would have saved it"
        if _number(event) < self.effective_rate * 2**32:
            return [f"It is of the {self.effective_rate:.3g} of all runs that are kept at present."]
        return [f"It is not of the {self.effective_rate:.3g} of all runs that are kept at present; {whole}."]

    def tell(self) -> Mapping[str, float]:
        return {"effectiveRate": self.effective_rate, "eventsPerSecond": round(self._load, 1)}

    def _adapt(self, arrived: int) -> None:
        """Follow the events per second of about the last second, and keep as many of them as the budget allows."""
        now = self.context.clock.monotonic()
        self._load = self._load * exp(self._seen - now) + arrived
        self._seen = now
        self.effective_rate = min(self.config.rate, self.config.budget / max(self._load, self.config.budget))

    def _must_be_kept(self, event: Event) -> bool:
        if event.outcome not in QUIET or event.type.endswith(".rolledback"):
            return True
        if event.type in self._always or f"{event.type.partition('.')[0]}.*" in self._always:
            return True
        if event.duration_ms is not None and event.duration_ms >= self._slow:
            return True
        for name, value in event.measures.items():
            metric = self._judged.get(name)
            if metric and (not metric.meets(value) or (metric.unit == "ms" and value >= self._slow)):
                return True
        return False


def _number(event: Event) -> int:
    """What decides about a run: the same everywhere, and anything below 2**32."""
    return crc32(f"{event.source}\t{event.subject or event.id}".encode())


SLICE = 500
"""How many events are looked at before others have their turn."""

QUIET = frozenset({None, "success", "skip"})
"""Outcomes that nobody will ask about."""

SAMPLING = ProcessorSpec("sampling", SamplingConfig, Sampling, reads_targets=True)


@hookimpl
def bers_processors() -> Iterable[ProcessorSpec[Any]]:
    return [SAMPLING]
