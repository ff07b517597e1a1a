"""From files to the events that they stand for: one import, one event, with an id that its content decides."""

from __future__ import annotations

import glob
import hashlib
import os
import time as clock

from bers_emit.imports.documents import Document, Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Callable

    from bers_emit.imports.assets import Bundle
    from bers_emit.imports.bep import Invocation
    from bers_emit.imports.counted import Coverage
    from bers_emit.imports.dependencies import Dependencies
    from bers_emit.imports.suites import Suite
    from bers_emit.imports.webpack import Build

    Event = tuple[str, dict[str, Any]]

MAX_FILES = 5_000

KINDS = {
    "junit": "JUnit's XML: pytest, jest-junit, vitest, Surefire, Gradle, ...",
    "coverage": "coverage.py's JSON, Cobertura's or JaCoCo's XML, lcov, Istanbul's JSON",
    "jest": "jest --json",
    "vitest": "vitest --reporter=json",
    "vite": "the manifest of vite build --manifest, beside what was built",
    "webpack": "webpack --json",
    "esbuild": "esbuild --metafile",
    "npm": "*-timing.json of npm --timing",
    "pip": "pip --log",
    "uv": "what uv printed",
    "bep": "bazel --build_event_json_file",
}


def paths(patterns: Sequence[str]) -> list[str]:
    """The files that are meant. Raise Unreadable where a pattern fits none."""
    found: list[str] = []
    for pattern in patterns:
        fitting = [pattern] if pattern == "-" or os.path.exists(pattern) else files(pattern)
        if not fitting:
            raise Unreadable(f"{pattern}: there is no such file")
        found += fitting
    unique = list(dict.fromkeys(found))
    if len(unique) > MAX_FILES:
        raise Unreadable(f"{len(unique)} files are too many; at most {MAX_FILES}")
    return unique


def files(pattern: str) -> list[str]:
    """The files that fit a pattern, ``**`` for any folders."""
    return sorted(path for path in glob.iglob(pattern, recursive=True) if os.path.isfile(path))


def read(kind: str, names: Sequence[str], run: str = "", name: str = "", inside: bool = False) -> list[Event]:
    """Read files of one kind, as the fields of the events that they stand for. Raise Unreadable where one is not right.

    ``run`` tells imports of the same content apart, and so does ``name``, of the suite. ``inside`` says that a run
    around us reports the end of the build itself. The source is not who reads, but what is read: the same report is the
    same event on another machine, and where a server reads it.
    """
    from importlib import import_module

    reader: Callable[[Document], Any] = import_module(f"bers_emit.imports.{kind}").read
    documents = [Document(path) for path in names]
    try:
        found = [reader(document) for document in documents]
    except OSError as exc:
        raise Unreadable(f"{exc.filename or names[0]}: {exc.strerror}") from exc
    modified = [when for document in documents if (when := document.modified) is not None]
    moment = min(max(modified), clock.time()) if modified else clock.time()
    key = hashlib.sha256(repr((kind, run, name)).encode("utf-8", "replace"))
    for digest in sorted(document.digest for document in documents):
        key.update(digest)
    events = _BUILDERS[kind](found, name, inside)
    return [
        # An id that ends in a number would be taken for one that counts.
        (
            type,
            {
                "id": f"import-{key.hexdigest()[:40]}-{_word(type)}",
                "source": f"/import/{kind}",
                "time": moment,
                **fields,
            },
        )
        for type, fields in events
    ]


def suite(found: Suite) -> Event:
    fields = {
        "outcome": found.outcome,
        "reason": found.reason,
        "duration_ms": found.wall or None,
        "measures": found.measures(),
        "labels": {"suite": found.name} if found.name else {},
        "data": found.data(),
    }
    return "testsuiterun.finished", fields


def coverage(found: Coverage, name: str = "") -> Event:
    fields = {
        "measures": found.measures(),
        "data": {"covered": found.data()},
        "labels": {"suite": name} if name else {},
    }
    return "coverage.reported", fields


def bundle(found: Bundle) -> Event:
    return "build.measured", {"measures": found.measures(), "data": found.data()}


def dependencies(found: Dependencies) -> Event:
    return "build.measured", {"measures": found.measures(), "labels": {"tool": found.tool}}


def _suites(found: list[Suite], name: str, inside: bool) -> list[Event]:
    from bers_emit.imports.suites import Suite

    whole = Suite(name[:200])
    whole.merge(found)
    whole.name = whole.name[:200] or "junit"
    return [suite(whole)]


def _coverages(found: list[Coverage], name: str, inside: bool) -> list[Event]:
    return [coverage(_merged(found), name[:200])]


def _bundles(found: list[Bundle], name: str, inside: bool) -> list[Event]:
    return [bundle(_merged(found))]


def _builds(found: list[Build], name: str, inside: bool) -> list[Event]:
    type, fields = bundle(_merged([one.bundle for one in found]))
    took = [one.took for one in found if one.took is not None]
    errors = sum(one.errors for one in found)
    if took and not inside:
        type = "build.finished"
        reason = next((one.reason for one in found if one.reason), f"{errors} errors") if errors else None
        fields.update(duration_ms=sum(took), outcome="failure" if errors else "success", reason=reason)
        fields["labels"] = {"build": name[:200] or "webpack"}
    return [(type, fields)]


def _dependencies(found: list[Dependencies], name: str, inside: bool) -> list[Event]:
    whole = _merged(found)
    if not whole.measures():
        raise Unreadable(f"{whole.tool} says nothing of how long it took to resolve or to install")
    return [dependencies(whole)]


def _invocations(found: list[Invocation], name: str, inside: bool) -> list[Event]:
    events: list[Event] = []
    for one in found:
        fields = {"subject": one.id, "outcome": one.outcome, "reason": one.reason, "duration_ms": one.took}
        if not inside:
            events.append(("build.finished", {**fields, "labels": {"build": name[:200] or f"bazel {one.command}"}}))
        if one.suite.total:
            events.append(suite(one.suite))
    return events


def _merged(found: list[Any]) -> Any:
    first, *others = found
    for one in others:
        first.merge(one)
    return first


def _word(type: str) -> str:
    return type.partition(".")[0]


_BUILDERS: dict[str, Callable[[list[Any], str, bool], list[Event]]] = {
    **dict.fromkeys(("junit", "jest", "vitest"), _suites),
    "coverage": _coverages,
    **dict.fromkeys(("vite", "esbuild"), _bundles),
    "webpack": _builds,
    **dict.fromkeys(("npm", "pip", "uv"), _dependencies),
    "bep": _invocations,
}
