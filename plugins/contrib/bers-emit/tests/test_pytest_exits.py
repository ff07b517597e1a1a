"""How a reported session ended follows from the exit status of pytest."""

from __future__ import annotations

import pytest

from bers_emit.testing import Receiver, suite_end

pytest_plugins = ["pytester"]

INTERNAL = "def pytest_runtest_protocol(item): raise ValueError('a plugin broke')"
STRANGE = "def pytest_sessionfinish(session): session.exitstatus = 42"


@pytest.mark.parametrize(
    ("tests", "conftest", "arguments", "status", "outcome", "reason"),
    [
        ("def test_it(): pass", "", [], 0, "success", None),
        ("def test_it(): assert 0", "", [], 1, "failure", "1 of 1 tests did not pass"),
        ("def test_it(): raise KeyboardInterrupt", "", [], 2, "cancel", "KeyboardInterrupt"),
        ("import pytest\ndef test_it(): pytest.exit('enough')", "", [], 2, "cancel", "enough"),
        ("import nothing_like_it", "", [], 2, "failure", "1 of 1 tests did not pass"),
        ("def test_it(): pass", INTERNAL, [], 3, "error", "ValueError: a plugin broke"),
        ("def test_it(): pass", "", ["no/such/file.py"], 4, "error", "pytest was used wrongly"),
        ("", "", [], 5, "error", "no tests ran"),
        ("def test_it(): pass", "", ["-k", "other"], 5, "error", "no tests ran"),
        ("def test_it(): pass", STRANGE, [], 42, "failure", "exit status 42"),
        ("def test_a(): assert 0\ndef test_b(): pass", "", ["-x"], 1, "failure", "1 of 1 tests did not pass"),
        ("def test_a(): assert 0\ndef test_b(): 0", "", ["--stepwise"], 2, "failure", "1 of 1 tests did not pass"),
        pytest.param(
            "import warnings\ndef test_it(): warnings.warn('old')", "", ["--max-warnings=0"],
            6, "failure", "exit status 6",
            marks=pytest.mark.skipif(pytest.version_tuple < (9,), reason="this pytest knows no such status"),
        ),
    ],
    ids=["0", "1", "2", "exit", "collection", "3", "4", "5", "deselected", "42", "x", "stepwise", "6"],
)  # fmt: skip
def test_the_outcome_follows_from_the_exit_status(
    tests: str,
    conftest: str,
    arguments: list[str],
    status: int,
    outcome: str,
    reason: str | None,
    session: pytest.Pytester,
    receiver: Receiver,
) -> None:
    session.makepyfile(tests)
    session.makeconftest(conftest)
    assert session.runpytest_subprocess(*arguments).ret == status
    event = suite_end(receiver)
    assert (event["outcome"], event.get("reason")) == (outcome, reason)
