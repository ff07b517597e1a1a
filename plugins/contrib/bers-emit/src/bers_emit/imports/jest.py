"""What ``jest --json`` writes. Unlike jest-junit's XML it knows of tests that are to do, and of those tried again."""

from __future__ import annotations

from bers_emit import shapes
from bers_emit.event import number
from bers_emit.imports.documents import Unreadable
from bers_emit.imports.suites import Suite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bers_emit.imports.documents import Document

_STATUS = {"passed": "passed", "failed": "failed"}
"""``pending``, ``skipped``, ``todo`` and ``disabled`` are all tests that did not run; ``focused`` ones did."""


def read(document: Document, name: str = "jest") -> Suite:
    found = shapes.pairs(document.json())
    files = shapes.items(found.get("testResults")) if found else None
    if found is None or files is None or "numTotalTests" not in found:
        raise Unreadable(f"{document.path}: is no report of {name}; it has no testResults")
    suite, ends = Suite(name), list[float]()
    suite.tells_flaky = True
    for each in files:
        file = shapes.pairs(each) or {}
        ends.append(number(file.get("endTime")) or 0.0)
        cases = list(shapes.items(file.get("assertionResults")) or ())
        for one in cases:
            _count(suite, shapes.pairs(one) or {})
        failed = any((shapes.pairs(one) or {}).get("status") == "failed" for one in cases)
        if file.get("status") == "failed" and not failed:
            # The file itself could not be run, or what is around its tests failed.
            suite.add("errored", str(file.get("name", "")))
    began = number(found.get("startTime"))
    if began is not None and ends:
        suite.wall = max(0.0, max(ends) - began)
    return suite


def _count(suite: Suite, case: dict[object, object]) -> None:
    status = _STATUS.get(str(case.get("status")), "skipped")
    # jest counts how often it tried; vitest leaves what was wrong at first with a test that passed.
    again = (number(case.get("invocations")) or 1) > 1 or bool(case.get("failureMessages"))
    took = number(case.get("duration")) or 0.0
    suite.add(status, str(case.get("fullName", "")), took, flaky=status == "passed" and again)
