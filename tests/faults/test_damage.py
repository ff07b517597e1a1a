"""Bytes that are not what was written: whatever file they are in, a node starts, answers, and says what it lost."""

import logging
import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx2
import msgspec
import pytest

from bers import (
    Batch,
    BersError,
    Caller,
    Catalog,
    Context,
    Database,
    Event,
    Metric,
    Positions,
    SystemClock,
    Window,
)
from bers.access import keys
from bers.audit import Audit
from bers.dead_letters import DeadLetters
from bers.letters import Finding, Place
from bers.log import Log
from bers.salvage import asides
from bers.testing import VirtualClock, step
from bers_builtin.sinks.rest_store import REST_STORE, RestStore
from bers_builtin.sinks.rest_store.answers import AskMetric, AskRecords
from tests.acceptance.conftest import Operator, configuration
from tests.integration.processes import at_leisure, started, until

LONG = bool(os.environ.get("BERS_TEST_LONG"))
FLIPS, CUTS = (None, None) if LONG else (250, 40)
"""How many bytes of a database are flipped, and at how many places it is cut; all where it is None."""
NODES = 200 if LONG else 6
"""How many nodes are started on a data directory that is damaged somewhere."""

TABLES = ("audit_chain", "dead_letters", "facts", "keys", "positions")


# A database, in this process.


class Answer(NamedTuple):
    """What a database says, and whether it was found damaged."""

    rows: dict[str, list[Any]]
    letters: list[Any]
    named: str
    """What is said of the loss; empty where nothing was found."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "state.db"
    anyio.run(_fill, path)
    return path.read_bytes()


async def _fill(path: Path) -> None:
    state, clock = Database(path), SystemClock()
    audit, dead = Audit(state, clock), DeadLetters(state)
    for n in range(30):
        await audit.record(Caller("ops", "10.0.0.1"), f"stages/restart {n}", "done")
    for n in range(8):
        key, _ = keys.make(f"key-{n}", ["admin"], now=1.0)
        await state.run(lambda db, key=key: keys.store(db, key))  # type: ignore[misc]
    await dead.begin()
    for n in range(8):
        event = Event(id=f"e-{n}", source="ci", type="build.finished", time=1.0, data={"log": "x" * 300})
        finding = Finding(Batch([event], end=n), "rejected", 1, 1.0, "no", "no")
        await dead.add(Place("metrics", "rest-store"), [finding])
    for n, reader in enumerate(("metrics", "alerts", "notify")):
        await Positions(state, "rest-store").begin(reader, 0, 100 + n)
    # A table without checksums, as anybody may have, which only SQLite's own structure speaks for.
    await state.run(_write_facts)
    state.close()
    assert not path.with_name("state.db-wal").exists(), "All of it is in the file that is damaged."


def _write_facts(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE facts (n INTEGER PRIMARY KEY)")
    db.executemany("INSERT INTO facts VALUES (?)", [(n,) for n in range(900)])


def _ask(path: Path) -> Answer:
    state = Database(path)

    def work(db: sqlite3.Connection) -> tuple[dict[str, list[Any]], list[Any]]:
        there = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        rows = {name: db.execute(f"SELECT * FROM {name}").fetchall() if name in there else [] for name in TABLES}
        by_index = "SELECT id FROM dead_letters WHERE stage = 'rest-store' AND pipeline = 'metrics' AND position > 3"
        return rows, db.execute(by_index).fetchall() if "dead_letters" in there else []

    rows, letters = state.run_now(work)
    found = state.salvaged
    state.close()
    return Answer(rows, letters, str(found) if found else "")


def _assert_honest(answer: Answer, right: Answer, what: str) -> None:
    lost = [name for name in TABLES if answer.rows[name] != right.rows[name]]
    for name in lost:
        assert answer.named, f"{what}: {name} differs, and nobody says so"
        if name == "facts" and len(answer.rows[name]) >= len(right.rows[name]):
            continue  # Without checksums, that is all that can be said.
        assert f"{name}: " in answer.named or "names are lost" in answer.named or "everything" in answer.named, what
        known = set(right.rows[name])
        assert set(answer.rows[name]) <= known, f"{what}: {name} has rows that nobody wrote"
    if "dead_letters" not in lost:
        assert answer.letters == right.letters, what


def _some(rng: random.Random, size: int, wanted: int | None) -> Iterable[int]:
    """So many places, the head always among them; all where none are left out."""
    return range(size) if wanted is None else [*range(0, 100, 7), *sorted(rng.sample(range(size), wanted))]


def test_every_flipped_byte_of_a_database_is_harmless_or_named(whole: bytes, tmp_path: Path) -> None:
    rng, right = random.Random(1), _answer(whole, tmp_path)
    for at in _some(rng, len(whole), FLIPS):
        flip = rng.choice((0xFF, 1 << rng.randrange(8)))
        damaged = whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :]
        _assert_honest(_answer(damaged, tmp_path), right, f"byte {at} flipped by {flip:#x}")


def test_a_database_that_is_cut_off_anywhere_is_read_as_far_as_it_goes(whole: bytes, tmp_path: Path) -> None:
    right = _answer(whole, tmp_path)
    for at in _some(random.Random(2), len(whole), CUTS):
        answer = _answer(whole[:at], tmp_path)
        assert answer.named, f"cut off at {at}, and nobody says so"
        _assert_honest(answer, right, f"cut off at {at}")


def _answer(content: bytes, tmp_path: Path) -> Answer:
    folder = tmp_path / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "state.db").write_bytes(content)
    return _ask(folder / "state.db")


# The store, in this process.

NOW = 1_700_000_000.0
METRICS = Catalog([Metric("latency", "ms", "Latency.")])


@asynccontextmanager
async def _opened(folder: Path) -> AsyncGenerator[RestStore]:
    context = Context("store", data_dir=folder, clock=VirtualClock(NOW), metrics=METRICS)
    async with step(REST_STORE, context=context).open() as stage:
        assert isinstance(stage, RestStore)
        yield stage


async def _store(folder: Path) -> None:
    async with _opened(folder) as store:
        await store.position("metrics", 0, begin=0)
        for end in range(1, 31):
            when = NOW - 300 + end
            window = Window.of(("latency", (("host", f"h{end % 3}"),), when, 1.0), float(end), when, end)
            event = Event(id=f"e-{end}", source="ci", type="build.finished", time=when)
            await store.write(Batch([event], [window], "metrics", 0, end))
            if end % 10 == 0:
                await store.commit()
            if end == 20:
                await store.fold()


class Stored(NamedTuple):
    """What the store answers, where it goes on, and whether it says that something is lost."""

    merged: int
    records: list[str]
    position: int
    lost: bool


async def _ask_store(folder: Path) -> Stored:
    async with _opened(folder) as store:
        answer = await store.metric(AskMetric(type="latency", period="1h"), Caller())
        records = await store.records(AskRecords(limit=100), Caller())
        position = await store.position("metrics", 0, begin=0)
        finding = await store.check()
        lost = finding.status != "healthy" or bool(asides(folder / "metrics.db"))
        return Stored(answer.count, [msgspec.to_builtins(one)["id"] for one in records.data], position, lost)


async def _ask_twice(folder: Path) -> Stored:
    """As its keeper does: a stage that finds its file damaged while it opens is opened again."""
    try:
        return await _ask_store(folder)
    except* BersError:
        pass
    return await _ask_store(folder)


def test_every_flipped_byte_of_the_metrics_database_is_harmless_or_told(tmp_path: Path) -> None:
    anyio.run(_store, tmp_path / "whole")
    content = (tmp_path / "whole" / "metrics.db").read_bytes()
    rng = random.Random(5)
    right = anyio.run(_ask_twice, _laid(tmp_path, content))
    assert (right.merged, len(right.records), right.position, right.lost) == (30, 30, 30, False)
    for at in _some(rng, len(content), FLIPS):
        flip = rng.choice((0xFF, 1 << rng.randrange(8)))
        damaged = content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :]
        found = anyio.run(_ask_twice, _laid(tmp_path, damaged))
        what = f"byte {at} flipped by {flip:#x}: {found}"
        assert found.merged <= 30 and set(found.records) <= set(right.records), what
        assert found.position == 30 or (found.position, found.merged) == (0, 0), what
        assert found.lost or found == right, what


def _laid(tmp_path: Path, content: bytes) -> Path:
    folder = tmp_path / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "metrics.db").write_bytes(content)
    return folder


# A journal, in this process.


async def _append(folder: Path) -> None:
    async with Log(folder, segment_bytes=200) as bus:
        for n in range(10):
            await bus.append(0, [Event(id=f"e-{n}", source="ci", type="t", time=1.0)])


async def _read(folder: Path) -> tuple[list[str], list[tuple[int, int]]]:
    """Every event that a reader gets; and it can be gone on from there."""
    async with Log(folder) as bus:
        after, end = await bus.span(0)
        found: list[str] = []
        while after < end:
            batch = await anext(bus.read(0, after=after, cuts=[end]))
            found, after = [*found, *(event.id for event in batch.events)], batch.end
        await bus.append(0, [Event(id="new", source="ci", type="t", time=1.0)])
        assert [event.id for event in (await anext(bus.read(0, after=end))).events] == ["new"]
        return found, bus.gaps


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("journal")
    anyio.run(_append, folder)
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.log"))}


def _lay(folder: Path, files: dict[str, bytes]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


WHOLE = [f"e-{n}" for n in range(10)]


def test_every_flipped_byte_of_a_journal_costs_its_frame_alone_and_is_named(
    segments: dict[str, bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(3)
    places = [(name, at) for name, content in segments.items() for at in range(len(content))]
    for name, at in places if LONG else rng.sample(places, 150):
        content = segments[name]
        flip = rng.choice((0xFF, 1 << rng.randrange(8)))
        flipped = content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :]
        caplog.clear()
        found, _ = anyio.run(_read, _lay(tmp_path / "journal", {**segments, name: flipped}))
        assert [one for one in WHOLE if one in found] == found and len(found) >= len(WHOLE) - 1, (name, at)
        if found != WHOLE:
            assert any(record.levelno >= logging.ERROR for record in caplog.records), (name, at)


def test_a_journal_that_is_cut_off_anywhere_is_read_up_to_there(segments: dict[str, bytes], tmp_path: Path) -> None:
    for name, content in segments.items():
        for at in range(0, len(content), 1 if LONG else 17):
            found, _ = anyio.run(_read, _lay(tmp_path / "journal", {**segments, name: content[:at]}))
            assert [one for one in WHOLE if one in found] == found, (name, at)


def test_what_else_may_be_wrong_with_the_files_of_a_journal(segments: dict[str, bytes], tmp_path: Path) -> None:
    folder, (first, second, third, *_) = tmp_path / "journal", sorted(segments)
    others = {name: content for name, content in segments.items() if name not in (first, second)}
    gap = (int(second[:20]), int(third[:20]))
    for name, files, gaps in (
        ("strangers", {**segments, "notes.log": b"?", "7.log": b"", "readme": b""}, []),
        ("a segment twice", {**segments, f"{1:020}.log": segments[first]}, []),
        ("another name", {**others, first: segments[first], f"{999:020}.log": segments[second]}, []),
        ("names swapped", {**others, first: segments[second], second: segments[first]}, []),
        ("none in the middle", {**others, first: segments[first]}, [gap]),
        ("nothing in the middle", {**others, first: segments[first], second: b""}, [gap]),
    ):
        found, missed = anyio.run(_read, _lay(folder, files))
        lost = WHOLE[gap[0] : gap[1]] if gaps else []
        assert (found, missed) == ([one for one in WHOLE if one not in lost], gaps), name
    _lay(folder, segments)
    (folder / "folder.log").mkdir()
    (folder / f"{5:020}.log").mkdir()
    assert anyio.run(_read, folder) == (WHOLE, [])


# Whole nodes.


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a node that was used, and killed."""
    folder = tmp_path_factory.mktemp("used")
    configuration(folder)
    with started(folder) as node:
        for n in range(12):
            node.emit(
                {"type": "build.finished", "source": "ci", "id": f"b-{n}", "outcome": "failure" if n % 3 else "success",
                 "measures": {"build.duration": 1000.0 + 10 * n}, "labels": {"branch": "main"}},
            )  # fmt: skip
        node.post("stages/build/restart")
        _wait_until_kept(node, 12)
        node.process.send_signal(signal.SIGTERM)
        node.process.wait(20)
    with started(folder) as node:
        node.emit({"type": "build.finished", "source": "ci", "id": "b-last", "measures": {"build.duration": 5000.0}})
        _wait_until_kept(node, 13)  # Killed by leaving: so there are logs beside the databases.
    return folder


def _wait_until_kept(node: Operator, count: int) -> None:
    """Also what follows from it, as alerts: else who goes on from there answers otherwise than who was killed."""
    until(lambda: len(node.data("records?limit=50&type=build.finished")) == count, at_leisure(20))
    until(lambda: not any(node.data("dashboard/status")["pipelines"].values()), at_leisure(20))


QUESTIONS = (
    "records?limit=50&type=build.finished", "alerts/history?period=1h", "audit", "webhooks/deliveries", "dead-letters",
)  # fmt: skip


def _answers(node: Operator) -> dict[str, Any]:
    """What must not change without a word."""
    found: dict[str, Any] = {}
    for question in QUESTIONS:
        reply = node.get(question)
        assert reply.status_code in (200, 404, 503), (question, reply.text)
        found[question] = reply.json().get("data")
    figures = node.get("metrics/buildDuration?window=1h", "metrics")
    assert figures.status_code in (200, 404, 503), figures.text
    return found


def test_a_node_starts_and_answers_whatever_byte_of_its_files_is_damaged(used: Path, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    rng = random.Random(4)
    shutil.copytree(used, folder)
    with started(folder) as node:
        right = _answers(node)
    assert len(right[QUESTIONS[0]]) == 13
    for number in range(NODES):
        shutil.rmtree(folder)
        shutil.copytree(used, folder)
        (folder / "logs" / "monitoring.log").write_text("")
        what = _damage(folder / ".bers", rng)
        with started(folder) as node:
            assert httpx2.get(node.url("/livez")).status_code == 200
            answers, deadline = _answers(node), time.monotonic() + at_leisure(5)
            while answers != right and not _reported(node) and time.monotonic() < deadline:
                time.sleep(0.1)  # What the journal holds is read again.
                answers = _answers(node)
            different = [question for question in QUESTIONS if answers[question] != right[question]]
            assert not different or _reported(node), (
                f"{number}: {what}: {different} differ, and nobody says so: {answers}"
            )
            node.emit({"type": "build.finished", "source": "ci", "id": f"after-{number}"})
            until(lambda: _is_known(node, f"after-{number}"), at_leisure(20))  # noqa: B023 - It is asked at once.


def _reported(node: Operator) -> bool:
    """Whether anybody who looks is told that something is damaged."""
    return node.data("health/data-files")["status"] != "healthy" or bool(_complaints(node.folder))


def _is_known(node: Operator, id: str) -> bool:
    reply = node.get("records?limit=5&type=build.finished")
    return reply.status_code == 200 and any(one["id"] == id for one in reply.json()["data"])


def _damage(data_dir: Path, rng: random.Random) -> str:
    """Flip a byte of some file, or cut it off there."""
    files = sorted(path for path in data_dir.rglob("*") if path.is_file() and path.stat().st_size)
    path = rng.choice(files)
    content = bytearray(path.read_bytes())
    at = rng.randrange(len(content))
    if rng.random() < 0.3:
        path.write_bytes(content[:at])
        return f"{path.name} cut off at {at} of {len(content)}"
    content[at] ^= rng.choice((0xFF, 1 << rng.randrange(8)))
    path.write_bytes(content)
    return f"{path.name} flipped at {at} of {len(content)}"


def _complaints(folder: Path) -> list[str]:
    lines = (folder / "logs" / "monitoring.log").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if '"level":"INFO"' not in line.replace(" ", "")]
