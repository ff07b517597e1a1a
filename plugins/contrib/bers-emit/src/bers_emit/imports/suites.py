"""How a run of tests went, whoever wrote it down."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NAMED = 20
"""How many tests that failed, and how many that are flaky or slow, are named."""

MAX_NAME = 200


class Suite:
    """Counts what became of tests, and keeps the names of a few of them."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.passed = self.failed = self.errored = self.skipped = self.flaky = 0
        self.tells_flaky = False
        """Whether no test that is flaky would be a finding, rather than something that the report cannot say."""
        self.wall = 0.0
        """Milliseconds from beginning to end, as the report says; the tests' own may be more or less."""
        self.sum = 0.0
        """Milliseconds that the tests took, one by one."""
        self.bad: list[str] = []
        self.shaky: list[str] = []
        self._slow: list[tuple[float, str]] = []

    @property
    def total(self) -> int:
        return self.passed + self.failed + self.errored + self.skipped

    @property
    def outcome(self) -> str:
        if self.failed or self.errored:
            return "failure"
        return "success" if self.passed else "error"

    @property
    def reason(self) -> str | None:
        bad = self.failed + self.errored
        if bad:
            return f"{bad} of {self.total - self.skipped} tests did not pass"
        return None if self.passed else "no tests ran"

    def add(self, status: str, name: str, took: float = 0.0, *, flaky: bool = False) -> None:
        """Count a test: ``passed``, ``failed``, ``errored`` or ``skipped``, in so many milliseconds."""
        setattr(self, status, getattr(self, status) + 1)
        self.sum += took
        if status in ("failed", "errored"):
            _keep(self.bad, name)
        if flaky:
            self.flaky += 1
            _keep(self.shaky, name)
        if took > 0:
            self._slow.append((took, name[:MAX_NAME]))
            if len(self._slow) > 50 * NAMED:
                self._slow = sorted(self._slow, reverse=True)[:NAMED]

    def merge(self, others: Iterable[Suite]) -> None:
        for other in others:
            self.name = self.name or other.name
            self.tells_flaky = self.tells_flaky or other.tells_flaky
            for count in ("passed", "failed", "errored", "skipped", "flaky", "wall", "sum"):
                setattr(self, count, getattr(self, count) + getattr(other, count))
            self.bad = (self.bad + other.bad)[:NAMED]
            self.shaky = (self.shaky + other.shaky)[:NAMED]
            self._slow = sorted(self._slow + other._slow, reverse=True)[:NAMED]

    def measures(self) -> dict[str, float]:
        counts = ["total", "passed", "failed", "errored", "skipped"]
        if self.flaky or self.tells_flaky:
            counts.append("flaky")
        return {f"tests.{name}": float(getattr(self, name)) for name in counts}

    def data(self) -> dict[str, object]:
        """What a reader wants to know first."""
        slow = [{"name": name, "ms": round(took, 3)} for took, name in sorted(self._slow, reverse=True)[:NAMED]]
        found = {"failed": self.bad, "flaky": self.shaky, "slowest": slow, "sum_ms": round(self.sum, 3)}
        return {name: of for name, of in found.items() if of}


def _keep(names: list[str], name: str) -> None:
    if len(names) < NAMED:
        names.append(name[:MAX_NAME])
