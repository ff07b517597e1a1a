"""The checks of a node and its stages, each as it is to be watched: with its own schedule and a breaker."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio
import msgspec

from bers.catalog import Catalog
from bers.cells import Cell
from bers.checks import Check, Finding, apart
from bers.clock import Clock
from bers.collection import CHECK, Collection
from bers.health.breaker import Breaker
from bers.health.command import Command
from bers.health.connectivity import Connectivity
from bers.health.connectivity import check as connectivity
from bers.health.damping import Damper, Flapping
from bers.health.http import Http
from bers.health.metric import MetricLook
from bers.health.settings import INTERVAL, TIMEOUT, CheckSettings, HealthSettings
from bers.health.tcp import Tcp
from bers.health.watch import NoAnswer, Watch
from bers.health.wiring import CONNECTIVITY
from bers.integrity import CHECK as INTEGRITY
from bers.integrity import Integrity
from bers.schemas import encode
from bers.stages import Call
from bers.storage import CHECK as STORAGE
from bers.storage import Storage

_AS_STAGES_SAY = CheckSettings()


def checks_of(cells: Iterable[Cell]) -> Iterator[tuple[Cell, Check[Any]]]:
    """The checks of all stages, each by a name of its own: two stages of one type hide nothing of each other."""
    taken: set[str] = set()
    for cell in cells:
        for check in cell.spec.checks:
            yield cell, replace(check, name=apart(check.name, cell.name, taken))


@dataclass(frozen=True)
class Watches:
    """Makes a watch of each check, as one configuration wants it."""

    settings: HealthSettings
    clock: Clock
    metrics: Catalog
    call: Call
    """How what the store knows is asked for."""

    def all(
        self,
        collection: Collection,
        integrity: Integrity,
        storage: Storage,
        cells: Iterable[Cell],
        away: Callable[[Cell], bool],
    ) -> Iterator[Watch]:
        """Every check that the configuration does not turn off. ``away`` says that a stage is closed because
        another has its place, or is to have it.
        """
        guard = self.settings.connectivity
        yield from self._of(CHECK, lambda: collection, collection)
        yield from self._of(INTEGRITY, lambda: integrity, integrity)
        yield from self._of(STORAGE, lambda: storage, storage)
        if guard.targets:
            probe = Connectivity(guard)
            yield from self._of(connectivity(guard), lambda: probe, guard, patient=False)
        for cell, check in checks_of(cells):
            yield from self._of(check, partial(_stage_of, cell), cell, partial(away, cell))
        for name, own in self.settings.checks.items():
            if own.enabled and own.kinds:
                yield self._own(name, own)

    def _of(
        self,
        check: Check[Any],
        stage: Callable[[], Any | None],
        basis: object = None,
        away: Callable[[], bool] = lambda: False,
        *,
        patient: bool = True,
    ) -> Iterator[Watch]:
        """How a check is made of a stage, with what the configuration changes in it; none where it says not at all.

        ``basis`` tells one stage from another: while it is the same, and the settings are, the watch may go on.
        ``away`` says that the stage is closed because another has its place, or is to have it, which is no fault.
        """
        own = self.settings.checks.get(check.name, _AS_STAGES_SAY)
        if not own.enabled:
            return

        async def probe() -> Finding | None:
            running = stage()
            if running is None and away():
                return None
            if running is None:
                return Finding("unhealthy", "its stage is not running", {}, "See `bers status` for why.")
            return await check.probe(running)

        watch = self._watch(
            check.name,
            probe,
            own,
            interval=own.interval or check.interval,
            timeout=own.timeout or check.timeout,
            critical=check.critical if own.critical is None else own.critical,
            basis=(basis, check if patient else check.name),
        )
        watch.description = own.description or check.description
        watch.patient = patient
        yield watch

    def _own(self, name: str, own: CheckSettings) -> Watch:
        """A check that only the configuration knows."""
        timeout = float(own.timeout or TIMEOUT)
        look = self._look(own)

        async def probe() -> Finding:
            try:
                with anyio.fail_after(timeout):
                    return await look()
            except TimeoutError:
                raise NoAnswer(f"no answer within {timeout:g} s") from None

        watch = self._watch(
            name,
            probe,
            own,
            interval=own.interval or INTERVAL,
            timeout=timeout + 5.0,  # Its own comes first, and ends what it has begun.
            critical=bool(own.critical),
            basis=self.metrics.get(own.metric.name) if own.metric else None,
        )
        watch.patient = watch.impatient = False
        return watch

    def _look(self, own: CheckSettings) -> Callable[[], Awaitable[Finding]]:
        if own.http:
            return Http(own.http, self.clock).look
        if own.tcp:
            return Tcp(own.tcp).look
        if own.command:
            return Command(own.command).look
        assert own.metric, "it has one of the kinds"
        return MetricLook(own.metric, self.metrics[own.metric.name], self.call).look

    def _watch(
        self,
        name: str,
        probe: Callable[[], Awaitable[Finding | None]],
        own: CheckSettings,
        *,
        interval: float,
        timeout: float,
        critical: bool,
        basis: object,
    ) -> Watch:
        settings = self.settings
        breaker, flapping = settings.breaker, settings.flapping
        waits_for = [*own.depends_on]
        if own.goes_outside and settings.connectivity.targets and name != CONNECTIVITY:
            waits_for.insert(0, CONNECTIVITY)
        return Watch(
            name,
            probe,
            interval,
            timeout,
            critical,
            Breaker(
                self.clock, failures=breaker.failures, reset_after=breaker.reset_after, successes=breaker.successes
            ),
            Damper(own.failures, own.successes),
            Flapping(self.clock, changes=flapping.changes, within=flapping.within),
            tuple(waits_for),
            own.description,
            own.remediation,
            own.confirm,
            digest=_digest(name, own),
            basis=(basis, own, breaker, flapping, tuple(waits_for)),
        )


def _stage_of(cell: Cell) -> Any | None:
    return cell.stage


def _digest(name: str, own: CheckSettings) -> str:
    """What tells the next process whether a check still looks at the same; secrets are not in it."""
    look = msgspec.json.encode([name, own.look], enc_hook=encode)
    places = [one.target().authority for one in (own.http, own.tcp) if one]
    return hashlib.sha256(look + "".join(places).encode()).hexdigest()[:16]
