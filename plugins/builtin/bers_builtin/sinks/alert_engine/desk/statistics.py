"""What the alerts of a period come to: how many, how fast somebody came, and which rules only make noise."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from bers_builtin.sinks.alert_engine.books import Books
from bers_builtin.sinks.alert_engine.desk.answers import AlertStats, AskStats, Noise, Times

_NOISIEST = 10  # Rules that are named.

_ALIVE = (
    "SELECT rule, severity, status, count(*) FROM alert_alerts"
    " WHERE stage = ? AND fired <= ? AND (resolved IS NULL OR resolved >= ?) GROUP BY rule, severity, status"
)

# Nearest rank: the smallest time that so many have kept to.
_TIMES = """
    WITH ranked AS (
        SELECT kind, took, row_number() OVER same AS rank, count(*) OVER (PARTITION BY kind) AS many FROM alert_log
        WHERE stage = ? AND time <= ? AND time >= ? AND took IS NOT NULL
        WINDOW same AS (PARTITION BY kind ORDER BY took)
    )
    SELECT kind, many, avg(took), min(took) FILTER (WHERE rank * 100 >= many * 50),
        min(took) FILTER (WHERE rank * 100 >= many * 95)
    FROM ranked GROUP BY kind, many
"""

_SUPPRESSED = (
    "SELECT json_extract(CAST(details AS TEXT), '$.suppressedBy.reason') AS reason, count(DISTINCT alert)"
    " FROM alert_log WHERE stage = ? AND time <= ? AND time >= ? AND kind = 'suppressed' GROUP BY reason"
)

_NOISE = """
    SELECT rule, count(*) FILTER (WHERE kind = 'firing') AS fired,
        count(*) FILTER (
            WHERE kind = 'resolved' AND word IN ('recovered', 'steady')
            AND NOT json_extract(CAST(details AS TEXT), '$.acknowledged')
        ) AS unattended,
        count(*) FILTER (WHERE kind = 'flapping') AS flapped
    FROM alert_log WHERE stage = ? AND time <= ? AND time >= ? AND kind IN ('firing', 'resolved', 'flapping')
    GROUP BY rule HAVING unattended OR flapped ORDER BY unattended DESC, fired DESC, rule LIMIT ?
"""


class _Rows(NamedTuple):
    alive: Sequence[tuple[str, str, str, int]]
    times: Sequence[tuple[str, int, float, int, int]]
    suppressed: Sequence[tuple[str, int]]
    noise: Sequence[tuple[str, int, int, int]]


async def count(ask: AskStats, seconds: float, books: Books, now: float) -> AlertStats:
    """Count the alerts of a period that ends when it was asked to, or now."""
    until = ask.until or int(now * 1000)
    since = until - int(seconds * 1000)

    def work(connection: sqlite3.Connection, stage: str) -> _Rows:
        span = (stage, until, since)

        def rows(statement: str, *more: Any) -> list[Any]:
            return connection.execute(statement, (*span, *more)).fetchall()

        return _Rows(rows(_ALIVE), rows(_TIMES), rows(_SUPPRESSED), rows(_NOISE, _NOISIEST))

    found = await books.ledger.read(work)
    async with books.turn:  # Else this may be the middle of a batch, or of a start.
        register = books.evaluator.register
        pending, flapping = len(register.pending), sum(alert.flapping for alert in register.live.values())
    severities, rules, statuses = Counter[str](), Counter[str](), Counter[str]()
    for rule, severity, status, number in found.alive:
        severities[severity] += number
        rules[rule] += number
        statuses[status] += number
    times = {kind: Times(many, mean, p50, p95) for kind, many, mean, p50, p95 in found.times}
    acknowledge, resolve = times.get("acknowledged"), times.get("resolved")
    return AlertStats(
        period_ms=round(seconds * 1000),
        total=statuses.total(),
        by_severity=severities,
        by_rule=rules,
        by_status=statuses,
        active=statuses["active"],
        acknowledged=statuses["acknowledged"],
        resolved=statuses["resolved"],
        suppressed=statuses["suppressed"],
        pending=pending,
        flapping=flapping,
        suppressed_by=dict(found.suppressed),
        mean_time_to_acknowledge_ms=acknowledge.mean_ms if acknowledge else None,
        mean_time_to_resolve_ms=resolve.mean_ms if resolve else None,
        time_to_acknowledge=acknowledge,
        time_to_resolve=resolve,
        noise=[Noise(*row) for row in found.noise],
    )
