"""A back-test of the engine that runs: asked over REST, bounded in time, one at a time, in slices beside its work."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import msgspec
from anyio import to_thread

from bers import Caller, ConfigError, Refused
from bers_builtin.sinks.alert_engine.alerts import Alert
from bers_builtin.sinks.alert_engine.rehearsal.backtest import MOST_ALERTS, Did, Rehearsal, Source
from bers_builtin.sinks.alert_engine.rehearsal.backtest_answers import AskBacktest, Backtest
from bers_builtin.sinks.alert_engine.watches import Watches

if TYPE_CHECKING:
    from bers_builtin.sinks.alert_engine.config import AlertConfig
    from bers_builtin.sinks.alert_engine.engine import AlertEngine

WITHIN = 30.0
"""Seconds that a back-test may take beside everything else; what it has come to by then is answered."""

USUAL = 7 * 86_400.0
"""How far back it goes where nobody says."""

LONGEST = 400 * 86_400.0

MOST_WINDOWS = MOST_MATCHERS = 50
"""How many maintenance windows whoever asks may bring along, and matchers in all of them: every alert that is alive is
weighed by all of them, in one go, whenever one opens or closes."""

MOST_FAULTS = 100
"""How many things that are wrong are told at a time."""


async def run_backtest(engine: AlertEngine, ask: AskBacktest, caller: Caller) -> Backtest:
    """What rules would have done in a time that is over, beside what was done. Nothing is changed."""
    context = engine.context
    since, until = span(ask.since, ask.until, context.clock.time())
    windows = ask.config.maintenance if ask.config else ()
    if len(windows) > MOST_WINDOWS or sum(len(one.matchers) for one in windows) > MOST_MATCHERS:
        bounds = f"at most {MOST_WINDOWS} windows, with {MOST_MATCHERS} matchers in all of them"
        raise Refused("invalid", f"config.maintenance: a back-test takes {bounds}; leave out what does not matter here")
    with engine.rehearsing.taken(caller.principal):
        try:
            # What somebody wrote may take seconds to make rules of; in a thread, others have turns meanwhile.
            rehearsal = await to_thread.run_sync(_prepared, engine, ask.config, since, until)
            did = await engine.books.ledger.read(lambda connection, stage: done(connection, stage, since))
            return await rehearsal.run(Source(context.recorded, context.whole, did))
        except ConfigError as exc:
            faults = exc.faults[:MOST_FAULTS]
            details = [(f"config.{fault.path}", fault.message) for fault in faults]
            raise Refused("invalid", "; ".join(map(str, faults)), details=details) from exc


def _prepared(engine: AlertEngine, config: AlertConfig | None, since: float, until: float) -> Rehearsal:
    """A back-test ready to run. Raise ConfigError where the rules are none, their templates included."""
    context = engine.context
    if config is not None:
        Watches(config, context.metrics)
    return Rehearsal(config or engine.config, context.metrics, since, until, clock=context.clock, within=WITHIN)


def span(since: int | None, until: int | None, now: float) -> tuple[float, float]:
    """The time that is looked at, in seconds since 1970; raise Refused where it is none."""
    end = now if until is None else min(now, until / 1000)
    begin = max(0.0, end - USUAL) if since is None else since / 1000
    if not 0 < end - begin <= LONGEST:
        raise Refused("invalid", f"since: it must lie before until, by at most {LONGEST / 86_400:g} days")
    return begin, end


def done(connection: sqlite3.Connection, stage: str, since: float, rule: str = "") -> list[Did]:
    """The alerts that lived after a time, of one rule or of all, each with how many events told of it; the newest where
    there are too many.
    """
    rows = connection.execute(
        "SELECT body, (SELECT count(*) FROM alert_log WHERE alert_log.stage = alert_alerts.stage"
        " AND alert = alert_alerts.id AND told) FROM alert_alerts"
        " WHERE stage = ? AND (resolved IS NULL OR resolved >= ?) AND (? = '' OR rule = ?) ORDER BY fired DESC LIMIT ?",
        (stage, int(since * 1000), rule, rule, MOST_ALERTS),
    ).fetchall()
    return [Did(msgspec.json.decode(body, type=Alert), told) for body, told in rows]
