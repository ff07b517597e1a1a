"""Emitting events from the command line, and saying what became of it where that is not what was wanted."""

from __future__ import annotations

from bers_emit.commands import parsing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Mapping


def add_strict(parser: ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help="exit 1 when the server did not take the event")


def hand_in(
    given: Namespace, prog: str, default_url: str | None, events: Iterable[tuple[str, Mapping[str, object]]]
) -> int:
    """Emit each event, a type and its fields; 0 even where they cannot be delivered, unless ``--strict``."""
    emitter = parsing.emitter(given, default_url)
    taken = [emitter.emit(type, **fields) for type, fields in events]
    kept = all(taken)
    delivered = emitter.close() and not emitter.refused
    if not emitter.url:
        parsing.say(prog, "BERS_EMIT_URL is not set, or BERS_EMIT is off; nothing was sent")
    elif not kept:
        parsing.say(prog, "the event could not be kept: it is too large, or the spool is full")
    elif not delivered:
        state = "refused by the server, kept in dead/ of" if emitter.refused else "not delivered yet, kept in"
        parsing.say(prog, f"{state} {emitter.folder}: {emitter.error or 'no answer in time'}")
    return 1 if given.strict and not (kept and delivered) else 0
