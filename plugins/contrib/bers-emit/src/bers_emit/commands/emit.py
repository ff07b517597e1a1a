"""``bers-emit TYPE``: one event."""

from __future__ import annotations

from bers_emit import options
from bers_emit.commands import parsing
from bers_emit.commands.handing_in import add_strict, hand_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_TEXTS = ("subject", "outcome", "service", "version", "reason", "artifact", "source", "id")


def emit_command(argv: Sequence[str], *, default_url: str | None = None, prog: str = "bers-emit") -> int:
    """``TYPE [options]``: emit one event; 0 even where it cannot be delivered, unless ``--strict``."""
    parser = parsing.parser(f"{prog} TYPE", "Emit one event.")
    parser.add_argument("type", metavar="TYPE", help="what happened: build.finished, deployment.started, ...")
    for name in _TEXTS:
        parser.add_argument(f"--{name}")
    parser.add_argument("--environment", "--env")
    parser.add_argument("--duration", type=options.duration, metavar="930ms", help="how long it took: 930ms, 1.5s, 2m")
    parser.add_argument("--time", type=options.time, metavar="RFC3339", help="when it happened; default: now")
    parser.add_argument("--measure", action="append", default=[], type=options.measure, metavar="K=NUMBER")
    parser.add_argument("--label", action="append", default=[], type=options.label, metavar="K=V")
    parser.add_argument("--data", type=options.data, metavar="JSON|@FILE", help="anything else, as JSON")
    parser.add_argument("--cause", metavar="NAME", help="what it came of: a deployment, or the incident it answers")
    parser.add_argument("--rollback", action="store_true", help="it takes a deployment back: the label kind=rollback")
    parser.add_argument("--dry-run", action="store_true", help="print the event, and send nothing")
    parsing.add_change(parser)
    add_strict(parser)
    parsing.add_server(parser)
    try:
        given = parsing.parse(parser, argv)
    except parsing.Usage as exc:
        return exc.code
    fields: dict[str, object] = {name: getattr(given, name) for name in (*_TEXTS, "environment", "time", "data")}
    if given.duration is not None:
        fields["duration_ms"] = given.duration * 1000
    labels = {"kind": "rollback", **dict(given.label)} if given.rollback else dict(given.label)
    fields.update(measures=dict(given.measure), labels=labels, **parsing.change(given))
    more: dict[str, object] = {"cause": given.cause} if given.cause else {}
    if brought := parsing.commits(fields):
        more["commits"] = brought
    if more:
        held = fields["data"]
        fields["data"] = {**(held if isinstance(held, dict) else {} if held is None else {"data": held}), **more}
    if given.dry_run:
        print(parsing.emitter(given, default_url or "dry-run").shown(given.type, fields))
        return 0
    return hand_in(given, prog, default_url, given.type, fields)
