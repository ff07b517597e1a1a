"""Which rules explain which: the names that `depends_on` gives have to be rules, and never lead back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bers import ConfigError, unknown
from bers_builtin.sinks.alert_engine.rules import Rule, Slo, named
from bers_builtin.sinks.alert_engine.rules.gathering import gathered


def assert_dependencies(rules: Sequence[Rule], slos: Sequence[Slo], at_work: Sequence[Rule]) -> None:
    """Raise ConfigError where a rule depends on one that is not at work, or on itself by way of others."""
    known = {rule.id: rule for rule in at_work}
    with gathered() as faults:
        for path, names in _written(rules, slos):
            for index, name in enumerate(names):
                with faults.trying():
                    if named(name) not in known:
                        fault = unknown("rule", name, [rule.name for rule in at_work])
                        raise ConfigError(fault, path=f"{path}.depends_on[{index}]")
    with gathered() as faults:
        for path, rule in _places(rules, slos, known):
            with faults.trying():
                if circle := _circle(rule, known):
                    fault = f"rule {rule.name!r} depends on itself, by way of {' -> '.join(circle)}; leave one out"
                    raise ConfigError(fault, path=f"{path}.depends_on")


def _written(rules: Sequence[Rule], slos: Sequence[Slo]) -> Iterator[tuple[str, Sequence[str]]]:
    yield from ((f"rules[{index}]", rule.depends_on) for index, rule in enumerate(rules))
    yield from ((f"slos[{index}]", slo.depends_on) for index, slo in enumerate(slos))


def _places(rules: Sequence[Rule], slos: Sequence[Slo], known: Mapping[str, Rule]) -> Iterator[tuple[str, Rule]]:
    yield from ((f"rules[{index}]", rule) for index, rule in enumerate(rules))
    for index, slo in enumerate(slos):
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
