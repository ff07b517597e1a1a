"""Dead letters of a running server: over REST, on the command line, on /metrics, and in what health says."""

import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
from anyio import to_thread

from bers import Batch, Config, DurableSpec, Rejected, SinkSpec, Stage
from bers.plugins import Kind
from bers.stages import AnySpec
from bers.testing.server import Server, serving
from tests.acceptance.conftest import BERS
from tests.unit.ledger import Ledger, LedgerConfig, written


def kept(folder: Path) -> list[str]:
    """What the durable sink has of what was handed in; the node tells of itself, too."""
    return [id for id in written(folder / ".bers/careful.db") if id.startswith("b-")]


async def has_kept(folder: Path, *ids: str) -> bool:
    """Whether it has exactly these, in a while: the rest of a batch is committed after its letters."""
    with anyio.move_on_after(30):
        while kept(folder) != [*ids]:
            await anyio.sleep(0.01)
    return kept(folder) == [*ids]


class PickyConfig(Config, frozen=True):
    """Take events, but not all of them."""


class Moods:
    """What the sinks of one test refuse at present."""

    def __init__(self) -> None:
        self.rejected: set[str] = set()
        self.down = False
        self.taken: list[str] = []

    def look_at(self, batch: Batch) -> None:
        if self.down and any(event.id.startswith("b-") for event in batch.events):
            raise OSError("connection refused by https://me:pa55word@example.test/")
        bad = {n: f"{event.id} is too odd" for n, event in enumerate(batch.events) if event.id in self.rejected}
        if bad:
            raise Rejected("some are too odd", bad)


def specs(moods: Moods) -> list[tuple[Kind, AnySpec]]:
    class Picky(Stage[PickyConfig]):
        async def write(self, batch: Batch) -> None:
            moods.look_at(batch)
            moods.taken += [event.id for event in batch.events if event.id.startswith("b-")]

    class Careful(Ledger):
        async def write(self, batch: Batch) -> None:
            moods.look_at(batch)
            await super().write(batch)

    return [
        ("sink", SinkSpec("picky", PickyConfig, Picky)),
        ("sink", DurableSpec("careful", LedgerConfig, Careful)),
    ]


PIPELINES = """
sources: {{build: {{}}}}
sinks:
  picky: {{delivery: {{retry: {{first: 1ms, give_up_after: 50ms}}}}}}
  careful: {{path: {folder}/.bers/careful.db, delivery: {{retry: {{first: 1ms, longest: 10ms}}}}}}
pipelines:
  keep: {{sources: [build], sinks: [careful]}}
  tell: {{sources: [build], sinks: [picky]}}
"""


def build(id: str, **more: Any) -> Mapping[str, Any]:
    return {"id": id, "source": "/ci", "type": "build.finished", "time": 1000, **more}


async def bers(server: Server, *arguments: str) -> tuple[int, str, str]:
    command = [*BERS, "dead", *arguments, "--url", server.url("/").rstrip("/")]
    done = await to_thread.run_sync(
        partial(subprocess.run, command, capture_output=True, text=True, check=False, timeout=60)
    )
    return done.returncode, done.stdout, done.stderr


async def test_what_is_rejected_is_listed_shown_and_replayed_once_it_is_welcome(tmp_path: Path) -> None:
    moods = Moods()
    async with serving(tmp_path, PIPELINES.format(folder=tmp_path), specs=specs(moods)) as server:
        moods.rejected = {"b-2"}
        await server.emit(*(build(f"b-{n}", data={"token": "hunter2"}) for n in range(4)))
        letters = await server.until("dead-letters", lambda found: len(found) == 2)
        assert {(one["pipeline"], one["stage"], one["reason"], one["lastError"]) for one in letters} == {
            ("keep", "careful", "rejected", "b-2 is too odd"),
            ("tell", "picky", "rejected", "b-2 is too odd"),
        }
        assert await has_kept(tmp_path, "b-0", "b-1", "b-3")

        beside = (await server.get("dead-letters?limit=1&stage=careful")).json()
        assert (beside["meta"], len(beside["data"])) == ({"total": 1, "limit": 1}, 1)
        durable = beside["data"][0]["id"]
        shown = await server.data(f"dead-letters/{durable}")
        assert [event["id"] for event in shown["events"]] == ["b-2"]
        assert "hunter2" not in msgspec.json.encode(shown).decode()

        with anyio.fail_after(30):  # The rest of a batch is in the queue until it was told.
            while 'bers_stage_queue_age_seconds{stage="tell/picky"} 0\n' not in (await server.get("/metrics")).text:
                await anyio.sleep(0.02)
        metrics = (await server.get("/metrics")).text
        assert 'bers_stage_dead_total{stage="keep/careful"} 1\n' in metrics
        assert "\nbers_dead_letters 2\n" in metrics

        story = await server.data("explain/b-2")
        outcomes = {
            one["stage"]: (one["outcome"], one["says"][-1]) for path in story["pipelines"] for one in path["stages"]
        }
        assert outcomes["careful"] == ("dead letter", f"`bers dead show {durable}` has more.")

        code, out, err = await bers(server, "list")
        assert (code, len(out.splitlines()), err) == (0, 2, "")
        code, out, _ = await bers(server, "list", "--stage", "careful", "--json")
        assert [one["id"] for one in msgspec.json.decode(out)] == [durable]
        code, out, err = await bers(server, "replay", "--all")
        assert (code, out.strip(), err.strip()) == (1, "0 records delivered, 2 records not taken", "b-2 is too odd")
        moods.rejected = set()
        code, out, _ = await bers(server, "replay", str(durable))
        assert (code, out.strip()) == (0, "1 record delivered, 0 records not taken")
        code, _, err = await bers(server, "replay", str(durable))
        assert (code, f"there is no dead letter {durable}" in err) == (1, True)
        assert kept(tmp_path) == ["b-0", "b-1", "b-3", "b-2"]
        assert moods.taken == ["b-0", "b-1", "b-3"]  # Its letter is another one.

        code, out, _ = await bers(server, "drop", "--stage", "picky", "--json")
        assert (code, msgspec.json.decode(out)) == (0, {"dropped": 1})
        code, out, err = await bers(server, "list")
        assert (code, out, err.strip()) == (0, "", "no dead letters")
        assert (await bers(server, "show", str(durable)))[0] == 1
        assert (await bers(server, "drop"))[0] == 2
        assert (await bers(server, "replay", "1", "--all"))[0] == 2
    assert (await bers(server, "list"))[0] == 3  # Nobody is there any more.

    moods.rejected = {"b-2"}
    async with serving(tmp_path, PIPELINES.format(folder=tmp_path), specs=specs(moods)) as server:
        assert await server.data("dead-letters") == []
        await server.emit(build("b-9"))
        assert await has_kept(tmp_path, "b-0", "b-1", "b-3", "b-2", "b-9")


async def test_an_outage_shows_in_health_ends_by_itself_and_costs_the_durable_sink_nothing(tmp_path: Path) -> None:
    moods = Moods()
    async with serving(tmp_path, PIPELINES.format(folder=tmp_path), specs=specs(moods)) as server:
        moods.down = True
        await server.emit(build("b-1"), build("b-2"))
        letters = await server.until("dead-letters", len)
        assert [(one["stage"], one["reason"]) for one in letters] == [("picky", "gave_up")]
        shown = await server.data(f"dead-letters/{letters[0]['id']}")
        # What the source measures by itself may have come with them.
        assert [event["id"] for event in shown["events"] if event["id"].startswith("b-")] == ["b-1", "b-2"]
        assert "pa55word" not in msgspec.json.encode(letters).decode()
        with anyio.fail_after(30):
            check: dict[str, Any] = {}
            while check.get("status") != "degraded" or "careful" not in check["message"]:
                await server.node.supervisor.health.look_at_all()
                check = (await server.get("health/metrics-collector")).json()["data"]
        assert check["details"]["deadLetters"]["letters"] == 1
        assert (await server.post("dead-letters/replay", {"stage": "careful"})).json()["data"]["delivered"] == 0
        moods.down = False
        assert await has_kept(tmp_path, "b-1", "b-2")
        report = (await server.post("dead-letters/replay", {"stage": "picky"})).json()["data"]
        assert (report["delivered"], report["remaining"]) == (letters[0]["records"], 0)
        assert moods.taken == ["b-1", "b-2"]
        audit = await server.data("audit")
        assert [row["action"] for row in audit][:1] == ["POST /api/monitoring/dead-letters/replay"]
        assert {cell.restarts for cell in server.node.supervisor.cells} == {0}


async def test_what_is_asked_wrongly_is_refused_with_the_reason(tmp_path: Path) -> None:
    async with serving(tmp_path, PIPELINES.format(folder=tmp_path), specs=specs(Moods())) as server:
        assert (await server.get("dead-letters/1")).status_code == 404
        assert (await server.get("dead-letters/0")).status_code == 422
        assert (await server.get(f"dead-letters/{1 << 63}")).status_code == 422
        assert (await server.get("dead-letters?limit=100000")).status_code == 422
        assert (await server.get("dead-letters/replay")).status_code == 405
        assert (await server.post("dead-letters/1/replay")).status_code == 404
        assert (await server.client.delete(server.url("dead-letters/7"))).status_code == 404
        assert (await server.client.delete(server.url("dead-letters"))).json()["data"] == {"dropped": 0}


async def test_a_letter_of_a_stage_that_is_gone_can_be_seen_and_dropped_and_not_replayed(tmp_path: Path) -> None:
    moods = Moods()
    async with serving(tmp_path, PIPELINES.format(folder=tmp_path), specs=specs(moods)) as server:
        moods.rejected = {"b-1"}
        await server.emit(build("b-1"))
        await server.until("dead-letters", lambda found: len(found) == 2)
    text = PIPELINES.format(folder=tmp_path).replace("  tell: {sources: [build], sinks: [picky]}\n", "")
    async with serving(tmp_path, text, specs=specs(moods)) as server:
        (letter,) = await server.data("dead-letters?stage=picky")
        refused = (await server.post(f"dead-letters/{letter['id']}/replay")).json()["error"]
        assert refused["message"] == "pipeline 'tell' leads to no stage 'picky' now"
        assert (await server.client.delete(server.url(f"dead-letters/{letter['id']}"))).status_code == 200
