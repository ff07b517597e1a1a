"""Rules that can never fire: nobody measures what they watch, or nothing ever came with the labels that they want."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from bers import Context, Refused
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.rules import several
from bers_builtin.sinks.alert_engine.rules.defaults import DEFAULTS
from bers_builtin.sinks.alert_engine.watches import Watch

HISTORY = "30d"
"""How far back somebody looks for what a rule watches."""

FRESH = 60.0
"""Seconds for which what was found in the history is believed."""

MOST_ASKED = 100
"""Of how many metrics and types the history is asked at a time; the rest is asked about next time."""


def hints(config: AlertConfig, measured: Collection[str]) -> Iterator[tuple[str, str]]:
    """The rules on metrics that no stage of the same file measures, each with its place in the configuration."""
    known = "unless emitters hand in measures of that name"
    for n, rule in enumerate(config.rules):
        if rule.metric and rule.metric not in measured:
            fault = f"no stage here measures {rule.metric!r}, so rule {rule.name!r} can never fire, {known}"
            yield f"rules[{n}].metric", f"{fault}; declare the stage that does"
    replaced = {rule.id for rule in config.rules}
    idle = [
        rule for rule in DEFAULTS
        if config.defaults and rule.metric and rule.metric not in measured and rule.id not in replaced
    ]  # fmt: skip
    if idle:
        names = ", ".join(repr(rule.name) for rule in idle)
        metrics = ", ".join(sorted({rule.metric for rule in idle}))
        fault = f"no stage here measures {metrics}, so these rules can never fire, {known}: {names}"
        yield "defaults", f"{fault}; declare the stages that do, or write `defaults: false`"


class NeverFiring:
    """Finds out of rules that were never evaluated since the start whether they ever could have been."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._found: dict[str, tuple[float, Any]] = {}
        """What the history has of a metric or a type, and when that was asked."""

    async def hints(self, watches: Sequence[Watch]) -> dict[str, str]:
        """What is to be said of each of these rules, by its id; nothing of those that are evaluated."""
        asked, said = 0, dict[str, str]()
        for watch in watches:
            if watch.evaluated is None and asked < MOST_ASKED:
                asked += sum(not self._is_fresh(name) for name in (watch.rule.metric, *watch.rule.events) if name)
                if hint := await (self._of_metric(watch) if watch.metric else self._of_events(watch)):
                    said[watch.id] = hint
        return said

    async def _of_metric(self, watch: Watch) -> str | None:
        rule = watch.rule
        series = await self._ask(rule.metric, f"metrics/{rule.metric}", {"points": 1, "limit": 500, "fields": "count"})
        if series is None:
            return f"nothing has measured {rule.metric!r} since this server started, and no store says what was before"
        lines: Sequence[Mapping[str, Any]] = [line["labels"] for line in series["series"]]
        if not lines:
            return f"it can never fire as things are: nothing has measured {rule.metric!r} within {HISTORY}"
        if series["seriesCount"] > len(lines):
            return None  # There are more than can be looked at.
        wanted = {**rule.where, **({"environment": rule.environment} if rule.environment else {})}
        kept = watch.metric.labels if watch.metric else ()
        for name, values in wanted.items():
            seen = sorted({str(line.get(name, "")) for line in lines})
            if name in kept and not {*several(values)} & {*seen}:
                asked, there = (" or ".join(map(repr, several(values))), ", ".join(map(repr, seen[:10])))
                return f"it can never fire as things are: {name} was never {asked} within {HISTORY}; it was {there}"
        return None

    async def _of_events(self, watch: Watch) -> str | None:
        types = watch.rule.events
        for type in types:
            records = await self._ask(type, "records", {"type": type, "limit": 1})
            if records is None or records:
                return None
        names = " or ".join(repr(type) for type in types)
        return f"no event of type {names} has come yet, and no record of one is kept; see whether the name is right"

    def _is_fresh(self, name: str) -> bool:
        asked, _ = self._found.get(name, (-FRESH, None))
        return self._context.clock.monotonic() - asked < FRESH

    async def _ask(self, name: str, path: str, fields: Mapping[str, Any]) -> Any:
        """What the history says; nothing where nobody keeps one."""
        if not self._is_fresh(name):
            period = {"period": HISTORY} if path != "records" else {}
            try:
                answer = await self._context.call("GET", path, {**fields, **period})
            except Refused:
                answer = None
            self._found[name] = self._context.clock.monotonic(), answer
        return self._found[name][1]
