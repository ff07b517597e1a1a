"""``bers-emit TYPE``: one event."""

from __future__ import annotations

from bers_emit import options
from bers_emit.commands import parsing
from bers_emit.commands.handing_in import add_strict, hand_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_TEXTS = {
    "subject": "what joins it with others: the same of a start and its end",
    "outcome": "success, failure, error, cancel, timeout or skip",
    "service": "what was built, tested or deployed",
    "version": "of the service",
    "reason": "why it came out so",
    "artifact": "what was made or deployed: pkg:oci/chat@1.5.0",
    "source": "who tells of it; default: the project in CI, or this host",
    "id": "with the source, what a repeat is recognised by; default: a new one",
}


def emit_command(argv: Sequence[str], *, default_url: str | None = None, prog: str = "bers-emit") -> int:
    """``TYPE [options]``: emit one event; 0 even where it cannot be delivered, unless ``--strict``."""
    parser = parsing.parser(
        f"{prog} TYPE",
        "Emit one event. The exit code is 0 also where it cannot be delivered: it waits in the spool then.",
        f"{prog} TYPE [options]",
    )
    parser.add_argument("type", metavar="TYPE", help="what happened: build.finished, deployment.started, ...")
    for name, text in _TEXTS.items():
        parser.add_argument(f"--{name}", metavar="TEXT", help=text)
    parser.add_argument("--environment", "--env", metavar="NAME", help="where: production, staging, ...")
    parser.add_argument("--duration", type=options.duration, metavar="930ms", help="how long it took: 930ms, 1.5s, 2m")
    parser.add_argument("--time", type=options.time, metavar="RFC3339", help="when it happened; default: now")
    parser.add_argument(
        "--measure",
        action="append",
        default=[],
        type=options.measure,
        metavar="K=NUMBER",
        help="a figure: bundle.size=4097",
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        type=options.label,
        metavar="K=V",
        help="what figures are split by: team=web",
    )
    parser.add_argument("--data", type=options.data, metavar="JSON|@FILE", help="anything else")
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
    return hand_in(given, prog, default_url, [(given.type, fields)])
