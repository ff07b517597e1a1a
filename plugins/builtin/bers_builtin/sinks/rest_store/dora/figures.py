"""From what became of deployments to DORA's five figures, each with what it leaves out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bers import format_duration

from .answers import Before, Figure, Figures, Flag, Point, ServiceFigures
from .bands import YEAR, band
from .config import DoraConfig
from .days import DAY, Tallies, Tally
from .deployments import Commit
from .incidents import Incident
from .ledger import Aside, Ledger


@dataclass(frozen=True)
class Span:
    """A period, and since when there are records."""

    start: float
    end: float
    since: float

    @property
    def covered(self) -> float:
        """Seconds of it that there are records of."""
        return max(0.0, self.end - max(self.start, self.since))

    @property
    def whole(self) -> bool:
        return self.since <= self.start

    @property
    def days(self) -> float:
        """By how many days a count is divided; by a whole one at least, or an hour would promise 24."""
        return max(1.0, self.covered / DAY)

    def holds(self, moment: float) -> bool:
        return self.start <= moment < self.end


@dataclass(frozen=True)
class Sources:
    """What is told at all: a figure whose source is missing is not known."""

    deployments: bool
    incidents: bool
    rework: bool


@dataclass(frozen=True)
class Values:
    """The five values alone."""

    change_lead_time: float | None
    deployment_frequency: float | None
    change_fail_rate: float | None
    failed_deployment_recovery_time: float | None
    deployment_rework_rate: float | None


def values(tally: Tally, days: float, sources: Sources) -> Values:
    some = tally.deployments > 0
    return Values(
        median(tally.leads) if tally.leads else None,
        tally.succeeded / days if sources.deployments else None,
        tally.failed / tally.deployments * 100 if some and sources.incidents else None,
        median(tally.recoveries) if tally.recoveries else None,
        tally.rework / tally.deployments * 100 if some and sources.rework else None,
    )


def together(tallies: Mapping[str | None, Tally]) -> Tally:
    whole = Tally()
    for tally in tallies.values():
        whole += tally
    return whole


def figures(
    ledger: Ledger,
    span: Span,
    service: str,
    tally: Tally,
    before: tuple[Tally, Span],
    config: DoraConfig,
    shared: Collection[Flag],
) -> Figures:
    """The five figures. ``shared`` are flags that hold for all of them."""
    sources = sources_of(ledger, service)
    now, then = values(tally, span.days, sources), values(before[0], before[1].days, sources)
    asides = {
        outcome: found
        for outcome, all in (*ledger.stopped.items(), ("unknownEnvironment", ledger.unknown_environment))
        if (found := _within(all, span, service))
    }
    common: set[Flag] = set(shared)
    if not sources.deployments:
        common.add("no_deployment_source")
    elif not tally.deployments:
        common.add("no_deployments")
    if "unknownEnvironment" in asides:
        common.add("unknown_environments")
    if not span.whole:
        common.add("partial_coverage")
    unattributed = detected([one for one in ledger.incidents if not one.attributed], span, service)
    failing: set[Flag] = common | _if(not sources.incidents, "no_incident_source")
    failing |= _if(unattributed > 0, "unattributed_incidents") | _if(tally.unknown_outcomes > 0, "unknown_outcomes")
    loose = {"unattributedIncidents": unattributed} if unattributed else {}
    commits: Mapping[Commit, str] = {"unknown": "unknownCommit", "redeployed": "redeployed", "rollback": "rollback"}
    within = format_duration(config.rollback_within)

    def figure(
        name: str, unit: str, n: int, n_before: int, flags: set[Flag], excluded: dict[str, int], method: str
    ) -> Figure:
        value: float | None = getattr(now, name)
        previous = Before()
        if before[1].whole:
            earlier: float | None = getattr(then, name)
            change = (value - earlier) / earlier * 100 if earlier and value is not None else None
            previous = Before(earlier, n_before, change)
        found = band(name, value)
        return Figure(
            value=value, unit=unit, n=n, method=method, completeness=sorted(flags), excluded=excluded, band=found,
            band_year=YEAR if found else None, previous=previous,
        )  # fmt: skip

    return Figures(
        change_lead_time=figure(
            "change_lead_time", "ms", len(tally.leads), len(before[0].leads),
            common
            | _if(tally.succeeded > 0 and not tally.leads, "no_commit_times")
            | _if(bool(tally.leads) and tally.commits.get("unknown", 0) > 0, "unknown_commits"),
            {name: tally.commits[commit] for commit, name in commits.items() if tally.commits.get(commit)},
            "The median time from the commit of a change to the finish of the deployment that first brought it to its "
            "environment.",
        ),
        deployment_frequency=figure(
            "deployment_frequency", "{deployment}/d", tally.succeeded, before[0].succeeded, common, asides,
            f"Successful deployments, divided by the {span.days:.3g} days of the period that there are records of.",
        ),
        change_fail_rate=figure(
            "change_fail_rate", "%", tally.deployments, before[0].deployments, failing, loose,
            f"The share of deployments that failed or timed out, were rolled back (within {within}, unless the "
            "rollback names them), or had an incident come of them.",
        ),
        failed_deployment_recovery_time=figure(
            "failed_deployment_recovery_time", "ms", len(tally.recoveries), len(before[0].recoveries),
            failing | _if(tally.unrecovered > 0, "unrecovered"),
            {**loose, **({"unrecovered": tally.unrecovered} if tally.unrecovered else {})},
            "The median time from the finish of a failed deployment to the first success or rollback in the same "
            "place, or resolution of an incident of it, after it was known to have failed.",
        ),
        deployment_rework_rate=figure(
            "deployment_rework_rate", "%", tally.deployments, before[0].deployments,
            common | _if(not sources.rework, "no_rework_source"), {},
            f"The share of deployments that are labelled kind={'|'.join(config.rework)}, or name an incident as their "
            "cause.",
        ),
    )  # fmt: skip


def sources_of(ledger: Ledger, service: str) -> Sources:
    deployed = any(one.service == service for one in ledger.deployments) if service else bool(ledger.deployments)
    return Sources(deployed, ledger.incidents_told, ledger.rework_told)


def detected(incidents: Iterable[Incident], span: Span, service: str) -> int:
    """How many incidents a period had."""
    return _within([(one.detected, one.service) for one in incidents], span, service)


def series(days: Mapping[float, Tallies], span: Span, step: float, service: str) -> list[Point]:
    """Every day or week of a period, also those in which nothing happened."""
    tallies = {start: Tally() for start in _starts(span, step)}
    for day, found in days.items():
        for whose, tally in found.items():
            if not service or whose == service:
                tallies[_start(day * DAY, step)] += tally
    return [
        Point(
            start=round(start * 1000), deployments=tally.succeeded, failed=tally.failed, rework=tally.rework,
            lead_time=median(tally.leads) if tally.leads else None, changes=len(tally.leads),
        )
        for start, tally in tallies.items()
    ]  # fmt: skip


def services(tallies: Mapping[str | None, Tally], days: float, sources: Sources, most: int) -> list[ServiceFigures]:
    """The figures of the services with the most deployments."""
    busiest = sorted(tallies.items(), key=lambda one: (-one[1].deployments, one[0] or ""))[:most]
    return [
        ServiceFigures(
            service=service, deployments=tally.deployments, failed=tally.failed,
            change_lead_time=of.change_lead_time, deployment_frequency=of.deployment_frequency,
            change_fail_rate=of.change_fail_rate, failed_deployment_recovery_time=of.failed_deployment_recovery_time,
            deployment_rework_rate=of.deployment_rework_rate,
        )
        for service, tally in busiest
        for of in [values(tally, days, sources)]
    ]  # fmt: skip


def _within(asides: Sequence[Aside], span: Span, service: str) -> int:
    """How many happened in a period; with a service, to that one or to nobody knows which."""
    return sum(span.holds(at) and (not service or whose in (None, service)) for at, whose in asides)


def _if(holds: bool, flag: Flag) -> set[Flag]:
    return {flag} if holds else set()


def _starts(span: Span, step: float) -> Iterator[float]:
    start = _start(span.start, step)
    while start < span.end:
        yield start
        start += step


def _start(moment: float, step: float) -> float:
    """When the day or the week of a moment began, in UTC."""
    monday = 4 * DAY if step > DAY else 0.0  # 1970 began on a Thursday.
    return (moment - monday) // step * step + monday
