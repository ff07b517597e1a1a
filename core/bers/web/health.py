"""What is answered about health: the whole, each check with its history, breakers and badges."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

import bers
from bers.availability import Availability
from bers.checks import Status
from bers.directory import Directory, Route
from bers.errors import Refused, unknown
from bers.health.badge import availability_badge, status_badge
from bers.health.breaker import BreakerReport
from bers.health.history import OVERALL
from bers.health.reports import CheckReport, Severity, Summary, overall, recommendations, severity, summarize
from bers.health.spans import CheckHistory
from bers.operations import Caller, Nothing, Operation, Page, Reply
from bers.supervisor import Supervisor
from bers.units import period
from bers.web.periods import WINDOW

R = TypeVar("R")

SVG = "image/svg+xml"

FRESH = 30.0
"""For how many seconds a badge may be shown again without asking."""


_Period: TypeAlias = Annotated[
    str,
    Meta(
        description="How far back, as in 24h, 7d or 604800000 (milliseconds): from 10s to 90d.",
        extra_json_schema=WINDOW,
    ),
]


class HealthReport(msgspec.Struct, rename="camel", frozen=True):
    """The health of this node; times in milliseconds."""

    timestamp: int
    overall_status: Status
    severity: Severity
    version: str
    uptime: int
    environment: str
    checks: list[CheckReport]
    summary: Summary
    availability: Availability
    recommendations: list[str]


class AskHealth(msgspec.Struct, forbid_unknown_fields=True):
    """How to answer."""

    always: Annotated[
        bool,
        Meta(
            description="Answer 200 however it is: for whoever reads the report, and takes other codes for a failure "
            "to get it."
        ),
    ] = False


class AskCheck(msgspec.Struct, forbid_unknown_fields=True):
    """Which check."""

    check: str


class AskCheckHealth(AskHealth, forbid_unknown_fields=True, kw_only=True):
    """Which check, and how to answer."""

    check: str


class AskHistory(msgspec.Struct, forbid_unknown_fields=True):
    """How far back."""

    period: _Period = "24h"
    limit: Annotated[int, Meta(ge=1, le=1000, description="How many times are told one by one, the newest.")] = 100


class AskCheckHistory(AskHistory, forbid_unknown_fields=True, kw_only=True):
    """Which check, and how far back."""

    check: str


class AskShare(msgspec.Struct, forbid_unknown_fields=True):
    """How far back."""

    period: _Period = "30d"


class AskCheckShare(AskShare, forbid_unknown_fields=True, kw_only=True):
    """Which check, and how far back."""

    check: str


class WasReset(msgspec.Struct, frozen=True):
    """The breakers that were not closed, and are now."""

    reset: list[str]


class Checks:
    """Answers for the checks of a node."""

    def __init__(self, node: Supervisor) -> None:
        self._node = node

    async def health(self, ask: AskHealth, caller: Caller) -> Reply[HealthReport]:
        node = self._node
        reports = node.health.reports()
        status = self._overall(reports)
        report = HealthReport(
            int(node.clock.time() * 1000),
            status,
            severity(reports),
            bers.__version__,
            int(node.uptime * 1000),
            node.plan.settings.environment,
            reports,
            summarize(reports),
            node.heartbeats.availability(),
            recommendations(reports),
        )
        return _answer(ask, report, status)

    async def check(self, ask: AskCheckHealth, caller: Caller) -> Reply[CheckReport]:
        report = self._report(ask.check)
        return _answer(ask, report, report.status)

    async def history(self, ask: AskHistory, caller: Caller) -> CheckHistory:
        return self._node.checked.story(OVERALL, _seconds(ask.period), ask.limit)

    async def check_history(self, ask: AskCheckHistory, caller: Caller) -> CheckHistory:
        self._report(ask.check)
        return self._node.checked.story(ask.check, _seconds(ask.period), ask.limit)

    async def breakers(self, ask: Nothing, caller: Caller) -> dict[str, BreakerReport]:
        return self._node.health.breakers()

    async def reset_breakers(self, ask: Nothing, caller: Caller) -> WasReset:
        return WasReset(await self._node.reset_breakers())

    async def reset_breaker(self, ask: AskCheck, caller: Caller) -> WasReset:
        self._report(ask.check)
        return WasReset(await self._node.reset_breakers(ask.check))

    async def badge(self, ask: Nothing, caller: Caller) -> Page:
        return self._page(status_badge("health", self._overall(self._node.health.reports())))

    async def check_badge(self, ask: AskCheck, caller: Caller) -> Page:
        return self._page(status_badge(ask.check, self._report(ask.check, secretly=True).status))

    async def share(self, ask: AskShare, caller: Caller) -> Page:
        share = self._node.checked.share(OVERALL, _seconds(ask.period))
        return self._page(availability_badge(f"health {ask.period}", share.percent))

    async def check_share(self, ask: AskCheckShare, caller: Caller) -> Page:
        self._report(ask.check, secretly=True)
        share = self._node.checked.share(ask.check, _seconds(ask.period))
        return self._page(availability_badge(f"{ask.check} {ask.period}", share.percent))

    def _overall(self, reports: list[CheckReport]) -> Status:
        return overall(reports) if self._node.ready else "unknown"

    def _report(self, name: str, *, secretly: bool = False) -> CheckReport:
        """The report of that name; raise Refused where there is none. ``secretly`` does not tell which there are."""
        try:
            return self._node.health.report(name)
        except KeyError:
            if secretly:
                raise Refused("not_found", "there is no such check") from None
            names = self._node.health.names
            raise Refused("not_found", unknown("check", name, names), known=names) from None

    def _page(self, picture: bytes) -> Page:
        return Page(picture, SVG, max_age=FRESH, anywhere=self._node.plan.settings.health.public_badges)


def _answer(ask: AskHealth, report: R, status: Status) -> Reply[R]:
    return Reply(report, healthy=ask.always or status in ("healthy", "degraded"))


def _seconds(text: str) -> float:
    try:
        return period(text)
    except ValueError as exc:
        raise Refused("bad_request", f"period: {exc}") from exc


BADGES: tuple[Operation[Any, Any, Any], ...] = (
    Operation(
        "GET", "health/badge.svg", Checks.badge, Nothing, Page, "A picture of how this node is.", surface="health",
        media=SVG,
    ),
    Operation(
        "GET", "health/availability.svg", Checks.share, AskShare, Page,
        "A picture of how much of the time this node was well.", surface="health", media=SVG,
        refuses=("bad_request", "invalid"),
    ),
    Operation(
        "GET", "health/{check}/badge.svg", Checks.check_badge, AskCheck, Page, "A picture of how a check is.",
        surface="health", media=SVG, refuses=("not_found",),
    ),
    Operation(
        "GET", "health/{check}/availability.svg", Checks.check_share, AskCheckShare, Page,
        "A picture of how much of the time a check was well.", surface="health", media=SVG,
        refuses=("bad_request", "invalid", "not_found"),
    ),
)  # fmt: skip
"""Shown to everybody where `health.public_badges` says so."""

OPERATIONS: tuple[Operation[Any, Any, Any], ...] = (
    Operation("GET", "health", Checks.health, AskHealth, HealthReport, "The health of this node.", surface="health"),
    Operation(
        "GET", "health/{check}", Checks.check, AskCheckHealth, CheckReport, "What a check found last.",
        surface="health",
    ),
    Operation(
        "GET", "health/history", Checks.history, AskHistory, CheckHistory,
        "What became of the health as a whole in a period.", surface="health", refuses=("bad_request", "invalid"),
    ),
    Operation(
        "GET", "health/{check}/history", Checks.check_history, AskCheckHistory, CheckHistory,
        "What became of a check in a period, with its outages.", surface="health",
        refuses=("bad_request", "invalid", "not_found"),
    ),
    Operation(
        "GET", "health/circuit-breakers", Checks.breakers, Nothing, dict[str, BreakerReport],
        "The circuit breaker of every check.", surface="health",
    ),
    Operation(
        "POST", "health/circuit-breakers/reset", Checks.reset_breakers, Nothing, WasReset,
        "Close every circuit breaker, and look at once.", scope="admin",
    ),
    Operation(
        "POST", "health/circuit-breakers/{check}/reset", Checks.reset_breaker, AskCheck, WasReset,
        "Close the circuit breaker of a check, and look at once.", scope="admin", refuses=("not_found",),
    ),
    *BADGES,
)  # fmt: skip


def offer(directory: Directory, node: Supervisor) -> None:
    """Add these to the directory."""
    checks = Checks(node)
    for operation in OPERATIONS:
        directory.add(Route(operation, "node", lambda: checks))
