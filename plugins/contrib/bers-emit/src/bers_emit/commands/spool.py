"""``bers-emit spool``: what waits in the spool, what the server refused, and what becomes of that."""

from __future__ import annotations

import os

from bers_emit import dead_letters, folder, options
from bers_emit.commands import parsing
from bers_emit.spool import can_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence


def spool_command(argv: Sequence[str], *, default_url: str | None = None, prog: str = "bers-emit") -> int:
    """``spool status|retry|purge``: look at the spool, send dead letters again, or delete them."""
    parser = parsing.parser(f"{prog} spool", "Show what is left in the spool, send dead letters again, or delete them.")
    parser.add_argument(
        "action",
        metavar="ACTION",
        choices=["status", "retry", "purge"],
        help="status: what waits and what was refused; retry: send again what was refused; purge: delete that",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--deadline", type=options.duration, default=5.0, metavar="5s", help="the longest that retry may take"
    )
    parser.add_argument(
        "--older-than", type=options.duration, default=0.0, metavar="24h", help="what purge is to delete; default: all"
    )
    parsing.add_server(parser)
    try:
        given = parsing.parse(parser, argv)
    except parsing.Usage as exc:
        return exc.code
    place = folder.default(os.environ)
    try:
        if given.action == "retry":
            return _retry(given, prog, default_url)
        if given.action == "purge":
            print(f"{dead_letters.purge(place, given.older_than)} dead letters deleted")
            return 0
    except OSError as exc:
        parsing.say(prog, f"{place}: {exc.strerror or exc}")
        return 1
    found = folder.status(place)
    if given.json:
        import json

        print(json.dumps(found))
        return 0
    for name, value in found.items():
        if name != "reasons":
            print(parsing.plain(f"{name:<15} {'-' if value is None else value}"))
    if not can_lock():
        print("this system has no file locks: events are kept in memory alone, and are lost where a process dies")
    for reason, count in found["reasons"].items():
        print(parsing.plain(f"{'':<15} {count} x {reason}"))
    return 0


def _retry(given: Namespace, prog: str, default_url: str | None) -> int:
    emitter = parsing.emitter(given, default_url)
    if not emitter.url:
        parsing.say(prog, "BERS_EMIT_URL is not set, or BERS_EMIT is off; nothing was sent")
        return 1
    count = dead_letters.revive(emitter.folder)
    emitter.flush(given.deadline)
    left = folder.status(emitter.folder)
    error = f" ({emitter.error})" if emitter.error else ""
    told = f"{count} dead letters sent again{error}; {left['waiting']} events left, {left['dead']} dead letters"
    print(parsing.plain(told))
    return 1 if left["waiting"] or left["dead"] else 0
