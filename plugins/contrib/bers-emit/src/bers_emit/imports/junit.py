"""JUnit's XML, as pytest, jest-junit, vitest, Surefire, Gradle and googletest write it.

Each test is counted where it stands. The totals that suites have as attributes are not: some count a test in each
suite around it, some leave out what errored, and some count twice what failed twice. But jest-junit writes a test that
is to do as one that passed, and only its suite's total knows better.
"""

from __future__ import annotations

from bers_emit.imports import markup
from bers_emit.imports.suites import Suite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from bers_emit.imports.documents import Document

_STATUS = {"failure": "failed", "error": "errored", "skipped": "skipped"}
_WORST = ("errored", "failed", "skipped", "passed")
_AGAIN = ("flakyFailure", "flakyError")
"""Surefire's words for what failed and passed when it was tried again."""
_NOT_RUN = ("notrun", "disabled", "suppressed", "skipped")


def read(document: Document) -> Suite:
    reader = _Reader()
    markup.read(document, reader)
    return reader.finished()


class _Reader:
    def __init__(self) -> None:
        self._suite = Suite()
        self._open: list[_Open] = []
        self._case = 0
        """The depth of the test that we are in; 0 outside."""
        self._name = ""
        self._took = 0.0
        self._statuses: set[str] = set()
        self._flaky = self._idle = False
        self._root: float | None = None
        self._tops = 0.0
        self._failed: set[str] = set()

    def begin(self, name: str, attributes: Mapping[str, str], depth: int) -> None:
        if depth == 1:
            if name not in ("testsuites", "testsuite"):
                raise markup.Refused("is no JUnit report; its root is neither testsuites nor testsuite")
            self._suite.name = attributes.get("name", "") if name == "testsuites" else ""
            self._root = markup.number(attributes, "time") if name == "testsuites" else None
        if self._case:
            if depth == self._case + 1:
                if name in _STATUS:
                    self._statuses.add(_STATUS[name])
                elif name in _AGAIN:
                    self._flaky = True
        elif name == "testsuite":
            if not self._open:
                self._tops += markup.number(attributes, "time") or 0.0
            self._open.append(_Open(attributes))
            self._failed = set()
        elif name == "testcase":
            for one in self._open:
                one.detailed = True
            self._case, self._flaky = depth, False
            self._idle = attributes.get("time") == "0"
            self._name = " ".join(filter(None, (attributes.get("classname"), attributes.get("name"))))
            self._took = (markup.number(attributes, "time") or 0.0) * 1000
            idle = {attributes.get("status", "").lower(), attributes.get("result", "").lower()}
            self._statuses = {"skipped"} if idle & set(_NOT_RUN) else set()

    def end(self, name: str, depth: int) -> None:
        if self._case:
            if depth == self._case:
                self._count()
        elif name == "testsuite" and self._open:
            ended = self._open.pop()
            if not ended.detailed:
                ended.count(self._suite)
                for one in self._open:
                    one.detailed = True
            to_do = ended.to_do()
            self._suite.passed -= to_do
            self._suite.skipped += to_do

    def finished(self) -> Suite:
        # Some write no time at the root, and some write 0.
        self._suite.wall = (self._root or self._tops) * 1000 or self._suite.sum
        return self._suite

    def _count(self) -> None:
        status = next((one for one in _WORST if one in self._statuses), "passed")
        # Gradle's retries write each attempt as a test of its own: it failed, and then it did not.
        again = status == "passed" and self._name in self._failed
        if self._open:
            inner = self._open[-1]
            inner.cases += 1
            inner.idle += status == "passed" and self._idle
            inner.doubles += status == "errored" and self._name in self._failed
        if status in ("failed", "errored") and len(self._failed) < 10_000:
            self._failed.add(self._name)
        elif again:
            self._failed.discard(self._name)
        self._suite.add(status, self._name, self._took, flaky=(self._flaky and status == "passed") or again)
        self._case = 0


class _Open:
    """A suite that has not ended. One without tests, of a writer that only sums up, is counted by its attributes."""

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self.detailed = False
        self.cases = 0
        self.idle = 0
        """How many of them passed in no time."""
        self.doubles = 0
        """How often pytest tells a second time of a test that failed, because its teardown failed as well."""
        self._counted = "tests" in attributes
        names = ("tests", "failures", "errors", "skipped", "disabled")
        self._counts = {name: int(markup.number(attributes, name) or 0) for name in names}

    def to_do(self) -> int:
        """How many of the tests that seem to have passed are only to do."""
        if not self._counted:
            return 0
        more = self.cases - self.doubles - self._counts["tests"]
        return more if 0 < more <= self.idle else 0

    def count(self, suite: Suite) -> None:
        counts = self._counts
        skipped = counts["skipped"] + counts["disabled"]
        suite.failed += counts["failures"]
        suite.errored += counts["errors"]
        suite.skipped += skipped
        suite.passed += max(0, counts["tests"] - counts["failures"] - counts["errors"] - skipped)
