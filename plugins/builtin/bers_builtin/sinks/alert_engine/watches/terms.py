"""What holds in one environment: the thresholds of a rule in its metric's unit, and how long things have to last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from bers import ConfigError, Duration, Metric, quantity
from bers_builtin.sinks.alert_engine.rules import Rule, Severity

PER_SECOND = "/s"

Convert: TypeAlias = Callable[[str, str], float]
"""Make a number of what is written under a key; raise ConfigError that names the key."""


class Terms(NamedTuple):
    """What a series is judged by."""

    threshold: float | None = None
    clear: float | None = None
    for_: float = 0.0
    keep: float = 0.0
    """For how long all must be good before an alert ends."""
    severity: Severity | None = None
    """That of the environment, where it has one of its own."""
    enabled: bool = True


def unit_of(rule: Rule, metric: Metric | None) -> str:
    """The unit of what a rule compares."""
    if rule.ratio is not None:
        return "%"
    if rule.threshold and (rule.aggregate == "count" or not metric):
        return "{event}" + (PER_SECOND if rule.aggregate == "rate" else "")
    if metric is None:
        return ""
    return metric.unit + PER_SECOND if rule.aggregate == "rate" else metric.unit


def compile_terms(rule: Rule, metric: Metric | None, path: str) -> tuple[Terms, Mapping[str, Terms]]:
    """What holds in general, and by environment. Raise ConfigError where a threshold cannot be one."""

    def convert(text: str | None, key: str) -> float | None:
        return None if text is None else number(text, rule, metric, f"{path}.{key}")

    threshold = convert(rule.threshold or None, rule.side)
    if rule.ratio is not None:
        threshold = float(rule.ratio)
    clear = convert(rule.clear, "clear")
    usual = Terms(threshold, clear, rule.for_, rule.keep_firing_for)
    _assert_order(usual, rule, f"{path}.clear")
    others: dict[str, Terms] = {}
    for environment, override in rule.in_.items():
        key = f"in.{environment}"
        text = override.above or override.below
        terms = Terms(
            convert(text, f"{key}.{rule.side}") if text is not None else threshold,
            convert(override.clear, f"{key}.clear") if override.clear is not None else clear,
            rule.for_ if override.for_ is None else override.for_,
            rule.keep_firing_for if override.keep_firing_for is None else override.keep_firing_for,
            override.severity,
            override.enabled,
        )
        _assert_order(terms, rule, f"{path}.{key}")
        others[environment] = terms
    return usual, others


def number(text: str, rule: Rule, metric: Metric | None, path: str) -> float:
    """A threshold in the unit of what is compared."""
    unit = unit_of(rule, metric)
    if text == "target":
        if metric is None or rule.aggregate in ("count", "rate"):
            fault = "`target` is a value of a metric; write how many, as in 5"
            raise ConfigError(f"rule {rule.name!r}: {fault}", path=path)
        if metric.target is None:
            fault = f"metric {metric.name!r} has no target; give it one under `metrics`, or write a value here"
            raise ConfigError(f"rule {rule.name!r}: {fault}", path=path)
        return metric.target
    try:
        if rule.aggregate == "rate":
            return _rate(text, unit.removesuffix(PER_SECOND))
        return quantity(text, "{value}" if rule.aggregate == "count" and metric else unit)
    except ValueError as exc:
        raise ConfigError(f"rule {rule.name!r}: {exc}", path=path) from exc


def _rate(text: str, unit: str) -> float:
    amount, slash, per = text.rpartition("/")
    if not slash:
        raise ValueError(f"{text!r} says nothing of time; write it per second, minute or hour, as in '3/min'")
    try:
        seconds = float(Duration(f"1{per.strip()}"))
    except ValueError:
        raise ValueError(f"{per!r} is no time; write s, min, h or d, as in '3/min'") from None
    return quantity(amount.strip(), unit) / seconds


def _assert_order(terms: Terms, rule: Rule, path: str) -> None:
    if terms.threshold is None or terms.clear is None:
        return
    if terms.clear > terms.threshold if rule.side == "above" else terms.clear < terms.threshold:
        side = "at or below" if rule.side == "above" else "at or above"
        fault = f"`clear` lies on the bad side of `{rule.side}`; it has to be {side} it, or no alert would ever end"
        raise ConfigError(f"rule {rule.name!r}: {fault}", path=path)
