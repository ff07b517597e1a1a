"""How the live stream is configured."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from bers import Config, Interval


class SseConfig(Config, frozen=True):
    """Stream events, alerts and metrics to browsers and scripts as server-sent events."""

    heartbeat: Annotated[Interval, Meta(description="How long a client may hear nothing before it is sent a ping.")] = (
        Interval("15s")
    )
    buffer: Annotated[
        int, Meta(ge=8, description="How many frames may wait for a slow client before the oldest are dropped.")
    ] = 256
    stall: Annotated[
        Interval, Meta(description="How long a client may take nothing before its connection is closed.")
    ] = Interval("30s")
    max_clients: Annotated[int, Meta(ge=1, description="How many streams may be open at the same time.")] = 2000
    replay: Annotated[
        int,
        Meta(
            ge=0,
            description="How many of the newest frames are kept for clients that come back, as all were told them.",
        ),
    ] = 5000
