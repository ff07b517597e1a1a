"""Coverage by its kinds: the same of one run, whichever tool has written it down."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bers_emit.imports import coverage
from bers_emit.imports.counted import Coverage
from bers_emit.imports.documents import Document, Unreadable

PROGRAM = """
def pick(a):
    if a:
        b = 1
    else:
        b = 2
    return b
pick(1)
"""


def test_one_run_in_three_formats_says_the_same(tmp_path: Path) -> None:
    pytest.importorskip("coverage", reason="without coverage.py nothing is measured")
    (tmp_path / "program.py").write_text(PROGRAM)
    for arguments in (
        ["run", "--branch", "program.py"],
        ["json", "-o", "c.json"],
        ["xml", "-o", "c.xml"],
        ["lcov", "-o", "c.lcov"],
    ):
        subprocess.run([sys.executable, "-m", "coverage", *arguments], cwd=tmp_path, check=True, capture_output=True)
    told = json.loads((tmp_path / "c.json").read_text())["totals"]["percent_covered"]
    found = [read(tmp_path / name).measures() for name in ("c.json", "c.xml", "c.lcov")]
    kinds = [{name: one[name] for name in ("coverage.lines", "coverage.branches")} for one in found]
    assert kinds[0] == kinds[1] == kinds[2] == {"coverage.lines": pytest.approx(100 * 5 / 6), "coverage.branches": 50.0}
    assert told not in kinds[0].values()  # coverage.py's own figure adds the two up.


SUMMARY = {
    "total": {
        "lines": {"total": 4, "covered": 3, "skipped": 0, "pct": 75},
        "statements": {"total": 5, "covered": 4, "skipped": 0, "pct": 80},
        "functions": {"total": 0, "covered": 0, "skipped": 0, "pct": "Unknown"},
        "branches": {"total": 2, "covered": 1, "skipped": 0, "pct": 50},
        "branchesTrue": {"total": 0, "covered": 0, "skipped": 0, "pct": "Unknown"},
    },
    "/a.js": {"lines": {"total": 4, "covered": 3, "skipped": 0, "pct": 75}},
}
FINAL: dict[str, Any] = {
    "/a.js": {
        "path": "/a.js",
        "statementMap": {str(n): {"start": {"line": line}, "end": {}} for n, line in enumerate((1, 1, 2, 3, 4))},
        "fnMap": {}, "branchMap": {"0": {}},
        "s": {"0": 1, "1": 0, "2": 5, "3": 1, "4": 0}, "f": {}, "b": {"0": [1, 0]},
    }
}  # fmt: skip


def test_istanbul_knows_nothing_of_what_there_is_not(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps(SUMMARY))
    expected = {"coverage.lines": 75.0, "coverage.statements": 80.0, "coverage.branches": 50.0}
    assert read(tmp_path / "s.json").measures() == expected


def test_istanbul_counts_lines_by_the_statements_that_begin_on_them(tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text(json.dumps(FINAL))
    expected = {"coverage.lines": 75.0, "coverage.statements": 60.0, "coverage.branches": 50.0}
    assert read(tmp_path / "f.json").measures() == expected


def test_a_file_that_lcov_tells_of_twice_is_counted_once(tmp_path: Path) -> None:
    one = "TN:unit\nSF:/a\nFN:1,f\nFNDA:0,f\nFNF:1\nFNH:0\nDA:1,1\nDA:2,0\nLF:2\nLH:1\n"
    one += "BRDA:1,0,0,-\nBRF:1\nBRH:0\nend_of_record\n"
    two = "TN:e2e\nSF:/a\nFN:1,f\nFNDA:3,f\nFNF:1\nFNH:1\nDA:1,0\nDA:2,4,sum\nLF:2\nLH:1\nBRDA:1,0,0,2\nend_of_record\n"
    (tmp_path / "lcov.info").write_text(one + two)
    found = read(tmp_path / "lcov.info")
    assert found.measures() == {"coverage.lines": 100.0, "coverage.branches": 100.0, "coverage.functions": 100.0}
    (tmp_path / "lcov.info").write_text(one)
    found = read(tmp_path / "lcov.info")
    assert found.measures() == {"coverage.lines": 50.0, "coverage.branches": 0.0, "coverage.functions": 0.0}


COBERTURA = """<?xml version="1.0"?>
<!DOCTYPE coverage SYSTEM "http://cobertura.sourceforge.net/xml/coverage-04.dtd">
<coverage line-rate="0.5" branch-rate="0.5"{more}><packages><package><classes><class>
  <methods><method name="f"><lines><line number="1" hits="1"/></lines></method></methods>
  <lines><line number="1" hits="1" branch="true" condition-coverage="50% (1/2)"/><line number="2" hits="0"/></lines>
</class></classes></package></packages></coverage>"""
JACOCO = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE report PUBLIC "-//JACOCO//DTD Report 1.1//EN" "report.dtd">
<report name="app"><package name="p"><counter type="LINE" missed="1" covered="1"/></package>
  <counter type="INSTRUCTION" missed="9" covered="1"/><counter type="BRANCH" missed="1" covered="1"/>
  <counter type="LINE" missed="1" covered="3"/><counter type="METHOD" missed="0" covered="2"/></report>"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (COBERTURA.format(more=""), {"lines": 50.0, "branches": 50.0}),
        (
            COBERTURA.format(more=' lines-valid="8" lines-covered="6" branches-valid="0" branches-covered="0"'),
            {"lines": 75.0, "branches": 50.0},
        ),
        (JACOCO, {"lines": 75.0, "branches": 50.0, "functions": 100.0}),
    ],
    ids=["cobertura without counts", "cobertura", "jacoco"],
)
def test_coverage_as_xml(text: str, expected: dict[str, float], tmp_path: Path) -> None:
    (tmp_path / "c.xml").write_text(text)
    assert read(tmp_path / "c.xml").measures() == {f"coverage.{kind}": value for kind, value in expected.items()}


def test_parts_of_a_run_add_up_by_what_they_count() -> None:
    whole, other = Coverage(), Coverage()
    whole.add("lines", 9, 10)
    other.add("lines", 0, 90)
    other.add("branches", 1, 2)
    whole.merge(other)
    assert whole.measures() == {"coverage.lines": 9.0, "coverage.branches": 50.0}


@pytest.mark.parametrize(
    "text",
    ["", "no coverage", "{}", "[1]", '{"total": {}}', "<testsuites/>", "<coverage/>", '{"totals": {}}', "<report/>"],
)
def test_what_says_nothing_of_coverage_is_unreadable(text: str, tmp_path: Path) -> None:
    (tmp_path / "c").write_text(text)
    with pytest.raises(Unreadable):
        read(tmp_path / "c")


def read(path: Path) -> Coverage:
    return coverage.read(Document(str(path)))
