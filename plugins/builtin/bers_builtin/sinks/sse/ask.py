"""What a client of the live stream asks for."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from bers_builtin.sinks.sse.frames import Format


class Ask(Struct, rename="camel", frozen=True):
    """What a client wants to hear."""

    format: Annotated[
        Format,
        Meta(
            description="named: each frame has the name of its kind; message: none has one, for plain onmessage;"
            " cdevents: as named, and each event is a CDEvent 0.5.1."
        ),
    ] = "named"
    types: Annotated[
        str,
        Meta(
            description="Event types or frame names, comma-separated; build.* is all of a kind. Empty: everything.",
            extra_json_schema={
                "pattern": r"^(?:[a-z0-9][a-z0-9_.-]*\*?(?:,[a-z0-9][a-z0-9_.-]*\*?){0,49})?$",
                "examples": ["build.*,alert.*"],
            },
        ),
    ] = ""
    last_event_id: Annotated[
        str, Meta(description="The id of the last frame that was seen; what came after it is told first.")
    ] = ""
