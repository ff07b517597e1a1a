"""Keep the details of some events; figures are not touched."""

import re
from dataclasses import replace
from fnmatch import translate
from typing import Annotated

from bers import Batch, Config, Context, ProcessorSpec, Stage, hookimpl
from msgspec import Meta


class OnlyConfig(Config, frozen=True):
    """Keep in detail only events of some types. Figures that were folded before are not touched."""

    types: Annotated[
        list[str], Meta(min_length=1, description="Types to keep, such as `build.finished`; `*` stands for any text.")
    ]


class Only(Stage[OnlyConfig]):
    def __init__(self, config: OnlyConfig, context: Context) -> None:
        super().__init__(config, context)
        self._wanted = re.compile("|".join(map(translate, config.types))).match

    async def process(self, batch: Batch) -> Batch:
        return replace(batch, events=[event for event in batch.events if self._wanted(event.type)])


ONLY = ProcessorSpec("only", OnlyConfig, Only)


@hookimpl
def bers_processors() -> list[ProcessorSpec[OnlyConfig]]:
    return [ONLY]
