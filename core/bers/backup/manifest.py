"""What a backup says of itself: it comes last, with its checksum, and without it a backup is not whole."""

from __future__ import annotations

from typing import Literal

import msgspec

from bers.errors import BersError

NAME = "manifest.json"
SEAL = "manifest.sha256"
FORMAT = 1
DATA, CONFIGURATION, LOGS = "data/", "configuration/", "logs/"
"""Where members lie, by what they are."""


class NotABackup(BersError):
    """A file that is no backup, or one that this version cannot read."""


class Damaged(BersError):
    """A backup that is not as it was made, or does not hold what it should."""

    exit_code = 1


class Member(msgspec.Struct, frozen=True, rename="camel"):
    """One file of a backup."""

    name: str
    kind: Literal["database", "journal", "file", "configuration", "log"]
    size: int
    sha256: str


class Position(msgspec.Struct, frozen=True, rename="camel"):
    """How far a sink had got for one pipeline."""

    database: str
    sink: str
    reader: str
    position: int


class LeftOut(msgspec.Struct, frozen=True, rename="camel"):
    """What is not in a backup, and why."""

    name: str
    why: str


class Span(msgspec.Struct, frozen=True, rename="camel"):
    """What the journal reaches over: positions, and when its newest event was received, in seconds since 1970."""

    start: int
    end: int
    newest: float | None = None


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """What a backup holds. Its journal's end is the instant that it shows."""

    format: int
    bers: str
    """The version that made it."""
    created: str
    environment: str
    data_dir: str
    """Where the node had it."""
    config: str
    """The configuration file's name; empty where there was none."""
    running: bool
    """Whether a node ran meanwhile."""
    members: list[Member]
    journal: Span | None
    positions: list[Position]
    left_out: list[LeftOut]
    notes: list[str]
    """What was not as it should be when it was made."""


def encode(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode(text: bytes) -> Manifest:
    """Raise NotABackup where it cannot be understood."""
    try:
        version = msgspec.json.decode(text, type=dict[str, object]).get("format")
        if version != FORMAT:
            raise NotABackup(f"its format is {version!r}, and this bers reads {FORMAT}; use the bers that made it")
        return msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError as exc:
        raise NotABackup(f"its {NAME} cannot be understood: {exc}; take another backup") from exc
