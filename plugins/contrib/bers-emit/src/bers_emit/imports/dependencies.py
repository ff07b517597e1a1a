"""How long it took to find out which packages are needed, and to install them."""

from __future__ import annotations


class Dependencies:
    """Milliseconds; None where the tool does not say."""

    def __init__(self, tool: str, resolve: float | None = None, install: float | None = None) -> None:
        self.tool = tool
        self.resolve = resolve
        self.install = install

    def merge(self, other: Dependencies) -> None:
        """Several runs of one tool in one build: together they took so long."""
        for name in ("resolve", "install"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if theirs is not None:
                setattr(self, name, (mine or 0.0) + theirs)

    def measures(self) -> dict[str, float]:
        known = {"dependencies.resolve": self.resolve, "dependencies.install": self.install}
        return {name: value for name, value in known.items() if value is not None}

    def data(self) -> dict[str, object]:
        return {}
