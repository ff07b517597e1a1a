"""``bers-emit gate``: a deployment step asks whether it may go."""

from __future__ import annotations

import os
import sys
import time

from bers_emit import options, shapes
from bers_emit.commands import parsing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

_ASK_EVERY = 2.0
_OPEN, _CLOSED, _WRONG = 0, 1, 2


def gate_command(argv: Sequence[str], *, default_url: str | None = None, prog: str = "bers-emit") -> int:
    """``gate``: 0 where it may go, 1 where it may not; 0 with a warning where nobody says, unless ``--fail-closed``."""
    parser = parsing.parser(
        f"{prog} gate",
        "Ask whether a deployment may go. The exit code is 0 where it may and 1 where it may not.",
        f"{prog} gate --environment NAME [options]",
    )
    parser.add_argument(
        "--environment", "--env", required=True, metavar="NAME", help="where it is about to be deployed"
    )
    parser.add_argument(
        "--for",
        dest="wanted",
        type=options.validation,
        default="staging-validation",
        metavar="WHAT",
        help="what has to have succeeded: ENVIRONMENT-validation; default: staging-validation",
    )
    parser.add_argument("--service", help="that of this service; default: of any")
    parser.add_argument("--version", help="that of this version; default: the last one")
    parser.add_argument("--max-age", type=options.duration, metavar="24h", help="how old it may be; default: any age")
    parser.add_argument(
        "--timeout",
        type=options.duration,
        default=0.0,
        metavar="60s",
        help="how long to wait for a validation that has not ended, or for the server; default: ask once",
    )
    parser.add_argument(
        "--fail-closed", action="store_true", help="exit 1 where the server does not say; default: 0, with a warning"
    )
    parsing.add_server(parser)
    try:
        given = parsing.parse(parser, argv)
    except parsing.Usage as exc:
        return exc.code
    url = given.url or os.environ.get("BERS_EMIT_URL") or default_url
    if not url:
        return _unknown(given, prog, "BERS_EMIT_URL is not set")
    end = time.monotonic() + given.timeout
    while True:
        left = end - time.monotonic()
        code, text = _ask(given, url, min(5.0, max(left, 1.0)))
        if code is not None and text[0] != "waiting":
            break
        if left <= 0:
            break
        time.sleep(min(_ASK_EVERY, max(0.0, end - time.monotonic())))
    if code is None:
        return _unknown(given, prog, text[1])
    said = f"{text[0]}: {text[1]}"
    if text[0] == "waiting":  # Nobody waits any more, and the word sounds as if somebody did.
        waited = f"within {given.timeout:g} s" if given.timeout else "yet; --timeout 60s waits for it"
        said = f"closed: {text[1]} {waited}"
    print(parsing.plain(said), file=sys.stdout if code == _OPEN else sys.stderr)
    return code


def _ask(given: Namespace, url: str, within: float) -> tuple[int | None, tuple[str, str]]:
    """The exit code, or None where nobody says; with the state and the reason."""
    from urllib.parse import quote, urlencode

    from bers_emit.delivery import Unreachable, get, public

    asked = {"for": given.wanted, "service": given.service, "version": given.version, "maxAge": given.max_age}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    path = f"/api/monitoring/gate/{quote(given.environment, safe='')}?{query}"
    try:
        status, answer = get(url, path, os.environ.get(given.token_env, ""), within)
    except Unreachable as exc:
        return None, ("unknown", str(exc))
    found = shapes.pairs(answer) or {}
    data = shapes.pairs(found.get("data"))
    if status == 200 and data is not None:
        state, reason = str(data.get("state")), str(data.get("reason"))
        return (_OPEN if data.get("open") is True else _CLOSED), (state, reason)
    said = str((shapes.pairs(found.get("error")) or {}).get("message") or f"the server answered {status}")
    if status in (400, 422):
        return _WRONG, ("wrong", said)
    return None, ("unknown", f"{public(url)}: {status}: {said}")


def _unknown(given: Namespace, prog: str, reason: str) -> int:
    done = "so it may not go (--fail-closed)" if given.fail_closed else "so it may go; --fail-closed would stop it"
    parsing.say(prog, f"gate: nobody says whether it may go, {done}: {reason}")
    return _CLOSED if given.fail_closed else _OPEN
