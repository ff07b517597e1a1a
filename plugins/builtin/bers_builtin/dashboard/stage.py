"""The dashboard: it asks what REST would be asked, and sets a page from the answers."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeAlias, TypeVar

import anyio
import msgspec
from msgspec import Meta

from bers import (
    Batch,
    Caller,
    Config,
    Context,
    Interval,
    Nothing,
    Operation,
    Page,
    Refused,
    SinkSpec,
    Stage,
    hookimpl,
    unknown,
)
from bers_builtin.dashboard.asked import AskPipelinesView, AskRunsView
from bers_builtin.dashboard.assets import Assets
from bers_builtin.dashboard.operating import Channel, Configuration, Letter, Operating, PanelRow, StageRow
from bers_builtin.dashboard.view import (
    KINDS,
    TOLD,
    AlertRow,
    Availability,
    Health,
    Indicator,
    Record,
    RunRow,
    advice,
    clock_text,
    indicators,
    runs,
    uptime_text,
)

if TYPE_CHECKING:
    from jinja2 import Environment

T = TypeVar("T")

PATIENCE = 2.0
"""How long the page waits for an answer before it is shown without, in seconds."""

KEPT_RUNS = 20
VIEWS = {
    "overview": ("/", "Overview"),
    "metric": ("/metric", "Metrics"),
    "alerts": ("/alerts", "Alerts"),
    "runs": ("/runs", "Runs"),
    "pipelines": ("/pipelines", "Pipelines"),
    "operations": ("/operations", "Operations"),
}
"""Where each view is, and what it is called."""

RANGES = ("5m", "15m", "1h", "6h", "24h", "7d", "30d")
"""The spans of time that a metric is looked at over."""

_RECORDS = {"build": ("build.*",), "validation": ("testsuiterun.*", "validation.*"), "deployment": ("deployment.*",)}


class DashboardConfig(Config, frozen=True):
    """Show how things are on one page, at the address of the server."""

    refresh: Annotated[
        Interval, Meta(description="How often the page asks for new values while the live stream cannot be had.")
    ] = Interval("5s")
    title: Annotated[str, Meta(min_length=1, max_length=100, description="What the page is headed with.")] = (
        "BERS Monitoring"
    )


class AskAlertsView(msgspec.Struct, frozen=True):
    """Which alerts to look at."""

    state: Annotated[
        str, Meta(max_length=20, description="Which list: active, acknowledged, suppressed, history or silences.")
    ] = "active"
    id: Annotated[str, Meta(max_length=200, description="The alert that is shown whole.")] = ""


class AskMetricView(msgspec.Struct, frozen=True, rename={"since": "from", "until": "to"}):
    """Which metric to look at, and how."""

    name: Annotated[str, Meta(max_length=200, description="The metric's name.")]
    range: Annotated[str, Meta(max_length=20, description="How far to look back: 5m, 1h, 30d.")] = "1h"
    since: Annotated[str, Meta(max_length=20, description="The start, in ms since 1970, instead of a range.")] = ""
    until: Annotated[str, Meta(max_length=20, description="The end, in ms since 1970.")] = ""
    labels: Annotated[str, Meta(max_length=1000, description="Only series with these labels.")] = ""
    by: Annotated[str, Meta(max_length=200, description="A line for each value of this label.")] = ""
    before: Annotated[str, Meta(max_length=1, description="1 compares with the period before.")] = ""


class AskAsset(msgspec.Struct, frozen=True):
    """Which part of the page."""

    name: Annotated[str, Meta(max_length=200, description="The file's name.")]


@dataclass
class _Sections:
    """The parts of a page, and why one is missing."""

    health: Health | None = None
    indicators: list[Indicator] = field(default_factory=list[Indicator])
    alerts: list[AlertRow] = field(default_factory=list[AlertRow])
    runs: dict[str, list[RunRow]] = field(default_factory=dict[str, list[RunRow]])
    run: RunRow | None = None
    availability: Availability = field(default_factory=Availability)
    operating: Operating = field(default_factory=Operating)
    panels: list[PanelRow] = field(default_factory=list[PanelRow])
    missing: dict[str, str] = field(default_factory=dict[str, str])


_Part: TypeAlias = Callable[[_Sections], Coroutine[Any, Any, None]]


class Dashboard(Stage[DashboardConfig]):
    """Keeps no state but the newest runs it saw, for a page without a store."""

    def __init__(self, config: DashboardConfig, context: Context) -> None:
        super().__init__(config, context)
        self._seen: deque[Record] = deque(maxlen=2 * KEPT_RUNS)  # A run is told of twice: it begins, and it ends.

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        self._pages, self.assets = await anyio.to_thread.run_sync(_loaded)
        yield self

    async def write(self, batch: Batch) -> None:
        for event in batch.events:
            if event.type in TOLD:
                self._seen.append(Record.of(event))

    async def overview(self, ask: Nothing, caller: Caller) -> Page:
        return await self._page("overview", caller, self._metrics, self._alerts, self._availability, *self._of_runs())

    async def metric(self, ask: Nothing, caller: Caller) -> Page:
        return await self._page("metric", caller, name="build_performance")

    async def one_metric(self, ask: AskMetricView, caller: Caller) -> Page:
        if self.context.metrics.get(ask.name) is None:
            raise Refused("not_found", unknown("metric", ask.name, self.context.metrics))
        return await self._page("metric", caller, name=ask.name)

    async def alerts(self, ask: AskAlertsView, caller: Caller) -> Page:
        return await self._page("alerts", caller, self._alerts)

    async def runs(self, ask: AskRunsView, caller: Caller) -> Page:
        one = [partial(self._one_run, id=ask.id)] if ask.id else []
        return await self._page("runs", caller, *self._of_runs(), *one)

    async def pipelines(self, ask: AskPipelinesView, caller: Caller) -> Page:
        return await self._page("pipelines", caller)

    async def operations(self, ask: Nothing, caller: Caller) -> Page:
        return await self._page("operations", caller, self._configuration, self._letters, self._channels)

    async def asset(self, ask: AskAsset, caller: Caller) -> Page:
        return self.assets.get(ask.name)

    async def _page(self, view: str, caller: Caller, *parts: _Part, name: str = "") -> Page:
        """A view with all that can be said of it now, so that it says something before any script does."""
        sections = _Sections()
        async with anyio.create_task_group() as group:
            for part in (self._health, self._panels, *parts):
                group.start_soon(part, sections)
        health = sections.health or Health(environment=self.context.environment)
        html = self._pages.get_template(f"{view}.html").render(
            view=view,
            may=sorted(caller.scopes),
            views=VIEWS,
            name=name,
            ranges=RANGES,
            script=self.assets.script,
            styles=self.assets.styles,
            title=self.config.title,
            refresh=int(self.config.refresh * 1000),
            now=clock_text(self.context.clock.time()),
            health=health,
            advice=advice(health, sections.alerts),
            uptime=uptime_text(health.uptime),
            indicators=sections.indicators or indicators({}, self.context.metrics),
            alerts=sections.alerts,
            available=sections.availability.said,
            budget=sections.availability.budget,
            runs=[(kind, title, sections.runs.get(kind, [])) for kind, title in KINDS.items()],
            run=sections.run,
            operating=sections.operating,
            panels=[one for one in sections.panels if one.view == view],
            missing=sections.missing,
        )
        return Page(html.encode())

    def _of_runs(self) -> Iterable[_Part]:
        return [partial(self._runs, kind=kind) for kind in KINDS]

    async def _health(self, sections: _Sections) -> None:
        sections.health = await self._ask(sections, "health", "health", {}, lambda data: msgspec.convert(data, Health))

    async def _metrics(self, sections: _Sections) -> None:
        found = await self._ask(sections, "metrics", "metrics", {}, lambda data: indicators(data, self.context.metrics))
        sections.indicators = found or []

    async def _alerts(self, sections: _Sections) -> None:
        read = _reader(list[AlertRow])
        sections.alerts = await self._ask(sections, "alerts", "alerts", {}, read) or []

    async def _availability(self, sections: _Sections) -> None:
        found = await self._ask(sections, "availability", "availability", {}, _reader(Availability))
        sections.availability = found or Availability()

    async def _runs(self, sections: _Sections, kind: str) -> None:
        """The newest runs of a kind: out of the store, or, without one, those that came by."""
        records = [record for record in self._seen if record.kind == kind]
        why: dict[str, str] = {}
        kept = _Sections(missing=why)
        for type in _RECORDS[kind]:
            fields = {"type": type, "limit": 40}
            records += await self._ask(kept, kind, "records", fields, _reader(list[Record])) or []
        sections.runs[kind] = runs(record for record in records if record.kind == kind)
        if why and not sections.runs[kind]:
            sections.missing |= why

    async def _one_run(self, sections: _Sections, id: str) -> None:
        fields = {"subject": id, "limit": 40}
        found = await self._ask(sections, "run", "records", fields, _reader(list[Record])) or []
        sections.run = next(iter(runs(record for record in found if record.kind)), None)

    async def _panels(self, sections: _Sections) -> None:
        sections.panels = await self._ask(_Sections(), "panels", "panels", {}, _reader(list[PanelRow])) or []

    async def _configuration(self, sections: _Sections) -> None:
        read = _reader(Configuration)
        sections.operating.configuration = await self._ask(sections, "config", "config", {}, read)

    async def _letters(self, sections: _Sections) -> None:
        read = _reader(list[Letter])
        sections.operating.letters = await self._ask(sections, "dead-letters", "dead-letters", {}, read) or []

    async def _channels(self, sections: _Sections) -> None:
        """The channels of every sink that has some: a plugin's, too, which answers as the sinks here do."""
        stages = await self._ask(sections, "stages", "stages", {}, _reader(list[StageRow])) or []
        found: dict[str, list[Channel]] = {}
        for use in dict.fromkeys(stage.use for stage in stages if stage.kind == "sink"):
            channels = await self._ask(_Sections(), use, f"{use}/channels", {}, _reader(list[Channel]))
            if channels is not None:
                found[use] = channels
        sections.operating.channels = found

    async def _ask(
        self, sections: _Sections, section: str, path: str, fields: Mapping[str, Any], read: Callable[[Any], T]
    ) -> T | None:
        """Ask one question; where there is no answer, say in the section why."""
        try:
            with anyio.fail_after(PATIENCE):
                return read(await self.context.call("GET", path, fields))
        except Refused as refused:
            sections.missing[section] = str(refused)
        except TimeoutError:
            sections.missing[section] = f"GET {path} did not answer within {PATIENCE:g} s"
        except Exception:  # A page with a hole in it is better than no page.
            self.context.logger.exception("GET %s could not be shown", path)
            sections.missing[section] = f"GET {path} failed; see logs/monitoring.log"
        return None


def _reader(type: type[T]) -> Callable[[Any], T]:
    return lambda data: msgspec.convert(data, type)


def _loaded() -> tuple[Environment, Assets]:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("bers_builtin.dashboard", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return pages, Assets.read(files("bers_builtin.dashboard"))


def _view(path: str, answer: Any, ask: Any, says: str) -> Operation[Any, Any, Any]:
    return Operation("GET", path, answer, ask, Page, says, media="text/html")


DASHBOARD = SinkSpec(
    "dashboard",
    DashboardConfig,
    Dashboard,
    operations=[
        _view("/", Dashboard.overview, Nothing, "Look at how things are, in a browser"),
        _view("/metric", Dashboard.metric, Nothing, "Look at a metric, in a browser"),
        _view("/metric/{name}", Dashboard.one_metric, AskMetricView, "Look at this metric, in a browser"),
        _view("/alerts", Dashboard.alerts, AskAlertsView, "Look at alerts and answer them, in a browser"),
        _view("/runs", Dashboard.runs, AskRunsView, "Look at builds, suites and deployments, in a browser"),
        _view("/pipelines", Dashboard.pipelines, AskPipelinesView, "Look at what passes where, in a browser"),
        _view("/operations", Dashboard.operations, Nothing, "Look after the server, in a browser"),
        Operation(
            "GET", "/assets/{name}", Dashboard.asset, AskAsset, Page, "A script, style sheet or picture of the pages",
            public=True, media="*/*",
        ),
    ],
    log="",
)  # fmt: skip


@hookimpl
def bers_sinks() -> Iterable[SinkSpec[DashboardConfig]]:
    return [DASHBOARD]
