"""Sinks that answer without a node: over copies of the databases of a data directory, as things were at a time."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from anyio import to_thread

from bers.clock import SystemClock
from bers.config import Plan
from bers.database import Database
from bers.directory import Directory
from bers.errors import BersError
from bers.stages import Context

Ask: TypeAlias = Callable[[str, str, Mapping[str, Any]], Awaitable[Any]]


class Copies(NamedTuple):
    """What can be asked."""

    ask: Ask
    """An operation of a sink, for its whole answer as plain values."""
    state: Database
    """A copy of the state of all stages."""


class _Then(SystemClock):
    """The clock of this machine, put back to another time."""

    def __init__(self, now: float) -> None:
        self._behind = super().time() - now

    def time(self) -> float:
        return super().time() - self._behind


@asynccontextmanager
async def copies(data_dir: Path, plan: Plan, now: float) -> AsyncGenerator[Copies]:
    """Open every sink that owns a file, on a copy of it. The directory is not changed, whoever runs on it."""
    with tempfile.TemporaryDirectory(prefix="bers-") as folder:
        async with AsyncExitStack() as stack:
            await to_thread.run_sync(_copy, data_dir / "state.db", Path(folder) / "state.db")
            state = Database(Path(folder) / "state.db")
            stack.push_async_callback(state.shut)
            running: dict[str, Any] = {}
            for key, declared in plan.stages.sinks.items():
                if not declared.spec.owns:
                    continue
                file = getattr(declared.config, declared.spec.owns)
                await to_thread.run_sync(_copy, data_dir / file, Path(folder) / file)
                context = Context(key, Path(folder), plan.settings.environment, _Then(now), plan.metrics, state)
                stage = await stack.enter_async_context(declared.spec.open(declared.config, context))
                if declared.primary or declared.spec.name not in running:
                    running[declared.spec.name] = stage
            directory = Directory()
            directory.offer((spec for _, spec in plan.catalogue.all()), running.get)
            yield Copies(directory.whole, state)


def _copy(path: Path, to: Path) -> None:
    """Copy a database as it is at one moment, with what its log holds; one that is not there is not copied."""
    if not path.exists():
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source:
            with closing(sqlite3.connect(to)) as target:
                source.backup(target)
    except sqlite3.Error as exc:
        raise BersError(f"{path} cannot be read: {exc}; see that this user may read it, and `bers doctor`") from exc
