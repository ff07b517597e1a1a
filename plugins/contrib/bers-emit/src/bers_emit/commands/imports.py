"""``bers-emit import KIND PATH...``: what another tool has written down, as an event; twice is once."""

from __future__ import annotations

import os
import sys

from bers_emit import context, options, shapes
from bers_emit.commands import parsing
from bers_emit.commands.handing_in import add_strict, hand_in
from bers_emit.imports import events
from bers_emit.imports.documents import Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

_TEXTS = {
    "service": "what was built or tested",
    "version": "of the service",
    "subject": "the run that it belongs to: the same as of its start and its end",
    "source": "who tells of it; default: /import/KIND, on whatever machine",
}


def import_command(argv: Sequence[str], *, default_url: str | None = None, prog: str = "bers-emit") -> int:
    """``KIND PATH...``: 0 even where there is nothing to import or to deliver it to, unless ``--strict``."""
    parser = parsing.parser(
        f"{prog} import",
        "Report what another tool has written down. The same report again is no second event.",
        f"{prog} import KIND PATH... [options]",
    )
    parser.add_argument("kind", metavar="KIND", choices=sorted(events.KINDS), help=_kinds())
    parser.add_argument("path", metavar="PATH", nargs="+", help="files or patterns; - is the standard input")
    parser.add_argument(
        "--suite", "--name", dest="name", metavar="NAME", default="", help="what the tests, or the build, are called"
    )
    parser.add_argument("--environment", "--env", metavar="NAME", help="where it ran: production, staging, ...")
    for name, text in _TEXTS.items():
        parser.add_argument(f"--{name}", metavar="TEXT", help=text)
    parser.add_argument("--time", type=options.time, metavar="RFC3339", help="default: when the newest was written")
    parser.add_argument(
        "--label", action="append", default=[], type=options.label, metavar="K=V", help="what its figures are split by"
    )
    parsing.add_change(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the events, and send nothing")
    add_strict(parser)
    parsing.add_server(parser)
    try:
        given = parsing.parse(parser, argv)
    except parsing.Usage as exc:
        return exc.code
    try:
        found = _events(given)
    except Unreadable as exc:
        parsing.say(f"{prog} import", str(exc))
        return 1 if given.strict else 0
    if given.dry_run:
        _print(found)
        return 0
    return hand_in(given, prog, default_url, found)


def _kinds() -> str:
    return "; ".join(f"{name} ({of})" for name, of in sorted(events.KINDS.items())).replace("%", "%%")


def _events(given: Namespace) -> list[events.Event]:
    parent = os.environ.get("BERS_PARENT")
    told = given.run and f"{given.run}/{given.attempt or 1}"
    found = events.read(
        given.kind, events.paths(given.path), told or _run(parent), given.name, inside=parent is not None
    )
    more = {name: of for name in (*_TEXTS, "environment", "time") if (of := getattr(given, name)) is not None}
    for _, fields in found:
        fields.update(more, **parsing.change(given))
        fields["labels"] = {**fields.get("labels", {}), **dict(given.label)}
        if parent:
            fields["data"] = {**fields.get("data", {}), "parent": parent}
    return found


def _run(parent: str | None) -> str:
    """What tells this run from others: the same content in the same run is the same event."""
    fields: dict[str, object] = {}
    context.Surroundings(os.environ).complete(fields)
    run = shapes.pairs(fields.get("run")) or {}
    told = [str(run[name]) for name in ("system", "pipeline", "id", "job", "attempt") if name in run]
    return parent or "/".join(told)


def _print(found: list[events.Event]) -> None:
    import json

    from bers_emit.event import encode
    from bers_emit.redaction import Redaction

    redact = Redaction(os.environ)
    source = context.source(os.environ)
    told = [json.loads(encode(type, "", source, fields, redact)) for type, fields in found]
    sys.stdout.buffer.write(json.dumps(told, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
    sys.stdout.flush()
