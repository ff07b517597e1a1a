"""Commands import what they need: the server is none of it, but where one runs."""

import subprocess
import sys

from bers.cli import cli

PROGRAM = """
import sys
from bers.cli import cli
for name in sys.argv[1:]:
    cli.get_command(None, name)
    if "bers.web.server" in sys.modules or "bers.supervisor" in sys.modules:
        sys.exit(name)
"""


def test_only_what_runs_a_server_imports_one() -> None:
    names = set(cli.list_commands(cli.make_context("bers", ["--help"], resilient_parsing=True)))
    assert {"start", "dev", "check", "stop", "restart", "env"} <= names
    others = sorted(names - {"start", "dev"})
    done = subprocess.run([sys.executable, "-c", PROGRAM, *others], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), "this command imports the server, or fails"
