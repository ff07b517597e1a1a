"""The rules about this server itself: who watches others has to say when it cannot."""

from __future__ import annotations

from collections.abc import Sequence

from bers import Duration, Interval, Quantity
from bers_builtin.sinks.alert_engine.rules import FAILED, Clears, Rule

_GONE = Interval("10m")
"""For how long nothing is said of a part of this server before it is taken for one that was taken out while the server
was down: what is there is spoken of each minute, and what goes while the server runs is said to be well."""

OURSELVES: Sequence[Rule] = (
    Rule(
        name="Pipeline Behind",
        severity="error",
        metric="pipeline_lag",
        above=Quantity("30s"),
        no_data_after=_GONE,
        on_no_data="ok",
        annotations={
            "summary": "Events wait too long to be read by a pipeline.",
            "step": "See `bers top` and `bers status` for the stage that holds it up; restart that, or relieve it.",
        },
    ),
    Rule(
        name="Queue Too Old",
        severity="warning",
        metric="queue_age",
        above=Quantity("60s"),
        no_data_after=_GONE,
        on_no_data="ok",
        annotations={
            "summary": "What waits for a sink waits for too long.",
            "step": "See `bers top` and logs/monitoring.log for why the sink takes nothing.",
        },
    ),
    Rule(
        name="Alert Evaluations Missed",
        severity="error",
        metric="alert_evaluations_missed",
        above=Quantity("0"),
        aggregate="max",
        window=Interval("2m"),
        annotations={
            "summary": "Rules were looked at too late, so alerts may be late.",
            "step": "See health/alert-engine, the lag of the pipeline that leads to it, and the load of the machine.",
        },
    ),
    Rule(
        name="Server Stood Still",
        severity="warning",
        metric="loop_lag",
        above=Quantity("5s"),
        aggregate="max",
        window=Interval("2m"),
        annotations={
            "summary": "This server did nothing for a while: it was stopped, starved, or a plugin held it up.",
            "step": "See logs/monitoring.log for the stage that blocked, and the load of the machine.",
        },
    ),
    Rule(
        name="Source Silent",
        severity="warning",
        metric="source_overdue",
        above=Quantity("30s"),
        no_data_after=_GONE,
        on_no_data="ok",
        annotations={
            "summary": "A source that measures at an interval has stopped to.",
            "step": "See `bers status` for what it waits for; POST stages/{key}/restart starts it anew.",
        },
    ),
    Rule(
        name="Stage Quarantined",
        severity="error",
        metric="stage_quarantined",
        above=Quantity("0"),
        no_data_after=_GONE,
        on_no_data="ok",
        annotations={
            "summary": "A stage failed too often and was given up.",
            "step": "See `bers status` for its last error; mend that, then POST stages/{key}/restart.",
        },
    ),
    Rule(
        name="Stage Failing",
        severity="error",
        metric="stage_failing",
        above=Quantity("0"),
        no_data_after=_GONE,
        on_no_data="ok",
        for_=Duration("1m"),
        annotations={
            "summary": "A stage keeps failing.",
            "step": "See `bers status` for its last error; it is tried again and again meanwhile.",
        },
    ),
    Rule(
        name="Health Check Unhealthy",
        severity="error",
        metric="check_state",
        above=Quantity("1"),
        no_data_after=_GONE,
        on_no_data="ok",
        for_=Duration("30s"),
        annotations={
            "summary": "A health check says unhealthy.",
            "step": "See what it found and its remediation at health/{check}.",
        },
    ),
    Rule(
        name="Notifications Not Delivered",
        severity="error",
        metric="check_state",
        where={"about": "notifications"},
        above=Quantity("0"),
        no_data_after=_GONE,
        on_no_data="ok",
        annotations={
            "summary": "Somebody who is to be told of alerts cannot be told.",
            "step": "See health/{check} for the channel and its last error.",
        },
    ),
    Rule(
        name="Disk Nearly Full",
        severity="error",
        metric="disk_headroom",
        below=Quantity("4"),
        annotations={
            "summary": "The disk of the data directory has little room left; when it is full, events are refused.",
            "step": "Make room, or lower intake.journal.max_bytes and the store's cap; see health/storage.",
        },
    ),
    Rule(
        name="Journal Nearly Full",
        severity="error",
        metric="journal_fill",
        above=Quantity("80%"),
        annotations={
            "summary": "The journal is near its quota; at the quota, events are refused.",
            "step": "See which pipeline lags in `bers top`, or raise intake.journal.max_bytes.",
        },
    ),
    Rule(
        name="Events Refused",
        severity="error",
        metric="events_refused",
        above=Quantity("0"),
        aggregate="max",
        window=Interval("2m"),
        annotations={
            "summary": "Events were refused, because there was no room for them.",
            "step": "See health/storage and health/metrics-collector. Emitters with a spool send them again.",
        },
    ),
    Rule(
        name="Events Lost",
        severity="warning",
        metric="emitter_events_lost",
        above=Quantity("0"),
        aggregate="count",
        window=Interval("5m"),
        annotations={
            "summary": "An emitter dropped events before they were sent: its spool is full, or its disk refuses it.",
            "step": "Run `bers-emit spool status` where it runs: see why nothing is sent, and make room.",
        },
    ),
    Rule(
        name="Clock Was Set",
        severity="warning",
        metric="clock_step",
        above=Quantity("2s"),
        annotations={
            "summary": "The wall clock of this machine was set.",
            "step": "See that the time is right now, and that a time server keeps it so.",
        },
    ),
    Rule(
        name="Reload Failed",
        severity="warning",
        metric="reload_failed",
        above=Quantity("0"),
        annotations={
            "summary": "The configuration on disk is not the one in place: reloading it failed.",
            "step": "Run `bers check`, mend what it names, and reload.",
        },
    ),
    Rule(
        name="Heartbeat Missed",
        severity="error",
        event="heartbeat.missed",
        clears=Clears(event="heartbeat.received"),
        group=["subject"],
        annotations={
            "summary": "A job has not reported in time.",
            "step": "See whether it ran, and whether it can reach this server; its next heartbeat resolves this.",
        },
    ),
    Rule(
        name="Heartbeat Failed",
        severity="error",
        event="heartbeat.received",
        outcome=list(FAILED),
        clears=Clears(event="heartbeat.received", outcome="success"),
        group=["subject"],
        annotations={
            "summary": "A job has reported that it failed.",
            "step": "See its own log; its next good heartbeat resolves this.",
        },
    ),
)
"""They need the sources `self-monitoring` and `heartbeats`; where those are not declared, nothing is measured."""
