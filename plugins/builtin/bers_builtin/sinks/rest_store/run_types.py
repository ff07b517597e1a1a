"""Which events begin and end a run: a build, a suite of tests or a validation, a deployment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, TypeAlias

RunKind: TypeAlias = Literal["build", "validation", "deployment"]
RunState: TypeAlias = Literal["running", "ended", "lost"]


class Ways(NamedTuple):
    """The types of events that begin a run of a kind, and those that end one."""

    begin: tuple[str, ...]
    end: tuple[str, ...]


WAYS: Mapping[RunKind, Ways] = {
    "build": Ways(("build.started",), ("build.finished", "build.lost")),
    "validation": Ways(
        ("testsuiterun.started", "validation.started"),
        ("testsuiterun.finished", "testsuiterun.lost", "validation.finished", "validation.lost"),
    ),
    "deployment": Ways(
        ("deployment.started",),
        (
            "deployment.finished",
            "deployment.lost",
            "deployment.rolledback",
            "service.deployed",
            "service.upgraded",
            "service.rolledback",
        ),
    ),
}

KINDS: Mapping[str, RunKind] = {type: kind for kind, ways in WAYS.items() for type in (*ways.begin, *ways.end)}
"""The kind of run that an event of a type begins or ends."""

BEGIN = frozenset(type for ways in WAYS.values() for type in ways.begin)
END = frozenset(type for ways in WAYS.values() for type in ways.end)


def among(types: Iterable[str]) -> str:
    """That a type is one of these, as SQL."""
    return "type IN ({})".format(", ".join(f"'{type}'" for type in sorted(types)))


IS_RUN = "type IN ({})".format(", ".join(f"'{type}'" for type in KINDS))
"""As SQL; the index of them by subject is found by these very words."""
