"""The start of a node: what has to be before it runs, tried for as long as its disk does not let it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import anyio
from anyio import to_thread

from bers import copies, disk, lock, salvage
from bers.access import keys, posture
from bers.access.addresses import is_loopback
from bers.checksums import is_damage
from bers.clock import Clock
from bers.config import Plan
from bers.database import Database
from bers.errors import leaves
from bers.supervisor import Supervisor
from bers.web.app import App
from bers.web.waiting import Waiting

AGAIN = 1.0
"""Seconds between two attempts."""

_log = logging.getLogger(__name__)


class Start:
    """Steps that are tried again where a later attempt may succeed: on a disk that does not let us read or write, and
    with a file that turns out to be damaged, for it is mended when it is opened next.

    Meanwhile the server answers what it waits for. Whatever else is wrong ends the start.
    """

    def __init__(self, plan: Plan, hosts: Sequence[str], clock: Clock, *, insecure: bool) -> None:
        """``hosts`` are where the node listens."""
        self._plan = plan
        self._folder = Path(plan.settings.data_dir)
        self._outside = next((host for host in hosts if not is_loopback(host)), "")
        self._clock = clock
        self._insecure = insecure
        self._waiting = Waiting(self._folder, clock, plan.settings.environment)
        self._unfit: list[str] = []
        """What of the data directory was put aside, and nobody was told of yet."""
        self._warnings: Sequence[str] | None = None
        """What there is to be said of who may ask; None until the data directory is ours."""
        self._state: Database | None = None
        """What a node remembers. It is opened to see who may ask, and looked through then: the node goes on with it."""

    def try_to_own(self, stack: ExitStack, *, wait: float = 0.0) -> None:
        """Own the data directory, and see who may ask, if that can be now.

        Raise ConfigError where another process owns it, ``wait`` seconds long, or a node must not start so.
        """
        with ExitStack() as held:
            try:
                held.enter_context(lock.hold(self._folder, wait=wait))
                self._unfit += copies.put_right(self._folder)
                state = Database(self._folder / "state.db")
                held.callback(state.close)
                self._warnings = self._doors(state)
            except Exception as exc:
                self._note(exc)
            else:
                self._state = state
                stack.push(held.pop_all())

    async def own(self, stack: ExitStack, app: App) -> Sequence[str]:
        """Own the data directory as soon as that can be; return what there is to be said of who may ask."""
        while self._warnings is None:
            self._tell()
            await self._wait(app)
            self.try_to_own(stack)
        self._tell()
        return self._warnings

    async def run(self, stack: AsyncExitStack, app: App, make: Callable[..., Supervisor]) -> Supervisor:
        """Let a node run as soon as it can; ``make`` is given its ``state``, where that is open already."""
        while True:
            try:
                return await stack.enter_async_context(make(state=self._state))
            except Exception as exc:
                self._note(exc)
            self._state = None  # It is opened anew: it was closed, and may be another file by then.
            await self._wait(app)

    def _note(self, exc: Exception) -> None:
        """Remember what keeps us, if it may be over the next time; else raise it."""
        damage = [str(leaf) for leaf in leaves(exc) if is_damage(leaf)]
        why = disk.disk_fault(exc) or "; ".join(damage)
        if not why:
            raise exc
        self._waiting.reason = why

    async def _wait(self, app: App) -> None:
        """Say what the start waits for, give up what is kept aside for such times, and let some time pass."""
        if not self._waiting.told:
            self._waiting.told = True
            _log.error("%s; it is tried again every second", self._waiting.why)
        app.wait(self._waiting)
        disk.Reserve(self._folder).give_up()
        self._waiting.room = await to_thread.run_sync(disk.room, self._folder, abandon_on_cancel=True)
        await anyio.sleep(AGAIN)

    def _tell(self) -> None:
        for said in self._unfit:
            _log.error("%s", said)
        self._unfit.clear()

    def _doors(self, state: Database) -> Sequence[str]:
        """What there is to be said of who may ask; raise ConfigError where a node must not start so."""
        settings = self._plan.settings
        made = state.run_now(keys.stored) if settings.access.enabled else []
        return posture.check(
            settings.access,
            made,
            lost=bool(salvage.asides(self._folder / "state.db")),
            now=self._clock.time(),
            environment=settings.environment,
            outside=self._outside,
            tls=settings.server.tls is not None,
            insecure=self._insecure,
            origins=self._plan.origins,
        )
