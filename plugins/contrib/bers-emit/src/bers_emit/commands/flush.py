"""``bers-emit flush``: send what this and other processes left, within a deadline."""

from __future__ import annotations

from bers_emit import folder, options
from bers_emit.commands import parsing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def flush_command(argv: Sequence[str], *, default_url: str | None = None, prog: str = "bers-emit") -> int:
    """``flush``: send what this and other processes left; 0 even if some is left, unless ``--strict``."""
    parser = parsing.parser(f"{prog} flush", "Send what is left in the spool.")
    parser.add_argument(
        "--deadline", type=options.duration, default=5.0, metavar="5s", help="the longest this may take"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 when something is left")
    parsing.add_server(parser)
    try:
        given = parsing.parse(parser, argv)
    except parsing.Usage as exc:
        return exc.code
    emitter = parsing.emitter(given, default_url)
    if emitter.url:
        emitter.flush(given.deadline)
    else:
        parsing.say(prog, "BERS_EMIT_URL is not set, or BERS_EMIT is off; nothing was sent")
    left = folder.status(emitter.folder)
    waiting, error = left["waiting"], f" ({emitter.error})" if emitter.error else ""
    print(f"{waiting} events left{error}, {left['in_use']} files in use, {left['dead']} dead letters")
    return 1 if given.strict and (waiting or left["in_use"] or not emitter.url) else 0
