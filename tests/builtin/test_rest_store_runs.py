"""Runs, each joined of its events: what goes on, what has ended, what was lost, page by page and by conditions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bers import Batch, Event, Refused, Vcs
from bers.testing import VirtualClock
from bers_builtin.sinks.rest_store import RestStore
from bers_builtin.sinks.rest_store.answers import AskRecords
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
