"""What a reported session counts is what pytest's own last line says, each test once."""

from __future__ import annotations

import json

import pytest

from bers_emit.testing import Receiver, cases_told, last_line, suite_end

pytest_plugins = ["pytester"]

TORN = """
import pytest
@pytest.fixture
def torn():
    yield
    raise RuntimeError("torn")
def test_passes(torn): pass
def test_fails(torn): assert 0
"""
SUBTESTS = """
def test_parts(subtests):
    for n in range(4):
        with subtests.test(n=n):
            assert n % 2
def test_whole(): pass
"""
FLAKY = """
import pathlib, pytest
def test_at_last():
    seen = pathlib.Path(__file__).with_suffix(".seen")
    before = seen.read_text() if seen.exists() else ""
    seen.write_text(before + "x")
    assert len(before) == 2
def test_never(): assert 0
def test_always(): pass
"""

# Python 3.9 has pytest 8 at most.
since_pytest_9 = pytest.mark.skipif(pytest.version_tuple < (9,), reason="this pytest has no subtests of its own")


@pytest.mark.parametrize("spread", ["-n0", "-n2"])
def test_totals_are_those_of_the_last_line(
    spread: str, session: pytest.Pytester, receiver: Receiver, every_outcome: str
) -> None:
    session.makepyfile(every_outcome)
    result = session.runpytest_subprocess(spread, "--bers-suite=unit")
    event = suite_end(receiver)
    assert last_line(event["measures"]) == result.parseoutcomes()
    assert event["measures"]["tests.total"] == 13
    assert (result.ret, event["outcome"], event["reason"]) == (1, "failure", "3 of 13 tests did not pass")
    assert event["labels"] == {"suite": "unit"}
    assert cases_told(receiver) == {
        f"test_totals_are_those_of_the_last_line.py::{name}": said
        for name, said in {
            "test_fails": ("failure", "AssertionError: one is not two\nassert 1 == 2"),
            "test_is_not_set_up": ("error", "RuntimeError: no database"),
            "test_xpasses_strictly": ("failure", "[XPASS(strict)] "),
        }.items()
    }
    assert "tests.flaky" not in event["measures"]  # Nobody repeats tests here, so nobody knows.
    assert len([line for line in result.outlines if line.startswith("bers: ")]) == 1


def test_a_test_counts_once_by_its_worst_phase(session: pytest.Pytester, receiver: Receiver) -> None:
    session.makepyfile(TORN)
    assert session.runpytest_subprocess().parseoutcomes() == {"passed": 1, "failed": 1, "errors": 2}
    measures = suite_end(receiver)["measures"]
    assert last_line(measures) == {"failed": 1, "errors": 1}
    assert [outcome for outcome, _ in cases_told(receiver).values()] == ["error", "failure"]


@since_pytest_9
@pytest.mark.parametrize("more", [[], ["-n2"], ["-p", "pytest_subtests.plugin"]], ids=["own", "xdist", "plugin"])
def test_subtests_that_fail_are_failures_of_their_test(
    more: list[str], session: pytest.Pytester, receiver: Receiver
) -> None:
    session.makepyfile(SUBTESTS)
    result = session.runpytest_subprocess(*more)
    measures = suite_end(receiver)["measures"]
    assert (measures["tests.total"], measures["tests.failed"], measures["tests.passed"]) == (2, 1, 1)
    assert measures["tests.subtests_failed"] == 2
    said = result.parseoutcomes()  # pytest counts both, its plugin of former days only the parts.
    assert said["failed"] == 2 + ("plugin" not in "".join(more))
    assert list(cases_told(receiver).values()) == [("failure", "assert (0 % 2)")]


@pytest.mark.parametrize("spread", ["-n0", "-n2"])
def test_what_passes_when_it_is_repeated_is_flaky(spread: str, session: pytest.Pytester, receiver: Receiver) -> None:
    session.makepyfile(FLAKY)
    result = session.runpytest_subprocess(spread, "--reruns=2")
    measures = suite_end(receiver)["measures"]
    assert last_line(measures) == result.parseoutcomes() == {"failed": 1, "passed": 2, "rerun": 4}
    assert measures["tests.flaky"] == 1
    assert len(cases_told(receiver)) == 1


def test_where_tests_may_be_repeated_and_none_is_none_is_flaky(session: pytest.Pytester, receiver: Receiver) -> None:
    session.makepyfile("def test_it(): pass")
    session.runpytest_subprocess("--reruns=2")
    assert suite_end(receiver)["measures"]["tests.flaky"] == 0


@since_pytest_9
@pytest.mark.parametrize("spread", ["-n0", "-n2"])
def test_subtests_of_an_attempt_that_is_repeated_do_not_count(
    spread: str, session: pytest.Pytester, receiver: Receiver
) -> None:
    session.makepyfile(FLAKY.replace("test_at_last()", "test_at_last(subtests)").replace(
        "    assert len(before) == 2", "    with subtests.test(): assert len(before) == 2"
    ))  # fmt: skip
    result = session.runpytest_subprocess(spread, "--reruns=2")
    measures = suite_end(receiver)["measures"]
    assert last_line(measures) == result.parseoutcomes()
    assert "tests.subtests_failed" not in measures and measures["tests.flaky"] == 1


@pytest.mark.parametrize("spread", ["-n0", "-n2"])
def test_files_that_cannot_be_collected_count(spread: str, session: pytest.Pytester, receiver: Receiver) -> None:
    session.makepyfile(
        test_broken="import nothing_like_it", test_skipped="import pytest\npytest.skip('no', allow_module_level=True)"
    )
    session.makepyfile("def test_it(): pass")
    result = session.runpytest_subprocess(spread, "--continue-on-collection-errors")
    event = suite_end(receiver)
    assert last_line(event["measures"]) == result.parseoutcomes() == {"passed": 1, "errors": 1, "skipped": 1}
    assert list(cases_told(receiver)) == ["test_broken.py"]


@pytest.mark.parametrize(("cases", "number"), [("all", 13), ("failed", 3), ("none", 0)])
def test_tests_are_told_by_themselves_as_far_as_wanted(
    cases: str, number: int, session: pytest.Pytester, receiver: Receiver, every_outcome: str
) -> None:
    session.makepyfile(every_outcome)
    session.runpytest_inprocess(f"--bers-cases={cases}")
    assert len(cases_told(receiver)) == number
    assert suite_end(receiver)["measures"]["tests.total"] == 13


def test_only_what_failed_last_is_counted_once(session: pytest.Pytester, receiver: Receiver) -> None:
    session.makepyfile("def test_a(): assert 0\ndef test_b(): pass")
    session.runpytest_inprocess()
    result = session.runpytest_inprocess("--lf")
    first, second = (event["measures"] for event in receiver.of("testsuiterun.finished"))
    assert (first["tests.total"], second["tests.total"]) == (2, 1)
    assert last_line(second) == result.parseoutcomes() == {"failed": 1}


@pytest.mark.parametrize("spread", ["-n0", "-n2"])
def test_coverage_is_that_of_pytest_cov(spread: str, session: pytest.Pytester, receiver: Receiver) -> None:
    session.makepyfile(product="def one(x):\n    if x:\n        return 1\n    return 2\n\n\ndef two():\n    return 3\n")
    session.makepyfile("from product import one\ndef test_it(): assert one(1)")
    session.runpytest_subprocess(spread, "--cov=product", "--cov-branch", "--cov-report=json")
    totals = json.loads((session.path / "coverage.json").read_text())["totals"]
    measures = suite_end(receiver)["measures"]
    assert measures["coverage.lines"] == 100 * totals["covered_lines"] / totals["num_statements"]
    assert (round(measures["coverage.lines"], 2), measures["coverage.branches"]) == (66.67, 50)
    assert not [name for name in measures if name.startswith("coverage") and name.count(".") != 1]


@pytest.mark.parametrize("options", [[], ["--cov=product", "--cov-report="], ["--cov=no_such_module"]])
def test_coverage_that_was_not_measured_is_absent(
    options: list[str], session: pytest.Pytester, receiver: Receiver
) -> None:
    session.makepyfile(product="x = 1")
    session.makepyfile("import product\ndef test_it(): pass")
    assert session.runpytest_subprocess(*options).ret == 0
    assert not [name for name in suite_end(receiver)["measures"] if name.startswith("coverage")]
