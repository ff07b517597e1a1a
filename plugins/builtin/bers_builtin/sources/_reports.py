"""What test runners have written down, handed in as it is: ``curl --data-binary @junit.xml .../ingest/junit``.

It is read by the emitter's own importers, so that both understand the same. They run in a process of their own: what a
stranger sends may take its time there and all the memory that it is given, and nobody else waits or goes without.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Protocol

import anyio
import msgspec

from bers import Delivery, Format, Refused, run_program

WITHIN = 10.0
"""Seconds that reading may take."""

AT_ONCE = 2
"""How many reports are read at once: each is a process, of up to 256 MiB and a core."""

PATIENCE = 10.0
"""Seconds that a report waits for its turn; then whoever sent it is told to send it again."""

PARAMETERS: Mapping[str, str] = {
    "suite": "What the tests are called; each suite has its own series.",
    "run": "The run of the CI system. The same content in the same run is the same event.",
    "attempt": "Which attempt of that run, if not the first.",
    "source": "Who tells of it.",
    "subject": "The run of the suite that it is about.",
    "environment": "The environment it is about.",
    "service": "The service it is about.",
    "version": "The version it is about.",
    "revision": "The commit it is about.",
    "time": "When it happened; now if not told.",
}

READ_AS: Mapping[str, str] = {"junit": "testsuiterun.finished", "coverage": "coverage.reported"}
"""What each kind of report tells of."""

_OPTIONS = ("suite", "run", "attempt")
_FIELDS = ("source", "subject", "environment", "service", "version", "time")
_MEDIA = (
    "application/xml", "text/xml", "application/json", "text/plain", "application/octet-stream",
    "application/x-www-form-urlencoded",  # What curl says of any file.
)  # fmt: skip
_KEPT = ("PYTHONPATH", "PYTHONHOME", "SYSTEMROOT")
_documents = msgspec.json.Decoder(list[dict[str, Any]])


class Reading(Protocol):
    """A stage that has reports read."""

    turns: anyio.Semaphore
    """As many as are read at once; each is a process."""


async def _read(kind: str, stage: Reading, delivery: Delivery) -> Iterable[Mapping[str, Any]]:
    try:
        with anyio.fail_after(PATIENCE):
            await stage.turns.acquire()
    except TimeoutError:
        raise Refused("full", "too many reports are read at present", hint="send it again", retry_after=1) from None
    try:
        return await _read_now(kind, delivery)
    finally:
        stage.turns.release()


async def _read_now(kind: str, delivery: Delivery) -> Iterable[Mapping[str, Any]]:
    query = delivery.query
    if not query.get("attempt", "1").isdecimal():
        raise Refused("invalid", f"attempt: {query['attempt'][:40]!r} is no number")
    if "\0" in "".join(query.values()):
        raise Refused("invalid", "a parameter holds a character that no text has")
    options = [f"--{name}={query[name]}" for name in _OPTIONS if query.get(name)]
    command = [sys.executable, "-P", "-m", "bers_emit.imports.worker", kind, *options]
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    with anyio.move_on_after(WITHIN):
        ended = await run_program(command, environment=environment, told=delivery.body)
        if ended.code:
            said = ended.err.decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise ValueError(said.partition(" -: ")[2] or "it takes too much to read")
        return [_completed(kind, document, query) for document in _documents.decode(ended.out)]
    raise ValueError(f"it takes more than {WITHIN:g} s to read")


def _completed(kind: str, document: dict[str, Any], query: Mapping[str, str]) -> Mapping[str, Any]:
    told: dict[str, Any] = {name: query[name] for name in _FIELDS if query.get(name)}
    if query.get("revision"):
        told["vcs"] = {"revision": query["revision"]}
    return {**document, "type": READ_AS[kind], "origin": kind, **told}


FORMATS = (
    Format(
        "junit",
        partial(_read, "junit"),
        "A report of tests as JUnit's XML: of pytest, jest-junit, vitest, Surefire, Gradle and others.",
        media=_MEDIA,
        max_bytes=8 << 20,
        parameters=PARAMETERS,
    ),
    Format(
        "coverage",
        partial(_read, "coverage"),
        "A report of coverage: coverage.py's JSON, Cobertura's or JaCoCo's XML, lcov's or Istanbul's.",
        media=_MEDIA,
        max_bytes=4 << 20,
        parameters=PARAMETERS,
    ),
)
