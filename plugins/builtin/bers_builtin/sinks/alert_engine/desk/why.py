"""Why a rule fires or not: what is answered about all rules, and about one with its last evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from bers import Caller, Nothing, Refused, as_yaml, unknown
from bers_builtin.sinks.alert_engine.desk import asking
from bers_builtin.sinks.alert_engine.desk.answers import RuleReport
from bers_builtin.sinks.alert_engine.watches.evaluations import Evaluation

if TYPE_CHECKING:
    from bers_builtin.sinks.alert_engine.engine import AlertEngine


class AskRule(msgspec.Struct, frozen=True):
    """Which rule."""

    id: Annotated[str, Meta(description="Its id, as the list of rules has it; or its name.")]


class RuleStory(RuleReport, rename="camel", frozen=True, kw_only=True):
    """A rule, and its last evaluations, the newest first. Times in milliseconds.

    Where more than a few events come together, evaluations that say the same may be left out: every step in the life of
    an alert is among them, and else one in a tenth of a second.
    """

    source: str
    """The rule as YAML, as it stands below `rules:`; empty where it follows from an SLO, or from another rule."""
    evaluations: list[Evaluation]


async def list_rules(engine: AlertEngine, ask: Nothing, caller: Caller) -> list[RuleReport]:
    """Every rule, with what it makes of things now, and whether it ever can."""
    reports = await engine.list_rules(ask, caller)
    hints = await engine.never_firing.hints(list(engine.books.evaluator.watches.by_id.values()))
    return [msgspec.structs.replace(one, hint=hints[one.id]) if one.id in hints else one for one in reports]


async def explain_rule(engine: AlertEngine, ask: AskRule, caller: Caller) -> RuleStory:
    """One rule, and why it did what it did; raise Refused where there is none."""
    async with engine.books.sound() as evaluator:
        watches = evaluator.watches.by_id
        watch = watches.get(ask.id) or next((one for one in watches.values() if one.rule.name == ask.id), None)
        if watch is None:
            raise Refused("not_found", unknown("rule", ask.id, watches), known=watches)
        report = next(one for one in asking.reports(evaluator) if one.id == watch.id)
        evaluations = watch.evaluations.told(watch, engine.config.max_age)
        source = as_yaml(watch.rule) if watch.id in evaluator.watches.written else ""
    hints = await engine.never_firing.hints([watch])
    fields: dict[str, Any] = {**msgspec.structs.asdict(report), "hint": hints.get(watch.id, "")}
    return RuleStory(**fields, source=source, evaluations=evaluations)
