"""Monitoring started from a program, with the runbook's own configuration keys."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from anyio import to_thread
from anyio.from_thread import start_blocking_portal

from bers import plugins
from bers.config import Plan, load
from bers.config.runbook import KEYS, Change
from bers.errors import ConfigError, Fault, unknown
from bers.operations import Surface
from bers.plain import as_object
from bers.web.server import running

_log = logging.getLogger(__name__)

CONFIG_FILE = "pipelines.yaml"


class ProductionMonitoring:
    """A node in a thread of its own. ``await`` it to start it and stop it later, or use ``async with``."""

    def __init__(self, changes: list[Change], path: Path | None) -> None:
        self._changes = changes
        self._path = path
        self._stack = ExitStack()
        self.ports: Mapping[Surface, int] = {}
        """Where it listens, while it runs."""

    async def stop(self) -> None:
        """Stop it in order; stopping twice is stopping once."""
        await to_thread.run_sync(self._stack.close)

    async def __aenter__(self) -> Self:
        await to_thread.run_sync(self._start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __await__(self) -> Generator[Any, Any, Self]:
        return self.__aenter__().__await__()

    def _start(self) -> None:
        plan = load(self._path, plugins.load(), changes=self._changes)

        def reread() -> Plan:
            return load(self._path, plan.catalogue, changes=self._changes)

        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            node = stack.enter_context(portal.wrap_async_context_manager(running(plan, reread=reread)))
            self.ports = node.ports
            self._stack = stack.pop_all()


def start_production_monitoring(
    config: Mapping[str, Any] | None = None, *, path: Path | str | None = None
) -> ProductionMonitoring:
    """Start monitoring from a program: ``handle = await start_production_monitoring({...})``.

    ``config`` is laid over pipelines.yaml (``path``; the one in this folder, or else the shipped one), key by key, so
    that what it does not name stays. Its numbers have the runbook's units: milliseconds, but seconds for
    ``retentionPolicies.realtime``, minutes for ``shortTerm`` and days for ``mediumTerm`` and ``longTerm``.
    Raise ConfigError naming every key that is not known.
    """
    faults: list[Fault] = []
    # What stands at the top counts where the runbook's other spelling says it too, in whatever order they come.
    given = dict(sorted((config or {}).items(), key=lambda item: item[0] != "alerting"))
    for key in _given_twice(given):
        _log.warning("'%s' is given twice: at the top, which counts, and as 'alerting.%s'; remove one", key, key)
    changes = _changes(given, KEYS, "", faults)
    if faults:
        raise ConfigError(faults)
    chosen = Path(path) if path else Path(CONFIG_FILE)
    return ProductionMonitoring(changes, chosen if path or chosen.exists() else None)


def _given_twice(config: Mapping[str, Any]) -> Iterator[str]:
    """Every key that stands at the top and under `alerting` too."""
    below = as_object(config.get("alerting")) or {}
    for name in ("deduplication", "rateLimiting"):
        other = as_object(below.get(name)) or {}
        yield from (f"{name}.{key}" for key in as_object(config.get(name)) or {} if key in other)


def _changes(config: Mapping[str, Any], keys: Mapping[str, Any], path: str, faults: list[Fault]) -> list[Change]:
    found: list[Change] = []
    for key, value in config.items():
        here = f"{path}.{key}" if path else key
        known = keys.get(key)
        if known is None:
            faults.append(Fault(here, unknown("key", key, keys)))
        elif isinstance(known, Mapping):
            if isinstance(value, Mapping):
                found += _changes(value, known, here, faults)  # pyright: ignore[reportUnknownArgumentType]
            else:
                faults.append(Fault(here, f"expected a dictionary, got {json.dumps(value, default=str)}"))
        else:
            try:
                found += known(value)
            except TypeError:
                faults.append(Fault(here, f"expected a number, got {json.dumps(value, default=str)}"))
    return found
