"""The tests of a run that is no test run itself: what it wrote down of them and what reports inside of it, as one."""

from __future__ import annotations

import atexit
import os

from bers_emit import shapes
from bers_emit.activities import Activity
from bers_emit.parts import VARIABLES, Around, Parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bers_emit.imports.suites import Suite

    Pairs = dict[object, object]

_WORST = ("error", "failure", "timeout", "cancel", "success")


class SuiteInside:
    """One suite with the subject of the run, for as long as its command runs. Those inside keep their own name."""

    found: Suite | None
    """What the command wrote down."""

    def __init__(self, activity: Activity, environ: dict[str, str]) -> None:
        self.found = None
        self._activity = activity
        self._parts: Parts | None = None
        emitter = activity.emitter
        if emitter is None:
            return
        head = {"subject": activity.subject, "name": "", "chain": activity.chain, "url": emitter.url}
        environ.pop(VARIABLES["test"], None)  # A test run around us is told of this suite, and not of its parts.
        try:
            self._parts = Parts(emitter.folder, head)
        except OSError:  # They are told besides, then.
            return
        atexit.register(self._parts.close)  # Where the command could not even start.
        environ[VARIABLES["test"]] = self._parts.path

    def tell(self) -> None:
        """Tell of the suite, if anybody has found one."""
        parts = self._parts.take() if self._parts else []
        if self.found is None and not parts:
            return
        run = self._activity
        name = _name(parts) or (self.found.name[:200] if self.found else "") or "junit"
        fields: dict[str, object] = {
            "subject": run.subject,
            "chain": run.chain,
            "traceparent": run.traceparent,
            "data": {"parent": run.subject},
            "duration_ms": self._took(parts),
        }
        emitter = run.emitter
        around = Around.of("test", emitter.url if emitter else "", os.environ)
        suite = Activity("test", name, fields, emitter, around)
        reasons: list[str] = []
        if self.found:
            for measure, value in self.found.measures().items():
                suite.measure(measure, value)
            suite.note(**self.found.data())
        if parts:
            reasons += suite.take(parts)
        if self.found and self.found.reason and not reasons:
            reasons.append(self.found.reason)
        suite.finish(self._outcome(parts), "; ".join(reasons) or None)

    def _outcome(self, parts: Sequence[Pairs]) -> str:
        said = {str(part["outcome"]) for part in parts if part.get("outcome")}
        if self.found:
            said.add(self.found.outcome)
        return next((one for one in _WORST if one in said), "success")

    def _took(self, parts: Iterable[Pairs]) -> float | None:
        told = [took for part in parts if isinstance(took := part.get("duration_ms"), (int, float))]
        return sum(told) or (self.found.wall if self.found else 0.0) or None


def _name(parts: Iterable[Pairs]) -> str:
    """What those inside call themselves, if they agree."""
    names = {str((shapes.pairs(part.get("labels")) or {}).get("suite") or "") for part in parts}
    return names.pop() if len(names) == 1 else ""
