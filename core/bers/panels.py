"""How a plugin adds a part to a view of the dashboard: a module of its own, which draws it in the browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from bers.errors import PluginError, unknown

VIEWS = ("overview", "metric", "alerts", "runs", "pipelines", "operations")
"""The views that have a place for panels."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Panel:
    """A part of a view. It is shown where a stage that offers it is declared."""

    name: str
    """Lower-case-with-hyphens, and not taken by another panel: `/assets/panels/NAME` is its module."""
    view: str
    """The view that it stands at the end of: overview, metric, alerts, runs, pipelines or operations."""
    title: str
    """What it is headed with."""
    module: Callable[[], bytes]
    """The JavaScript of its module, which exports `panel(place, tools)`; read whenever it is asked for."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise PluginError(f"panel {self.name!r}: a name is lower-case-with-hyphens; call it otherwise")
        if self.view not in VIEWS:
            raise PluginError(f"panel {self.name!r}: {unknown('view', self.view, VIEWS)}")
