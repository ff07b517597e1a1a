"""How a sink is fed: what its settings say, and the open sink that they are for."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, TypeAlias

from msgspec import Meta

from bers.stages import Config, Sink
from bers.units import Duration, Interval, Size

WhenFull: TypeAlias = Literal["drop_oldest", "drop_newest"]


class Retry(Config, frozen=True):
    """When a batch is handed in again that a sink did not take."""

    first: Annotated[
        Interval,
        Meta(
            description="The longest pause before the second attempt; it doubles with each. A pause is a random part."
        ),
    ] = Interval("250ms")
    longest: Annotated[Interval, Meta(description="What the longest pause doubles to at most.")] = Interval("30s")
    give_up_after: Annotated[
        Duration,
        Meta(
            description="How long a batch is handed in again before it becomes a dead letter. Required and durable "
            "sinks are asked for ever."
        ),
    ] = Duration("5m")


class Delivery(Config, frozen=True):
    """How a sink is fed."""

    required: Annotated[
        bool, Meta(description="Whether its pipelines wait for it; a durable one is waited for anyway.")
    ] = False
    within: Annotated[
        Interval | None,
        Meta(
            description="How long it may take for one batch before it is cancelled, and asked again; without, it is "
            "started anew after `supervision.write_within`."
        ),
    ] = None
    retry: Annotated[Retry, Meta(description="When it is asked again.")] = Retry()
    queue: Annotated[int, Meta(gt=0, description="How many records may wait for it where nobody does.")] = 10_000
    queue_bytes: Annotated[Size, Meta(description="About how many bytes they may have.")] = Size("64MiB")
    when_full: Annotated[WhenFull, Meta(description="Which go when too many wait.")] = "drop_oldest"


class Target(NamedTuple):
    """A sink that is open, and how batches get to it."""

    id: str
    sink: Sink
    durable: bool = False
    delivery: Delivery = Delivery()
    begin: int | None = None
    """Where a durable sink begins that does not know the pipeline yet: where the pipeline begins, if not told."""

    @property
    def waited_for(self) -> bool:
        """Whether the pipeline waits for it."""
        return self.durable or self.delivery.required
