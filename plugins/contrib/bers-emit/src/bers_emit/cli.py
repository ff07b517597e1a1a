"""The command line: ``bers-emit TYPE``, ``run``, ``heartbeat``, ``flush``, ``spool status``. ``bers`` calls it too."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence
    from typing import Callable

    from bers_emit.emitter import Emitter

    Command = Callable[[Sequence[str]], int]

_HELP = """\
usage: bers-emit TYPE [options]              emit one event: bers-emit build.finished --outcome success
       bers-emit run [options] -- CMD...     run a command and report start, end, duration and outcome
       bers-emit heartbeat NAME [--fail]     report that a job ran, so that it is missed when it does not
       bers-emit flush [--deadline 5s]       send what is left in the spool
       bers-emit spool status [--json]       show what is left in the spool

Each takes --help. The server is BERS_EMIT_URL, its key BERS_EMIT_TOKEN; without a URL nothing is sent.
Nothing here fails or delays a build because the server is down: events wait in the spool.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The program ``bers-emit``."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help"):
        print(_HELP, end="")
        return 0 if args else 2
    if args[0] == "--version":
        from bers_emit import __version__

        print(f"bers-emit {__version__}")
        return 0
    commands: dict[str, Command] = {
        "run": run_command,
        "heartbeat": heartbeat_command,
        "flush": flush_command,
        "spool": spool_command,
    }
    command = commands.get(args[0])
    return command(args[1:]) if command else emit_command(args)


def emit_command(argv: Sequence[str], *, default_url: str | None = None, prog: str = "bers-emit") -> int:
    """``TYPE [options]``: emit one event; 0 even where it cannot be delivered, unless ``--strict``."""
    from bers_emit import options

    parser = _parser(f"{prog} TYPE", "Emit one event.")
    parser.add_argument("type", metavar="TYPE", help="what happened: build.finished, deployment.started, ...")
    for name in ("subject", "outcome", "service", "version", "reason", "artifact", "source", "id"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--environment", "--env")
    parser.add_argument("--duration", type=options.duration, metavar="930ms", help="how long it took: 930ms, 1.5s, 2m")
    parser.add_argument("--time", type=options.time, metavar="RFC3339", help="when it happened; default: now")
    parser.add_argument("--measure", action="append", default=[], type=options.measure, metavar="K=NUMBER")
    parser.add_argument("--label", action="append", default=[], type=options.label, metavar="K=V")
    parser.add_argument("--data", type=options.data, metavar="JSON|@FILE", help="anything else, as JSON")
    parser.add_argument("--cause", metavar="NAME", help="what it came of: a deployment, or the incident it answers")
    _add_change(parser)
    parser.add_argument("--strict", action="store_true", help="exit 1 when the server did not take the event")
    _add_server(parser)
    try:
        given = parser.parse_args(list(argv))
    except SystemExit as exc:
        return _code(exc)
    names = ("subject", "outcome", "service", "version", "reason", "artifact", "source", "id", "environment", "time")
    fields: dict[str, object] = {name: getattr(given, name) for name in (*names, "data")}
    if given.duration is not None:
        fields["duration_ms"] = given.duration * 1000
    fields.update(measures=dict(given.measure), labels=dict(given.label), **_change(given))
    if given.cause:
        held = fields["data"]
        fields["data"] = {
            **(held if isinstance(held, dict) else {} if held is None else {"data": held}),
            "cause": given.cause,
        }
    return _hand_in(given, prog, default_url, given.type, fields)


def heartbeat_command(argv: Sequence[str], *, default_url: str | None = None, prog: str = "bers-emit") -> int:
    """``NAME``: report that a job ran; 0 even where it cannot be delivered, unless ``--strict``."""
    parser = _parser(f"{prog} heartbeat NAME", "Report that a job ran.")
    parser.add_argument("name", metavar="NAME", help="the job, as pipelines.yaml names it")
    parser.add_argument("--fail", action="store_true", help="it ran, and failed")
    parser.add_argument("--reason", help="why it failed, or what there is to say")
    parser.add_argument("--source", help="who reports")
    parser.add_argument("--strict", action="store_true", help="exit 1 when the server did not take the event")
    _add_server(parser)
    try:
        given = parser.parse_args(list(argv))
    except SystemExit as exc:
        return _code(exc)
    fields: dict[str, object] = {"subject": given.name, "outcome": "failure" if given.fail else "success"}
    fields.update(reason=given.reason, source=given.source)
    return _hand_in(given, prog, default_url, "heartbeat.received", fields)


def _hand_in(given: Namespace, prog: str, default_url: str | None, type: str, fields: dict[str, object]) -> int:
    """Emit one event, and say what became of it where that is not what was wanted."""
    emitter = _emitter(given, default_url)
    kept = emitter.emit(type, **fields)
    delivered = emitter.close() and not emitter.refused
    if not emitter.url:
        _say(prog, "BERS_EMIT_URL is not set, or BERS_EMIT is off; nothing was sent")
    elif not kept:
        _say(prog, "the event could not be kept: it is too large, or the spool is full")
    elif not delivered:
        state = "refused by the server, kept in dead/ of" if emitter.refused else "not delivered yet, kept in"
        _say(prog, f"{state} {emitter.folder}: {emitter.error or 'no answer in time'}")
    return 1 if given.strict and not (kept and delivered) else 0


def run_command(argv: Sequence[str], *, default_url: str | None = None, prog: str = "bers-emit") -> int:
    """``[options] -- CMD...``: run a command and report it; the exit code is the command's."""
    from bers_emit import options
    from bers_emit.activities import KINDS
    from bers_emit.runs import Signals, run_with

    parser = _parser(f"{prog} run", "Run a command and report it.", usage=f"{prog} run [options] -- CMD...")
    parser.add_argument("--kind", choices=sorted(KINDS), default="task")
    parser.add_argument("--name", help="default: the name of the executable")
    parser.add_argument("--environment", "--env")
    parser.add_argument("--version", help="the version that is built or deployed")
    parser.add_argument("--label", action="append", default=[], type=options.label, metavar="K=V")
    _add_change(parser)
    parser.add_argument("--capture-args", action="store_true", help="report the arguments, not only the executable")
    _add_server(parser)
    args = list(argv)
    split = args.index("--") if "--" in args else len(args)
    try:
        given = parser.parse_args(args[:split])
        if not args[split + 1 :]:
            parser.error("no command; write it after --")
    except SystemExit as exc:
        return _code(exc)
    with Signals() as signals:  # Until the last event is handed over: the exit code stays the command's.
        emitter = _emitter(given, default_url)
        code = run_with(
            signals,
            args[split + 1 :],
            kind=given.kind,
            name=given.name,
            emitter=emitter,
            capture_args=given.capture_args,
            environment=given.environment,
            version=given.version,
            labels=dict(given.label),
            **_change(given),
        )
        emitter.close()
    return code


def flush_command(argv: Sequence[str], *, default_url: str | None = None, prog: str = "bers-emit") -> int:
    """``flush``: send what this and other processes left; 0 even if some is left, unless ``--strict``."""
    from bers_emit import folder, options

    parser = _parser(f"{prog} flush", "Send what is left in the spool.")
    parser.add_argument(
        "--deadline", type=options.duration, default=5.0, metavar="5s", help="the longest this may take"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 when something is left")
    _add_server(parser)
    try:
        given = parser.parse_args(list(argv))
    except SystemExit as exc:
        return _code(exc)
    emitter = _emitter(given, default_url)
    if emitter.url:
        emitter.flush(given.deadline)
    else:
        _say(prog, "BERS_EMIT_URL is not set, or BERS_EMIT is off; nothing was sent")
    left = folder.status(emitter.folder)
    waiting, error = left["waiting"], f" ({emitter.error})" if emitter.error else ""
    print(f"{waiting} events left{error}, {left['in_use']} files in use, {left['dead']} dead letters")
    return 1 if given.strict and (waiting or left["in_use"] or not emitter.url) else 0


def spool_command(argv: Sequence[str], *, prog: str = "bers-emit") -> int:
    """``spool status``: show what waits in the spool."""
    from bers_emit import folder

    parser = _parser(f"{prog} spool", "Show what is left in the spool.")
    parser.add_argument("action", choices=["status"])
    parser.add_argument("--json", action="store_true")
    try:
        given = parser.parse_args(list(argv))
    except SystemExit as exc:
        return _code(exc)
    found = folder.status(folder.default(os.environ))
    if given.json:
        import json

        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:<15} {'-' if value is None else value}")
    return 0


def _parser(prog: str, description: str, usage: str | None = None) -> ArgumentParser:
    from argparse import ArgumentParser

    return ArgumentParser(prog=prog, description=description, usage=usage, allow_abbrev=False)


def _add_server(parser: ArgumentParser) -> None:
    parser.add_argument("--url", help="the server; default: BERS_EMIT_URL")
    parser.add_argument(
        "--token-env", default="BERS_EMIT_TOKEN", metavar="NAME", help="the variable that holds the key"
    )


def _add_change(parser: ArgumentParser) -> None:
    from bers_emit import options

    parser.add_argument("--revision", metavar="SHA", help="the commit it is about")
    parser.add_argument("--committed-at", type=options.time, metavar="RFC3339", help="when that was committed")
    parser.add_argument("--run", metavar="ID", help="the run of the CI system that it is part of")
    parser.add_argument("--attempt", type=int, metavar="N", help="which attempt of that run; default: 1")


def _change(given: Namespace) -> dict[str, object]:
    """The commit and the run that were named, as the fields of an event."""
    vcs = {"revision": given.revision, "committed_at": given.committed_at}
    run = {"id": given.run, "attempt": given.attempt if given.run else None}
    parts = {
        name: {key: of for key, of in part.items() if of is not None} for name, part in (("vcs", vcs), ("run", run))
    }
    return {name: part for name, part in parts.items() if part}


def _emitter(given: Namespace, default_url: str | None) -> Emitter:
    from bers_emit.emitter import Emitter

    url = given.url or os.environ.get("BERS_EMIT_URL") or default_url
    return Emitter(url, os.environ.get(given.token_env))


def _code(exc: SystemExit) -> int:
    """argparse ends the process; we are also called as a function."""
    return exc.code if isinstance(exc.code, int) else 2


def _say(prog: str, text: str) -> None:
    print(f"{prog}: {text}", file=sys.stderr)
