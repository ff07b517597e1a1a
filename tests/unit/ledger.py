"""A durable sink for tests of the pipeline: it counts events in a real database, exactly once."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Annotated, Self

from msgspec import Meta

from bers import Batch, Config, Context, Database, DurableSpec, Positions, Stage


class LedgerConfig(Config, frozen=True):
    """Count events in a database."""

    path: Annotated[str, Meta(description="The database file.")]


class Ledger(Stage[LedgerConfig]):
    def __init__(self, config: LedgerConfig, context: Context) -> None:
        super().__init__(config, context)
        self._database = Database(Path(config.path))
        self._positions = Positions(self._database, context.stage_id)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        try:
            await self._database.run(lambda db: db.execute("CREATE TABLE IF NOT EXISTS ids (id TEXT)"))
            yield self
        finally:
            await self._database.shut()

    async def position(self, reader: str, partition: int, *, begin: int) -> int:
        return await self._positions.begin(reader, partition, begin)

    async def write(self, batch: Batch) -> None:
        ids = [(event.id,) for event in batch.events]
        await self._positions.commit(batch, lambda db: db.executemany("INSERT INTO ids VALUES (?)", ids))


LEDGER = DurableSpec("ledger", LedgerConfig, Ledger)


def written(path: Path) -> list[str]:
    """The ids of the events in a ledger, in the order in which they were written."""
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM ids ORDER BY rowid")]
