"""`make audit`: are vulnerabilities known of what is installed here? It says so plainly where nobody could be asked.

Exit code 0: none is known. 1: some are. 2: nothing was audited, and why is said. It is no part of `make test`, which
has to pass without the network.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import sysconfig
from typing import Any, NoReturn
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import msgspec

PIP_AUDIT = "2.10.1"
PATIENCE = 10.0
"""Seconds that an advisory source has to answer."""


class Vulnerability(msgspec.Struct):
    """What is known against a version of a package."""

    id: str
    fix_versions: list[str]
    aliases: list[str] = []


class Dependency(msgspec.Struct):
    """A package that is installed. One that cannot be looked up has a reason."""

    name: str
    version: str = ""
    vulns: list[Vulnerability] = []
    skip_reason: str = ""


class Report(msgspec.Struct):
    """What pip-audit prints."""

    dependencies: list[Dependency]


def main() -> None:
    given = _arguments()
    address = urlsplit(str(given.source))
    if address.scheme not in ("http", "https"):
        sys.exit(f"{given.source!r} is not the address of an advisory source")
    try:
        _ask(given.source)
    except (OSError, ValueError) as exc:  # A refused connection, a time-out, an answer that is none.
        _give_up(f"no advisory source answers:\n  {address.netloc}: {exc}")
    _audit(given)


def _audit(given: argparse.Namespace) -> NoReturn:
    """Let pip-audit look at everything that is installed here, from an environment of its own."""
    command = [*shlex.split(given.tool), "--path", sysconfig.get_path("purelib"), "--skip-editable", "--format", "json"]
    command += ["--progress-spinner", "off", "--timeout", str(int(PATIENCE)), "--vulnerability-service", "osv"]
    command += ["--osv-url", given.source]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=given.within)
    except FileNotFoundError as exc:
        _give_up(f"{exc.filename} is not installed")
    except subprocess.TimeoutExpired:
        _give_up(f"the source did not answer everything within {given.within:g} s")
    try:
        report = msgspec.json.decode(done.stdout, type=Report)
    except msgspec.DecodeError:
        _give_up(f"pip-audit failed: {(done.stderr.strip() or done.stdout.strip() or 'it said nothing')[-2000:]}")
    _tell(report)


def _tell(report: Report) -> NoReturn:
    looked_up = [one for one in report.dependencies if not one.skip_reason]
    if not looked_up:
        _give_up("no advisory source answers: this one knows none of the packages")
    for one in report.dependencies:
        if one.skip_reason:
            print(f"{one.name}: not looked up: {one.skip_reason}")
        for known in one.vulns:
            fix = f"fixed in {', '.join(known.fix_versions)}" if known.fix_versions else "not fixed yet"
            print(f"{one.name} {one.version}: {' = '.join([known.id, *known.aliases])}, {fix}")
    count = sum(len(one.vulns) for one in looked_up)
    print(f"{len(looked_up)} packages looked up: {count or 'no'} known vulnerabilities")
    sys.exit(1 if count else 0)


def _give_up(why: str) -> NoReturn:
    print(f"{why}\nnothing was audited", file=sys.stderr)
    sys.exit(2)


def _ask(url: str) -> None:
    """Ask for what everybody who has advisories knows: an index without any answers, too, and knows nothing."""
    body = json.dumps({"package": {"name": "jinja2", "ecosystem": "PyPI"}, "version": "2.4.1"}).encode()
    if not _fetch(Request(url, body, {"Content-Type": "application/json"})).get("vulns"):
        raise ValueError("it knows nothing against jinja2 2.4.1, so it has no advisories")


def _fetch(request: Request) -> dict[str, Any]:
    with urlopen(request, timeout=PATIENCE) as answer:
        return msgspec.json.decode(answer.read(16 << 20), type=dict[str, Any])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--source", default="https://api.osv.dev/v1/query", help="Where advisories are asked for, by OSV."
    )
    parser.add_argument("--within", type=float, default=300.0, help="Seconds that the whole audit may take.")
    parser.add_argument(
        "--tool",
        default=f"{sys.exec_prefix}/bin/uv tool run --from pip-audit=={PIP_AUDIT} pip-audit",
        help="What audits.",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
