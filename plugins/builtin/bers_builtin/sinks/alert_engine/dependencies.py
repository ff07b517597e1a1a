"""Which rules explain which: the names that `depends_on` gives have to be rules, and never lead back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bers import ConfigError, unknown
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.faults import gathered
from bers_builtin.sinks.alert_engine.rules import Rule, named


def assert_dependencies(config: AlertConfig, rules: Sequence[Rule]) -> None:
    """Raise ConfigError where a rule depends on one that is not there, or on itself by way of others."""
    known = {rule.id: rule for rule in rules}
    with gathered() as faults:
        for path, names in _written(config):
            for index, name in enumerate(names):
                with faults.trying():
                    if named(name) not in known:
                        fault = unknown("rule", name, [rule.name for rule in rules])
                        raise ConfigError(fault, path=f"{path}.depends_on[{index}]")
    with gathered() as faults:
        for path, rule in _places(config, known):
            with faults.trying():
                if circle := _circle(rule, known):
                    fault = f"rule {rule.name!r} depends on itself, by way of {' -> '.join(circle)}; leave one out"
                    raise ConfigError(fault, path=f"{path}.depends_on")


def _written(config: AlertConfig) -> Iterator[tuple[str, Sequence[str]]]:
    yield from ((f"rules[{index}]", rule.depends_on) for index, rule in enumerate(config.rules))
    yield from ((f"slos[{index}]", slo.depends_on) for index, slo in enumerate(config.slos))


def _places(config: AlertConfig, known: Mapping[str, Rule]) -> Iterator[tuple[str, Rule]]:
    yield from ((f"rules[{index}]", rule) for index, rule in enumerate(config.rules))
    for index, slo in enumerate(config.slos):
        yield from ((f"slos[{index}]", rule) for rule in known.values() if rule.labels.get("slo") == slo.id)


def _circle(rule: Rule, known: Mapping[str, Rule]) -> Sequence[str]:
    """The names that lead from a rule back to it; none where they do not."""
    ways = [[name] for name in rule.depends_on]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        id = named(way[-1])
        if id == rule.id:
            return [rule.name, *way]
        if id not in seen:
            seen.add(id)
            ways += [[*way, name] for name in known[id].depends_on]
    return ()
