"""Whether a node that spares people what it can keeps nothing from them that they need, kills or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.faults.kills.alerts.channels import Log
from tests.faults.kills.alerts.forms import CRITICAL, ESCALATED_AFTER, FIRINGS_WITHIN, MOST_FIRINGS
from tests.faults.kills.alerts.operators import Alert
from tests.integration.processes import at_leisure

ROUNDED = 0.05
"""Seconds by which the times of a log may be off from each other: they are wall time, and limits are not."""

MOST_LATE = at_leisure(2.0)
"""Seconds after which somebody is told at the latest, while a node is up; others have the machine at the same time."""


class Outage(NamedTuple):
    """No node was up, in seconds since 1970: what ended meanwhile is not told that it waited."""

    began: float
    ended: float


def faults(
    history: Sequence[Alert], logs: Mapping[str, Log], downs: Mapping[str, int], outages: Sequence[Outage]
) -> Iterator[str]:
    """What is wrong; ``downs`` is how often each service was said to be down."""
    for alert in history:
        log, name = logs[alert["id"]], f"alert {alert['id']} of {alert['rule']} {alert['labels']}"
        kept = [entry["reason"] for entry in log if entry["kind"] == "suppressed"]
        if alert["rule"] == CRITICAL and kept:
            yield f"{name} is critical, and was kept back: {kept}"
        yield from (f"{name}: {fault}" for fault in (*_flapping(log), *_escalated(log, outages)))
    firings = [(entry["seq"], alert, entry["time"] / 1000) for alert in history for entry in logs[alert["id"]]
               if entry["kind"] == "firing"]  # fmt: skip
    yield from _limited(sorted(firings, key=lambda one: one[0]))
    seen = dict.fromkeys(downs, 0)
    for alert in history:
        if alert["rule"] == CRITICAL:
            seen[alert["labels"]["subject"]] += alert["count"]
    for subject, count in downs.items():
        if seen[subject] != count:
            yield f"{subject} was said to be down {count} times, and its alerts counted {seen[subject]}"


def _flapping(log: Log) -> Iterator[str]:
    """One notice when it begins to come and go, one when that is over, and nothing of its turns between."""
    flaps = False
    for entry in log:
        kind, steady = entry["kind"], entry["reason"]["word"] == "steady"
        if kind == "flapping":
            if flaps:
                yield "was said to flap while it did"
            flaps = True
        elif kind in ("resolved", "repeated") and flaps != steady:
            yield f"{kind} because of {entry['reason']} while it {'flapped' if flaps else 'did not flap'}"
        if kind in ("resolved", "repeated"):
            flaps = False


def _escalated(log: Log, outages: Sequence[Outage]) -> Iterator[str]:
    """Handed on once, after it had waited for somebody for long enough, however many nodes it waited in."""
    waited, seen, since, steps = 0.0, 0.0, None, 0
    for entry in log:
        now = entry["time"] / 1000
        whole, watched = waited, seen
        if since is not None:
            whole += now - since
            watched += now - since - _without_a_node(since, now, outages)
        if entry["kind"] == "escalated":
            steps += 1
            if whole < ESCALATED_AFTER - ROUNDED:
                yield f"was handed on after {whole:.3f} s"
        elif not steps and watched > ESCALATED_AFTER + MOST_LATE:
            yield f"had waited for {whole:.3f} s, {watched:.3f} s of them with a node, and was not handed on"
        waited, seen, since = whole, watched, None
        if entry["to"] == "active":
            since = now
    if steps > 1:
        yield f"was handed on {steps} times"


def _without_a_node(begin: float, end: float, outages: Sequence[Outage]) -> float:
    return sum(max(0.0, min(end, outage.ended) - max(begin, outage.began)) for outage in outages)


def _limited(firings: Sequence[tuple[int, Alert, float]]) -> Iterator[str]:
    """What is critical fires in any case; anything else while fewer fired lately than may.

    They come in the order in which they were concluded: after a start what was due long ago is concluded late, and what
    bears a time before it may not have fired by then.
    """
    times: list[float] = []
    for _, alert, at in firings:
        lately = sum(at - FIRINGS_WITHIN + ROUNDED < other < at for other in times)
        times.append(at)
        if alert["rule"] != CRITICAL and lately > MOST_FIRINGS:
            yield f"alert {alert['id']} of {alert['rule']} fired at {at:.3f}, and {lately} had just before it"
