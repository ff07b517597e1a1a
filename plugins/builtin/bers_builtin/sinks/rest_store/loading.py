"""Loading: which series a file knows, with their newest values, and which of its windows are in no page yet."""

from __future__ import annotations

from dataclasses import dataclass, field

from bers import Database

from . import details, file, running, segments
from .losses import Losses
from .pace import Pace
from .partials import Partials, Registry


@dataclass
class Loaded:
    """The windows that only segments have."""

    unfolded: Partials = field(default_factory=Partials)
    segment: int = 0
    """The newest segment of which every window is unfolded."""
    interrupted: Partials = field(default_factory=Partials)
    """What an interrupted folding has still to do."""
    upto: int = 0
    """The newest segment of that folding; none was interrupted where there is none."""


async def load(database: Database, losses: Losses, registry: Registry, now: float) -> Loaded:
    """Fill the registry, and gather what is in no page."""
    run, pace = database.run, Pace()
    await run(file.prepare)
    await run(lambda connection: running.prepare(connection, anew=database.salvaged is not None))
    await run(losses.load)
    await run(lambda connection: details.begin(connection, losses, now))
    await run(lambda connection: losses.read_series(connection, registry))
    series = {one.id: one for one in registry.everyone()}
    keep = max(tier.keep for tier in registry.tiers)
    progress = await run(lambda connection: losses.read_progress(connection, keep))
    loaded = Loaded(upto=progress.segment)
    for id, blob in await run(lambda connection: losses.read_segments(connection, keep)):
        into = loaded.interrupted if id <= progress.segment else loaded.unfolded
        for row in segments.decode(blob):
            if not progress.reached(id, row[0]) and (one := series.get(row[0])):
                window = segments.window(one, row)
                one.note(window.seen, window.last, now)
                into.fold(one, window)
            await pace()
        if into is loaded.unfolded:
            loaded.segment = id
    return loaded
