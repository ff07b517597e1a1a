"""Alerts by rules on every event: durable, acknowledged and resolved by people, told as events."""

from collections.abc import Iterable
from typing import Any

from bers import Check, DurableSpec, Nothing, Operation, SourceSpec, hookimpl
from bers_builtin.sinks.alert_engine.alerts import Alert
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.desk import listing, sheets, silences
from bers_builtin.sinks.alert_engine.desk.answers import (
    Acknowledge,
    AlertStats,
    Answer,
    AskAlert,
    AskStats,
    BesideAlerts,
    ListAlerts,
    ListHistory,
    NextAlerts,
    RuleReport,
)
from bers_builtin.sinks.alert_engine.desk.budgets import SloReport, list_objectives
from bers_builtin.sinks.alert_engine.desk.story import AlertStory, tell_story
from bers_builtin.sinks.alert_engine.desk.why import AskRule, RuleStory, explain_rule, list_rules
from bers_builtin.sinks.alert_engine.engine import AlertEngine
from bers_builtin.sinks.alert_engine.pulse import Pulse, show_pulse
from bers_builtin.sinks.alert_engine.rehearsal.backtest_answers import AskBacktest, Backtest
from bers_builtin.sinks.alert_engine.rehearsal.backtesting import run_backtest
from bers_builtin.sinks.alert_engine.rehearsal.trial_answers import AskTrial, Trial
from bers_builtin.sinks.alert_engine.rehearsal.trying import try_rule
from bers_builtin.sinks.alert_engine.suppression.silences import Silence
from bers_builtin.sinks.alert_engine.watches import Watches
from bers_builtin.sinks.alert_engine.watches.never_firing import hints
from bers_builtin.sinks.alert_engine.written.log import Entry

ALERT_ENGINE = DurableSpec(
    "alert-engine",
    AlertConfig,
    AlertEngine,
    operations=(
        Operation(
            "GET", "alerts", AlertEngine.list_alerts, ListAlerts, list[Alert], "List the alerts that are alive.",
            beside=BesideAlerts, refuses=("bad_request",), sheet=sheets.alive,
        ),
        Operation(
            "GET", "alerts/history", AlertEngine.list_history, ListHistory, list[Alert], "List the alerts of a period.",
            beside=NextAlerts, refuses=("bad_request",), sheet=sheets.history,
        ),
        Operation(
            "GET", "alerts/stats", AlertEngine.count_alerts, AskStats, AlertStats, "Count the alerts of a period.",
            refuses=("bad_request",),
        ),
        Operation(
            "GET", "alerts/rules", list_rules, Nothing, list[RuleReport], "List the rules and their state.",
        ),
        Operation(
            "GET", "alerts/rules/{id}", explain_rule, AskRule, RuleStory,
            "One rule with its last evaluations, and why each concluded what it did.", refuses=("not_found",),
        ),
        Operation(
            "POST", "alerts/backtest", run_backtest, AskBacktest, Backtest,
            "What rules would have done in a time that is over, beside what was done; nothing is changed.",
            refuses=("rate_limited",),
        ),
        Operation(
            "POST", "alerts/backtest/rule", try_rule, AskTrial, Trial,
            "What one rule, as somebody writes it, would have done beside the rule in force; or what is wrong with it, "
            "by line and column. Nothing is changed.",
            refuses=("not_found", "rate_limited"),
        ),
        Operation(
            "POST", "silences", silences.add, silences.AddSilence, Silence, "Silence alerts for a while.",
            scope="acknowledge", refuses=("conflict",), audited=True,
        ),
        Operation(
            "GET", "silences", silences.list_all, silences.ListSilences, list[Silence],
            "List silences, the newest first.", refuses=("bad_request",),
        ),
        Operation(
            "DELETE", "silences/{id}", silences.end, silences.EndSilence, Silence,
            "Let a silence be over; it is kept as history.", scope="acknowledge", audited=True,
        ),
        Operation(
            "GET", "maintenance", silences.list_windows, silences.AskMaintenance,
            list[silences.MaintenanceReport], "List maintenance windows, and when they are open next.",
        ),
        Operation(
            "GET", "alerts/slos", list_objectives, Nothing, list[SloReport],
            "List the SLOs, what is left of their budgets, and how fast those burn.",
        ),
        Operation(
            "GET", "alerts/heartbeat", show_pulse, Nothing, Pulse,
            "Show whether rules are evaluated and alerts written down in time.",
        ),
        Operation(
            "GET", "alerts/{id}", listing.get_alert, AskAlert, Alert, "One alert, whatever became of it.",
        ),
        Operation(
            "GET", "alerts/{id}/story", tell_story, AskAlert, AlertStory,
            "One alert with its log, the events behind it, and who was told of it.",
        ),
        Operation(
            "GET", "alerts/{id}/log", listing.get_log, AskAlert, list[Entry], "Every step in the life of an alert.",
        ),
        Operation(
            "POST", "alerts/{id}/acknowledge", AlertEngine.acknowledge, Acknowledge, Alert, "Take an alert on.",
            scope="acknowledge", refuses=("bad_request", "conflict"), audited=True,
        ),
        Operation(
            "POST", "alerts/{id}/unacknowledge", AlertEngine.unacknowledge, Answer, Alert, "Give an alert back.",
            scope="acknowledge", refuses=("conflict",), audited=True,
        ),
        Operation(
            "POST", "alerts/{id}/resolve", AlertEngine.resolve, Answer, Alert, "End an alert.", scope="acknowledge",
            refuses=("conflict",), audited=True,
        ),
    ),
    verify=Watches,
    hint=hints,
    reads_targets=True,
    checks=(
        Check("alert-engine", AlertEngine.look, "Alerts are written down, and told to others."),
    ),
)  # fmt: skip

ALERTS = SourceSpec("alert-engine", AlertConfig, AlertEngine, claims=("alert.*", "silence.*", "watchdog.beat"))
"""The same stage, seen as the source of alerts, silences and its own heartbeat: it is opened once, as a sink."""


@hookimpl
def bers_sinks() -> Iterable[DurableSpec[Any]]:
    return [ALERT_ENGINE]


@hookimpl
def bers_sources() -> Iterable[SourceSpec[Any]]:
    return [ALERTS]
