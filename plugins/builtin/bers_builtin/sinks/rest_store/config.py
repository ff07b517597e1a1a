"""What an operator can set about the store."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from bers import Config, Interval, Size, Tier
from bers_builtin.sinks._types import RECORDS

from .dora.config import DoraConfig


class KeptTier(Config, frozen=True):
    """One resolution at which windows are kept."""

    width: Annotated[Interval, Meta(description="How much time one window of this tier covers.")]
    keep: Annotated[
        Interval,
        Meta(
            description="How long windows of this tier are kept after their end. Nothing older is answered. Its bytes "
            "leave the disk later by at most the span of one page, which is a fifth of this and at most a day, and the "
            "time until the next sweep (`fold_every`). What is stored already follows a changed value."
        ),
    ]


class RestStoreConfig(Config, frozen=True):
    """Keep figures and events in a database, and answer what REST asks about them."""

    path: Annotated[str, Meta(min_length=1, description="The database file, relative to the data directory.")] = (
        "metrics.db"
    )
    commit_every: Annotated[
        Interval, Meta(description="Time between two commits; what a power failure costs is read again from the bus.")
    ] = Interval("250ms")
    fold_every: Annotated[
        Interval,
        Meta(
            description="Time between two foldings of committed windows into pages, and two sweeps; less where half of "
            "the `buffer` is used."
        ),
    ] = Interval("60s")
    tiers: Annotated[
        tuple[KeptTier, ...],
        Meta(
            min_length=1,
            description="The tiers of windows that no `retention` stamped, finest first; each one's width should "
            "divide the next one's.",
        ),
    ] = (
        KeptTier(Interval("1s"), Interval("300s")),
        KeptTier(Interval("60s"), Interval("60m")),
        KeptTier(Interval("300s"), Interval("24h")),
        KeptTier(Interval("1h"), Interval("30d")),
    )
    events_keep: Annotated[Interval, Meta(description="How long the details of events are kept.")] = Interval("24h")
    lasting: Annotated[
        tuple[str, ...],
        Meta(
            description="The types of events whose details are kept for `lasting_keep`; `change.*` means all of a kind."
        ),
    ] = RECORDS
    lasting_keep: Annotated[
        Interval, Meta(description="How long the details of the events named by `lasting` are kept.")
    ] = Interval("90d")
    max_bytes: Annotated[
        Size,
        Meta(
            description="How much the database may take on disk, beside its log of at most some megabytes; 0B means no "
            "cap. Above it what is oldest goes first, from the tier or the details of events that take most, and the "
            "details named by `lasting` only when nothing else is left. Health and the log say what went before its "
            "time."
        ),
    ] = Size("2GiB")
    buffer: Annotated[
        int, Meta(ge=1, description="How many windows may wait in memory for their pages, before the pipeline waits.")
    ] = 100_000
    event_buffer: Annotated[
        int, Meta(ge=1, description="How many event details may wait for a commit, before the pipeline waits.")
    ] = 4_000
    dora: Annotated[
        DoraConfig, Meta(description="Which deployments count for DORA's figures, and which of them have failed.")
    ] = DoraConfig()
    cache: Annotated[Size, Meta(description="How much memory decoded pages may take, approximately.")] = Size("32MiB")

    def default_tiers(self) -> tuple[Tier, ...]:
        return tuple(Tier(float(tier.width), float(tier.keep)) for tier in sorted(self.tiers, key=lambda t: t.width))
