"""What rules would have done: the engine itself over recorded history, beside what was done then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec
from anyio.lowlevel import checkpoint

from bers import Clock, Metric, Recorded, format_duration
from bers_builtin.sinks.alert_engine.alerts import Alert
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.rehearsal.backtest_answers import (
    Backtest,
    Change,
    Occurrence,
    RuleOutcome,
    Stretch,
)
from bers_builtin.sinks.alert_engine.rehearsal.past import Ask, Past
from bers_builtin.sinks.alert_engine.rehearsal.simulation import Simulation
from bers_builtin.sinks.alert_engine.watches import Watch

MOST_ALERTS = 10_000
"""How many alerts a back-test tells of; where there would have been more, it stops."""

ALIKE = 2.0
"""Seconds by which two alerts may differ in length that are called the same."""

_BREATH = 0.001  # Seconds of work after which others have their turn.


class Did(NamedTuple):
    """An alert that did fire."""

    alert: Alert
    told: int
    """How many events were emitted about it."""


class Source(NamedTuple):
    """Where a back-test reads."""

    recorded: Recorded
    ask: Ask
    """Asks the store."""
    did: Sequence[Did]
    """The alerts of that time."""


class Rehearsal:
    """One back-test at work."""

    def __init__(
        self,
        config: AlertConfig,
        metrics: Mapping[str, Metric],
        since: float,
        until: float,
        clock: Clock,
        within: float,
    ) -> None:
        """It stops after so many seconds of ``clock``, the clock of whoever waits for it."""
        self._simulation = Simulation(_untold(config), metrics, start=since)
        self._watches: Sequence[Watch] = list(self._simulation.evaluator.watches.by_id.values())
        self._since, self._until = since, until
        self._clock, self._deadline = clock, clock.monotonic() + within
        self._within = within
        self._slept = clock.monotonic()
        self._would: dict[str, _Lived] = {}
        self._stopped = ""
        self._reached = since

    async def run(self, source: Source) -> Backtest:
        """Read everything, and compare."""
        begin = await source.recorded.begin()
        edge = self._until if begin is None else min(self._until, max(self._since, begin))
        stretches: list[Stretch] = []
        if edge > self._since:
            stretches.append(await self._read_past(source.ask, edge))
        if edge < self._until:
            stretches.append(await self._read_recorded(source.recorded, edge))
        if not self._stopped and await self._pass_time(self._until):
            self._take()
            self._reached = self._until
        end = self._reached
        would = [lived.occurrence(end) for lived in self._would.values()]
        did = [_done(one, self._since, end) for one in source.did if one.alert.timestamp < end * 1000]
        rules = _compared(self._watches, would, did)
        return Backtest(
            since=ms(self._since),
            until=ms(self._until),
            reached=ms(end),
            stopped=self._stopped,
            stretches=stretches,
            rules=[rule for rule in rules if rule.would or rule.did],
            silent=[rule.name for rule in rules if not (rule.would or rule.did)],
            changes=summed(rule.changes for rule in rules),
        )

    # What is read

    async def _read_past(self, ask: Ask, until: float) -> Stretch:
        """The store's windows, one by one as each rule understands them, and the records of events."""
        past = Past(ask, lambda: self._clock.monotonic() < self._deadline)
        simulation, watches = self._simulation, self._simulation.evaluator.watches
        for told in await past.read(self._watches, self._since, until):
            if not await self._pass_time(told.at):
                break
            if told.metric:
                for watch in watches.by_metric.get(told.metric, ()):
                    simulation.measure(watch, told.event, _figure(watch, told.figures))
            else:
                await simulation.read([told.event])
            if not await self._goes_on(told.at):
                break
        return Stretch(
            from_=ms(self._since),
            to=ms(until),
            fed_with="windows",
            width_ms=sorted(past.widths),
            events=past.records,
            windows=past.windows,
            cannot_show=[*_limits(self._watches, past), *past.lacks],
        )

    async def _read_recorded(self, recorded: Recorded, since: float) -> Stretch:
        """The events of the journal, each at the time at which it was taken in."""
        watches = self._simulation.evaluator.watches
        count = 0
        async for events in recorded.read(since, self._until):
            count += len(events)
            chosen = [
                one for one in events
                if one.type in watches.by_type or any(name in watches.by_metric for name in one.measures)
            ]  # fmt: skip
            for received, together in groupby(chosen, key=lambda one: one.received):
                if not await self._pass_time(received):
                    break
                await self._simulation.read(list(together))
                if not await self._goes_on(received):
                    break
            if self._stopped:
                break
        return Stretch(from_=ms(since), to=ms(self._until), fed_with="events", events=count)

    async def _pass_time(self, until: float) -> bool:
        """Let happen what only waits for its time, however much that is, and say whether there is time for more."""
        await self._simulation.go_on(until - self._since, lambda: self._goes_on(self._since + self._simulation.now))
        return not self._stopped

    async def _goes_on(self, at: float) -> bool:
        """Take what followed, let others have their turn, and say whether there is time for more."""
        self._take()
        self._reached = max(self._reached, min(at, self._until))
        now = self._clock.monotonic()
        if now - self._slept > _BREATH:
            await checkpoint()
            self._slept = self._clock.monotonic()
        if len(self._would) > MOST_ALERTS:
            self._stopped = f"more than {MOST_ALERTS} alerts would have fired"
        elif now > self._deadline:
            self._stopped = f"it took longer than {format_duration(self._within)}; ask for less time"
        return not self._stopped

    def _take(self) -> None:
        for at, step in self._simulation.happened:
            lived = self._would.setdefault(step.alert.id, _Lived(self._since + at, step.alert))
            lived.follow(self._since + at, step.alert, told=step.is_told)
        self._simulation.happened.clear()


class _Lived:
    """An alert that would have fired."""

    def __init__(self, at: float, alert: Alert) -> None:
        self._from, self._first = at, alert
        self._to: float | None = None
        self._alert = alert
        self._told = 0

    def follow(self, at: float, alert: Alert, *, told: bool) -> None:
        self._alert = alert
        self._to = at if alert.status == "resolved" else None
        self._told += told

    def occurrence(self, end: float) -> tuple[Alert, Occurrence]:
        return self._alert, Occurrence(
            labels=self._alert.labels,
            severity=self._alert.severity,
            from_=ms(self._from),
            to=None if self._to is None else ms(self._to),
            duration_ms=ms((end if self._to is None else self._to) - self._from),
            told=self._told,
            value=self._first.value,
            message=self._first.message,
        )


def _untold(config: AlertConfig) -> AlertConfig:
    """The same rules without what is told with their alerts: nobody is told anything here, and templates take time."""
    rules = tuple(msgspec.structs.replace(one, annotations={}) for one in config.rules)
    slos = tuple(msgspec.structs.replace(one, annotations={}) for one in config.slos)
    return msgspec.structs.replace(config, rules=rules, slos=slos)


def _done(lived: Did, since: float, end: float) -> tuple[Alert, Occurrence]:
    """An alert that did fire, as far as it lies in the time that is looked at."""
    alert = lived.alert
    over = alert.resolution.timestamp if alert.resolution else None
    if over is not None and over > end * 1000:
        over = None
    began = max(alert.timestamp, ms(since))
    return alert, Occurrence(
        labels=alert.labels,
        severity=alert.severity,
        from_=began,
        to=over,
        duration_ms=(over if over is not None else ms(end)) - began,
        told=lived.told,
        value=alert.value,
        message=alert.message,
    )


def _compared(
    watches: Sequence[Watch],
    would: Sequence[tuple[Alert, Occurrence]],
    did: Sequence[tuple[Alert, Occurrence]],
) -> list[RuleOutcome]:
    """Every rule with what it would have done and what it did, the one beside the other where it is the same alert."""
    outcomes = {watch.id: RuleOutcome(id=watch.id, name=watch.rule.name) for watch in watches}
    for alert, _ in (*would, *did):
        outcomes.setdefault(alert.rule_id, RuleOutcome(id=alert.rule_id, name=alert.rule))
    before: dict[str, list[Occurrence]] = {}
    for alert, occurrence in did:
        outcomes[alert.rule_id].did.append(occurrence)
        before.setdefault(alert.fingerprint, []).append(occurrence)
    for alert, occurrence in would:
        outcomes[alert.rule_id].would.append(occurrence)
        known = [one for one in before.get(alert.fingerprint, ()) if _meet(one, occurrence)]
        _compare(occurrence, known[0] if known else None)
        if known:
            before[alert.fingerprint].remove(known[0])
    for gone in (one for left in before.values() for one in left):
        gone.change = "gone"
    for outcome in outcomes.values():
        outcome.would.sort(key=lambda one: one.from_)
        outcome.did.sort(key=lambda one: one.from_)
        gone_ones = [one for one in outcome.did if one.change == "gone"]
        outcome.changes = summed({one.change: 1} for one in (*outcome.would, *gone_ones))
    return list(outcomes.values())


def _meet(one: Occurrence, other: Occurrence) -> bool:
    """Whether two alerts were alive at the same time, or nearly."""
    slack = ALIKE * 1000
    ends = [one.from_ + one.duration_ms, other.from_ + other.duration_ms]
    return max(one.from_, other.from_) <= min(ends) + slack


def _compare(would: Occurrence, did: Occurrence | None) -> None:
    if did is None:
        would.change = "new"
        return
    would.by_ms = would.duration_ms - did.duration_ms
    if abs(would.by_ms) > ALIKE * 1000:
        would.change = "longer" if would.by_ms > 0 else "shorter"
    did.change = would.change


def _figure(watch: Watch, figures: Mapping[str, float]) -> float:
    """What of a window a rule reads: it counts as many times as there were values."""
    rule = watch.rule
    match rule.aggregate:
        case "last":
            return figures["max" if rule.above is not None else "min"]
        case "min" | "max" | "p50" | "p95" | "p99":
            return figures[rule.aggregate]
        case "p90":
            return figures["p95"]
        case "increase":
            return figures["last"]
        case _:
            return figures["average"]


def _limits(watches: Sequence[Watch], past: Past) -> Iterator[str]:
    """What windows and records do not show of what these rules look at."""
    metric = [watch.rule for watch in watches if watch.rule.metric]
    if past.windows and metric:
        wide = format_duration(max(past.widths) / 1000)
        yield (
            f"Each window, up to {wide} wide, is one value at its end: what happened within it, and in which order, is "
            "not seen."
        )
        if any(rule.aggregate == "last" for rule in metric):
            yield (
                "A rule on `last` reads a window's max where it has `above`, and its min where it has `below`: one bad "
                "value makes the whole window bad, and nothing ends an alert before the window does."
            )
        if any(rule.for_ and rule.for_ < max(past.widths) / 1000 for rule in metric):
            yield f"A `for` shorter than {wide} is over with the second bad window."
        if any(
            span and span < max(past.widths) / 1000 for rule in metric for span in (rule.absent, rule.no_data_after)
        ):
            yield f"Silence shorter than {wide} is seen where there was none: a window is heard at its end."
        if any(rule.change for rule in metric):
            yield "A rule on a `change` takes each window for one run."
        if any(rule.aggregate in ("p50", "p90", "p95", "p99") for rule in metric):
            yield "Of percentiles, those of each window are known (of p90 the p95): over several they are approximate."
    if any(watch.rule.events for watch in watches):
        yield (
            "Of events, those are read whose details the store still keeps: `sampling` may have left some out, and "
            "`events_keep` has forgotten others."
        )


def summed(changes: Iterable[Mapping[Change, int]]) -> dict[Change, int]:
    """How many there were of each change, of all together."""
    total = Counter[Change]()
    for one in changes:
        total.update(one)
    return dict(total)


def ms(seconds: float) -> int:
    """A time as answers tell it."""
    return round(seconds * 1000)
