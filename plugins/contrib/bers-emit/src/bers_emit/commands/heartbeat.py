"""``bers-emit heartbeat NAME``: a job ran, and is missed when it does not."""

from __future__ import annotations

from bers_emit.commands import parsing
from bers_emit.commands.handing_in import add_strict, hand_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def heartbeat_command(argv: Sequence[str], *, default_url: str | None = None, prog: str = "bers-emit") -> int:
    """``NAME``: report that a job ran; 0 even where it cannot be delivered, unless ``--strict``."""
    parser = parsing.parser(
        f"{prog} heartbeat",
        "Report that a job ran. Where `jobs` of `heartbeats` in pipelines.yaml have it, its absence is told.",
        f"{prog} heartbeat NAME [options]",
    )
    parser.add_argument("name", metavar="NAME", help="the job, as pipelines.yaml names it")
    parser.add_argument("--fail", action="store_true", help="it ran, and failed")
    parser.add_argument("--reason", help="why it failed, or what there is to say")
    parser.add_argument("--source", help="who reports; default: the project in CI, or this host")
    add_strict(parser)
    parsing.add_server(parser)
    try:
        given = parsing.parse(parser, argv)
    except parsing.Usage as exc:
        return exc.code
    fields: dict[str, object] = {"subject": given.name, "outcome": "failure" if given.fail else "success"}
    fields.update(reason=given.reason, source=given.source)
    return hand_in(given, prog, default_url, [("heartbeat.received", fields)])
