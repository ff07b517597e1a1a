"""Say of every window at which resolutions it is to be kept, and for how long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any

from msgspec import Meta, Struct

from bers import (
    Batch,
    Config,
    ConfigError,
    Context,
    Duration,
    ProcessorSpec,
    Stage,
    Tier,
    hookimpl,
    unknown,
)


class Kept(Struct, frozen=True, forbid_unknown_fields=True):
    """How long one metric is kept, where that differs from the others."""

    realtime: Annotated[Duration | None, Meta(description="How long every single window is kept.")] = None
    short_term: Annotated[Duration | None, Meta(description="How long figures per minute are kept.")] = None
    medium_term: Annotated[Duration | None, Meta(description="How long figures per 5 minutes are kept.")] = None
    long_term: Annotated[Duration | None, Meta(description="How long figures per hour are kept.")] = None


class RetentionConfig(Config, frozen=True):
    """Keep figures for a while in full, and longer the coarser they are; ``0s`` leaves a resolution out."""

    realtime: Annotated[Duration, Meta(description="How long every single window is kept.")] = Duration("300s")
    short_term: Annotated[Duration, Meta(description="How long figures per minute are kept.")] = Duration("60m")
    medium_term: Annotated[Duration, Meta(description="How long figures per 5 minutes are kept.")] = Duration("24h")
    long_term: Annotated[Duration, Meta(description="How long figures per hour are kept.")] = Duration("30d")
    metrics: Annotated[
        Mapping[str, Kept], Meta(description="Metrics that are kept for other times than the rest, by name.")
    ] = {}


class Retention(Stage[RetentionConfig]):
    def __init__(self, config: RetentionConfig, context: Context) -> None:
        super().__init__(config, context)
        for name in config.metrics:
            if name not in context.metrics:
                raise ConfigError(unknown("metric", name, context.metrics), path=f"metrics.{name}")
        self._keep = {name: self._times(kept) for name, kept in config.metrics.items()}
        self._others = self._times(Kept())
        self._stamps: dict[tuple[str, float], tuple[Tier, ...]] = {}
        self._shared: dict[tuple[Tier, ...], tuple[Tier, ...]] = {}

    async def process(self, batch: Batch) -> Batch:
        stamps, nowhere = self._stamps, 0
        for window in batch.windows:
            key = window.metric, window.width
            if key not in stamps:
                tiers = _tiers(self._keep.get(window.metric, self._others), window.width)
                stamps[key] = self._shared.setdefault(tiers, tiers)
            window.tiers = stamps[key]
            if not window.tiers:
                nowhere += 1
        # What is to be kept nowhere ends here: to the store, no tiers would mean that it may choose.
        return replace(batch, windows=[window for window in batch.windows if window.tiers]) if nowhere else batch

    def _times(self, kept: Kept) -> tuple[float, ...]:
        return tuple(
            float(getattr(self.config if getattr(kept, name) is None else kept, name))
            for name in ("realtime", "short_term", "medium_term", "long_term")
        )


def _tiers(keep: tuple[float, ...], width: float) -> tuple[Tier, ...]:
    """Finest first. What is measured per 5 minutes has no figures per minute: those are kept with the next coarser."""
    tiers: dict[float, float] = {}
    for tier, seconds in zip((width, *WIDTHS), keep, strict=True):
        if seconds > 0:
            tiers[max(tier, width)] = max(seconds, tiers.get(max(tier, width), 0.0))
    return tuple(Tier(tier, tiers[tier]) for tier in sorted(tiers))


WIDTHS = (60.0, 300.0, 3600.0)

RETENTION = ProcessorSpec("retention", RetentionConfig, Retention)


@hookimpl
def bers_processors() -> Iterable[ProcessorSpec[Any]]:
    return [RETENTION]
