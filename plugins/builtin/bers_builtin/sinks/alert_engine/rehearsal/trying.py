"""One rule that somebody writes, tried on what was recorded: beside the rule in force, and beside what that did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from anyio import to_thread

from bers import Caller, ConfigError, Metric, Refused, from_yaml, unknown
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.rehearsal.backtest import Did, Rehearsal, Source, ms, summed
from bers_builtin.sinks.alert_engine.rehearsal.backtest_answers import Backtest, Occurrence, RuleOutcome
from bers_builtin.sinks.alert_engine.rehearsal.backtesting import MOST_FAULTS, WITHIN, done, span
from bers_builtin.sinks.alert_engine.rehearsal.trial_answers import Account, AskTrial, TextFault, Trial
from bers_builtin.sinks.alert_engine.rules import Rule, named
from bers_builtin.sinks.alert_engine.rules.dependencies import assert_dependencies
from bers_builtin.sinks.alert_engine.rules.gathering import gathered
from bers_builtin.sinks.alert_engine.watches import Watch, Watches
from bers_builtin.sinks.alert_engine.watches.assembly import compile_rule

if TYPE_CHECKING:
    from bers_builtin.sinks.alert_engine.engine import AlertEngine

MOST_ALERTS = 100
"""How many alerts of an account are told one by one; all of them are counted."""

SEEN = 2000
"""Into how many parts a picture divides the time: what is shorter than one is not seen in it."""


async def try_rule(engine: AlertEngine, ask: AskTrial, caller: Caller) -> Trial:
    """What the rule would have done, or what is wrong with it. Nothing is changed."""
    context, watches = engine.context, engine.books.evaluator.watches
    since, until = span(ask.since, ask.until, context.clock.time())
    trial = Trial(since=ms(since), until=ms(until))
    beside = _found(ask.beside, watches) if ask.beside else None
    with engine.rehearsing.taken(caller.principal):
        try:
            # What is written to be slow to read takes a second of Python, in which others have turns.
            rule, watch = await to_thread.run_sync(_understood, ask.rule, beside, watches, context.metrics)
        except ConfigError as error:
            trial.faults = _faults(error)
            return trial
        trial.name, trial.condition, trial.metric = rule.name, watch.condition, rule.metric
        trial.unit, trial.threshold = watch.unit, watch.threshold
        did = await _did(engine, beside, since)
        trial.would, found = await _rehearsed(engine, rule.id, _alone(rule, engine.config, watches), did, since, until)
        trial.stretches = found.stretches
        both = {rule.id, beside.id} if beside else {rule.id}
        trial.changes = summed(one.changes for one in found.rules if one.id in both)
        if beside is not None:
            trial.did = _account(_outcome(found, beside.id).did, found, since, until)
            if beside.rule == rule:
                trial.in_force = trial.would
            else:
                other = _alone(beside.rule, engine.config, watches)
                trial.in_force, _ = await _rehearsed(engine, beside.id, other, (), since, until)
    return trial


def _found(name: str, watches: Watches) -> Watch:
    watch = watches.written.get(name) or watches.written.get(named(name))
    if watch is None:
        raise Refused("not_found", unknown("rule", name, watches.written), known=watches.written)
    return watch


def _understood(text: str, beside: Watch | None, watches: Watches, metrics: Mapping[str, Metric]) -> tuple[Rule, Watch]:
    """The rule that a text says; raise ConfigError with everything that is wrong with it, at its place in the text."""
    read = from_yaml(text, Rule, name="rule")
    try:
        return read.value, _compiled(read.value, beside, watches, metrics)
    except ConfigError as error:
        raise read.located(error, below="rules[0]") from None


def _compiled(rule: Rule, beside: Watch | None, watches: Watches, metrics: Mapping[str, Metric]) -> Watch:
    """The rule among all others, in place of the one that it is compared with; raise ConfigError where it cannot be."""
    replaced = beside.id if beside else rule.id
    others = {id: watch for id, watch in watches.by_id.items() if id != replaced}
    with gathered() as faults:
        with faults.trying():
            watch = compile_rule(rule, metrics, "rules[0]")
        with faults.trying():
            if (other := others.get(rule.id)) and not other.default:
                raise ConfigError(
                    f"rule {rule.name!r} is there already; call one of them differently", path="rules[0].name"
                )
        with faults.trying():
            at_work = [one.rule for one in others.values() if one.id != rule.id]
            assert_dependencies([rule], (), [*at_work, rule])
    return watch


def _alone(rule: Rule, config: AlertConfig, watches: Watches) -> AlertConfig:
    """The engine's options with this rule, and with those alone that it depends on: it is looked at by itself."""
    needed = list(_explaining(rule, watches))
    rules = [rule, *(one.rule for one in needed if one.id in watches.written and one.id != rule.id)]
    slos = config.slos if any(one.id not in watches.written for one in needed) else ()
    return msgspec.structs.replace(config, rules=tuple(rules), slos=slos, defaults=False)


def _explaining(rule: Rule, watches: Watches) -> Iterator[Watch]:
    """Every rule that this one depends on, by whichever way. What there is not is found by who looks at the names."""
    names, seen = list(rule.depends_on), set[str]()
    while names:
        id = named(names.pop())
        if id not in seen and (watch := watches.by_id.get(id)):
            yield watch
            names += watch.rule.depends_on
        seen.add(id)


async def _did(engine: AlertEngine, beside: Watch | None, since: float) -> Sequence[Did]:
    if beside is None:
        return ()
    found = await engine.books.ledger.read(lambda connection, stage: done(connection, stage, since, beside.rule.name))
    return [one for one in found if one.alert.rule_id == beside.id]


async def _rehearsed(
    engine: AlertEngine, id: str, config: AlertConfig, did: Sequence[Did], since: float, until: float
) -> tuple[Account, Backtest]:
    """Half of the time that there is, for one of two rules."""
    context = engine.context
    rehearsal = Rehearsal(config, context.metrics, since, until, clock=context.clock, within=WITHIN / 2)
    found = await rehearsal.run(Source(context.recorded, context.whole, did))
    return _account(_outcome(found, id).would, found, since, until), found


def _outcome(found: Backtest, id: str) -> RuleOutcome:
    """What came of a rule; of one of which there is nothing to tell, nothing."""
    return next((rule for rule in found.rules if rule.id == id), RuleOutcome(id=id, name=""))


def _account(alerts: Sequence[Occurrence], found: Backtest, since: float, until: float) -> Account:
    spans = list(_merged((one.from_, one.from_ + one.duration_ms) for one in alerts))
    seen = [*_merged(spans, pause=ms(until - since) // SEEN)]
    return Account(
        fired=len(alerts),
        firing_ms=sum(end - begin for begin, end in spans),
        told=sum(one.told for one in alerts),
        reached=found.reached,
        stopped=found.stopped,
        spans=seen,
        alerts=sorted(alerts, key=lambda one: one.from_, reverse=True)[:MOST_ALERTS],
    )


def _merged(spans: Iterable[tuple[int, int]], *, pause: int = 0) -> Iterator[tuple[int, int]]:
    """Times in which anything was, in order; those that meet, or nearly, are one."""
    here: tuple[int, int] | None = None
    for begin, end in sorted(spans):
        if here is not None and begin <= here[1] + pause:
            here = here[0], max(here[1], end)
        else:
            if here is not None:
                yield here
            here = begin, end
    if here is not None:
        yield here


def _faults(error: ConfigError) -> list[TextFault]:
    """In the order in which they stand in the text; what stands nowhere is told of its beginning."""
    found = [(one.position, one) for one in error.faults]
    told = [TextFault(line or 1, column or 1, one.path, one.message) for (_, line, column), one in found]
    return sorted(told, key=lambda one: (one.line, one.column))[:MOST_FAULTS]
