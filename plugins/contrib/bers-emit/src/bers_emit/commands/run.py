"""``bers-emit run -- CMD``: a command as it is, reported."""

from __future__ import annotations

from bers_emit import options
from bers_emit.cli import found
from bers_emit.commands import parsing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping, Sequence
    from typing import Any

    from bers_emit.runs import Companion

# What can go along with a command: the option, what argparse is told of it, and the class of the Companion, as
# MODULE:NAME. It is imported where the option is given, and made from the option's value.
COMPANIONS: dict[str, tuple[dict[str, Any], str]] = {
    "--junit": (
        {"action": "append", "metavar": "GLOB", "help": "report the tests that the command wrote down as JUnit's XML"},
        "bers_emit.imports.leavings:Tests",
    ),
    "--coverage": (
        {"action": "append", "metavar": "GLOB", "help": "report the coverage that it wrote down, in any known format"},
        "bers_emit.imports.leavings:Covered",
    ),
    "--bundle": (
        {"action": "append", "metavar": "GLOB", "help": "report the sizes of the files that it wrote: 'dist/**'"},
        "bers_emit.imports.leavings:Bundles",
    ),
    "--npm-timing": (
        {"action": "store_true", "help": "report how long npm took to resolve and to install dependencies"},
        "bers_emit.imports.timings:NpmTiming",
    ),
    "--pip-timing": (
        {"action": "store_true", "help": "the same of pip"},
        "bers_emit.imports.timings:PipTiming",
    ),
}


def run_command(argv: Sequence[str], *, default_url: str | None = None, prog: str = "bers-emit") -> int:
    """``[options] -- CMD...``: run a command and report it; the exit code is the command's."""
    from bers_emit.activities import KINDS
    from bers_emit.runs import Signals, run_with

    parser = parsing.parser(
        f"{prog} run",
        "Run a command and report it. The exit code is that of the command. What takes a GLOB may be given several "
        "times; quote it, so that the shell leaves it as it is.",
        f"{prog} run [options] -- CMD...",
    )
    parser.add_argument("--kind", choices=sorted(KINDS), default="task", help="what the command does; default: task")
    parser.add_argument("--name", help="default: the name of the executable")
    parser.add_argument("--environment", "--env", metavar="NAME", help="what it is for: production, staging, ...")
    parser.add_argument("--version", help="the version that is built or deployed")
    parser.add_argument(
        "--label", action="append", default=[], type=options.label, metavar="K=V", help="what its figures are split by"
    )
    parsing.add_change(parser)
    parser.add_argument("--no-git", action="store_true", help="do not ask git which commit a deployment brings")
    parser.add_argument("--capture-args", action="store_true", help="report the arguments, not only the executable")
    parser.add_argument(
        "--budget",
        type=options.duration,
        metavar="5s",
        help="how long its end may wait for the server; default: 1s, 3s in CI",
    )
    for option, (about, _) in COMPANIONS.items():
        parser.add_argument(option, dest=option, **about)
    parsing.add_server(parser)
    args = list(argv)
    split = args.index("--") if "--" in args else len(args)
    try:
        if not args[split + 1 :] and not {"-h", "--help"} & set(args):
            return parsing.wrong(parser, f"there is no command; write it after --, as in `{prog} run -- make`")
        given = parsing.parse(parser, args[:split])
    except parsing.Usage as exc:
        return exc.code
    with Signals() as signals:  # Until the last event is handed over: the exit code stays the command's.
        emitter = parsing.emitter(given, default_url, given.budget)
        change = parsing.change(given, from_git=given.kind == "deploy" and bool(emitter.url) and not given.no_git)
        code = run_with(
            signals,
            args[split + 1 :],
            kind=given.kind,
            name=given.name,
            emitter=emitter,
            capture_args=given.capture_args,
            companions=_companions(given, change),
            environment=given.environment,
            version=given.version,
            labels=dict(given.label),
            **change,
        )
        emitter.close()
    return code


def _companions(given: Namespace, change: Mapping[str, Any]) -> list[Companion]:
    asked = [(getattr(given, option), place) for option, (_, place) in COMPANIONS.items()]
    if "base_revision" in change.get("vcs", {}):
        asked.append((change["vcs"], "bers_emit.history:Commits"))
    return [found(place)(value) for value, place in asked if value]
