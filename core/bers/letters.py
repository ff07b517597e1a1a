"""What a dead letter is: some records that a stage can never take, where that was, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from bers.positions import DEAD_READER
from bers.records import Batch

Why: TypeAlias = Literal["rejected", "gave_up", "undecided"]
"""`rejected`: the stage says so. `gave_up`: it was asked too often. `undecided`: it is not known yet which of several
records it means; that is found out when the stage works again."""


class Place(NamedTuple):
    """Where letters come from, and where they are replayed: a stage, in a pipeline."""

    pipeline: str
    stage: str

    @property
    def reader(self) -> str:
        """The name by which a durable stage knows the position of what is replayed here."""
        return DEAD_READER + self.pipeline


@dataclass(frozen=True)
class Finding:
    """What is wrong with some records, before they are a letter."""

    batch: Batch
    """The records, and the position after the batch that they came in."""
    reason: Why
    attempts: int
    first_time: float
    first_error: str
    last_error: str


class Letter(msgspec.Struct, frozen=True):
    """Some records of one batch that share a fate. Times are seconds since 1970."""

    id: int
    pipeline: str
    stage: str
    reason: Why
    attempts: int
    first_time: float
    last_time: float
    first_error: str
    last_error: str
    partition: int
    position: int
    """After the batch that the records came in."""
    records: int
    size: int
    turn: int | None = None
    """Its number among what was handed to a durable stage again, while that may not be durable there."""
    batch: Batch = Batch(())

    @property
    def place(self) -> Place:
        return Place(self.pipeline, self.stage)


class Filter(NamedTuple):
    """Which letters are meant; empty: all."""

    pipeline: str = ""
    stage: str = ""
    reason: str = ""
    before: int = 0
    """Only those with a smaller number than this; 0: all."""


ALL = Filter()
