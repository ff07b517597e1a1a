"""What ``bazel --build_event_json_file`` writes: one event a line, in no order that could be relied upon."""

from __future__ import annotations

import json

from bers_emit import shapes
from bers_emit.event import number
from bers_emit.imports.documents import Unreadable
from bers_emit.imports.suites import Suite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bers_emit.imports.documents import Document

_STATUS = {"PASSED": "passed", "FLAKY": "passed", "NO_STATUS": "skipped", "INCOMPLETE": "errored"}


class Invocation:
    """One call of Bazel."""

    def __init__(self) -> None:
        self.id = ""
        self.command = ""
        self.code: float | None = None
        self.reason: str | None = None
        self.began: float | None = None
        self.ended: float | None = None
        self.suite = Suite("bazel")
        self.suite.tells_flaky = True

    @property
    def took(self) -> float | None:
        if self.began is None or self.ended is None or self.ended < self.began:
            return None
        return self.ended - self.began

    @property
    def outcome(self) -> str:
        if self.code is None:
            return "error"  # It was killed: nobody has said how it ended.
        return {0: "success", 8: "cancel"}.get(int(self.code), "failure" if self.code < 10 else "error")


def read(document: Document) -> Invocation:
    found = Invocation()
    for line in document.lines():
        if line.strip():
            try:
                event = shapes.pairs(json.loads(line)) or {}
            except (ValueError, RecursionError):
                if found.id:
                    break  # It was killed in the middle of a line.
                raise Unreadable(f"{document.path}: is no file of Bazel's build events; a line is no JSON") from None
            _read(found, event)
    if not found.id:
        raise Unreadable(f"{document.path}: is no file of Bazel's build events; none says that a build began")
    return found


def _read(found: Invocation, event: dict[object, object]) -> None:
    if started := shapes.pairs(event.get("started")):
        found.id, found.command = str(started.get("uuid", "")), str(started.get("command", ""))
        found.began = number(started.get("startTimeMillis"))
    elif finished := shapes.pairs(event.get("finished")):
        code = shapes.pairs(finished.get("exitCode")) or {}
        found.code = number(code.get("code", 0))  # What is 0 is left out.
        found.reason = str(code.get("name", "")) or None if found.code else None
        found.ended = number(finished.get("finishTimeMillis"))
    elif summary := shapes.pairs(event.get("testSummary")):
        label = str((shapes.pairs((shapes.pairs(event.get("id")) or {}).get("testSummary")) or {}).get("label", ""))
        status = str(summary.get("overallStatus"))
        took = number(summary.get("totalRunDurationMillis")) or 0.0
        found.suite.add(_STATUS.get(status, "failed"), label, took, flaky=status == "FLAKY")
