"""One test of rules at work: the engine is told what it says, and what follows is compared with what it expects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from math import isclose
from typing import Any, Literal, NamedTuple, TypeAlias

from anyio.lowlevel import checkpoint

from bers import Event, Metric, format_duration, unknown
from bers_builtin.sinks.alert_engine.alerts import Alert
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.life.register import Deed
from bers_builtin.sinks.alert_engine.rehearsal.notation import expand, select
from bers_builtin.sinks.alert_engine.rehearsal.rule_tests import (
    Acted,
    ExpectedAlert,
    ExpectedNotification,
    Measured,
    Occurred,
    RuleTest,
)
from bers_builtin.sinks.alert_engine.rehearsal.simulation import Happened, Simulation

MONDAY = 1_767_571_200.0
"""2026-01-05T00:00:00Z, when tests begin that do not say when."""

_FIELDS = ("environment", "service")
"""Labels of a series that are fields of its events."""

Steps: TypeAlias = tuple[str | int, ...]


class Miss(NamedTuple):
    """Something that did not come as it was expected: where in the test that stands, and what came."""

    steps: Steps
    message: str


class _Due(NamedTuple):
    """One thing of a test: things of one time go by kind, and then as they stand in the file."""

    ms: int
    kind: Literal[0, 1, 2]
    """What happens, what operators do about it, what must be so then."""
    number: int
    do: Callable[[], Awaitable[None]]


class RuleTestRun:
    """One test at work."""

    def __init__(
        self, test: RuleTest, config: AlertConfig, metrics: Mapping[str, Metric], environment: str, interval: float
    ) -> None:
        start = test.start.timestamp() if test.start else MONDAY
        self._test = test
        self._simulation = Simulation(config, metrics, start=start)
        self._metrics = metrics
        self._environment = environment
        self._interval_ms = _ms(test.interval or interval)
        self._misses: list[Miss] = []
        self._events = 0

    async def run(self) -> Sequence[Miss]:
        """Everything that came otherwise than the test expects."""
        self._check_names()
        if self._misses:
            return self._misses
        simulation = self._simulation
        for due in sorted(self._timeline(), key=lambda one: one[:3]):
            await simulation.go_on(due.ms / 1000)
            await due.do()
        if self._test.until is not None:
            await simulation.go_on(float(self._test.until))
        if self._test.notifications is not None:
            self._misses += _compare_told(self._test.notifications, simulation.happened)
        return self._misses

    def _check_names(self) -> None:
        """Nobody who misspells a name is told that all is well."""
        rules = [watch.rule.name for watch in self._simulation.evaluator.watches.by_id.values()]
        named: list[tuple[Steps, str]] = [
            *((("actions", n, "acknowledge" if one.acknowledge else "resolve"), one.rule)
              for n, one in enumerate(self._test.actions) if not one.silence),
            *((("alerts", n, "rule"), one.rule) for n, one in enumerate(self._test.alerts)),
            *((("notifications", n, "rule"), one.rule) for n, one in enumerate(self._test.notifications or ())),
        ]  # fmt: skip
        self._misses += [Miss(steps, unknown("rule", name, rules)) for steps, name in named if name not in rules]
        for n, one in enumerate(self._test.series):
            metric = select(one.series).metric
            if metric not in self._metrics:
                self._misses.append(Miss(("series", n, "series"), unknown("metric", metric, self._metrics)))

    def _timeline(self) -> Iterator[_Due]:
        test = self._test
        for n, one in enumerate(test.series):
            for k, value in enumerate(expand(str(one.values))):
                if value is not None:
                    yield _Due(k * self._interval_ms, 0, n, partial(self._measure, one, value))
        for n, event in enumerate(test.events, len(test.series)):
            yield _Due(_ms(event.at), 0, n, partial(self._occur, event))
        for n, action in enumerate(test.actions):
            yield _Due(_ms(action.at), 1, n, partial(self._act, n, action))
        asked: dict[tuple[int, str], list[tuple[int, ExpectedAlert]]] = {}
        for n, expected in enumerate(test.alerts):
            asked.setdefault((_ms(expected.at), expected.rule), []).append((n, expected))
        for (ms, rule), every in asked.items():
            yield _Due(ms, 2, every[0][0], partial(self._compare_alerts, rule, every))
        for told in test.notifications or ():  # The test goes on until the last of them.
            yield _Due(_ms(told.at), 2, 0, checkpoint)

    # What happens

    async def _measure(self, measured: Measured, value: float) -> None:
        metric, labels = select(measured.series)
        fields = {name: labels[name] for name in _FIELDS if name in labels}
        await self._happen(
            "custom.measured",
            environment=fields.get("environment"),
            service=fields.get("service"),
            labels={name: text for name, text in labels.items() if name not in _FIELDS},
            measures={metric: value},
        )

    async def _occur(self, occurred: Occurred) -> None:
        await self._happen(
            occurred.type,
            source=occurred.source,
            late=float(occurred.late),
            environment=occurred.environment,
            service=occurred.service,
            subject=occurred.subject,
            outcome=occurred.outcome,
            reason=occurred.reason,
            labels=occurred.labels,
            measures=occurred.measures,
            weight=occurred.weight,
        )

    async def _happen(self, type: str, *, environment: str | None, late: float = 0.0, **fields: Any) -> None:
        self._events += 1
        now = self._simulation.clock.time()
        fields = {"source": "/test", **fields, "environment": environment or self._environment}
        event = Event(id=f"test-{self._events}", type=type, time=now - late, received=now, **fields)
        await self._simulation.read([event])

    async def _act(self, number: int, acted: Acted) -> None:
        simulation, deed = self._simulation, Deed(acted.operator, "test", acted.notes, "")
        if acted.for_ is not None:
            simulation.silence(acted.silence, float(acted.for_), deed)
            return
        chosen = [
            alert for alert in simulation.alerts()
            if alert.status != "pending" and alert.rule == acted.rule and _has(alert, acted.labels)
        ]  # fmt: skip
        if not chosen:
            said = f"at {_time(acted.at)}, no alert of rule {acted.rule!r} fires{_labels(acted.labels)}"
            self._misses.append(Miss(("actions", number), said))
        for alert in chosen:
            if acted.resolve:
                simulation.resolve(alert, deed)
            elif not alert.acknowledgment:
                simulation.acknowledge(alert, deed)

    # What is compared

    async def _compare_alerts(self, rule: str, expected: Sequence[tuple[int, ExpectedAlert]]) -> None:
        wanted = [(n, one) for n, one in expected if one.status != "none"]
        living = [alert for alert in self._simulation.alerts() if alert.rule == rule]
        ended = self._ended(rule) if any(one.status == "resolved" for _, one in wanted) else []
        left = [*living, *ended]
        missing: list[tuple[int, ExpectedAlert]] = []
        for n, one in wanted:
            if found := next((alert for alert in left if _is(alert, one)), None):
                left.remove(found)
            else:
                missing.append((n, one))
        surplus = [alert for alert in left if alert.status != "resolved"]
        if missing or surplus:
            number, first = missing[0] if missing else expected[0]
            lines = [f"at {_time(first.at)}, rule {rule!r}:"]
            lines += [f"  expected  {_expected(one)}" for _, one in missing] or [
                f"  expected  {'nothing' if not wanted else 'nothing more'}"
            ]
            lines += [f"  got       {self._got(alert)}" for alert in (surplus or left)] or ["  got       no alert"]
            self._misses.append(Miss(("alerts", number), "\n".join(lines)))

    def _ended(self, rule: str) -> list[Alert]:
        """The last alert of each kind that is over."""
        last = {one.step.alert.fingerprint: one.step.alert for one in self._simulation.happened}
        return [alert for alert in last.values() if alert.rule == rule and alert.status == "resolved"]

    def _got(self, alert: Alert) -> str:
        said = f"{alert.status}{_labels(alert.labels)}"
        said += f", value {alert.value:g}" if alert.value is not None else ""
        if alert.status == "pending":
            watch = self._simulation.evaluator.watches.by_id[alert.rule_id]
            began = alert.timestamp / 1000
            waited = format_duration(round(self._simulation.clock.time() - began, 3))
            return f"{said}: waits, {waited} of {format_duration(watch.rule.for_)}"
        return f"{said} ({alert.reason.word}: {alert.reason.sentence})" if alert.reason else said


def _compare_told(expected: Sequence[ExpectedNotification], happened: Sequence[Happened]) -> Iterator[Miss]:
    """Where what was told differs from what was to be told, in their order."""
    told = [one for one in happened if one.step.is_told]
    pairs = _aligned(expected, told)
    for (before_n, before_k), (n, k) in zip([(-1, -1), *pairs], [*pairs, (len(expected), len(told))], strict=True):
        missing, surplus = range(before_n + 1, n), range(before_k + 1, k)
        for place in missing:
            came = [f"  got       {_told(told[other])}" for other in surplus] or ["  got       nothing"]
            surplus = range(0)
            yield Miss(
                ("notifications", place),
                "\n".join([f"it was not told:\n  expected  {_wanted(expected[place])}", *came]),
            )
        for other in surplus:
            more = f"more was told than is expected:\n  expected  nothing\n  got       {_told(told[other])}"
            yield Miss(("notifications",), more)


def _aligned(expected: Sequence[ExpectedNotification], told: Sequence[Happened]) -> list[tuple[int, int]]:
    """Which was told as which was expected: as many as can be, in order."""
    rows, columns = len(expected), len(told)
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    fits = [[_fits(one, other) for other in told] for one in expected]
    for n in range(rows - 1, -1, -1):
        for k in range(columns - 1, -1, -1):
            best[n][k] = best[n + 1][k + 1] + 1 if fits[n][k] else max(best[n + 1][k], best[n][k + 1])
    pairs: list[tuple[int, int]] = []
    n = k = 0
    while n < rows and k < columns:
        if fits[n][k]:
            pairs.append((n, k))
            n, k = n + 1, k + 1
        elif best[n + 1][k] >= best[n][k + 1]:
            n += 1
        else:
            k += 1
    return pairs


def _fits(wanted: ExpectedNotification, told: Happened) -> bool:
    at, step = told
    return (
        _ms(wanted.at) == _ms(at)
        and wanted.rule == step.alert.rule
        and wanted.type == step.kind
        and _has(step.alert, wanted.labels)
        and wanted.reason in ("", step.reason.word)
    )


def _is(alert: Alert, wanted: ExpectedAlert) -> bool:
    return (
        alert.status == wanted.status
        and _has(alert, wanted.labels)
        and wanted.severity in ("", alert.severity)
        and wanted.reason in ("", alert.reason.word if alert.reason else "")
        and (wanted.value is None or (alert.value is not None and isclose(alert.value, wanted.value, rel_tol=1e-9)))
    )


def _has(alert: Alert, labels: Mapping[str, str] | None) -> bool:
    return labels is None or dict(alert.labels) == labels


def _expected(wanted: ExpectedAlert) -> str:
    said = f"{wanted.status}{_labels(wanted.labels)}"
    said += f", value {wanted.value:g}" if wanted.value is not None else ""
    said += f", {wanted.severity}" if wanted.severity else ""
    return f"{said} ({wanted.reason})" if wanted.reason else said


def _wanted(wanted: ExpectedNotification) -> str:
    reason = f" ({wanted.reason})" if wanted.reason else ""
    return f"at {_time(wanted.at)}, {wanted.type} {wanted.rule!r}{_labels(wanted.labels)}{reason}"


def _told(told: Happened) -> str:
    at, step = told
    why = f" ({step.reason.word}: {step.reason.sentence})"
    return f"at {_time(at)}, {step.kind} {step.alert.rule!r}{_labels(step.alert.labels)}{why}"


def _labels(labels: Mapping[str, str] | None) -> str:
    return " {" + ", ".join(f'{name}="{text}"' for name, text in labels.items()) + "}" if labels else ""


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _time(seconds: float) -> str:
    """As files of tests mostly write it: never as 1m, where others say 61s."""
    return f"{round(seconds, 3):.15g}s"
