"""Deployments in the order in which they finished: which was the last before a moment, and which the next after it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import TypeAlias

from .deployments import Deployment

Where: TypeAlias = tuple[str | None, str]
"""A service and an environment; an empty one means any, and None means those that name no service."""

LOOK = 1000
"""How many deployments of one name are looked at; a name that so many share means none of them."""


def finish(one: Deployment) -> float:
    return one.finished


def anywhere(service: str | None, environment: str | None) -> Where:
    """Where something happened that may not say where."""
    return service or "", environment or ""


def is_at(one: Deployment, where: Where) -> bool:
    service, environment = where
    return service in ("", one.service) and environment in ("", one.environment)


class Timeline:
    """Deployments, added in their order, before anybody asks about any place."""

    def __init__(self) -> None:
        self._by_place: dict[Where, list[Deployment]] = {}
        self._all: list[Deployment] = []

    def add(self, one: Deployment) -> None:
        self._all.append(one)
        self._by_place.setdefault((one.service, one.environment), []).append(one)

    def latest(self, where: Where, at: float) -> Deployment | None:
        """The last that had finished at a moment."""
        found = self._at(where)
        number = bisect_right(found, at, key=finish)
        return found[number - 1] if number else None

    def following(self, one: Deployment, since: float) -> Deployment | None:
        """The first in the same place that finished later than this one, and not before a moment."""
        found = self._by_place.get((one.service, one.environment), [])
        number = max(bisect_right(found, one.finished, key=finish), bisect_left(found, since, key=finish))
        return found[number] if number < len(found) else None

    def _at(self, where: Where) -> list[Deployment]:
        if "" not in where:
            return self._by_place.get(where, [])
        if where not in self._by_place:  # Few incidents leave it open where they are, and most of those alike.
            self._by_place[where] = [one for one in self._all if is_at(one, where)]
        return self._by_place[where]


class Names:
    """Deployments by those of their names that others use, added in their order."""

    def __init__(self, wanted: Iterable[str | None]) -> None:
        self._by_name: dict[str, list[Deployment]] = {name: [] for name in wanted if name}

    def add(self, one: Deployment) -> None:
        if self._by_name:
            for name in one.names:
                if (found := self._by_name.get(name)) is not None and not (found and found[-1] is one):
                    found.append(one)

    def latest(self, name: str, where: Where, at: float) -> Deployment | None:
        """The last of that name in a place that had finished at a moment."""
        found = self._by_name.get(name, [])
        number = bisect_right(found, at, key=finish)
        return next((one for one in reversed(found[max(0, number - LOOK) : number]) if is_at(one, where)), None)
