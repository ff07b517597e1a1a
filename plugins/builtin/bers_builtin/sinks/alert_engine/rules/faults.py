"""What cannot be in a rule: each fault with the key that it is about, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, get_args

from bers import Outcome
from bers_builtin.sinks.alert_engine.rules.words import FIELDS, several

if TYPE_CHECKING:
    from bers_builtin.sinks.alert_engine.rules.parts import Clears
    from bers_builtin.sinks.alert_engine.rules.rule import Rule

OF_EVENTS = ("count", "rate")
"""What can be asked of events in a window: they have no value."""


def faults(rule: Rule) -> Iterator[tuple[str, str]]:
    """Each fault of a rule, by the path of its key."""
    if not rule.id:
        yield "name", "its name has neither a letter nor a digit; call it something"
    elif bool(rule.metric) == bool(rule.event):
        yield "", "it needs either `metric` or `event`; give one of them"
    else:
        yield from _of_kind(rule)
        yield from _of_any(rule)


def _of_kind(rule: Rule) -> Iterator[tuple[str, str]]:
    if rule.absent is not None:
        yield from _absence(rule)
    elif rule.metric:
        yield from _metric(rule)
    else:
        yield from _event(rule)


def _metric(rule: Rule) -> Iterator[tuple[str, str]]:
    yield from _misplaced(rule, "a rule on a metric", "outcome", "clears", "consecutive", "ratio")
    if rule.change is not None:
        yield from _misplaced(rule, "a rule on a `change`", "above", "below", "clear", "window")
        if rule.aggregate != "last":
            yield "aggregate", "`change` compares single values; remove it"
        return
    if (rule.above is None) == (rule.below is None):
        yield "", "it needs either `above` or `below`, or a `change`; give one of them"
    yield from _window(rule)


def _event(rule: Rule) -> Iterator[tuple[str, str]]:
    yield from _misplaced(rule, "a rule on an event", "change", "no_data_after")
    if rule.aggregate in OF_EVENTS:
        yield from _misplaced(rule, "a rule that counts events", "clears", "consecutive", "ratio")
        if (rule.above is None) == (rule.below is None):
            yield "", f"`{rule.aggregate}` needs either `above` or `below`; give one of them"
        yield from _window(rule)
    else:
        yield from _misplaced(rule, "a rule on an event", "above", "below", "clear", "for_")
        if rule.aggregate != "last":
            yield "aggregate", "`aggregate` of events is `count` or `rate`; choose one of them"
        if rule.counts_failures and rule.clears:
            yield (
                "clears",
                "`clears` has no meaning where failures are counted; remove it: a success resolves the alert",
            )
        if rule.clears and _begins_what_clears(rule, rule.clears):
            yield "clears", "whatever would end an alert begins one; name another event, or say the `outcome` of both"
        if rule.ratio is not None and not 0 < rule.ratio <= 100:
            yield "ratio", "no share of failures is that; write more than 0% and at most 100%"
        if (rule.ratio is None) != (rule.window is None):
            yield "window", "`ratio` and `window` need each other; give both or neither"
        if rule.min_samples > 1 and rule.ratio is None:
            yield "min_samples", "`min_samples` needs a `ratio` and a `window`"
    watched = (*rule.events, *(several(rule.clears.event) if rule.clears else ()))
    if any(type.startswith("alert.") for type in watched):
        yield "event", "no rule watches alerts; name another event"


def _begins_what_clears(rule: Rule, clears: Clears) -> bool:
    every: tuple[Outcome, ...] = get_args(Outcome)
    begins = [rule.matches_outcome(one) for one in (None, *every) if clears.matches_outcome(one)]
    return {*several(clears.event)} <= {*rule.events} and all(begins)


def _absence(rule: Rule) -> Iterator[tuple[str, str]]:
    nothing = ("above", "below", "clear", "window", "change", "consecutive", "ratio", "clears", "for_")
    yield from _misplaced(rule, "a rule on absence", *nothing, "keep_firing_for", "no_data_after")
    if rule.metric:
        yield from _misplaced(rule, "a rule on a metric", "outcome")
    if rule.aggregate != "last":
        yield "aggregate", "`absent` looks for anything at all; remove it"
    if rule.min_samples > 1:
        yield "min_samples", "one is enough for `absent`; remove it"


def _window(rule: Rule) -> Iterator[tuple[str, str]]:
    if rule.aggregate == "last" and rule.window is not None:
        yield "window", "`window` has no meaning for `last`; remove it, or choose an `aggregate` such as mean"
    if rule.aggregate != "last" and rule.window is None:
        yield "aggregate", f"`{rule.aggregate}` needs a `window`, such as 5m"
    if rule.min_samples > 1 and rule.window is None:
        yield "min_samples", "`min_samples` needs a `window`, such as 5m, and an `aggregate`"


def _of_any(rule: Rule) -> Iterator[tuple[str, str]]:
    if rule.on_no_data != "keep" and rule.no_data_after is None:
        yield "on_no_data", "`on_no_data` needs `no_data_after`, such as 5m: after how long there is no data"
    for name in rule.labels:
        if name in FIELDS or name in (rule.group or ()):
            yield f"labels.{name}", f"{name!r} is what tells its alerts apart; to look at some of them, write `where`"
        elif not name.replace("_", "a").isalnum() or name[0].isdigit():
            yield "labels", f"{name!r} cannot name a label; use letters, digits and _"
    for environment, override in rule.in_.items():
        path = f"in.{environment}" if environment.replace("_", "a").isalnum() else "in"
        if rule.environment and environment != rule.environment:
            yield path, f"the rule looks at {rule.environment!r} alone; remove it"
        for side in ("above", "below", "clear"):
            if getattr(override, side) is not None and getattr(rule, side) is None and (
                side != "clear" or not rule.threshold
            ):  # fmt: skip
                yield path, f"the rule has no `{side}` that could be another; give it one, or remove it here"
        if rule.absent is not None and (override.for_ or override.keep_firing_for):
            yield path, "`for` and `keep_firing_for` have no meaning in a rule on absence; remove them"
        if rule.event and not rule.threshold and override.for_:
            yield path, "`for` has no meaning in a rule on an event; remove it"


def _misplaced(rule: Rule, place: str, *fields: str) -> Iterator[tuple[str, str]]:
    for field in fields:
        value: Any = getattr(rule, field)
        name = field.rstrip("_")
        if value is not None and value != 0.0:
            yield name, f"`{name}` has no meaning in {place}; remove it"
