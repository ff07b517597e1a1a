"""The words of rules that more than one part of the language uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from bers import Outcome

Severity: TypeAlias = Literal["info", "warning", "error", "critical"]
Aggregate: TypeAlias = Literal[
    "last", "mean", "min", "max", "sum", "count", "rate", "increase", "p50", "p90", "p95", "p99"
]
OnNoData: TypeAlias = Literal["keep", "alert", "ok"]

FAILED: Sequence[Outcome] = ("failure", "error", "timeout")
"""The outcomes that count as failures where a rule does not name any. Cancelled and skipped say nothing."""

FIELDS = frozenset({"environment", "service", "source", "subject", "outcome"})
"""What of an event can be asked for, and can tell alerts apart, besides labels."""


def several(value: str | Sequence[str]) -> Sequence[str]:
    """One or many, as many."""
    return (value,) if isinstance(value, str) else value


def named(name: str) -> str:
    """A name as addresses show it: ``configuration-resolution-slow``."""
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())
