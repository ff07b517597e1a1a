"""Dead letters: what a stage can never take, kept with the reason until somebody looks at it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from anyio import to_thread

from bers import letter_rows
from bers.all_positions import synced_position
from bers.clock import Clock, SystemClock
from bers.database import Database
from bers.errors import Full
from bers.letters import ALL, Filter, Finding, Letter, Place, Why
from bers.records import Event
from bers.redaction import redact_text

T = TypeVar("T")

WhenFull: TypeAlias = Literal["drop_oldest", "refuse"]

_FARTHEST = 2_000
"""How many positions the end of a batch is behind its first event at most, or so."""

_UNSETTLED = "stage = ? AND pipeline = ? AND (turn IS NOT NULL OR reason = 'undecided')"


@dataclass
class DeadLetters:
    """The letters of one node, in its own database, bounded in bytes.

    A letter of a durable stage is written before the stage's position goes past it, and taken back when the stage turns
    out never to have gone there: so a crash at any moment neither loses nor doubles one.
    """

    state: Database
    clock: Clock = field(default_factory=SystemClock)
    folder: Path | None = None
    """Where the databases of durable stages lie; not told, they are taken to be durable at once."""
    max_bytes: int = 64 << 20
    when_full: WhenFull = "drop_oldest"
    mask: Callable[[str], str] = redact_text
    """What an error may say that is written down."""
    count: int = 0
    """How many letters there are."""
    bytes: int = 0
    dropped: int = 0
    """How many records were dropped with their letters, since the start, because there was no room."""

    _handed: int = 0
    """How many letters were handed over, and are kept until that is durable."""

    @property
    def full(self) -> bool:
        """Whether letters are dropped, or refused, because there are too many."""
        return self.bytes >= self.max_bytes * 0.9 and (self.when_full == "refuse" or self.dropped > 0)

    async def begin(self) -> None:
        """Find out what there is from before."""

        await self._change(letter_rows.make)

    # For those who deliver.

    async def add(self, place: Place, findings: Sequence[Finding]) -> None:
        """Keep letters. Raise Full where there is no room and none may be dropped for them."""
        await self._keep(place, findings, replacing=None)

    async def put(self, place: Place, position: int, findings: Sequence[Finding]) -> None:
        """The same for everything that is known of the batch that ends at a position; said again, it is kept once."""
        await self._keep(place, findings, replacing=position)

    async def take_back(self, place: Place, position: int) -> int:
        """Forget the letters of batches that a durable stage will be handed again; return how many records."""

        def work(connection: sqlite3.Connection) -> int:
            rows = connection.execute(
                "DELETE FROM dead_letters WHERE stage = ? AND pipeline = ? AND position > ? RETURNING records",
                (place.stage, place.pipeline, position),
            ).fetchall()
            return sum(records for (records,) in rows)

        return await self._change(work)

    async def unsettled(self, place: Place) -> bool:
        """Whether there is anything that has to be handed in before all else."""
        return await self.state.run(
            lambda connection: (
                connection.execute(
                    f"SELECT 1 FROM dead_letters WHERE {_UNSETTLED} LIMIT 1", (place.stage, place.pipeline)
                ).fetchone()
                is not None
            )
        )

    async def undecided(self, place: Place) -> Sequence[Letter]:
        """The letters of which it has to be found out which records are to blame, oldest first."""
        where = "stage = ? AND pipeline = ? AND reason = 'undecided' AND turn IS NULL ORDER BY id"
        return await self.state.run(
            lambda connection: letter_rows.letters(connection, where, (place.stage, place.pipeline))
        )

    async def resume(self, place: Place, taken: int) -> None:
        """A durable stage has everything up to a turn; what was handed to it after that was lost with its memory."""

        def work(connection: sqlite3.Connection) -> None:
            values = (place.stage, place.pipeline, taken)
            connection.execute("DELETE FROM dead_letters WHERE stage = ? AND pipeline = ? AND turn <= ?", values)
            connection.execute(
                "UPDATE dead_letters SET turn = NULL, replayed = 0, reason = 'undecided' "
                "WHERE stage = ? AND pipeline = ? AND turn > ?",
                values,
            )

        await self._change(work)

    async def settled(self, place: Place, taken: int) -> None:
        """Forget what a durable stage has durably: everything up to a turn."""
        await self._change(
            lambda connection: connection.execute(
                "DELETE FROM dead_letters WHERE stage = ? AND pipeline = ? AND turn <= ?",
                (place.stage, place.pipeline, taken),
            )
        )

    async def give_turn(self, letter: Letter, taken: int) -> bool:
        """Write down by which position of a durable stage it will be known that it took a letter: the next.

        ``taken`` is where it stands; what was on its way is decided by that. False where it has the letter already.
        """

        def work(connection: sqlite3.Connection) -> bool:
            values = (*letter.place, taken)
            connection.execute(
                "UPDATE dead_letters SET replayed = 1 WHERE pipeline = ? AND stage = ? AND turn <= ?", values
            )
            connection.execute(
                "UPDATE dead_letters SET turn = NULL WHERE pipeline = ? AND stage = ? AND turn > ? AND NOT replayed",
                values,
            )
            given = connection.execute(
                "UPDATE dead_letters SET turn = ? WHERE id = ? AND NOT replayed", (taken + 1, letter.id)
            )
            return given.rowcount > 0

        return await self._change(work)

    async def handed_over(self, letter: Letter) -> None:
        """A stage took it. One with a turn is kept, unseen, until that is durable; any other is gone."""

        keep = " AND turn IS NULL" if self.folder else ""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE dead_letters SET replayed = 1 WHERE id = ?", (letter.id,))
            connection.execute(f"DELETE FROM dead_letters WHERE id = ?{keep}", (letter.id,))

        await self._change(work)

    async def returned(self, letter: Letter, error: str, reason: Why) -> None:
        """A stage did not take it: it stays, and knows one more attempt."""
        now = self.clock.time()
        await self._change(
            lambda connection: connection.execute(
                "UPDATE dead_letters SET attempts = attempts + 1, last_time = ?, last_error = ?, reason = ?, "
                "turn = NULL, replayed = 0 WHERE id = ?",
                (now, self.mask(error), reason, letter.id),
            )
        )

    async def divide(self, letter: Letter, findings: Sequence[Finding]) -> Sequence[Letter]:
        """Put several letters in the place of one, without those of its records that were delivered."""

        def work(connection: sqlite3.Connection) -> list[Letter]:
            connection.execute("DELETE FROM dead_letters WHERE id = ?", (letter.id,))
            ids = letter_rows.insert(connection, letter.place, findings, self.clock.time(), self.mask)
            return [one for id in ids for one in letter_rows.letters(connection, "id = ?", id)]

        return await self._change(work)

    async def sweep(self) -> None:
        """Forget what was handed to durable stages, as far as it is durable there."""
        if self.folder is None:
            return
        places = await self.state.run(
            lambda connection: connection.execute(
                "SELECT DISTINCT pipeline, stage FROM dead_letters WHERE turn IS NOT NULL"
            ).fetchall()
        )
        for place in (Place(*row) for row in places):
            position = await to_thread.run_sync(synced_position, self.folder, place.stage, place.reader)
            if position is not None:
                await self.settled(place, position)

    # For those who look.

    async def get(self, id: int) -> Letter | None:
        """A letter with its original; None where there is none, or it was replayed."""
        found = await self.state.run(
            lambda connection: letter_rows.letters(connection, "id = ? AND NOT replayed", (id,))
        )
        return found[0] if found else None

    async def list(self, filter: Filter = ALL, limit: int = 100) -> tuple[Sequence[Letter], int]:
        """The newest letters, without their originals, and how many there are in all."""
        where, values = letter_rows.chosen(filter)

        def work(connection: sqlite3.Connection) -> tuple[Sequence[Letter], int]:
            total = connection.execute(f"SELECT count(*) FROM dead_letters WHERE {where}", values).fetchone()[0]
            rows = connection.execute(
                f"SELECT {letter_rows.COLUMNS} FROM dead_letters WHERE {where} ORDER BY id DESC LIMIT ?",
                (*values, limit),
            )
            return [Letter(*row) for row in rows], total

        return await self.state.run(work)

    async def of(self, place: Place, event: Event) -> Letter | None:
        """The letter in which a stage left an event, as long as the event has its position and the letter is there."""

        def work(connection: sqlite3.Connection) -> list[Letter]:
            where = "stage = ? AND pipeline = ? AND position BETWEEN ? AND ? AND NOT replayed ORDER BY position LIMIT ?"
            return letter_rows.letters(
                connection, where, (place.stage, place.pipeline, event.seq, event.seq + _FARTHEST, _FARTHEST)
            )

        for letter in await self.state.run(work):
            if any(one.seq == event.seq for one in letter.batch.events):
                return letter
        return None

    async def drop(self, filter: Filter = ALL, *, id: int = 0) -> int:
        """Forget letters for good, one or all that are meant; return how many there were."""
        where, values = ("id = ? AND NOT replayed", [id]) if id else letter_rows.chosen(filter)
        return await self._change(
            lambda connection: connection.execute(f"DELETE FROM dead_letters WHERE {where}", values).rowcount
        )

    # Privately.

    async def _keep(self, place: Place, findings: Sequence[Finding], *, replacing: int | None) -> None:
        now = self.clock.time()

        def work(connection: sqlite3.Connection) -> int:
            if replacing is not None:
                connection.execute(
                    "DELETE FROM dead_letters WHERE stage = ? AND pipeline = ? AND position = ?",
                    (place.stage, place.pipeline, replacing),
                )
            letter_rows.insert(connection, place, findings, now, self.mask)
            return self._make_room(connection)

        self.dropped += await self._change(work)

    def _make_room(self, connection: sqlite3.Connection) -> int:
        """Drop the oldest until all fit, or raise Full; return how many records were dropped."""
        (size,) = connection.execute("SELECT bytes FROM dead_letter_totals").fetchone()
        if size > self.max_bytes and self.when_full == "refuse":
            raise Full(
                f"the dead letters have reached their {self.max_bytes} bytes; replay or drop some, or raise "
                f"dead_letters.max_bytes",
                retry_after=30,
            )
        lost = 0
        while size > self.max_bytes:
            records, freed, replayed = connection.execute(
                "DELETE FROM dead_letters WHERE id = (SELECT min(id) FROM dead_letters) "
                "RETURNING records, size, replayed"
            ).fetchone()
            lost, size = lost + records * (not replayed), size - freed  # What was handed over is not lost.
        return lost

    async def _change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do the work in one transaction, and know afterwards how many letters there are."""

        def both(connection: sqlite3.Connection) -> tuple[T, tuple[int, int, int]]:
            result = work(connection)
            totals = connection.execute("SELECT letters, bytes, handed FROM dead_letter_totals").fetchone()
            return result, totals

        result, (letters, self.bytes, self._handed) = await self.state.run(both)
        self.count = letters - self._handed
        return result
