"""A folder of spools on this machine: what emitters left there, because nobody took it, is handed in."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

from anyio import CancelScope, to_thread
from msgspec import Meta

from bers import (
    Check,
    Config,
    Context,
    Decoder,
    Emit,
    Event,
    Finding,
    Full,
    Interval,
    Refused,
    SourceSpec,
    Stage,
    format_duration,
    hookimpl,
)
from bers_emit import dead_letters
from bers_emit import folder as spools
from bers_emit.spool import Spool

PATIENCE = 5.0
"""Seconds that the disk of the folder may take for an answer until that is said."""

T = TypeVar("T")


class SpoolConfig(Config, frozen=True):
    """Hand in the events that emitters on this machine left in a folder, because no server could be reached."""

    folder: Annotated[
        str,
        Meta(
            description="The folder of spools, as emitters have it in `BERS_EMIT_SPOOL`; where this is empty, the one "
            "that they use without. This server has to be allowed to read, lock and delete the files in it."
        ),
    ] = ""
    interval: Annotated[Interval, Meta(description="The time between two looks into the folder.")] = Interval("1s")


class SpoolSource(Stage[SpoolConfig]):
    def __init__(self, config: SpoolConfig, context: Context) -> None:
        super().__init__(config, context)
        self._folder = config.folder or spools.default(os.environ)
        self._decoder = Decoder()
        self._counts = Counter[str]()
        self._fault = ""
        self._has_looked = False
        self._asked: float | None = None
        """Since when, by the monotonic clock, the disk has not answered."""

    async def run(self, emit: Emit) -> None:
        while True:
            try:
                await self._look(emit)
                self._fault = ""
            except OSError as exc:  # A folder that cannot be read now may be readable in a while.
                self._tell_once(f"{self._folder}: {exc.strerror or exc}")
            except Full as full:
                self._tell_once(f"the intake takes nothing at present: {full}")
                await self.context.clock.sleep(full.retry_after)
            await self.context.clock.sleep(self.config.interval)

    def tell(self) -> Mapping[str, Any]:
        return {"handed_in": self._counts["events"], "files": self._counts["files"], "dead": self._counts["dead"]}

    async def check(self) -> Finding:
        details = self.tell()
        waited = 0.0 if self._asked is None else self.context.clock.monotonic() - self._asked
        if waited > PATIENCE:
            message = f"{self._folder} has not answered for {format_duration(round(waited))}"
            return Finding("degraded", message, details, "see that the disk of that folder answers")
        if self._fault:
            return Finding(
                "degraded", self._fault, details, "see that this server may read, lock and delete what is there"
            )
        if not self._has_looked:
            return Finding("unknown", "the folder was not looked at yet", details)
        return Finding("healthy", f"{self._counts['events']} events were handed in", details)

    async def _look(self, emit: Emit) -> None:
        """Hand in what processes left that live no more, oldest first."""
        found = await self._ask(partial(_files, Path(self._folder)))
        self._has_looked = True
        for path in found:
            spool = await self._ask(partial(Spool.adopt, str(path)))
            if spool is None:  # Its owner lives, and sends by itself; or somebody else was faster.
                continue
            try:
                await self._hand_in(spool, path, emit)
                self._counts["files"] += 1
            finally:  # What was not handed in is found again at the next look; an empty file is deleted.
                with CancelScope(shield=True):  # Who is stopped now lets go of the file all the same.
                    await self._ask(spool.close)

    async def _hand_in(self, spool: Spool, path: Path, emit: Emit) -> None:
        """Hand in all of a file, batch by batch. The file says that a batch is done when the journal has it."""
        line = 1 + await self._ask(spool.sent)
        while lines := await self._ask(spool.batch):
            events, poison = await self._read(lines)
            if events:
                await emit(events, durable=True)
            if poison:
                told = self.context.redactor.text  # The reasons are printed by whoever looks at the letters.
                letters = [
                    (lines[n], f"{path.name}, line {line + n + 1}: {told(why)}") for n, why in sorted(poison.items())
                ]
                await self._ask(partial(dead_letters.bury, self._folder, spool.name, letters))
            await self._ask(spool.done)
            line += len(lines)
            self._counts["events"] += len(events)
            self._counts["dead"] += len(poison)

    async def _ask(self, work: Callable[[], T]) -> T:
        """Have the disk do something, and know since when it does."""
        self._asked = self.context.clock.monotonic()
        try:
            return await to_thread.run_sync(work)
        finally:
            self._asked = None

    async def _read(self, lines: Sequence[bytes]) -> tuple[list[Event], dict[int, str]]:
        """The events of some lines, and what is wrong with the others."""
        now = self.context.clock.time()
        if not any(_is_split(line) for line in lines):
            try:
                found = await self._decoder.decode(b"[" + b",".join(lines) + b"]", now=now)
            except Refused:
                pass  # One of them is no JSON: which, shows when each is read alone.
            else:
                if len(found.events) + len(found.rejected) == len(lines):
                    return list(found.events), {one.index: one.error for one in found.rejected}
        events: list[Event] = []
        poison: dict[int, str] = {}
        for number, line in enumerate(lines):
            try:
                alone = await self._decoder.decode(line, now=now)
            except Refused as refused:
                poison[number] = str(refused)
            else:
                events += alone.events
                if alone.rejected:
                    poison[number] = alone.rejected[0].error
        return events, poison

    def _tell_once(self, fault: str) -> None:
        if fault != self._fault:
            self._fault = fault
            self.context.logger.warning("the spool cannot be handed in: %s", fault)


def _is_split(line: bytes) -> bool:
    """Whether a line is no object, so that with others around it, it might be read as something else."""
    return not (line.startswith(b"{") and line.rstrip().endswith(b"}"))


def _files(folder: Path) -> list[Path]:
    """The spools in a folder, oldest first; raise OSError where it cannot be read, unless it is not there yet."""
    found: list[tuple[float, Path]] = []
    try:
        entries: Iterable[Path] = list(folder.iterdir())
    except FileNotFoundError:
        return []
    for path in entries:
        if path.suffix == SUFFIX and not path.name.startswith("."):
            try:
                found.append((path.lstat().st_mtime, path))
            except FileNotFoundError:  # Somebody finished it while we looked.
                continue
    return [path for _, path in sorted(found)]


SUFFIX = ".ndjson"

SPOOL = SourceSpec(
    "spool",
    SpoolConfig,
    SpoolSource,
    brings=("*",),
    checks=(Check("spool", SpoolSource.check, "The folder of spools can be read, and what is in it is handed in."),),
)


@hookimpl
def bers_sources() -> Iterable[SourceSpec[Any]]:
    return [SPOOL]
