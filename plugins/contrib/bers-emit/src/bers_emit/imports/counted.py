"""How much of each kind is covered, of how much."""

from __future__ import annotations

KINDS = ("lines", "branches", "functions", "statements")


class Coverage:
    """What is covered of what there is, for each kind that was measured."""

    def __init__(self) -> None:
        self.kinds: dict[str, tuple[float, float]] = {}

    def add(self, kind: str, covered: float | None, total: float | None) -> None:
        """Add up; nothing is known of a kind of which there is none, or that makes no sense."""
        if covered is not None and total is not None and 0 <= covered <= total and total > 0:
            before = self.kinds.get(kind, (0.0, 0.0))
            self.kinds[kind] = before[0] + covered, before[1] + total

    def merge(self, other: Coverage) -> None:
        for kind, (covered, total) in other.kinds.items():
            self.add(kind, covered, total)

    def measures(self) -> dict[str, float]:
        """In percent."""
        return {f"coverage.{kind}": 100 * covered / total for kind, (covered, total) in self.kinds.items()}

    def data(self) -> dict[str, object]:
        return {kind: {"covered": int(covered), "total": int(total)} for kind, (covered, total) in self.kinds.items()}
