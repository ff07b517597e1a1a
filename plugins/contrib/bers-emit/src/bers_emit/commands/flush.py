"""``bers-emit flush``: send what this and other processes left, within a deadline."""

from __future__ import annotations

import os

from bers_emit import folder, options
from bers_emit.commands import parsing
from bers_emit.redaction import Redaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bers_emit.emitter import Emitter
    from bers_emit.folder import Status


def _summary(emitter: Emitter, left: Status) -> str:
    """Five lines of Markdown, without secrets: everybody who sees the job sees them."""
    redact = Redaction(os.environ)
    server = _cell(redact(emitter.url)) if emitter.url else "none: BERS_EMIT_URL is not set, or BERS_EMIT is off"
    waits = f"{left['waiting']} events wait, {left['in_use']} files in use"
    lines = [
        "**BERS Monitoring**",
        f"- Server: {server}",
        f"- Spool: {waits if left['waiting'] or left['in_use'] else 'everything was handed over'}",
        f"- Dead letters: {left['dead']}" + (", see `bers-emit spool status`" if left["dead"] else ""),
        f"- Why: {_cell(redact(emitter.error)) if emitter.error else 'nothing is wrong'}",
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text of others as code: it makes no markup, and no line of its own."""
    return "`" + " ".join(text.split()).replace("`", "'")[:300] + "`"


def flush_command(argv: Sequence[str], *, default_url: str | None = None, prog: str = "bers-emit") -> int:
    """``flush``: send what this and other processes left; 0 even if some is left, unless ``--strict``."""
    parser = parsing.parser(f"{prog} flush", "Send what is left in the spool.")
    parser.add_argument(
        "--deadline", type=options.duration, default=5.0, metavar="5s", help="the longest this may take"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 when something is left")
    parser.add_argument(
        "--summary", metavar="FILE", help="append five lines of Markdown to a file, as to $GITHUB_STEP_SUMMARY"
    )
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
    if given.summary:
        try:
            with open(given.summary, "a", encoding="utf-8") as file:
                file.write(_summary(emitter, left))
        except OSError as exc:  # What is told of the sending is no reason to fail where that is none.
            parsing.say(prog, f"{given.summary}: {exc.strerror or exc}; no summary was written")
    told = f"{waiting} events left{error}, {left['in_use']} files in use, {left['dead']} dead letters"
    print(parsing.plain(told))
    return 1 if given.strict and (waiting or left["in_use"] or not emitter.url) else 0
