"""Who was told of something: what all sinks that tell others say of it, together."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from bers.directory import Directory
from bers.errors import Refused
from bers.operations import Operation

_MOST = 1000

_PATH = "/deliveries"


class AskDeliveries(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of what."""

    subject: Annotated[str, Meta(min_length=1, description="The id of the alert that was to be told of.")]


class Delivered(msgspec.Struct, rename="camel", kw_only=True):
    """What one channel of one sink was to be told. Times in milliseconds since 1970."""

    sink: str
    channel: str = ""
    type: str = ""
    status: str = ""
    id: str = ""
    attempts: int = 0
    created_at: int | None = None
    finished_at: int | None = None
    last_error: str = ""


async def deliveries(directory: Directory, subject: str) -> list[Delivered]:
    """Everything that was to be told of a subject, the oldest first, as far as sinks remember it."""
    found: list[Delivered] = []
    for route in directory.routes:
        operation = route.operation
        path = operation.path
        if not isinstance(operation, Operation) or operation.method != "GET" or not path.endswith(_PATH):
            continue
        fields: dict[str, Any] = {"limit": _MOST}
        if any(one.encode_name == "subject" for one in msgspec.structs.fields(operation.request)):
            fields["subject"] = subject
        try:
            told = await directory.call("GET", path, fields)
        except Refused:
            continue  # It does not run.
        sink = path.removesuffix(_PATH)
        found += [msgspec.convert({**one, "sink": sink}, Delivered) for one in told if one.get("subject") == subject]
    return sorted(found, key=lambda one: one.created_at or 0)
