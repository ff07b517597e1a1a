"""A file of events: one CloudEvent as JSON on each line."""

from pathlib import Path
from typing import Annotated

import msgspec
from anyio import to_thread
from bers import Batch, Config, SinkSpec, Stage, as_cloudevent, hookimpl
from msgspec import Meta


class FileConfig(Config, frozen=True):
    """Append every event to a file, as one line of JSON each. Secrets in it are masked."""

    path: Annotated[
        str, Meta(min_length=1, description="The file, seen from where the server was started. It is made if need be.")
    ]


class File(Stage[FileConfig]):
    async def write(self, batch: Batch) -> None:
        if batch.events:
            await to_thread.run_sync(self._append, batch)

    def _append(self, batch: Batch) -> None:
        path = Path(self.config.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:  # Opened for each batch: somebody may move it away at any time.
            file.write(msgspec.json.Encoder().encode_lines([as_cloudevent(event) for event in batch.events]))


FILE = SinkSpec("file", FileConfig, File)


@hookimpl
def bers_sinks() -> list[SinkSpec[FileConfig]]:
    return [FILE]
