"""``bers-emit spool``: what waits in the spool."""

from __future__ import annotations

import os

from bers_emit import folder
from bers_emit.commands import parsing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def spool_command(argv: Sequence[str], *, prog: str = "bers-emit") -> int:
    """``spool status``: show what waits in the spool."""
    parser = parsing.parser(f"{prog} spool", "Show what is left in the spool.")
    parser.add_argument("action", choices=["status"])
    parser.add_argument("--json", action="store_true")
    try:
        given = parsing.parse(parser, argv)
    except parsing.Usage as exc:
        return exc.code
    found = folder.status(folder.default(os.environ))
    if given.json:
        import json

        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:<15} {'-' if value is None else value}")
    return 0
