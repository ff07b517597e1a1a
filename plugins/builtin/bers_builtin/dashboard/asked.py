"""What the addresses of some views say: which runs, and which place of the pipelines."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class AskRunsView(msgspec.Struct, frozen=True):
    """Which runs to look at."""

    id: Annotated[str, Meta(max_length=1000, description="The run that is shown whole.")] = ""
    name: Annotated[str, Meta(max_length=200, description="Only what is called so.")] = ""
    service: Annotated[str, Meta(max_length=200, description="Only those of this service.")] = ""
    environment: Annotated[str, Meta(max_length=200, description="Only those for this environment.")] = ""
    branch: Annotated[str, Meta(max_length=200, description="Only those of this branch.")] = ""
    outcome: Annotated[str, Meta(max_length=20, description="Only those that ended so; running, or lost.")] = ""


class AskPipelinesView(msgspec.Struct, frozen=True):
    """Which place of the pipelines to look at."""

    at: Annotated[
        str, Meta(max_length=300, description="The place whose records are shown, by its name in the graph.")
    ] = ""
