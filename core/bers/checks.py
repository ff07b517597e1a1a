"""What a health check is and what it finds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import msgspec

from bers.units import Duration, Interval

Status: TypeAlias = Literal["healthy", "degraded", "unhealthy", "unknown"]

NODE_CHECKS = frozenset({"connectivity", "data-files", "metrics-collector", "storage"})
"""Those of a node itself, which belong to no stage."""

NOTIFICATIONS = "notifications"
"""What the check of who tells people of alerts is called, alone or with a dash and more behind it."""

S = TypeVar("S")


def apart(name: str, stage: str, taken: set[str]) -> str:
    """What the check of a stage is called: by its name, or with the stage behind it where that is ``taken`` already."""
    own = f"{name}-{stage.replace('/', '-')}" if name in taken else name
    taken.add(own)
    return own


def about(name: str) -> str:
    """What a check is about, where that is common to several: ``notifications``, whoever tells them."""
    return NOTIFICATIONS if name.partition("-")[0] == NOTIFICATIONS else ""


class Finding(msgspec.Struct, frozen=True):
    """What one look at a thing found."""

    status: Status
    message: str
    details: Mapping[str, Any] = {}
    remediation: str = ""
    """What to do about it; empty where nothing needs doing."""


@dataclass(frozen=True)
class Check(Generic[S]):
    """A named look at a stage, made on a schedule, behind a circuit breaker."""

    name: str
    probe: Callable[[S], Awaitable[Finding]]
    description: str = ""
    interval: Interval = Interval("30s")
    timeout: Duration = Duration("5s")
    critical: bool = False
    """Whether the whole is unhealthy when this is."""
