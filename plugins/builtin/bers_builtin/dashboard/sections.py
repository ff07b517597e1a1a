"""The parts of a page: what REST answers to each question, and why one of them is missing."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias, TypeVar

import anyio
import msgspec

from bers import Context, Refused
from bers_builtin.dashboard.catalogue import Tile, tiles
from bers_builtin.dashboard.operating import Channel, Configuration, Letter, Operating, PanelRow, StageRow
from bers_builtin.dashboard.view import (
    KINDS,
    AlertRow,
    Availability,
    Health,
    Indicator,
    Record,
    RunRow,
    indicators,
    runs,
)

T = TypeVar("T")

PATIENCE = 2.0
"""How long the page waits for an answer before it is shown without, in seconds."""

RESOLVER = "environment-resolver"
"""The source that answers which environment this is."""

_RECORDS = {"build": ("build.*",), "validation": ("testsuiterun.*", "validation.*"), "deployment": ("deployment.*",)}


@dataclass
class Sections:
    """What is asked for, and what was answered so far."""

    context: Context
    seen: Iterable[Record]
    """The runs that came by lately, for a page without a store."""
    health: Health | None = None
    indicators: list[Indicator] = field(default_factory=list[Indicator])
    tiles: list[Tile] = field(default_factory=list[Tile])
    alerts: list[AlertRow] = field(default_factory=list[AlertRow])
    runs: dict[str, list[RunRow]] = field(default_factory=dict[str, list[RunRow]])
    run: RunRow | None = None
    availability: Availability = field(default_factory=Availability)
    operating: Operating = field(default_factory=Operating)
    panels: list[PanelRow] = field(default_factory=list[PanelRow])
    missing: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def are_new(self) -> bool:
        """Whether nothing was built, tested or deployed yet, as far as anybody told."""
        return not any(self.runs.values()) and not self.missing.keys() & KINDS.keys()

    async def ask_health(self) -> None:
        self.health = await self._ask("health", "health", {}, lambda data: msgspec.convert(data, Health))

    async def ask_metrics(self) -> None:
        catalog = self.context.metrics
        found = await self._ask("metrics", "metrics", {}, lambda data: indicators(data, catalog))
        self.indicators = indicators({}, catalog) if found is None else found

    async def ask_tiles(self) -> None:
        catalog = self.context.metrics
        found = await self._ask("metrics", "metrics", {}, lambda data: tiles(data, catalog))
        self.tiles = tiles({}, catalog) if found is None else found

    async def ask_alerts(self) -> None:
        self.alerts = await self._ask("alerts", "alerts", {}, _reader(list[AlertRow])) or []

    async def ask_availability(self) -> None:
        found = await self._ask("availability", "availability", {}, _reader(Availability))
        self.availability = found or Availability()

    async def ask_panels(self) -> None:
        self.panels = await self._ask("panels", "panels", {}, _reader(list[PanelRow]), quiet=True) or []

    async def ask_configuration(self) -> None:
        self.operating.configuration = await self._ask("config", "config", {}, _reader(Configuration))

    async def ask_letters(self) -> None:
        self.operating.letters = await self._ask("dead-letters", "dead-letters", {}, _reader(list[Letter])) or []

    async def ask_stages(self) -> None:
        """What is declared, and the channels of every sink that has some: a plugin's, too, which answers as ours do."""
        stages = await self._ask("stages", "stages", {}, _reader(list[StageRow]))
        if stages is None:
            self.missing["channels"] = self.missing["stages"]
            return
        self.operating.resolves = any(stage.use == RESOLVER for stage in stages)
        found: dict[str, list[Channel]] = {}
        for use in dict.fromkeys(stage.use for stage in stages if stage.kind == "sink"):
            kept = Sections(self.context, ())
            channels = await kept._ask("channels", f"{use}/channels", {}, _reader(list[Channel]), quiet=True)
            if channels is not None or kept.missing:  # A sink that does not answer now may have some.
                found[use] = channels or []
                self.missing |= kept.missing
        self.operating.channels = found

    async def ask_runs(self, kind: str) -> None:
        """The newest runs of a kind: out of the store, or, without one, those that came by."""
        records = [record for record in self.seen if record.kind == kind]
        kept = Sections(self.context, ())
        for type in _RECORDS[kind]:
            records += await kept._ask(kind, "records", {"type": type, "limit": 40}, _reader(list[Record])) or []
        self.runs[kind] = runs(record for record in records if record.kind == kind)
        if not self.runs[kind]:
            self.missing |= kept.missing

    async def ask_run(self, id: str) -> None:
        found = await self._ask("run", "records", {"subject": id, "limit": 40}, _reader(list[Record])) or []
        self.run = next(iter(runs(record for record in found if record.kind)), None)

    async def _ask(
        self, section: str, path: str, fields: Mapping[str, Any], read: Callable[[Any], T], *, quiet: bool = False
    ) -> T | None:
        """Ask one question; where there is no answer, say in the section why.

        ``quiet`` does not say so where nobody is there who would answer: there may well be none.
        """
        try:
            with anyio.fail_after(PATIENCE):
                return read(await self.context.call("GET", path, fields))
        except Refused as refused:
            if quiet and refused.reason == "not_found":
                return None
            why = str(refused)
        except TimeoutError:
            why = f"GET {path} did not answer within {PATIENCE:g} s"
        except Exception:  # A page with a hole in it is better than no page.
            self.context.logger.exception("GET %s could not be shown", path)
            why = f"GET {path} failed; see logs/monitoring.log"
        self.missing[section] = why
        return None


Part: TypeAlias = Callable[[Sections], Coroutine[Any, Any, None]]

ALL_RUNS: Iterable[Part] = tuple(partial(Sections.ask_runs, kind=kind) for kind in KINDS)


def _reader(type: type[T]) -> Callable[[Any], T]:
    return lambda data: msgspec.convert(data, type)
