"""What stands between a pipeline and its stages: it notes who is at work, and lets nothing through that is none."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Protocol, TypeVar, cast

import anyio

from bers.cells import Cell
from bers.config.settings import SupervisionSettings
from bers.errors import PluginError, Rejected
from bers.metering import Charged, metered
from bers.pipeline import Step
from bers.records import Batch, Event, Window
from bers.stages import Processor, Written
from bers.ward import Bell, Stay, Ward, cancelled, late

R = TypeVar("R")


class Fail(Protocol):
    """Says that a stage has to be started anew, and why."""

    def __call__(self, cell: Cell, exc: BaseException, /, *, given_up: bool = False) -> None:
        """``given_up`` says that some of its work goes on and does not heed that it should not."""
        ...


@dataclass
class _Visit:
    """What a stage is to do, since when, and for how long it may."""

    cell: Cell
    verb: str
    since: float
    within: float

    @property
    def is_overdue(self) -> bool:
        return monotonic() - self.since > self.within


class Post:
    """Where a pipeline is at: inside which stage, to do what, and since when.

    It may be in two at once: dead letters are replayed to one while the other has the batch.
    """

    def __init__(self, pipeline: str, settings: SupervisionSettings) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.end = 0
        """The position after the batch that was handed over last."""
        self.stay: Stay | None = None
        self._visits: list[_Visit] = []

    def at(self) -> str:
        """The stage that is at work; empty where it is the pipeline itself."""
        return self._visits[-1].cell.name if self._visits else ""

    def overdue(self) -> PluginError | None:
        """What is to be said, and is noted as the stage's own, if one has taken longer than it may."""
        for visit in self._visits:
            if visit.is_overdue:
                visit.cell.raised = exc = late(visit.cell.name, visit.verb, visit.within)
                return exc
        return None

    def excuse(self, seconds: float) -> None:
        """Give the stages that are at work so much longer."""
        for visit in self._visits:
            visit.since += seconds

    async def inside(self, cell: Cell, verb: str, within: float, call: Callable[..., Awaitable[R]], *args: Any) -> R:
        """Await what a stage does when it is called.

        What it raises is noted as its own; an exit or a cancellation becomes an error.
        """
        visit = _Visit(cell, verb, monotonic(), within)
        self._visits.append(visit)
        try:
            result = await call(*args)
        except Exception as exc:
            cell.raised = exc
            raise
        except BaseException as exc:
            if cancelled():
                raise
            cell.raised = PluginError(f"{cell.name}: it raised {type(exc).__name__} while it was to {verb}")
            raise cell.raised from exc
        finally:
            self._visits = [one for one in self._visits if one is not visit]
        if self.stay and self.stay.given_up:  # Somebody else goes on where this was.
            raise PluginError(f"{cell.name}: it did {verb}, but too late")
        return result

    def wrong(self, cell: Cell, message: str) -> PluginError:
        """The fault of a stage that broke its contract."""
        cell.raised = exc = PluginError(f"{cell.name}: {message}")
        return exc


@dataclass
class _Guarded:
    """A processor that is watched."""

    processor: Processor
    cell: Cell
    post: Post

    async def process(self, batch: Batch) -> Batch:
        post, cell = self.post, self.cell
        post.end = batch.end
        within = post.settings.process_within
        result = await post.inside(cell, "process a batch", within, self.processor.process, batch)
        if not _is_batch(result):
            raise post.wrong(cell, f"process returned {type(result).__name__}; return a Batch")
        if (result.end, result.reader, result.partition) != (batch.end, batch.reader, batch.partition):
            raise post.wrong(
                cell, f"process returned a batch that ends at {result.end}; return one with the end, the reader and "
                f"the partition of the one it was given, which ends at {batch.end}"
            )  # fmt: skip
        if result.events is not batch.events:
            _check(post, cell, "events", result.events, Event)
        if result.windows is not batch.windows:
            _check(post, cell, "windows", result.windows, Window)
        return result

    def __getattr__(self, name: str) -> Any:
        """Whatever else the processor offers, such as what it tells of itself."""
        return getattr(self.processor, name)


def _is_batch(answer: object) -> bool:
    """Whatever its type says: a plugin may be typed less strictly than we are."""
    return isinstance(answer, Batch)


def _check(post: Post, cell: Cell, name: str, records: object, kind: type) -> None:
    if not isinstance(records, (list, tuple)):
        raise post.wrong(cell, f"process returned a batch whose {name} are a {type(records).__name__}; make it a list")
    for one in records:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(one, kind):  # pyright: ignore[reportUnknownArgumentType]
            wrong = type(one).__name__  # pyright: ignore[reportUnknownArgumentType]
            raise post.wrong(cell, f"process returned a {wrong} among the {name}; return {kind.__name__}s alone")


@dataclass(frozen=True)
class GuardedStep(Step[Any]):
    """A processor that is watched from when it is opened until it has closed."""

    cell: Cell | None = None
    post: Post | None = None

    def open(self) -> AbstractAsyncContextManager[Any]:
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[Any]:
        cell, post = cast("Cell", self.cell), cast("Post", self.post)
        manager: AbstractAsyncContextManager[Any] = Step[Any].open(self)
        processor: Any = await post.inside(cell, "open", post.settings.open_within, manager.__aenter__)
        try:
            if not callable(getattr(processor, "process", None)):
                raise post.wrong(cell, f"opening it gave a {type(processor).__name__}; yield what has `process`")
            cell.stage = processor
            cell.standing.opened()
            yield _Guarded(processor, cell, post)
        except BaseException as exc:
            cell.stage = None
            # It may look at what went wrong, and not keep it from us.
            trace = exc.__traceback__
            await post.inside(cell, "close", post.settings.close_within, manager.__aexit__, type(exc), exc, trace)
            raise
        cell.stage = None
        await post.inside(cell, "close", post.settings.close_within, manager.__aexit__, None, None, None)


def step(cell: Cell, post: Post) -> Step[Any]:
    """A processor's step, watched."""
    plain = cell.step
    return GuardedStep(plain.id, plain.spec, plain.config, plain.context, cell, post)


class Waited:
    """An open sink that a pipeline waits for."""

    def __init__(self, cell: Cell, post: Post) -> None:
        self._cell = cell
        self._sink = cell.stage
        self._post = post

    async def position(self, reader: str, partition: int, *, begin: int) -> int:
        """Where a durable sink is."""
        ask = partial(self._sink.position, reader, partition, begin=begin)
        within = self._post.settings.open_within
        found: object = await self._post.inside(self._cell, "tell its position", within, ask)
        if not isinstance(found, int):
            raise self._post.wrong(self._cell, f"position returned {type(found).__name__}; return an int")
        return found

    async def write(self, batch: Batch) -> Written | None:
        post, cell = self._post, self._cell
        within = post.settings.write_within
        try:
            written = _written(cell, await post.inside(cell, "write a batch", within, self._sink.write, batch))
        except Rejected:
            cell.raised = None  # It works, and says so of records.
            raise
        if cell.raised is not None:
            cell.raised = None  # It was asked again, and took it.
        return written


class Way:
    """The way to a sink that nobody waits for: it may come and go, and what is meant for it waits meanwhile."""

    def __init__(
        self, cell: Cell, ward: Ward, bell: Bell, settings: SupervisionSettings, fail: Fail, charged: Charged
    ) -> None:
        self._cell = cell
        self._charged = charged
        self._ward = ward
        self._bell = bell
        self._settings = settings
        self._fail = fail

    async def write(self, batch: Batch) -> Written | None:
        cell = self._cell
        await self._bell.until(lambda: cell.stage is not None)
        sink, answer = cell.stage, list[object]()

        async def work(stay: Stay) -> None:
            answer.append(await metered(sink.write(batch), self._charged))  # In a task of its own.

        cell.users += 1
        stay = self._ward.take(cell.name, work)  # Of its own, so that it can be given up while others go on.
        try:
            with anyio.move_on_after(self._settings.write_within):
                await stay.ended.wait()
            if not stay.over:
                raise late(cell.name, "write a batch", self._settings.write_within)
        except BaseException as exc:
            if not stay.over:
                with anyio.CancelScope(shield=True):  # Not for long: who does not heed it is given up.
                    await stay.leave(min(1.0, self._settings.close_within))
            # What has been opened since is not to blame.
            if cell.stage is sink and (isinstance(exc, PluginError) or stay.given_up):
                self._fail(cell, exc, given_up=stay.given_up)
            raise
        finally:
            cell.users -= 1
            if cell.stage is not sink:  # Whoever wants to close it waits for us.
                self._bell.ring()
        if isinstance(stay.error, Exception):
            raise stay.error
        if stay.error is not None:
            raise PluginError(f"{cell.name}: it raised {type(stay.error).__name__} instead of writing") from stay.error
        return _written(cell, answer[0] if answer else None)


def _written(cell: Cell, answer: object) -> Written | None:
    if answer is None or isinstance(answer, Written):
        return answer
    cell.raised = exc = PluginError(f"{cell.name}: write returned {type(answer).__name__}; return None or Written")
    raise exc
