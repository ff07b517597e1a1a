"""What the node answers about its dead letters: which there are, and what is to become of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from bers.directory import Directory, Route
from bers.errors import Refused
from bers.letters import Filter, Letter, Place, Why
from bers.operations import Caller, Operation, Reply
from bers.records import Window
from bers.redaction import redact, redact_text
from bers.replay import Replayed
from bers.schemas import encode
from bers.supervisor import Supervisor

ENOUGH = 20.0
"""Seconds after which a replay of many begins no other letter."""

Id = Annotated[int, Meta(ge=1, le=(1 << 63) - 1, description="The number of the letter.")]
Limit = Annotated[int, Meta(ge=1, le=1000, description="The most letters.")]


class DeadLetter(msgspec.Struct, rename="camel", frozen=True):
    """Records that a stage did not take, and why; times in milliseconds since 1970, size in bytes."""

    id: int
    pipeline: str
    stage: str
    reason: Why
    attempts: int
    first_time: int
    last_time: int
    first_error: str
    last_error: str
    position: int
    records: int
    size: int


class DeadLetterOriginal(DeadLetter, frozen=True):
    """A letter with the first of its records, without secrets; `records` says how many there are."""

    events: list[dict[str, Any]]
    windows: list[dict[str, Any]]


class Found(msgspec.Struct, frozen=True):
    """How many letters fit what was asked for, of which at most `limit` are shown."""

    total: int
    limit: int


class Meant(msgspec.Struct, frozen=True):
    """What stands beside a list."""

    meta: Found


class AskLetters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which letters; an empty field means all."""

    pipeline: Annotated[str, Meta(description="Only those of this pipeline.")] = ""
    stage: Annotated[str, Meta(description="Only those of this stage.")] = ""
    reason: Annotated[str, Meta(description="Only those that are so: rejected, gave_up or undecided.")] = ""
    before: Annotated[int, Meta(ge=0, le=(1 << 63) - 1, description="Only those with a smaller number; 0: all.")] = 0
    limit: Limit = 100

    @property
    def filter(self) -> Filter:
        return Filter(self.pipeline, self.stage, self.reason, self.before)


class AskDropped(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which letters; an empty field means all."""

    pipeline: Annotated[str, Meta(description="Only those of this pipeline.")] = ""
    stage: Annotated[str, Meta(description="Only those of this stage.")] = ""
    reason: Annotated[str, Meta(description="Only those that are so: rejected, gave_up or undecided.")] = ""


class AskLetter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which letter."""

    id: Id


class AskOriginal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which letter, and how much of it."""

    id: Id
    limit: Annotated[int, Meta(ge=1, le=1000, description="The most records.")] = 100


class ReplayReport(msgspec.Struct, rename="camel", frozen=True):
    """What became of letters that were handed in again, in records.

    `left` were not taken and are letters still, `error` says why the last was not. `remaining` is how many letters fit
    what was asked for and are still there, tried or not.
    """

    delivered: int
    left: int
    remaining: int
    error: str | None = None


class Dropped(msgspec.Struct, frozen=True):
    """How many letters were there, and are no more."""

    dropped: int


class DeadLetterDesk:
    """Answers for the dead letters of the node."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._node = supervisor
        self._letters = supervisor.dead

    async def list(self, ask: AskLetters, caller: Caller) -> Reply[list[DeadLetter]]:
        letters, total = await self._letters.list(ask.filter, ask.limit)
        return Reply([_shown(letter) for letter in letters], {"meta": Found(total, ask.limit)})

    async def show(self, ask: AskOriginal, caller: Caller) -> DeadLetterOriginal:
        letter = await self._letters.get(ask.id)
        if letter is None:
            raise _gone(ask.id)
        events, windows = letter.batch.events[: ask.limit], letter.batch.windows
        windows = windows[: ask.limit - len(events)]
        return DeadLetterOriginal(
            **msgspec.structs.asdict(_shown(letter)),
            events=[redact(msgspec.to_builtins(event, enc_hook=_encode)) for event in events],
            windows=[redact(_window(window)) for window in windows],
        )

    async def replay(self, ask: AskLetter, caller: Caller) -> ReplayReport:
        letter = await self._letters.get(ask.id)
        done = await self._replay(letter.place, ask.id) if letter else None
        if done is None:
            raise _gone(ask.id)
        return ReplayReport(done.delivered, done.left, int(bool(done.left)), done.error or None)

    async def replay_all(self, ask: AskLetters, caller: Caller) -> ReplayReport:
        """Oldest first, each once. A stage that cannot take anything now is asked no more."""
        began = self._node.clock.monotonic()
        letters, _ = await self._letters.list(ask.filter, ask.limit)
        done, busy = Replayed(), set[Place]()
        for letter in reversed(letters):
            if letter.place in busy or self._node.clock.monotonic() - began > ENOUGH:
                continue
            try:
                done += await self._replay(letter.place, letter.id) or Replayed()
            except Refused as refused:
                busy.add(letter.place)
                done += Replayed(error=str(refused))
        _, remaining = await self._letters.list(ask.filter, 1)
        return ReplayReport(done.delivered, done.left, remaining, done.error or None)

    async def drop(self, ask: AskLetter, caller: Caller) -> Dropped:
        if not (dropped := await self._letters.drop(id=ask.id)):
            raise _gone(ask.id)
        return Dropped(dropped)

    async def drop_all(self, ask: AskDropped, caller: Caller) -> Dropped:
        return Dropped(await self._letters.drop(Filter(ask.pipeline, ask.stage, ask.reason)))

    async def _replay(self, place: Place, id: int) -> Replayed | None:
        pipeline = self._node.pipelines.get(place.pipeline)
        courier = pipeline.deliveries.get(place.stage) if pipeline else None
        if courier is None:
            raise Refused(
                "unavailable",
                f"pipeline {place.pipeline!r} leads to no stage {place.stage!r} now",
                hint="see `bers status` for why it does not run; if it is gone for good, drop the letter",
            )
        return await courier.replay(id)


OPERATIONS: tuple[Operation[Any, Any, Any], ...] = (
    Operation(
        "GET", "dead-letters", DeadLetterDesk.list, AskLetters, list[DeadLetter],
        "What could not be delivered, newest first.", beside=Meant,
    ),
    Operation(
        "GET", "dead-letters/{id}", DeadLetterDesk.show, AskOriginal, DeadLetterOriginal,
        "A dead letter, with its records.",
    ),
    Operation(
        "POST", "dead-letters/{id}/replay", DeadLetterDesk.replay, AskLetter, ReplayReport,
        "Hand in a dead letter again, to its stage alone; it is gone when that takes it.", scope="admin",
    ),
    Operation(
        "POST", "dead-letters/replay", DeadLetterDesk.replay_all, AskLetters, ReplayReport,
        "Hand in the newest of some dead letters again, oldest first.", scope="admin",
    ),
    Operation(
        "DELETE", "dead-letters/{id}", DeadLetterDesk.drop, AskLetter, Dropped, "Forget a dead letter.", scope="admin",
    ),
    Operation(
        "DELETE", "dead-letters", DeadLetterDesk.drop_all, AskDropped, Dropped, "Forget all dead letters that are so.",
        scope="admin",
    ),
)  # fmt: skip


def offer(directory: Directory, supervisor: Supervisor) -> None:
    """Add what is answered about dead letters to the directory."""
    desk = DeadLetterDesk(supervisor)
    for operation in OPERATIONS:
        directory.add(Route(operation, "node", lambda: desk))


def _shown(letter: Letter) -> DeadLetter:
    return DeadLetter(
        letter.id, letter.pipeline, letter.stage, letter.reason, letter.attempts, round(letter.first_time * 1000),
        round(letter.last_time * 1000), redact_text(letter.first_error), redact_text(letter.last_error),
        letter.position, letter.records, letter.size,
    )  # fmt: skip


def _window(window: Window) -> dict[str, Any]:
    fields: Iterable[str] = ("metric", "start", "width", "count", "sum", "min", "max", "last")
    return {**{name: getattr(window, name) for name in fields}, "labels": dict(window.labels)}


def _encode(value: Any) -> Any:
    try:
        return encode(value)
    except NotImplementedError:
        return str(value)


def _gone(id: int) -> Refused:
    return Refused(
        "not_found",
        f"there is no dead letter {id}",
        hint="it was replayed or dropped, or gave way to newer ones; see `bers dead list`",
    )
