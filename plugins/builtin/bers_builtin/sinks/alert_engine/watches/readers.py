"""Who reads what: the rules on one metric or one type of event, found by the labels they ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bers import Event
from bers_builtin.sinks.alert_engine.rules import several
from bers_builtin.sinks.alert_engine.watches.watch import Watch, field


class Readers:
    """A thousand rules on one metric, each with a label of its own, cost an event no more than one does."""

    def __init__(self) -> None:
        self._all: list[Watch] = []
        """Those that ask for no label."""
        self._some: dict[str, dict[str, list[Watch]]] = {}
        """The others, by the first label that they ask for, and its values."""
        self.offered = 0
        """How many such events there were since the start: with none, nobody measures it."""

    def __iter__(self) -> Iterator[Watch]:
        yield from self._all
        yield from {
            id(watch): watch for by_value in self._some.values() for one in by_value.values() for watch in one
        }.values()

    def add(self, watch: Watch) -> None:
        if not watch.rule.where:
            self._all.append(watch)
            return
        name, values = next(iter(watch.rule.where.items()))
        by_value = self._some.setdefault(name, {})
        for value in dict.fromkeys(several(values)):
            by_value.setdefault(value, []).append(watch)

    def of(self, event: Event) -> Sequence[Watch]:
        """The rules that may want this event."""
        self.offered += 1
        if not self._some:
            return self._all
        found = [*self._all]
        for name, by_value in self._some.items():
            value = field(event, name)
            if value is not None and (watches := by_value.get(value)):
                found += watches
        return found
