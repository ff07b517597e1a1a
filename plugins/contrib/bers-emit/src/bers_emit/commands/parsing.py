"""What several commands take and say: the server, the change that an event is about, and one line on stderr."""

from __future__ import annotations

import os
import sys

from bers_emit import shapes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

    from bers_emit.emitter import Emitter


class Usage(Exception):
    """There is nothing to do: help was asked for, or the usage is wrong and that has been said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def parser(prog: str, description: str, usage: str | None = None) -> ArgumentParser:
    from argparse import ArgumentParser, HelpFormatter

    class Parser(ArgumentParser):
        def error(self, message: str) -> NoReturn:
            self.exit(wrong(self, message.removeprefix("argument ")))

    def formatter(prog: str) -> HelpFormatter:
        # With a width of its own argparse does not import shutil, which would bring its compression along.
        columns = os.environ.get("COLUMNS", "")
        return HelpFormatter(
            prog, width=int(columns) if len(columns) < 5 and columns.isdecimal() and int(columns) > 20 else 80
        )

    return Parser(prog=prog, description=description, usage=usage, allow_abbrev=False, formatter_class=formatter)


def wrong(parser: ArgumentParser, message: str) -> int:
    """Say in one line what is wrong with the usage; the exit code."""
    say(parser.prog, f"{message}; see {parser.prog} --help")
    return 2


def parse(parser: ArgumentParser, argv: Sequence[str]) -> Namespace:
    """Read the options; raise Usage, where argparse would end the process: we are also called as a function."""
    try:
        return parser.parse_args(list(argv))
    except SystemExit as exc:
        raise Usage(exc.code if isinstance(exc.code, int) else 2) from exc


def add_server(parser: ArgumentParser) -> None:
    parser.add_argument("--url", help="the server; default: BERS_EMIT_URL")
    parser.add_argument(
        "--token-env", default="BERS_EMIT_TOKEN", metavar="NAME", help="the variable that holds the key"
    )


def add_change(parser: ArgumentParser) -> None:
    from bers_emit import options

    parser.add_argument("--revision", metavar="SHA", help="the commit it is about")
    parser.add_argument("--committed-at", type=options.time, metavar="RFC3339", help="when that was committed")
    parser.add_argument("--base", metavar="SHA", help="the commit that was deployed before: all since then are told")
    parser.add_argument("--run", metavar="ID", help="the run of the CI system that it is part of")
    parser.add_argument("--attempt", type=int, metavar="N", help="which attempt of that run; default: 1")


def change(given: Namespace, *, from_git: bool = False) -> dict[str, object]:
    """The commit and the run that were named, as the fields of an event; git is asked what was not said of a commit.

    ``from_git`` says that it is the commit of the folder we are in, where none was named.
    """
    vcs = {"revision": given.revision, "committed_at": given.committed_at}
    if from_git or given.base or (given.revision and not given.committed_at):
        from bers_emit import history

        known = history.change(given.revision or history.worked_on(os.environ), given.base)
        full = str(known.get("revision", ""))
        vcs = {**known, **{name: of for name, of in vcs.items() if of is not None and not full.startswith(of)}}
    run = {"id": given.run, "attempt": given.attempt if given.run else None}
    parts = {
        name: {key: of for key, of in part.items() if of is not None} for name, part in (("vcs", vcs), ("run", run))
    }
    return {name: part for name, part in parts.items() if part}


def commits(fields: Mapping[str, object]) -> list[tuple[str, float]]:
    """The commits between the one that was there before and the one that an event is about, where both are known."""
    vcs = shapes.pairs(fields.get("vcs")) or {}
    if "base_revision" not in vcs or "revision" not in vcs:
        return []
    from bers_emit import history

    return history.commits(str(vcs["base_revision"]), str(vcs["revision"]))


def emitter(given: Namespace, default_url: str | None, budget: float | None = None) -> Emitter:
    from bers_emit.emitter import Emitter

    url = given.url or os.environ.get("BERS_EMIT_URL") or default_url
    return Emitter(url, os.environ.get(given.token_env), budget=budget)


def say(prog: str, text: str) -> None:
    print(f"{prog}: {plain(text)}", file=sys.stderr)


def plain(text: str) -> str:
    """The text in one line without control characters: what a server says clears no screen, and gives a CI system no
    command, which is a line that begins so."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
