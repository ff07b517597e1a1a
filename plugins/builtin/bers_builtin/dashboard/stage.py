"""The dashboard: it asks what REST would be asked, and sets a page from the answers."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

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
)
from bers_builtin.dashboard.view import (
    KINDS,
    TOLD,
    AlertRow,
    Health,
    Indicator,
    Record,
    RunRow,
    clock_text,
    indicators,
    runs,
    uptime_text,
)

if TYPE_CHECKING:
    from jinja2 import Template

T = TypeVar("T")

PATIENCE = 2.0
"""How long the page waits for an answer before it is shown without, in seconds."""

KEPT_RUNS = 20
_RECORDS = {"build": ("build.*",), "validation": ("testsuiterun.*", "validation.*"), "deployment": ("deployment.*",)}


class DashboardConfig(Config, frozen=True):
    """Show how things are on one page, at the address of the server."""

    refresh: Annotated[
        Interval, Meta(description="How often the page asks for new values while the live stream cannot be had.")
    ] = Interval("5s")
    title: Annotated[str, Meta(min_length=1, max_length=100, description="What the page is headed with.")] = (
        "BERS Monitoring"
    )


@dataclass
class _Sections:
    """The parts of a page, and why one is missing."""

    health: Health | None = None
    indicators: list[Indicator] = field(default_factory=list[Indicator])
    alerts: list[AlertRow] = field(default_factory=list[AlertRow])
    runs: dict[str, list[RunRow]] = field(default_factory=dict[str, list[RunRow]])
    missing: dict[str, str] = field(default_factory=dict[str, str])


class Dashboard(Stage[DashboardConfig]):
    """Keeps no state but the newest runs it saw, for a page without a store."""

    def __init__(self, config: DashboardConfig, context: Context) -> None:
        super().__init__(config, context)
        self._seen: deque[Record] = deque(maxlen=2 * KEPT_RUNS)  # A run is told of twice: it begins, and it ends.

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        self._template = await anyio.to_thread.run_sync(_template)
        self._script = Page(_asset("live.js"), "text/javascript; charset=utf-8")
        self._style = Page(_asset("style.css"), "text/css; charset=utf-8")
        self._icon = Page(_asset("icon.svg"), "image/svg+xml")
        yield self

    async def write(self, batch: Batch) -> None:
        for event in batch.events:
            if event.type in TOLD:
                self._seen.append(Record.of(event))

    async def page(self, ask: Nothing, caller: Caller) -> Page:
        sections = _Sections()
        async with anyio.create_task_group() as group:
            group.start_soon(self._health, sections)
            group.start_soon(self._metrics, sections)
            group.start_soon(self._alerts, sections)
            for kind in KINDS:
                group.start_soon(self._runs, sections, kind)
        health = sections.health or Health(environment=self.context.environment)
        html = self._template.render(
            title=self.config.title,
            refresh=int(self.config.refresh * 1000),
            now=clock_text(self.context.clock.time()),
            health=health,
            uptime=uptime_text(health.uptime),
            indicators=sections.indicators or indicators({}, self.context.metrics),
            alerts=sections.alerts,
            runs=[(kind, title, sections.runs.get(kind, [])) for kind, title in KINDS.items()],
            missing=sections.missing,
        )
        return Page(html.encode())

    async def script(self, ask: Nothing, caller: Caller) -> Page:
        return self._script

    async def style(self, ask: Nothing, caller: Caller) -> Page:
        return self._style

    async def icon(self, ask: Nothing, caller: Caller) -> Page:
        return self._icon

    async def _health(self, sections: _Sections) -> None:
        sections.health = await self._ask(sections, "health", "health", {}, lambda data: msgspec.convert(data, Health))

    async def _metrics(self, sections: _Sections) -> None:
        found = await self._ask(sections, "metrics", "metrics", {}, lambda data: indicators(data, self.context.metrics))
        sections.indicators = found or []

    async def _alerts(self, sections: _Sections) -> None:
        read = _reader(list[AlertRow])
        sections.alerts = await self._ask(sections, "alerts", "alerts", {}, read) or []

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


def _asset(name: str) -> bytes:
    return files("bers_builtin.dashboard").joinpath(name).read_bytes()


def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_asset("page.html").decode())


DASHBOARD = SinkSpec(
    "dashboard",
    DashboardConfig,
    Dashboard,
    operations=[
        Operation(
            "GET", "/", Dashboard.page, Nothing, Page, "Look at how things are, in a browser", media="text/html"
        ),
        Operation(
            "GET", "/assets/live.js", Dashboard.script, Nothing, Page, "The page's script", public=True,
            media="text/javascript",
        ),
        Operation(
            "GET", "/assets/style.css", Dashboard.style, Nothing, Page, "The page's style sheet", public=True,
            media="text/css",
        ),
        Operation(
            "GET", "/assets/icon.svg", Dashboard.icon, Nothing, Page, "The page's icon", public=True,
            media="image/svg+xml",
        ),
    ],
    log="",
)  # fmt: skip


@hookimpl
def bers_sinks() -> Iterable[SinkSpec[DashboardConfig]]:
    return [DASHBOARD]
