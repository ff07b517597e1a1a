"""Deployments in the order in which they finished: which was the last before a moment, and which the next after it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import TypeAlias

from ..pace import Pace
from .deployments import Deployment
from .portions import drop, empty

Where: TypeAlias = tuple[str | None, str]
"""A service and an environment; an empty one means any, and None means those that name no service."""

LOOK = 1000
"""How many deployments of one name are looked at; a name that so many share means none of them."""

order = attrgetter("order")
finish = attrgetter("finished")


def anywhere(service: str | None, environment: str | None) -> Where:
    """Where something happened that may not say where."""
    return service or "", environment or ""


def is_at(one: Deployment, where: Where) -> bool:
    service, environment = where
    return service in ("", one.service) and environment in ("", one.environment)


def put(into: list[Deployment], one: Deployment) -> None:
    """Put it where it belongs: mostly at the end."""
    if into and one.order < into[-1].order:
        insort(into, one, key=order)
    else:
        into.append(one)


def take(out_of: list[Deployment], one: Deployment) -> None:
    del out_of[bisect_left(out_of, one.order, key=order)]


class Timeline:
    """Deployments of all places, each in its order, whenever they came."""

    def __init__(self) -> None:
        self.all: list[Deployment] = []
        self._by_place: dict[Where, list[Deployment]] = {}
        self._wide: dict[Where, list[Deployment]] = {}
        """Of several places at once, as far as somebody asked."""

    def add(self, one: Deployment) -> None:
        for found in self._lists(one):
            put(found, one)

    def remove(self, one: Deployment) -> None:
        for found in self._lists(one):
            take(found, one)

    async def clear(self, pace: Pace) -> None:
        """Let go of everything, a little at a time."""
        for found in (self.all, *self._by_place.values(), *self._wide.values()):
            await drop(found, pace)

    def latest(self, where: Where, at: float) -> Deployment | None:
        """The last that had finished at a moment."""
        found = self._at(where)
        number = bisect_right(found, at, key=finish)
        return found[number - 1] if number else None

    def before(self, one: Deployment) -> Deployment | None:
        """The last in its place that stands before it."""
        found = self._at(one.place)
        number = bisect_left(found, one.order, key=order)
        return found[number - 1] if number else None

    def following(self, one: Deployment, since: float) -> Deployment | None:
        """The first in the same place that finished later than this one, and not before a moment."""
        found = self._by_place.get(one.place, [])
        number = max(bisect_right(found, one.finished, key=finish), bisect_left(found, since, key=finish))
        return found[number] if number < len(found) else None

    def _at(self, where: Where) -> Sequence[Deployment]:
        if "" not in where:
            return self._by_place.get(where, [])
        if where not in self._wide:  # Few incidents leave it open where they are, and most of those alike.
            self._wide[where] = [one for one in self.all if is_at(one, where)]
        return self._wide[where]

    def _lists(self, one: Deployment) -> Iterator[list[Deployment]]:
        yield self.all
        yield self._by_place.setdefault(one.place, [])
        for where, found in self._wide.items():
            if is_at(one, where):
                yield found


class Names:
    """Deployments by what others may call them.

    Most names are of one deployment, which stands for itself: the garbage collector visits every list.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, Deployment | list[Deployment]] = {}

    def add(self, name: str, one: Deployment) -> None:
        known = self._by_name.setdefault(name, one)
        if isinstance(known, list):
            put(known, one)
        elif known is not one:
            self._by_name[name] = sorted((known, one), key=order)

    def remove(self, name: str, one: Deployment) -> None:
        known = self._by_name[name]
        if isinstance(known, list):
            take(known, one)
        if known is one or not known:
            del self._by_name[name]

    async def clear(self, pace: Pace) -> None:
        """Let go of everything, a little at a time."""
        await empty(self._by_name, pace)

    def of(self, name: str) -> Sequence[Deployment]:
        """All that are called so, in order."""
        found = self._by_name.get(name, [])
        return found if isinstance(found, list) else (found,)

    def latest(self, name: str, where: Where, at: float) -> Deployment | None:
        """The last of that name in a place that had finished at a moment."""
        found = self.of(name)
        number = bisect_right(found, at, key=finish)
        return next((one for one in reversed(found[max(0, number - LOOK) : number]) if is_at(one, where)), None)
