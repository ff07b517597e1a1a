"""Counts tests: each once, by the worst of its phases, whatever plugins repeat, split or cut short."""

from __future__ import annotations

import pytest

BAD = ("failed", "errored")
NAMED = 20
"""How many tests that failed, and how many that are flaky, are named."""

LONGEST_NAME = 300
"""Characters of the name of a test that are told."""
PHASES = ("setup", "call", "teardown")
_STATUSES = ("passed", "xpassed", "failed", "errored", "skipped", "xfailed")


class Tally:
    """What has become of the tests of one session."""

    def __init__(self, *, apart: bool = False) -> None:
        """``apart``: each worker runs every test, and each of these counts."""
        self.counts: dict[str, int] = dict.fromkeys(_STATUSES, 0)
        self.named: dict[str, list[str]] = {}
        """The tests that failed, and those that are flaky, as far as they are named."""
        self.flaky = self.reruns = self.deselected = self.subtests_failed = 0
        self._apart = apart
        self._open: dict[str, str] = {}
        """What tests are so far that have not reported their last phase."""
        self._reran: set[str] = set()
        self._parts: dict[str, list[pytest.TestReport]] = {}
        """The subtests that failed, of tests that go on."""
        self._uncollected: set[str] = set()

    def add(self, report: pytest.TestReport) -> tuple[str, pytest.TestReport] | None:
        """Take a phase; return what the test is, and which report says so, where that is news and will not change.

        That a test fails is news at once, and that it does not is news at its end.
        """
        when, outcome = report.when, report.outcome
        if when == "setup" and outcome == "passed":
            return None
        test = report.nodeid
        if self._apart:
            test = f"{getattr(report, 'worker_id', '')} {test}"
        if type(report) is not pytest.TestReport and hasattr(report, "context"):
            if outcome == "failed":  # Its test has more to say, and may be run again.
                self.subtests_failed += 1
                self._parts.setdefault(test, []).append(report)
            return None
        if str(outcome) == "rerun":
            self.reruns += 1
            self._reran.add(test)
            self._open.pop(test, None)
            self.subtests_failed -= len(self._parts.pop(test, ()))
            return None
        if when == "teardown":
            return self._end(test, report)
        if when not in PHASES:  # A worker of xdist died in it.
            self._open[test] = "failed"
            self._close(test)
            return "failed", report
        self._open[test] = status = self._status(test, report)
        return (status, self._parts.get(test, [report])[0]) if status in BAD else None

    def collect(self, report: pytest.CollectReport) -> str | None:
        """Take what could not be collected; return what it is, once."""
        if report.outcome == "passed" or report.nodeid in self._uncollected:
            return None
        self._uncollected.add(report.nodeid)
        status = "skipped" if report.outcome == "skipped" else "errored"
        self.counts[status] += 1
        if status in BAD:
            self._name("failed", report.nodeid)
        return status

    def finish(self) -> None:
        """No more comes: what a test was when it was cut short is what it is."""
        for test in list(self._open):
            self._close(test)

    @property
    def bad(self) -> int:
        return sum(self.counts[status] for status in BAD)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def measures(self, *, reruns: bool) -> dict[str, float]:
        """The counts as measures of the suite; what nothing could have counted is absent."""
        count = self.counts
        found: dict[str, float] = {
            "tests.total": self.total,
            "tests.passed": count["passed"] + count["xpassed"],
            "tests.failed": count["failed"],
            "tests.errored": count["errored"],
            "tests.skipped": count["skipped"] + count["xfailed"],
        }
        if reruns or self.reruns:
            found.update({"tests.flaky": self.flaky, "tests.reruns": self.reruns})
        more = {
            "tests.xpassed": count["xpassed"],
            "tests.xfailed": count["xfailed"],
            "tests.deselected": self.deselected,
            "tests.subtests_failed": self.subtests_failed,
        }
        found.update({name: value for name, value in more.items() if value})
        return found

    def _status(self, test: str, report: pytest.TestReport) -> str:
        if report.outcome == "failed":
            return "errored" if report.when == "setup" else "failed"
        if report.outcome == "skipped":
            return "xfailed" if hasattr(report, "wasxfail") else "skipped"
        if test in self._parts:
            return "failed"
        return "xpassed" if hasattr(report, "wasxfail") else "passed"

    def _end(self, test: str, report: pytest.TestReport) -> tuple[str, pytest.TestReport] | None:
        status = self._open.get(test)
        if report.outcome == "failed" and status not in BAD:
            self._open[test] = "errored"
            self._close(test)
            return "errored", report
        self._close(test)
        return (status, report) if status and status not in BAD else None

    def _close(self, test: str) -> None:
        status = self._open.pop(test, None)
        self._parts.pop(test, None)
        if status is None:  # An attempt that is made again.
            return
        self.counts[status] += 1
        if status in BAD:
            self._name("failed", test)
        if test in self._reran:
            self._reran.discard(test)
            if status in ("passed", "xpassed"):
                self.flaky += 1
                self._name("flaky", test)

    def _name(self, what: str, test: str) -> None:
        names = self.named.setdefault(what, [])
        if len(names) < NAMED:
            names.append(test[:LONGEST_NAME])
