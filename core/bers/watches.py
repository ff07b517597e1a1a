"""The checks of a node and its stages, each as it is to be watched: with its own schedule and a breaker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from bers.cells import Cell
from bers.checks import Check, Finding
from bers.clock import Clock
from bers.collection import CHECK, Collection
from bers.config.settings import HealthSettings
from bers.health import Breaker, Watch
from bers.integrity import CHECK as INTEGRITY
from bers.integrity import Integrity
from bers.storage import CHECK as STORAGE
from bers.storage import Storage


def watches(
    collection: Collection,
    integrity: Integrity,
    storage: Storage,
    cells: Iterable[Cell],
    away: Callable[[Cell], bool],
    settings: HealthSettings,
    clock: Clock,
) -> Iterator[Watch]:
    """Every check that the configuration does not turn off. ``away`` says that a stage is closed only to be changed."""
    if made := _watch(CHECK, lambda: collection, settings, clock, collection):
        yield made
    if made := _watch(INTEGRITY, lambda: integrity, settings, clock, integrity):
        yield made
    if made := _watch(STORAGE, lambda: storage, settings, clock, storage):
        yield made
    for cell in cells:
        for check in cell.spec.checks:
            if made := _watch(check, partial(_stage_of, cell), settings, clock, cell, partial(away, cell)):
                yield made


def _stage_of(cell: Cell) -> Any | None:
    return cell.stage


def _watch(
    check: Check[Any],
    stage: Callable[[], Any | None],
    settings: HealthSettings,
    clock: Clock,
    basis: object = None,
    away: Callable[[], bool] = lambda: False,
) -> Watch | None:
    """How a check is made of a stage, with what the configuration changes in it; None where it says not at all.

    ``basis`` tells one stage from another: while it is the same, and the settings are, the watch may go on. ``away``
    says that the stage is closed because another is about to take its place, which is no fault.
    """
    own = settings.checks.get(check.name)
    if own and not own.enabled:
        return None
    breaker = settings.breaker

    async def probe() -> Finding | None:
        running = stage()
        if running is None and away():
            return None
        if running is None:
            return Finding("unhealthy", "its stage is not running", {}, "See `bers status` for why.")
        return await check.probe(running)

    return Watch(
        check.name,
        probe,
        own.interval if own and own.interval else check.interval,
        own.timeout if own and own.timeout else check.timeout,
        own.critical if own and own.critical is not None else check.critical,
        Breaker(clock, failures=breaker.failures, reset_after=breaker.reset_after, successes=breaker.successes),
        basis=(basis, check, own, breaker),
    )
