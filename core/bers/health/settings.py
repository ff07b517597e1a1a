"""What pipelines.yaml says about health checks."""

from __future__ import annotations

import re
from typing import Annotated, Any

from msgspec import Meta

from bers.health.kinds import CommandCheck, HttpCheck, MetricCheck, TcpCheck, place
from bers.stages import Config
from bers.units import Interval

KINDS = ("http", "tcp", "command", "metric")
"""What a check of one's own may look at; it has one of them."""

RESERVED = frozenset({"badge.svg", "availability.svg", "circuit-breakers", "connectivity", "history", "overall"})
"""What no check of one's own may be called: the words of addresses, and our own check of that name."""

NAME = "^[a-z0-9][a-z0-9_-]{0,63}$"
"""What a check of one's own may be called, beside those words."""

INTERVAL = Interval("30s")
TIMEOUT = Interval("5s")
"""Of a check of one's own that does not say."""


class BreakerSettings(Config, frozen=True):
    """When a check is given a rest, and when it is tried again."""

    failures: Annotated[int, Meta(gt=0, description="So many failures in a row open the breaker.")] = 5
    reset_after: Annotated[Interval, Meta(description="How long it stays open before one attempt is made.")] = Interval(
        "60s"
    )
    successes: Annotated[int, Meta(gt=0, description="So many successes in a row close it again.")] = 3


class FlappingSettings(Config, frozen=True):
    """When a check that changes again and again is told of once, rather than each time."""

    changes: Annotated[
        int, Meta(gt=1, description="A check that came to another status more often than this is flapping.")
    ] = 6
    within: Annotated[
        Interval,
        Meta(description="Within what time. It is steady again when half as many changes, or fewer, lie within it."),
    ] = Interval("1h")


class ConnectivitySettings(Config, frozen=True):
    """How this node finds out whether it is cut off itself, so that it does not blame everybody else for that."""

    targets: Annotated[
        tuple[str, ...],
        Meta(
            description="Places that answer as long as this node is not cut off, as HOST:PORT: the gateway, a name "
            "server. One that takes a connection is enough. Without any, nothing is asked, and there is no such check."
        ),
    ] = ()
    interval: Annotated[Interval, Meta(description="Time between two looks.")] = Interval("15s")
    timeout: Annotated[Interval, Meta(description="How long a connection may take.")] = Interval("2s")

    def __post_init__(self) -> None:
        for number, target in enumerate(self.targets):
            try:
                place(target)
            except ValueError as exc:
                raise ValueError(f"targets[{number}]: {exc}") from None


class CheckSettings(Config, frozen=True):
    """How one check differs from what its stage says; or a check of one's own, with what it looks at."""

    interval: Annotated[Interval | None, Meta(description="Time between two looks; 30s for a check of one's own.")] = (
        None
    )
    timeout: Annotated[
        Interval | None, Meta(description="How long one look may take; 5s for a check of one's own.")
    ] = None
    critical: Annotated[bool | None, Meta(description="Whether the whole is unhealthy when this is.")] = None
    enabled: Annotated[bool, Meta(description="Whether it is made at all.")] = True
    description: Annotated[str, Meta(max_length=500, description="What it looks at, for whoever reads it.")] = ""
    remediation: Annotated[
        str, Meta(max_length=500, description="What to do about it, told where it is not healthy.")
    ] = ""
    depends_on: Annotated[
        tuple[str, ...],
        Meta(
            description="Checks without which this one says nothing: while one of them is unhealthy, it is unknown "
            "because of that one, and is not looked at."
        ),
    ] = ()
    outside: Annotated[
        bool | None,
        Meta(
            description="Whether it says nothing while this node is cut off, as `connectivity` finds out; `http` and "
            "`tcp` checks of other hosts do so."
        ),
    ] = None
    failures: Annotated[
        int, Meta(ge=1, le=100, description="So many looks in a row have to find it worse, until it is said to be.")
    ] = 1
    successes: Annotated[
        int, Meta(ge=1, le=100, description="So many looks in a row have to find it better, until it is said to be.")
    ] = 1
    confirm: Annotated[
        Interval | None,
        Meta(description="Time between two looks while a change is not certain yet; `interval`, if not told."),
    ] = None
    http: Annotated[HttpCheck | None, Meta(description="Asks an address.")] = None
    tcp: Annotated[TcpCheck | None, Meta(description="Opens a connection.")] = None
    command: Annotated[CommandCheck | None, Meta(description="Runs a program.")] = None
    metric: Annotated[MetricCheck | None, Meta(description="Compares what the store knows of a metric.")] = None

    def __post_init__(self) -> None:
        kinds = self.kinds
        if len(kinds) > 1:
            raise ValueError(f"{kinds[1]}: a check looks at one thing; {kinds[0]!r} stands there too, so remove one")

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it looks at by itself; nothing where it only changes a check that a stage has."""
        return tuple(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def look(self) -> Any:
        """The settings of what it looks at."""
        return next((getattr(self, kind) for kind in self.kinds), None)

    @property
    def goes_outside(self) -> bool:
        """Whether it needs the network."""
        if self.outside is not None:
            return self.outside
        return any(one is not None and one.goes_outside for one in (self.http, self.tcp))


class HealthSettings(Config, frozen=True):
    """How checks are made."""

    breaker: Annotated[BreakerSettings, Meta(description="The circuit breaker of every check.")] = BreakerSettings()
    flapping: Annotated[
        FlappingSettings, Meta(description="When a check that changes again and again is told of once.")
    ] = FlappingSettings()
    connectivity: Annotated[
        ConnectivitySettings, Meta(description="How this node finds out whether it is cut off itself.")
    ] = ConnectivitySettings()
    public_badges: Annotated[
        bool, Meta(description="Whether badges are shown to everybody, without a key, also on pages of other sites.")
    ] = False
    checks: Annotated[
        dict[str, CheckSettings],
        Meta(description="Checks of one's own, and what is different for those of stages, by name."),
    ] = {}


def is_name(text: str) -> bool:
    """Whether a check of one's own may be called so."""
    return bool(re.fullmatch(NAME, text)) and "\n" not in text and text not in RESERVED
