"""What follows from another fault is not told beside it: the alerts that explain others, while they are alive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bers_builtin.sinks.alert_engine.alerts import Alert, Suppressed


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

    def began(self, alert: Alert) -> None:
        if alert.rule_id in self._causes:
            self._alive.setdefault(alert.rule_id, {})[alert.fingerprint] = alert

    def ended(self, alert: Alert) -> bool:
        """Note the end of an alert; True where others may have followed from it."""
        alive = self._alive.get(alert.rule_id)
        return alive is not None and alive.pop(alert.fingerprint, None) is not None

    def of(self, alert: Alert) -> Suppressed | None:
        """The alert that an alert follows from."""
        if alert.told or alert.severity == "critical" or alert.rule_id not in self._depends_on:
            return None
        for rule in sorted(self._depends_on[alert.rule_id]):
            for cause in self._alive.get(rule, {}).values():
                if cause.fingerprint != alert.fingerprint and self._is_of_one_place(alert, cause):
                    return Suppressed("dependency", cause.id)
        return None

    def title_of(self, id: str) -> str:
        """What an alert is called that others follow from."""
        return next((alert.title for alerts in self._alive.values() for alert in alerts.values() if alert.id == id), id)

    def _is_of_one_place(self, alert: Alert, cause: Alert) -> bool:
        if alert.environment and cause.environment and alert.environment != cause.environment:
            return False
        aside = self._put_on.get(alert.rule_id, frozenset()) | self._put_on.get(cause.rule_id, frozenset())
        return all(
            alert.labels[name] == value
            for name, value in cause.labels.items()
            if name in alert.labels and name not in aside
        )
