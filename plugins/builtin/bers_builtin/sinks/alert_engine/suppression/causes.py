"""What follows from another fault is not told beside it: the alerts that explain others, while they are alive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from bers_builtin.sinks.alert_engine.alerts import Alert, Suppressed

_Names: TypeAlias = frozenset[str]


class Causes:
    """Which alerts keep others from firing: alive, of a rule those depend on, and equal in every label both have.

    The environment counts as a label, and what a rule itself puts on its alerts does not. An alert that was told
    already goes on, and one that is critical always fires: that something else is broken too is a guess, and no
    operator's word.
    """

    def __init__(self, depends_on: Mapping[str, Iterable[str]], put_on: Mapping[str, Iterable[str]]) -> None:
        """``depends_on`` says by the id of a rule which ones its alerts depend on, ``put_on`` which labels it puts on
        them, whatever they are about.
        """
        self._put_on = {rule: frozenset(names) for rule, names in put_on.items()}
        self._depends_on = {rule: frozenset(others) for rule, others in depends_on.items() if others}
        self._causes = frozenset[str]().union(*self._depends_on.values())
        self._alive: dict[str, dict[str, Alert]] = {}
        """The living alerts of the rules that others depend on, by rule and fingerprint."""
        self._titles: dict[str, str] = {}
        """What they are called, by their ids."""
        self._names: dict[str, Counter[_Names]] = {}
        """Which labels they have, by rule, and how many have them."""
        self._places: dict[tuple[str, _Names, _Names], dict[Sequence[str], dict[str, Alert]]] = {}
        """Those of a rule that have some labels, by the values of some of these: whoever asks looks at no others."""

    def began(self, alert: Alert) -> None:
        if alert.rule_id in self._causes:
            self.ended(alert)
            self._alive.setdefault(alert.rule_id, {})[alert.fingerprint] = alert
            self._titles[alert.id] = alert.title
            names = frozenset(alert.labels)
            self._names.setdefault(alert.rule_id, Counter())[names] += 1
            for (rule, having, common), places in self._places.items():
                if (rule, having) == (alert.rule_id, names):
                    places.setdefault(_values(alert, common), {})[alert.fingerprint] = alert

    def ended(self, alert: Alert) -> bool:
        """Note the end of an alert; True where others may have followed from it."""
        known = self._alive.get(alert.rule_id, {}).pop(alert.fingerprint, None)
        if known is None:
            return False
        self._titles.pop(known.id, None)
        names, counts = frozenset(known.labels), self._names[known.rule_id]
        counts[names] -= 1
        if not counts[names]:
            del counts[names]
        for key, places in list(self._places.items()):
            if key[:2] != (known.rule_id, names):
                continue
            values = _values(known, key[2])
            places[values].pop(known.fingerprint)
            if not places[values]:
                del places[values]
            if not places:
                del self._places[key]
        return True

    def of(self, alert: Alert) -> Suppressed | None:
        """The alert that an alert follows from."""
        if alert.told or alert.severity == "critical" or alert.rule_id not in self._depends_on:
            return None
        for rule in sorted(self._depends_on[alert.rule_id]):
            aside = self._put_on.get(alert.rule_id, frozenset()) | self._put_on.get(rule, frozenset())
            for names in self._names.get(rule, ()):
                for cause in self._of_one_place(alert, rule, names, names & alert.labels.keys() - aside):
                    if cause.fingerprint != alert.fingerprint and _is_of_one_environment(alert, cause):
                        return Suppressed("dependency", cause.id)
        return None

    def title_of(self, id: str) -> str:
        """What an alert is called that others follow from."""
        return self._titles.get(id, id)

    def _of_one_place(self, alert: Alert, rule: str, names: _Names, common: _Names) -> Iterable[Alert]:
        """The alerts of a rule that have these labels, and are equal to an alert in some of them."""
        key = (rule, names, common)
        if key not in self._places:
            places = self._places[key] = {}
            for cause in self._alive[rule].values():
                if frozenset(cause.labels) == names:
                    places.setdefault(_values(cause, common), {})[cause.fingerprint] = cause
        return self._places[key].get(_values(alert, common), {}).values()


def _values(alert: Alert, names: _Names) -> Sequence[str]:
    return tuple(alert.labels[name] for name in sorted(names))


def _is_of_one_environment(alert: Alert, cause: Alert) -> bool:
    return not (alert.environment and cause.environment and alert.environment != cause.environment)
