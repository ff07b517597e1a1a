"""Runs, each joined of its events: what goes on, what has ended, what was lost, page by page and by conditions."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bers import Batch, Event, Refused, Vcs
from bers.testing import VirtualClock
from bers_builtin.sinks.rest_store import RestStore, bounds
from bers_builtin.sinks.rest_store.answers import AskRecords
from bers_builtin.sinks.rest_store.run_types import END, KINDS
from bers_builtin.sinks.rest_store.runs import AskRuns, RunTold
from tests.builtin.test_rest_store_answers import CALLER, NOW, opened


def build(subject: str, predicate: str, ago: float, **fields: Any) -> Event:
    return Event(f"{subject}/{predicate}", "ci", f"build.{predicate}", NOW - ago, subject, **fields)


async def keep(store: RestStore, *events: Event) -> None:
    await store.write(Batch(list(events), (), "metrics", 0, 1))
    await store.commit()


async def told(store: RestStore, **ask: Any) -> list[RunTold]:
    return (await store.runs(AskRuns(**ask), CALLER)).data


async def test_what_runs_comes_first_and_each_run_is_told_once(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await keep(
            store,
            build("b-1", "started", 90),
            build("b-1", "finished", 60, outcome="success", duration_ms=30_000.0),
            build("b-2", "started", 50),
            build("b-3", "started", 40),
            build("b-3", "lost", 30, outcome="error"),
            build("b-4", "started", 45),
            build("b-4", "lost", 25, outcome="error"),
            build("b-4", "finished", 20, outcome="failure", duration_ms=25_000.0),
            Event("d-1", "ci", "deployment.finished", NOW - 5, outcome="success", labels={"kind": "rollback"}),
        )
        runs = await told(store)
        assert [(run.id, run.state, run.event.get("outcome")) for run in runs] == [
            ("b-2", "running", None),
            ("b-4", "ended", "failure"),
            ("b-3", "lost", "error"),
            ("b-1", "ended", "success"),
        ]
        assert (runs[0].started_at, runs[0].ended_at) == (round((NOW - 50) * 1000), None)
        assert (runs[3].started_at, runs[3].ended_at) == (round((NOW - 90) * 1000), round((NOW - 60) * 1000))
        assert [run.id for run in await told(store, state="running")] == ["b-2"]
        assert [run.id for run in await told(store, state="ended", limit=1)] == ["b-4"]
        (rollback,) = await told(store, kind="deployment")
        assert (rollback.id, (await told(store, id="d-1"))[0].kind) == ("d-1", "deployment")
        assert [run.state for run in await told(store, id="b-4")] == ["ended"]
        assert await told(store, id="none") == []


async def test_a_run_whose_end_is_damaged_is_left_out_and_told(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await keep(store, build("b-1", "finished", 60), build("b-2", "finished", 30))
        run = store._database.run  # pyright: ignore[reportPrivateUsage]
        await run(lambda db: db.execute("UPDATE events SET source = 'else' WHERE id = 'b-2/finished'"))
        assert [run.id for run in await told(store)] == ["b-1"]
        (loss,) = (await store.check()).details["losses"]
        assert loss["what"] == "the details of event 'b-2/finished' (build.finished) are damaged"


async def test_a_run_has_what_was_measured_of_its_parts_and_a_list_only_what_fits_into_one(tmp_path: Path) -> None:
    data = {"assets": [{"name": "main.js", "raw": 5}], "timeline": [], "token": "hunter-22"}
    end = build("app/b-1", "finished", 5, data=data, labels={"build": "app"})
    phase = Event(
        f"{end.id}/phase/bundle", "ci", "build.measured", end.time, "app/b-1", measures={"build_phase_time": 7.0},
        labels={"build": "app", "phase": "bundle"}, cause=end.id,
    )  # fmt: skip
    asset = Event(f"{end.id}/main.js/raw", "ci", "build.measured", end.time, "app/b-1")
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await keep(store, end, phase, asset)
        (run,) = await told(store)
        assert run.name == "app"
        assert run.parts == [{"measures": {"build_phase_time": 7.0}, "labels": {"build": "app", "phase": "bundle"}}]
        assert run.event["data"] == {"timeline": []}
        (whole,) = await told(store, id="app/b-1")
        assert whole.event["data"]["assets"] == data["assets"]
        assert "hunter-22" not in str(whole.event)


async def test_conditions_and_pages_find_every_run_that_is_wanted_and_no_other(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await keep(
            store,
            *(
                build(f"b-{n}", "finished", n, outcome="failure" if n % 7 == 0 else "success",
                      vcs=Vcs(ref="main" if n % 2 else "topic"))
                for n in range(1200)
            ),
        )  # fmt: skip
        found, after = list[str](), ""
        where = "outcome=failure and vcs.ref~^ma"
        for _ in range(100):
            reply = await store.runs(AskRuns(where=where, limit=20, after=after), CALLER)
            found += [run.id for run in reply.data]
            if (after := reply.beside["next"] or "") == "":
                break
        wanted = [f"b-{n}" for n in range(1200) if n % 7 == 0 and n % 2]
        assert found == wanted
        records = await store.records(
            AskRecords(type="build.*", where=where, until=round((NOW - 700) * 1000), limit=1000), CALLER
        )
        assert [record["subject"] for record in records.data] == [name for name in wanted if int(name[2:]) >= 700]
        for faulty in ({"where": "outcome"}, {"limit": 0}):
            with pytest.raises(Refused, match=next(iter(faulty))):
                await told(store, **faulty)


_STARTS = st.sampled_from(["build.started", "testsuiterun.started", "validation.started", "deployment.started"])
_ENDS = st.sampled_from(
    ["build.finished", "build.lost", "validation.finished", "testsuiterun.lost", "service.deployed", "build.measured"]
)


def _event(what: str, subject: str, source: str, hours: int) -> Event:
    return Event(f"{what}/{subject}/{hours}", source, what, NOW - hours * 3600, subject)


_TOLD = st.builds(
    _event,
    st.one_of(_STARTS, _ENDS),
    st.sampled_from(["", "x", "y", "z"]),
    st.sampled_from(["/ci", "/cd"]),
    st.integers(0, 30),
)


def going_on(events: Iterable[Event], now: float) -> set[tuple[str, str, str]]:
    """Which runs go on, by looking at everything: what has begun and has no end that is not older."""
    kept = {(one.source, one.id): one for one in events if one.time + 86_400 > now}.values()
    return {
        (KINDS[one.type], one.source, one.subject or one.id)
        for one in kept
        if one.type.endswith(".started")
        and not any(
            (other.source, other.subject) == (one.source, one.subject)
            and other.type in END
            and other.time >= one.time
            for other in events
        )
    }  # fmt: skip


@settings(max_examples=30, derandomize=True, phases=[Phase.generate, Phase.shrink])
@given(st.lists(_TOLD, max_size=25), st.integers(0, 25), st.sampled_from([0.0, 7200.0, 90_000.0]), st.booleans())
async def test_what_goes_on_is_the_same_in_whatever_order_it_is_told(
    events: list[Event], cut: int, passed: float, older: bool
) -> None:
    """Late, twice, in two portions, in a file of a time when nobody kept that, and after all that is old is deleted."""
    with TemporaryDirectory() as name:
        folder, clock = Path(name), VirtualClock(NOW)
        async with opened(folder, clock, fold_every="365d", commit_every="365d", lasting=[]) as store:
            await keep(store, *events[:cut])
            await keep(store, *events[cut:], *events[:3])
        if older:
            with closing(sqlite3.connect(folder / "metrics.db")) as file, file:
                file.execute("DROP TABLE running")
        async with opened(folder, clock, fold_every="365d", commit_every="365d", lasting=[]) as store:
            clock.step(passed)
            await store.sweep()
            found = [
                (kind, str(run.event["source"]), run.id)
                for kind in ("build", "validation", "deployment")
                for run in await told(store, kind=kind, state="running")
            ]
            assert len(found) == len(set(found))
            assert set(found) == going_on(events, NOW + passed)


async def test_what_goes_on_is_known_again_after_its_file_was_damaged(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock) as store:
        await keep(store, build("b-1", "started", 90), build("b-2", "started", 80), build("b-2", "finished", 20))
    path = tmp_path / "metrics.db"
    with closing(sqlite3.connect(path)) as file, file:
        (root,) = file.execute("SELECT rootpage FROM sqlite_master WHERE name = 'running'").fetchone()
    with path.open("r+b") as raw:
        raw.seek((root - 1) * 1024)
        raw.write(b"\xff" * 1024)
    async with opened(tmp_path, clock) as store:
        assert [run.id for run in await told(store)] == ["b-1", "b-2"]


async def test_conditions_that_are_masks_or_numbers_find_what_they_found(tmp_path: Path) -> None:
    """SQLite leaves out what has not the text of a condition in it; these have it in another form."""
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await keep(
            store,
            build("b-1", "finished", 5, labels={"token": "abc", "attempt": "2", "team": "café"}, weight=2),
            build("b-2", "finished", 4, data={"flags": ["a", "b"]}),
        )
        for where, wanted in {
            'labels.token="***"': ["b-1"],
            "labels.token=abc": [],
            "labels.attempt=2.0": [],
            "weight=2.0": ["b-1"],
            "labels.team=café": ["b-1"],
            "outcome=''": ["b-2", "b-1"],
            """data.flags="['a', 'b']" """: ["b-2"],
        }.items():
            assert [run.id for run in await told(store, where=where)] == wanted, where


async def test_a_page_holds_nobody_up_who_writes(tmp_path: Path) -> None:
    """A commit while somebody reads does not wait for them."""
    async with opened(tmp_path, VirtualClock(NOW), commit_every="365d") as store:
        await keep(store, build("b-1", "started", 90))
        reading, written = threading.Event(), threading.Event()

        def look(connection: sqlite3.Connection) -> list[Any]:
            connection.execute("SELECT * FROM running").fetchall()
            reading.set()
            assert written.wait(30)
            return connection.execute("SELECT id FROM running").fetchall()

        async def ask() -> None:
            found.extend(await store._database.read(look))  # pyright: ignore[reportPrivateUsage]

        found: list[Any] = []
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                await anyio.to_thread.run_sync(reading.wait)
                await keep(store, build("b-2", "started", 80))
                written.set()
        assert found == [("b-1/started",)]
        assert [run.id for run in await told(store)] == ["b-2", "b-1"]


HARD = " and ".join(["data.text!~c"] * 57)


def texts(count: int, predicate: str) -> list[Event]:
    """Runs with texts of which a pattern looks at each letter."""
    return [build(f"b-{n}", predicate, 10 + n, data={"text": f"{n} " + "ab" * 490}) for n in range(count)]


@pytest.mark.parametrize("predicate", ["started", "finished"])
async def test_conditions_that_take_long_block_nobody(tmp_path: Path, predicate: str) -> None:
    waits, found = list[float](), list[list[RunTold]]()
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await keep(store, *texts(300, predicate))

        async def ask() -> None:
            found.append(await told(store, where=f"{HARD} and id=none"))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            while not found:
                began = process_time()
                await checkpoint()
                waits.append(process_time() - began)
    assert found == [[]] and max(waits) < 0.2, "all of them in one go take more than half a second"


async def test_an_answer_whose_conditions_take_long_is_short_and_says_where_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bers_builtin.sinks.rest_store.looking.LOOKED_FOR", 0.0)
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await keep(store, *texts(3, "finished"))
        asked, names, after = 0, list[str](), ""
        while asked == 0 or after:
            reply = await store.runs(AskRuns(where=HARD, after=after), CALLER)
            asked, after = asked + 1, str(reply.beside["next"] or "")
            names += [run.id for run in reply.data]
    assert (asked, names) == (4, ["b-0", "b-1", "b-2"])


async def test_of_those_who_look_by_patterns_few_are_answered_at_a_time(tmp_path: Path) -> None:
    answered = list[str]()
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await keep(store, *texts(3, "finished"))

        async def ask() -> None:
            try:
                await store.records(AskRecords(type="build.*", where=HARD), CALLER)
                answered.append("answered")
            except Refused as refused:
                answered.append(refused.reason)

        async with anyio.create_task_group() as group:
            for _ in range(bounds.AT_ONCE + bounds.WAITING + 3):
                group.start_soon(ask)
    assert (answered.count("answered"), answered.count("rate_limited")) == (bounds.AT_ONCE + bounds.WAITING, 3)
