"""The page about pytest is true: its commands run as they stand there, and their sessions report what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bers_emit.testing import Receiver
from tests.docs.generate import DOCS
from tests.docs.test_pages import Block, blocks

PAGE = (DOCS / "how-to" / "emit" / "pytest.md").read_text(encoding="utf-8")
SHELL = [block for block in blocks(PAGE) if block.language == "sh"]
QUICK = "-p no:schemathesis -p no:hypothesispytest -p no:anyio"


def outcome(receiver: Receiver) -> list[tuple[str, str]]:
    return [(event["labels"]["suite"], event["outcome"]) for event in receiver.of("testsuiterun.finished")]


@pytest.mark.parametrize("block", SHELL, ids=lambda block: f"line {block.line}")
def test_its_commands_run_as_they_stand(block: Block, tmp_path: Path) -> None:
    project = tmp_path / "shop"
    for name in ("unit", "integration"):
        (project / "tests" / name).mkdir(parents=True)
        (project / "tests" / name / f"test_{name}.py").write_text("def test_it(): pass\n")
    with Receiver() as receiver:
        # It is installed already, and the server is another.
        script = block.text.replace("pip install bers-emit\n", "").replace(
            "http://monitoring.example:3003", receiver.url
        )
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("BERS_", "PYTEST_"))}
        environ |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "BERS_EMIT_URL": receiver.url,
            "BERS_EMIT_SPOOL": str(tmp_path / "spool"),
            "PYTEST_ADDOPTS": QUICK,
        }
        done = subprocess.run(
            ["sh", "-ec", script], cwd=project, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        lines = [line for line in done.stdout.splitlines() if line.startswith("bers: ")]
        sessions = len(re.findall(r"^pytest|-- pytest", script, re.MULTILINE))
        assert len(lines) == sessions == len(outcome(receiver))
        assert all(re.fullmatch(r"bers: reported to http://\S+ as [a-z]+/[0-9a-f]{12}", line) for line in lines)
        names = re.findall(r"(?:--bers-suite=|--kind test --name )(\w+)", script) or ["shop"] * sessions
        assert outcome(receiver) == [(name, "success") for name in names]
        assert list((tmp_path / "spool").glob("*")) == []


def test_its_filter_ignores_what_python_says_of_forks_and_nothing_else(tmp_path: Path) -> None:
    said = "This process (pid=1) is multi-threaded, use of fork() may lead to deadlocks in the child."
    [rule] = re.findall(r'-W "([^"]+)"', PAGE)
    for name, text in (("fork", said), ("other", "It is old.")):
        (tmp_path / f"test_{name}.py").write_text(
            f"import warnings\ndef test_it(): warnings.warn({text!r}, DeprecationWarning)\n"
        )
    arguments = ["-m", "pytest", "-q", *QUICK.split(), "-W", "error", "-W", rule]
    done = subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed" in done.stdout and "FAILED test_other.py" in done.stdout
