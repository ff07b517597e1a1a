"""Attempts to put another configuration in place while the node runs, and what came of them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal, TypeAlias

import anyio
import msgspec
from anyio import to_thread
from anyio.abc import TaskGroup

from bers.changeover import Changeover, Site
from bers.clock import Clock
from bers.config import Plan
from bers.differences import Changes, compare, refused
from bers.errors import ConfigError, Fault, Refused
from bers.housekeeping import readers
from bers.redaction import Redactor, redact_text

_log = logging.getLogger(__name__)

Result: TypeAlias = Literal["ok", "failed"]


class Located(msgspec.Struct, frozen=True):
    """One thing that is wrong with a configuration; ``place`` is ``file:line:col``."""

    place: str
    path: str
    message: str

    def __str__(self) -> str:
        return str(Fault(self.path, self.message, self.place))


class Reload(msgspec.Struct, rename="camel", frozen=True):
    """One attempt to put another configuration in place: when (milliseconds since 1970), by whom, what came of it."""

    at: int
    by: str
    result: Result
    duration: float
    """Milliseconds."""
    changed: Changes = Changes()
    faults: list[Located] = []


class Configuration(msgspec.Struct, rename="camel", frozen=True):
    """What is in place, and what came of the last attempt to change it; times in milliseconds since 1970."""

    generation: int
    """1 is what the node was started with; each configuration that is put in its place counts one more."""
    hash: str
    """Tells two configurations apart."""
    file: str
    loaded_at: int
    result: Result = "ok"
    """Of the last attempt; while it is ``failed``, what is in the file is not what is in place."""
    faults: list[Located] = []
    reload: Reload | None = None
    """The last attempt."""


class Reloading:
    """Reads the configuration again and puts it in place. One attempt is made at a time."""

    def __init__(
        self,
        site: Site,
        reread: Callable[[], Plan] | None,
        redactor: Redactor,
        clock: Clock,
        in_place: Callable[[], None],
        as_before: Callable[[], None],
        told: Callable[[Configuration, Reload], Awaitable[None]],
    ) -> None:
        """``reread`` reads the configuration again; None where there is nothing to read.

        ``in_place`` is called when another is in place, ``as_before`` when none is after all, though stages may have
        been opened anew, and ``told`` after each attempt, with what is in place then.
        """
        plan = site.roster.plan
        self.configuration = Configuration(1, plan.digest, plan.name, int(clock.time() * 1000))
        """What is in place, and what came of the last attempt."""
        self._site = site
        self._reread = reread
        self._redactor = redactor
        self._redactors = (plan.redactor, redactor)
        """That of the logs, and that of everybody else."""
        self._clock = clock
        self._in_place = in_place
        self._as_before = as_before
        self._told = told
        self._left_behind = set[tuple[str, str]]()
        """Readers that are no more, and whose position their sink still has: it has not been opened since."""

    async def reload(self, tasks: TaskGroup, by: str) -> Reload:
        """Make an attempt, with new stages and pipelines running in ``tasks``.

        Raise Refused where there is nothing to read, or the node is stopping.
        """
        if self._reread is None:
            raise Refused("conflict", "this node has no file that could be read again", hint="start a node with one")
        attempt: Reload | None = None
        with anyio.CancelScope(shield=True):  # Who asked may go: half a change is none.
            async with self._site.changing:
                if self._site.stopping():
                    raise Refused("unavailable", "this node is stopping", retry_after=1)
                attempt = await self._attempt(self._reread, tasks, by)
            await self._report(attempt)
        assert attempt is not None, "nobody leaves a shielded scope early"
        return attempt

    async def _attempt(self, reread: Callable[[], Plan], tasks: TaskGroup, by: str) -> Reload:
        at, began = self._clock.time(), self._clock.monotonic()
        changes, faults = Changes(), list[Located]()
        try:
            plan = await to_thread.run_sync(reread)  # Some milliseconds of Python, in which others have turns.
            changes = await self._change(plan, tasks)
        except ConfigError as exc:
            faults = _locate(exc.faults)
        except Exception as exc:
            _log.exception("the configuration could not be put in place")
            faults = [Located("", "$", self._redactor.text(f"{type(exc).__name__}: {exc}"))]
        duration = round((self._clock.monotonic() - began) * 1000, 3)
        result: Result = "failed" if faults else "ok"
        attempt = Reload(int(at * 1000), by, result, duration, changes, faults)
        if faults:
            self._as_before()
        self.configuration = msgspec.structs.replace(self.configuration, result=result, faults=faults, reload=attempt)
        return attempt

    async def _change(self, plan: Plan, tasks: TaskGroup) -> Changes:
        """Put another plan in place; if this raises, the one that was there is there again."""
        old = self._site.roster.plan
        left_behind = readers(plan) & self._left_behind
        changes = compare(old, plan, reopened={sink for sink, _ in left_behind})
        if faults := refused(changes, old, plan):
            raise ConfigError(faults)
        for redactor in self._redactors:  # Before anybody is given what it has to mask.
            redactor.learn(plan.redactor)
        await Changeover(self._site, tasks, plan, changes, left_behind).run()
        self._left_behind = (self._left_behind | readers(old)) - readers(plan)
        self._publish(changes)
        self._in_place()
        try:
            await self._site.housekeeping.settle(readers(plan), plan.settings.intake)
        except Exception:  # The new configuration is in place, whatever the disk says.
            _log.exception("which readers are gone could not be written down; it is at the next reload or start")
        return changes

    def _publish(self, changes: Changes) -> None:
        """Say what is in place, as soon as it is: whatever the disk keeps us from writing down about it."""
        before, plan = self.configuration, self._site.roster.plan
        generation = before.generation + (not changes.nothing)
        loaded = before.loaded_at if changes.nothing else int(self._clock.time() * 1000)
        self.configuration = Configuration(generation, plan.digest, plan.name, loaded, reload=before.reload)

    async def _report(self, attempt: Reload) -> None:
        where, faults = self.configuration, "; ".join(map(str, attempt.faults))
        if faults:
            _log.error("the configuration was not taken, and the former stays in place: %s", faults)
        else:
            _log.info("generation %d of the configuration is in place: %s", where.generation, where.hash)
        await self._told(where, attempt)


def _locate(faults: Iterable[Fault]) -> list[Located]:
    """Faults as everybody may read them."""
    return [Located(one.place, one.path, redact_text(one.message)) for one in faults]
