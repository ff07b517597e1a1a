"""The dashboard: it asks what REST would be asked, and sets a page from the answers."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, Self

import anyio
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
from bers_builtin.dashboard.asked import (
    AskAlertsView,
    AskAsset,
    AskMetricsView,
    AskMetricView,
    AskPipelinesView,
    AskRunsView,
)
from bers_builtin.dashboard.assets import Assets
from bers_builtin.dashboard.sections import ALL_RUNS, Part, Sections
from bers_builtin.dashboard.view import KINDS, TOLD, Health, Record, advice, clock_text, plain, uptime_text

if TYPE_CHECKING:
    from jinja2 import Environment

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

ALERTS = {
    "active": "Active",
    "acknowledged": "Acknowledged",
    "suppressed": "Silenced",
    "history": "History",
    "silences": "Silences",
    "rules": "Rules",
    "statistics": "Statistics",
}
"""What of the alerts there is to look at, and what that is called."""

RANGES = ("5m", "15m", "1h", "6h", "24h", "7d", "30d")
"""The spans of time that a metric is looked at over."""


class DashboardConfig(Config, frozen=True):
    """Show how things are on one page, at the address of the server."""

    refresh: Annotated[
        Interval, Meta(description="How often the page asks for new values while the live stream cannot be had.")
    ] = Interval("5s")
    title: Annotated[str, Meta(min_length=1, max_length=100, description="What the page is headed with.")] = (
        "BERS Monitoring"
    )


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
        parts = (Sections.ask_metrics, Sections.ask_alerts, Sections.ask_availability, *ALL_RUNS)
        return await self._page("overview", caller, *parts)

    async def metrics(self, ask: AskMetricsView, caller: Caller) -> Page:
        return await self._page("metric", caller, Sections.ask_tiles, template="metrics")

    async def one_metric(self, ask: AskMetricView, caller: Caller) -> Page:
        if self.context.metrics.get(ask.name) is None:
            raise Refused("not_found", unknown("metric", ask.name, self.context.metrics))
        return await self._page("metric", caller, name=ask.name)

    async def alerts(self, ask: AskAlertsView, caller: Caller) -> Page:
        return await self._page("alerts", caller, Sections.ask_alerts)

    async def runs(self, ask: AskRunsView, caller: Caller) -> Page:
        one: list[Part] = [partial(Sections.ask_run, id=ask.id)] if ask.id else []
        return await self._page("runs", caller, *ALL_RUNS, *one)

    async def pipelines(self, ask: AskPipelinesView, caller: Caller) -> Page:
        return await self._page("pipelines", caller)

    async def operations(self, ask: Nothing, caller: Caller) -> Page:
        parts = (Sections.ask_configuration, Sections.ask_letters, Sections.ask_stages)
        return await self._page("operations", caller, *parts)

    async def asset(self, ask: AskAsset, caller: Caller) -> Page:
        return self.assets.get(ask.name)

    async def _page(self, view: str, caller: Caller, *parts: Part, name: str = "", template: str = "") -> Page:
        """A view with all that can be said of it now, so that it says something before any script does."""
        sections = Sections(self.context, tuple(self._seen))
        async with anyio.create_task_group() as group:
            for part in (Sections.ask_health, Sections.ask_panels, *parts):
                group.start_soon(part, sections)
        health = sections.health or Health(environment=self.context.environment)
        html = self._pages.get_template(f"{template or view}.html").render(
            view=view,
            may=sorted(caller.scopes),
            principal=caller.principal if caller.key else "",
            views=VIEWS,
            name=name,
            ranges=RANGES,
            states=ALERTS,
            first=self.assets.first,
            script=self.assets.script,
            styles=self.assets.styles,
            title=self.config.title,
            refresh=int(self.config.refresh * 1000),
            now=clock_text(self.context.clock.time()),
            health=health,
            advice=advice(health, None if "alerts" in sections.missing else sections.alerts),
            uptime=uptime_text(health.uptime),
            tiles=sections.tiles,
            indicators=sections.indicators,
            alerts=sections.alerts,
            availability=sections.availability,
            runs=[(kind, title, sections.runs.get(kind, [])) for kind, title in KINDS.items()],
            is_new=sections.are_new,
            run=sections.run,
            operating=sections.operating,
            panels=[one for one in sections.panels if one.view == view],
            missing=sections.missing,
        )
        return Page(html.encode())


def _loaded() -> tuple[Environment, Assets]:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("bers_builtin.dashboard", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=plain,
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
        _view("/metric", Dashboard.metrics, AskMetricsView, "Look at all metrics, in a browser"),
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
