"""JUnit's XML, as runners really write it: every total is the one in the runner's own last line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bers_emit.imports import junit
from bers_emit.imports.documents import Document, Unreadable
from bers_emit.imports.suites import Suite

SUITE = """
import pytest
@pytest.fixture
def broken(): raise RuntimeError("setup")
@pytest.fixture
def leaking():
    yield
    raise RuntimeError("teardown")
def test_good(): print("\\x1b[31mred\\x1b[0m ]]> <testcase/>")
@pytest.mark.parametrize("n", range(20))
def test_many(n): assert n != 7, "<&>\\x00"
def test_setup(broken): pass
def test_teardown(leaking): pass
def test_both(leaking): assert False
@pytest.mark.skip
def test_skipped(): pass
@pytest.mark.xfail
def test_expected(): assert False
@pytest.mark.xfail
def test_unexpected(): pass
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_totals_are_those_of_pytest(workers: str, tmp_path: Path) -> None:
    pytest.importorskip("xdist", reason="without pytest-xdist there are no workers")
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "test_broken.py").write_text("import no_such_module")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--junitxml=out.xml", "-n", workers]
    said = subprocess.run(
        [*command, "--continue-on-collection-errors"], cwd=tmp_path, capture_output=True, text=True, check=False
    ).stdout
    summary = {word.rstrip("s"): int(count) for count, word in re.findall(r"(\d+) ([a-z]+)", said.splitlines()[-1])}
    found = read(tmp_path / "out.xml")
    assert summary == {"failed": 2, "passed": 21, "skipped": 1, "xfailed": 1, "xpassed": 1, "error": 4}
    assert (found.failed, found.errored) == (summary["failed"], summary["error"])
    assert found.skipped == summary["skipped"] + summary["xfailed"]
    # Whose teardown fails passed as well, says pytest; its report has one test, with an error.
    assert found.passed == summary["passed"] + summary["xpassed"] - 1
    assert found.outcome == "failure"
    assert "tests.flaky" not in found.measures()


SUREFIRE = """<?xml version="1.0" encoding="UTF-8"?>
<testsuite xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" version="3.0.1" name="com.acme.CartTest"
    time="1,203.51" tests="5" errors="1" skipped="1" failures="1">
  <properties><property name="java.version" value="17"/></properties>
  <testcase name="adds" classname="com.acme.CartTest" time="0.014"/>
  <testcase name="expires" classname="com.acme.CartTest" time="0.5">
    <flakyFailure message="late" type="org.opentest4j.AssertionFailedError" time="0.2">
      <stackTrace><![CDATA[org.opentest4j.AssertionFailedError: late]]></stackTrace>
      <system-out><![CDATA[first attempt]]></system-out>
    </flakyFailure>
    <flakyError type="java.io.IOException" time="0.1"><stackTrace>again</stackTrace></flakyError>
  </testcase>
  <testcase name="pays" classname="com.acme.CartTest" time="0.3">
    <failure message="expected: &lt;1&gt; but was: &lt;2&gt;" type="AssertionFailedError">at com.acme</failure>
    <rerunFailure message="again" type="AssertionFailedError"><stackTrace>at com.acme</stackTrace></rerunFailure>
    <rerunError type="java.io.IOException"><stackTrace>at com.acme</stackTrace></rerunError>
  </testcase>
  <testcase name="ships" classname="com.acme.CartTest" time="0">
    <error message="no bean" type="IllegalStateException">at com.acme</error>
  </testcase>
  <testcase name="returns" classname="com.acme.CartTest" time="0"><skipped message="later"/></testcase>
</testsuite>
"""
GRADLE = """<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="com.acme.StoreTest" tests="4" skipped="1" failures="1" errors="0" timestamp="2026-11-23T08:00:00"
    hostname="ci" time="0.062">
  <properties/>
  <testcase name="opens()" classname="com.acme.StoreTest" time="0.01">
    <system-out><![CDATA[<testcase name="none"><failure/></testcase> ]]]]><![CDATA[> </testsuite>]]></system-out>
  </testcase>
  <testcase name="closes()" classname="com.acme.StoreTest" time="0.02">
    <failure message="no" type="AssertionError">java.lang.AssertionError: no</failure>
    <system-err><![CDATA[<error/>]]></system-err>
  </testcase>
  <testcase name="closes()" classname="com.acme.StoreTest" time="0.02"/>
  <testcase name="cleans()" classname="com.acme.StoreTest" time="0.0"><skipped/></testcase>
  <system-out><![CDATA[]]></system-out>
</testsuite>
"""
NESTED = """<testsuites name="phpunit" tests="3" failures="1" time="9">
  <testsuite name="all" tests="3" failures="1"><testsuite name="A" tests="2" failures="1">
    <testcase name="a"/><testcase name="b"><failure/></testcase></testsuite>
    <testsuite name="B" tests="1"><testcase name="c"/></testsuite></testsuite>
</testsuites>"""
SUMMED_UP = '<testsuites><testsuite name="s" tests="9" failures="2" errors="1" skipped="3" time="1.5"/></testsuites>'
GOOGLE = """<testsuites tests="3" failures="0" disabled="1" errors="0" time="0.1" name="AllTests">
  <testsuite name="T" tests="3" failures="0" disabled="1" skipped="1" errors="0" time="0.1">
    <testcase name="a" status="run" result="completed" time="0.1" classname="T"/>
    <testcase name="b" status="notrun" result="suppressed" time="0." classname="T"/>
    <testcase name="c" status="run" result="skipped" time="0." classname="T"><skipped message="x"/></testcase>
  </testsuite></testsuites>"""
TO_DO = """<testsuites name="jest tests" tests="2" failures="0" errors="0" time="0.5">
  <testsuite name="s" errors="0" failures="0" skipped="0" time="0.1" tests="2">
    <testcase classname="a" name="a" time="0.002"/><testcase classname="b" name="b" time="0"/>
    <testcase classname="c" name="c" time="0"/></testsuite></testsuites>"""


@pytest.mark.parametrize(
    ("text", "counts", "flaky", "wall"),
    [
        (SUREFIRE, (2, 1, 1, 1), ["com.acme.CartTest expires"], 1_203_510),
        (GRADLE, (2, 1, 0, 1), ["com.acme.StoreTest closes()"], 62),
        (NESTED, (2, 1, 0, 0), [], 9_000),
        (SUMMED_UP, (3, 2, 1, 3), [], 1_500),
        (GOOGLE, (1, 0, 0, 2), [], 100),
        (TO_DO, (2, 0, 0, 1), [], 500),
    ],
    ids=["surefire", "gradle", "nested suites", "sums alone", "googletest", "jest-junit's to do"],
)
def test_other_dialects(text: str, counts: tuple[int, ...], flaky: list[str], wall: float, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(text)
    found = read(tmp_path / "a.xml")
    assert (found.passed, found.failed, found.errored, found.skipped) == counts
    assert found.wall == pytest.approx(wall)
    assert found.shaky == flaky
    assert ("tests.flaky" in found.measures()) == bool(flaky)


def test_several_files_are_one_suite(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(SUREFIRE)
    (tmp_path / "b.xml").write_text(GRADLE)
    whole = Suite()
    whole.merge(read(tmp_path / name) for name in ("a.xml", "b.xml"))
    assert whole.measures() == {
        "tests.total": 9.0,
        "tests.passed": 4.0,
        "tests.failed": 2.0,
        "tests.errored": 1.0,
        "tests.skipped": 2.0,
        "tests.flaky": 2.0,
    }
    assert whole.reason == "3 of 7 tests did not pass"
    assert whole.data()["failed"] == [
        "com.acme.CartTest pays",
        "com.acme.CartTest ships",
        "com.acme.StoreTest closes()",
    ]


def test_a_run_of_no_tests_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<testsuites/>")
    found = read(tmp_path / "a.xml")
    assert (found.outcome, found.reason, found.total) == ("error", "no tests ran", 0)


@pytest.mark.parametrize("text", ["", "<html/>", "<testsuites>", "{}", "\0", "<testsuites>&nbsp;</testsuites>"])
def test_what_is_no_report_is_said_to_be_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(Unreadable, match=r"a\.xml: is no (XML|JUnit report)"):
        read(tmp_path / "a.xml")


def read(path: Path) -> Suite:
    return junit.read(Document(str(path)))
