"""What plugins add to the views of the dashboard: which panels there are, and the module of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import anyio
import msgspec
from msgspec import Meta

from bers.directory import Directory, Route
from bers.errors import Refused, unknown
from bers.operations import Caller, Nothing, Operation, Page
from bers.panels import Panel
from bers.supervisor import Supervisor

_KEPT = 60.0
"""Seconds that a browser shows a module without asking: its name stays when its content changes."""


class PanelReport(msgspec.Struct, frozen=True):
    """A part of a view that a plugin adds, and the address of the module that draws it."""

    name: str
    view: str
    title: str
    module: str


class AskPanel(msgspec.Struct, frozen=True):
    """Which panel."""

    name: Annotated[str, Meta(max_length=200, description="The panel's name.")]


class Panels:
    """Answers for the panels of every stage that is declared."""

    def __init__(self, node: Supervisor) -> None:
        self._node = node

    async def panels(self, ask: Nothing, caller: Caller) -> list[PanelReport]:
        return [PanelReport(one.name, one.view, one.title, f"/assets/panels/{one.name}") for one in self._all()]

    async def module(self, ask: AskPanel, caller: Caller) -> Page:
        for panel in self._all():
            if panel.name == ask.name:
                return Page(await anyio.to_thread.run_sync(panel.module), "text/javascript; charset=utf-8", _KEPT)
        raise Refused("not_found", unknown("panel", ask.name, [one.name for one in self._all()]))

    def _all(self) -> Iterator[Panel]:
        stages = self._node.plan.stages
        declared = [*stages.sources.values(), *stages.processors.values(), *stages.sinks.values()]
        return iter({panel.name: panel for one in declared for panel in one.spec.panels}.values())


OPERATIONS: tuple[Operation[Any, Any, Any], ...] = (
    Operation(
        "GET", "panels", Panels.panels, Nothing, list[PanelReport], "What plugins add to the views of the dashboard."
    ),
    Operation(
        "GET", "/assets/panels/{name}", Panels.module, AskPanel, Page, "The module that draws a panel of a plugin.",
        media="text/javascript",
    ),
)  # fmt: skip


def offer(directory: Directory, node: Supervisor) -> None:
    """Add them to the directory."""
    panels = Panels(node)
    for operation in OPERATIONS:
        directory.add(Route(operation, "node", lambda: panels))
