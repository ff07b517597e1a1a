"""Types of events: which of them a pattern means, and which tell of what is counted weeks later."""

from __future__ import annotations

RECORDS = ("deployment.*", "service.*", "change.*", "incident.*", "alert.*")
"""Each of these counts: none is sampled away, and the store keeps their details for longest."""


def matches(type: str, pattern: str) -> bool:
    """Whether a type is meant by ``build.finished``, ``build.*`` or ``*``."""
    return pattern in ("*", type) or (pattern.endswith(".*") and type.startswith(pattern[:-1]))
