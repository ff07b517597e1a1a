"""What can be wrong with checks as a whole, before any is made: names, dependencies, metrics, files."""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from bers.catalog import Catalog
from bers.errors import unknown
from bers.health.kinds import HttpCheck, MetricCheck
from bers.health.settings import KINDS, RESERVED, CheckSettings, HealthSettings, is_name
from bers.units import quantity

Steps = tuple[str | int, ...]

CONNECTIVITY = "connectivity"
"""The check that says whether this node is cut off."""


def faults(
    settings: HealthSettings, offered: Collection[str], made: Collection[str], metrics: Catalog
) -> Iterator[tuple[Steps, str]]:
    """Everything that is wrong, each with its place below `health`.

    ``offered`` is every check that any stage has, and ``made`` those of the stages that are declared.
    """
    own = {name for name, check in settings.checks.items() if check.kinds}
    there = {*made, *own} - {name for name, check in settings.checks.items() if not check.enabled}
    if not settings.connectivity.targets:
        there.discard(CONNECTIVITY)
    for name, check in settings.checks.items():
        here = ("checks", name)
        if check.kinds and name in offered:
            yield here, f"{name!r} is a check that a stage has; call yours something else"
        elif check.kinds and not is_name(name):
            yield here, _misnamed(name)
        elif not check.kinds and name not in offered:
            yield here, f"{unknown('check', name, offered)}; a check of your own says one of: {', '.join(KINDS)}"
        for index, other in enumerate(check.depends_on):
            if other not in there:
                yield (*here, "depends_on", index), _absent(other, there, settings)
        for steps, message in _own_faults(check, metrics):
            yield (*here, *steps), message
    yield from _cycles(settings.checks)


def _misnamed(name: str) -> str:
    if name in RESERVED:
        return f"{name!r} is the name of something else here; choose another"
    return f"{name[:80]!r} cannot stand in an address; write a name of at most 64 of a-z, 0-9, - and _"


def _absent(name: str, there: Collection[str], settings: HealthSettings) -> str:
    if name in settings.checks and not settings.checks[name].enabled:
        return f"the check {name!r} is not made, because of enabled: false; remove it here, or make it"
    if name == CONNECTIVITY:
        return "nothing says whether this node is cut off; name health.connectivity.targets"
    return unknown("check", name, there)


def _own_faults(check: CheckSettings, metrics: Catalog) -> Iterator[tuple[Steps, str]]:
    if check.metric:
        yield from ((("metric", *steps), message) for steps, message in _metric_faults(check.metric, metrics))
    if check.http and (fault := _authority_fault(check.http)):
        yield ("http", "authority"), fault


def _metric_faults(check: MetricCheck, metrics: Catalog) -> Iterator[tuple[Steps, str]]:
    if check.name not in metrics:
        yield ("name",), unknown("metric", check.name, metrics)
        return
    values: dict[str, float] = {}
    for option, text in check.thresholds.items():
        if text is not None:
            try:
                values[option] = quantity(text, check.unit(metrics[check.name].unit))
            except ValueError as exc:
                counted = f"{str(text)!r} is no number of samples; write digits alone"
                yield (option,), counted if check.aggregate == "count" else str(exc)
    for way, sign in (("above", 1), ("below", -1)):
        degraded, unhealthy = values.get(f"degraded_{way}"), values.get(f"unhealthy_{way}")
        if degraded is not None and unhealthy is not None and sign * unhealthy <= sign * degraded:
            remedy = "raise it" if sign > 0 else "lower it"
            yield (f"unhealthy_{way}",), f"degraded_{way} would never be reached before it; {remedy}"


def _authority_fault(check: HttpCheck) -> str:
    if not check.authority:
        return ""
    try:
        ssl.create_default_context().load_verify_locations(check.authority)
    except OSError as exc:  # What is no certificate is one of these too.
        return f"{check.authority!r} cannot be used: {exc.strerror or exc}; name a file with certificates in PEM"
    return ""


def _cycles(checks: Mapping[str, CheckSettings]) -> Iterator[tuple[Steps, str]]:
    try:
        TopologicalSorter({name: check.depends_on for name, check in checks.items()}).prepare()
    except CycleError as exc:
        # graphlib names each before those that need it.
        names: list[str] = exc.args[1]
        cycle = " -> ".join(reversed(names))
        yield ("checks", names[-1], "depends_on"), f"a cycle, {cycle}; remove one of them"
