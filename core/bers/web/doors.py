"""The doors for events: the plain one, and one for each format that a plugin offers; what each takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from bers.config.settings import IntakeSettings
from bers.decoding import MEDIA
from bers.errors import Refused
from bers.formats import AnyFormat
from bers.stages import AnySpec

INGEST = "/api/monitoring/ingest"

ENCODINGS = ("identity", "gzip", "deflate", "zstd")


@dataclass(frozen=True)
class Door:
    """Where one format of a plugin is taken."""

    format: AnyFormat
    owner: str
    """The name of the stage type that offers it."""
    stage: Callable[[], Any | None]
    """The stage that reads it; None while it is not declared or not running."""

    @property
    def proves(self) -> bool:
        """Whether what comes proves by itself who sent it; where nobody could look at that, a key is asked for."""
        return self.format.verify is not None and self.stage() is not None

    def reader(self) -> Any:
        """The stage that reads it; raise Refused with the remedy where there is none."""
        stage = self.stage()
        if stage is None:
            raise Refused(
                "unavailable",
                f"{self.owner!r} is not running",
                hint=f"declare {self.owner!r} under `sources:` in pipelines.yaml, or see `bers status` for why it does "
                "not run",
            )
        return stage


def doors(specs: Iterable[AnySpec], running: Callable[[str], Any | None]) -> dict[str, Door]:
    """The doors for every format of these specs, by path, whether a stage of theirs is declared or not."""
    return {
        format.path: Door(format, spec.name, partial(running, spec.name)) for spec in specs for format in spec.formats
    }


class Accepted(msgspec.Struct, rename="camel"):
    """One way of handing in events, and what it takes."""

    path: str
    summary: str
    content_types: list[str]
    authentication: str
    """`key`: one with the scope `ingest`. `request`: the request itself proves who sent it."""
    max_body: int
    """Bytes."""
    encodings: list[str]
    max_event: int | None = None
    """Bytes; where one request may hold several events."""
    max_events: int | None = None


class Welcome(msgspec.Struct, rename="camel"):
    """How events are handed in, and what one looks like in plain JSON."""

    ways: list[Accepted]
    dry_run: str
    """Where to see what would become of events, without handing them in."""
    schema: dict[str, Any] | None
    """JSON Schema of an event; in `/openapi.json` too."""


PLAIN = "Events in plain JSON, or CloudEvents 1.0 in structured, binary or batched mode; in either, CDEvents."


def welcome(path: str, doors: Sequence[Door], settings: IntakeSettings, schema: dict[str, Any]) -> Welcome:
    """What is taken at a path; at the plain door, what is taken anywhere."""
    ways = [_accepted(door, settings) for door in doors if path in (INGEST, door.format.path)]
    if path == INGEST:
        ways.insert(
            0,
            Accepted(
                INGEST, PLAIN, [*MEDIA, "*/* with ce-* headers"], "key", int(settings.max_body), [*ENCODINGS[1:]],
                int(settings.max_event), settings.max_events,
            ),
        )  # fmt: skip
    return Welcome(ways, f"POST {path}?dry_run=1", schema if path == INGEST else None)


def _accepted(door: Door, settings: IntakeSettings) -> Accepted:
    signed = door.format.verify is not None
    return Accepted(
        door.format.path,
        door.format.summary,
        [*door.format.media],
        "request" if signed else "key",
        min(door.format.max_bytes, int(settings.max_body)),
        [] if signed else [*ENCODINGS[1:]],
    )
