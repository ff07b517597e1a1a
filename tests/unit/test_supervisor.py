"""Stages are started and stopped in order, restarted one by one when they crash, and nothing is counted twice."""

import errno
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

import anyio
import pytest
from msgspec import Meta

from bers import Batch, Config, Conflict, Context, Emit, Event, SinkSpec, SourceSpec, Stage, Table
from bers.all_positions import lowest_position
from bers.config import plan
from bers.config.located import parse
from bers.plugins import Catalogue
from bers.supervisor import Supervisor
from tests.unit.ledger import LEDGER, Ledger, LedgerConfig, written


@dataclass
class Diary:
    """What the stages of a test did, in order, and what they are to do."""

    lines: list[str] = field(default_factory=list[str])
    crashes: dict[str, int] = field(default_factory=dict[str, int])
    """How often each stage fails yet; at `NAME open`, or while it works."""
    slow: dict[str, float] = field(default_factory=dict[str, float])
    """How many seconds each takes to close."""
    fault: Exception | None = None
    """What they crash of, if not of what says that they are broken."""

    def crash(self, name: str) -> None:
        if self.crashes.get(name, 0) > 0:
            self.crashes[name] -= 1
            self.lines.append(f"{name} crashed")
            raise self.fault or RuntimeError(f"{name} is broken")


class NoConfig(Config, frozen=True):
    """Nothing to configure."""


class Recorded(Stage[Any]):
    """Writes down when it is opened and closed."""

    diary: Diary

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        name = self.context.stage_id
        self.diary.crash(f"{name} open")
        self.diary.lines.append(f"{name} opened")
        yield self
        await anyio.sleep(self.diary.slow.get(name, 0.0))
        self.diary.lines.append(f"{name} closed")


class Ticking(Recorded):
    """Emits an event, over and over."""

    async def run(self, emit: Emit) -> None:
        while True:
            self.diary.crash(self.context.stage_id)
            await emit([self.context.event("tick.done")], durable=True)
            await anyio.sleep(0.005)


class Reading(Recorded):
    """Reads what others hand in."""

    def receive(self, event: Event, table: Table) -> Sequence[Event]:
        return [event]


class Hearing(Recorded):
    """Takes batches, and writes down what was in them."""

    async def write(self, batch: Batch) -> None:
        for event in batch.events:
            self.diary.crash(self.context.stage_id)
            self.diary.lines.append(f"{self.context.stage_id} heard {event.id}")


class Leisurely(Hearing):
    """Takes its time to open, and can be asked whether it is."""

    is_open = False

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        self.diary.lines.append(f"{self.context.stage_id} is opening")
        with anyio.CancelScope(shield=True):  # As a thread that opens a file does not heed that nobody wants it.
            await anyio.sleep(self.diary.slow.get(f"{self.context.stage_id} open", 0.0))
        self.is_open = True
        try:
            yield self
        finally:
            self.is_open = False


class BookConfig(LedgerConfig, frozen=True):
    """Count events in a database, and crash as told."""

    after: Annotated[bool, Meta(description="Whether to crash after the commit rather than before.")] = False


class Book(Ledger):
    """A ledger that crashes before or after its commit."""

    diary: Diary
    config: BookConfig

    async def write(self, batch: Batch) -> None:
        try:
            self.diary.crash(f"{self.context.stage_id} position")
        except RuntimeError as exc:
            raise Conflict("somebody was here") from exc
        if not self.config.after:
            self.diary.crash(self.context.stage_id)
        await super().write(batch)
        if self.config.after:
            self.diary.crash(self.context.stage_id)


def catalogue(diary: Diary) -> Catalogue:
    def of(stage: type[Any]) -> Any:
        return type(stage.__name__, (stage,), {"diary": diary})

    return Catalogue(
        {
            "source": {
                "ticking": SourceSpec("ticking", NoConfig, of(Ticking), claims=("tick.*",)),
                "silent": SourceSpec("silent", NoConfig, of(Ticking)),
                "reading": SourceSpec("reading", NoConfig, of(Reading), claims=("build.*",)),
            },
            "processor": {},
            "sink": {
                "hearing": SinkSpec("hearing", NoConfig, of(Hearing)),
                "leisurely": SinkSpec("leisurely", NoConfig, of(Leisurely)),
                "book": type(LEDGER)("book", BookConfig, of(Book)),
            },
        }
    )


@asynccontextmanager
async def node(folder: Path, diary: Diary, text: str) -> AsyncGenerator[Supervisor]:
    document = parse(text, "pipelines.yaml")
    document.put(("data_dir",), str(folder))
    document.value.setdefault("stop_within", "3s")
    async with Supervisor(plan(document, catalogue(diary), environ={})) as supervisor:
        yield supervisor
    assert not supervisor.counters.gaps()


async def until(good: Any) -> None:
    with anyio.fail_after(30):
        while not good():
            await anyio.sleep(0.005)


def numbered(*numbers: int) -> list[Event]:
    return [Event(f"e-{n}", "/ci", "build.finished", 0.0) for n in numbers]


SIMPLE = """
sources: {reading: {}, ticking: {}}
sinks: {one: {use: hearing}, two: {use: hearing}}
pipelines:
  all: {sources: [reading, ticking], sinks: [one, two]}
"""


async def test_sinks_are_there_before_sources_emit_and_are_closed_after_them(tmp_path: Path) -> None:
    diary = Diary()
    async with node(tmp_path, diary, SIMPLE):
        await until(lambda: sum("heard" in line for line in diary.lines) > 4)
    opened = [line.split()[0] for line in diary.lines if line.endswith("opened")]
    closed = [line.split()[0] for line in diary.lines if line.endswith("closed")]
    first = next(n for n, line in enumerate(diary.lines) if "heard" in line)
    assert opened == ["reading", "ticking", "one", "two"]
    assert [line.split()[0] for line in diary.lines[:first]] == opened
    assert (set(closed[:2]), closed[2:]) == ({"reading", "ticking"}, ["one", "two"])


async def test_a_stage_may_take_its_time_to_close(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    diary = Diary(slow={"ticking": 0.1, "one": 0.1})
    async with node(tmp_path, diary, SIMPLE) as supervisor:
        pass
    assert sum(line.endswith("closed") for line in diary.lines) == 4
    assert {cell.state for cell in supervisor.cells} == {"stopped"}
    assert "did not stop" not in caplog.text


async def test_who_takes_too_long_to_close_is_named_and_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    diary = Diary(slow={"ticking": 60, "two": 60})
    with anyio.fail_after(30):
        async with node(tmp_path, diary, f"stop_within: 100ms\n{SIMPLE}"):
            pass
    assert "did not stop within 0.1 s: ticking, two" in caplog.text


async def test_a_crashing_source_is_restarted_while_its_siblings_run(tmp_path: Path) -> None:
    diary = Diary(crashes={"ticking": 2})
    text = SIMPLE.replace("ticking: {}", "ticking: {}, other: {use: silent}").replace("[reading", "[reading, other")
    async with node(tmp_path, diary, text) as supervisor:
        await until(lambda: supervisor.sources["ticking"].state == "failing")
        assert supervisor.sources["ticking"].error == "RuntimeError: ticking is broken"
        assert supervisor.sources["other"].state == "ok"
        await until(lambda: supervisor.sources["ticking"].restarts == 2)
        await until(lambda: supervisor.sources["ticking"].state == "ok")
        assert supervisor.sources["other"].restarts == 0
        assert {cell.state for cell in supervisor.sinks.values()} == {"ok"}
    assert diary.lines.count("ticking opened") == 3
    assert diary.lines.count("other opened") == 1


async def test_a_source_that_cannot_be_opened_does_not_keep_the_others_from_starting(tmp_path: Path) -> None:
    diary = Diary(crashes={"reading open": 1})
    async with node(tmp_path, diary, SIMPLE) as supervisor:
        await until(lambda: any("heard" in line for line in diary.lines))
        await until(lambda: supervisor.sources["reading"].state == "ok")
        assert supervisor.sources["reading"].restarts == 1


async def test_to_stop_is_not_to_wait_for_the_next_attempt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bers.cells.FIRST_PAUSE", 3600.0)
    async with node(tmp_path, Diary(crashes={"ticking": 1}), f"stop_within: 20s\n{SIMPLE}") as supervisor:
        await until(lambda: supervisor.sources["ticking"].restarts)
    assert "did not stop" not in caplog.text


async def test_to_be_cancelled_is_to_stop(tmp_path: Path) -> None:
    diary = Diary()
    with anyio.fail_after(30):
        with anyio.CancelScope() as scope:
            async with node(tmp_path, diary, SIMPLE):
                scope.cancel()
                await anyio.sleep_forever()
    assert sum(line.endswith("opened") for line in diary.lines) == 4


BOOKS = """
sources: {{reading: {{}}}}
sinks:
  book: {{path: {folder}/book.db, after: {after}}}
  other: {{use: hearing}}
pipelines:
  keep: {{sources: [reading], sinks: [book]}}
  hear: {{sources: [reading], sinks: [other]}}
"""


@pytest.mark.parametrize("after", ["false", "true"])
async def test_a_sink_that_raises_is_asked_again_and_nothing_is_written_twice(after: str, tmp_path: Path) -> None:
    diary = Diary(crashes={"book": 2})
    async with node(tmp_path, diary, BOOKS.format(folder=tmp_path, after=after)) as supervisor:
        for n in range(20):
            await supervisor.intake.submit(numbered(n))
        await until(lambda: len(written(tmp_path / "book.db")) == 20 and not diary.crashes["book"])
        await until(lambda: supervisor.pipelines["keep"].deliveries["book"].failing_since is None)
        assert supervisor.counters.edge("keep/book").errors == 2
        assert supervisor.sinks["book"].restarts == 0
        await until(lambda: len([line for line in diary.lines if "heard" in line]) == 20)
    assert written(tmp_path / "book.db") == [f"e-{n}" for n in range(20)]
    assert [line for line in diary.lines if "heard" in line] == [f"other heard e-{n}" for n in range(20)]


async def test_a_sink_whose_position_is_not_what_was_believed_restarts_its_unit(tmp_path: Path) -> None:
    diary = Diary(crashes={"book position": 2})
    async with node(tmp_path, diary, BOOKS.format(folder=tmp_path, after="false")) as supervisor:
        for n in range(20):
            await supervisor.intake.submit(numbered(n))
        await until(lambda: supervisor.sinks["book"].restarts == 2)
        await until(lambda: len(written(tmp_path / "book.db")) == 20)
        assert supervisor.sinks["other"].restarts == 0
    assert written(tmp_path / "book.db") == [f"e-{n}" for n in range(20)]


async def test_a_restart_goes_on_where_it_was_and_knows_what_was_there(tmp_path: Path) -> None:
    text = BOOKS.format(folder=tmp_path, after="false")
    for n in range(3):
        diary = Diary()
        async with node(tmp_path, diary, text) as supervisor:
            receipt = await supervisor.intake.submit(numbered(*range(n * 5, n * 5 + 8)))
            assert receipt.repeated == (0 if n == 0 else 3)
            await until(lambda n=n: len(written(tmp_path / "book.db")) == n * 5 + 8)
        assert sum("heard" in line for line in diary.lines) == (8 if n == 0 else 5)
    assert written(tmp_path / "book.db") == [f"e-{n}" for n in range(18)]


async def test_a_pipeline_that_is_removed_gives_its_position_up(tmp_path: Path) -> None:
    text = BOOKS.format(folder=tmp_path, after="false")
    async with node(tmp_path, Diary(), text) as supervisor:
        await supervisor.intake.submit(numbered(1, 2, 3))
        await until(lambda: len(written(tmp_path / "book.db")) == 3)
    kept = lowest_position(tmp_path, {("book", "keep")})
    assert kept is not None and kept >= 3, "what the node has told of itself meanwhile has positions as well"
    async with node(tmp_path, Diary(), text.replace("keep:", "renamed:")) as supervisor:
        await supervisor.intake.submit(numbered(4))
        await until(lambda: len(written(tmp_path / "book.db")) == 4)
    assert written(tmp_path / "book.db") == ["e-1", "e-2", "e-3", "e-4"]  # A new pipeline begins at the end.
    async with node(tmp_path, Diary(), "sources: {reading: {}}"):
        pass
    assert lowest_position(tmp_path, {("book", "renamed")}) is None


async def test_a_sink_that_cannot_be_opened_is_owed_what_was_acknowledged_meanwhile(tmp_path: Path) -> None:
    text = BOOKS.format(folder=tmp_path, after="false")
    (tmp_path / "book.db").mkdir()  # Where the database should be, and cannot.
    async with node(tmp_path, Diary(), text) as supervisor:
        await supervisor.intake.submit(numbered(1, 2, 3))
        assert supervisor.running("book") is None
        (tmp_path / "book.db").rmdir()
        await until(lambda: supervisor.sinks["book"].state == "ok")
        await supervisor.intake.submit(numbered(4))
        await until(lambda: len(written(tmp_path / "book.db")) == 4)
    (tmp_path / "book.db").unlink()  # Lost: the journal still has everything.
    async with node(tmp_path, Diary(), text):
        await until(lambda: (tmp_path / "book.db").exists() and len(written(tmp_path / "book.db")) == 4)
    assert written(tmp_path / "book.db") == ["e-1", "e-2", "e-3", "e-4"]


async def test_sources_that_measure_are_restarted_on_request_and_others_are_not(tmp_path: Path) -> None:
    diary = Diary()
    async with node(tmp_path, diary, SIMPLE) as supervisor:
        await until(lambda: supervisor.ready)
        assert supervisor.restart_sources() == ["ticking"]
        await until(lambda: diary.lines.count("ticking opened") == 2)
        await until(lambda: supervisor.sources["ticking"].state == "ok")
        assert supervisor.sources["ticking"].restarts == 0
    assert diary.lines.count("reading opened") == 1


async def test_what_a_stage_was_told_is_in_its_context(tmp_path: Path) -> None:
    seen: list[Context] = []

    class Curious(Stage[NoConfig]):
        async def run(self, emit: Emit) -> None:
            seen.append(self.context)

    stages = Catalogue({"source": {"curious": SourceSpec("curious", NoConfig, Curious)}, "processor": {}, "sink": {}})
    text = f"environment: staging\ndata_dir: {tmp_path}\nsources: {{mine: {{use: curious}}}}"
    async with Supervisor(plan(parse(text, "pipelines.yaml"), stages, environ={})) as supervisor:
        await until(lambda: seen)
        (context,) = seen
        assert (context.stage_id, context.environment, context.data_dir) == ("mine", "staging", tmp_path)
        assert context.event("x").source == "bers:mine"
        assert context.logger is logging.getLogger("bers.stage.mine")
        assert context.state is supervisor.state


async def test_the_journal_is_trimmed_behind_the_slowest_sink(tmp_path: Path) -> None:
    text = BOOKS.format(folder=tmp_path, after="false")
    for n in range(6):
        async with node(tmp_path, Diary(), text) as supervisor:
            big = [Event(f"e-{n}-{k}", "/ci", "build.finished", 0.0, reason="x" * 4000) for k in range(1500)]
            await supervisor.intake.submit(big)
            await until(lambda n=n: len(written(tmp_path / "book.db")) == (n + 1) * 1500)
    size = sum(path.stat().st_size for path in (tmp_path / "journal").iterdir())
    assert size < 24 << 20  # 36 MB went in; the segment that is written to, and what it takes to fill one, is left.


async def test_whoever_misses_what_a_full_journal_gave_up_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    diary = Diary(crashes={"one": 10**6})
    journal = "intake: {journal: {max_bytes: 32KiB, when_full: drop_oldest}}\n"
    text = SIMPLE.replace("one: {use: hearing}", "one: {use: hearing, delivery: {required: true}}") + journal
    async with node(tmp_path, diary, text) as supervisor:
        for n in range(40):
            await supervisor.intake.submit(numbered(*range(100 * n, 100 * n + 100)))
        start, _ = await supervisor.bus.span(0)
        assert start
        said = [line for line in caplog.messages if line.startswith("pipeline 'all' misses the events from position")]
        assert said[-1].endswith(f" to {start}: the journal gave them up") and supervisor.bus.dropped == start
        diary.crashes.clear()


async def test_a_full_disk_quarantines_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    diary = Diary(crashes={"one open": 4, "one": 4}, fault=full)
    text = SIMPLE + "supervision: {restarts: 0, release_after: 1h}\n"
    async with node(tmp_path, diary, text) as supervisor:
        cell = supervisor.sinks["one"]
        await until(lambda: cell.stage is not None)
        assert cell.restarts == 4 and cell.budget.left == 0
        assert caplog.text.count("stage 'one' failed") == 1, "said once"
        await supervisor.intake.submit(numbered(1))
        await until(lambda: "one heard e-1" in diary.lines)


async def test_who_is_started_anew_while_opening_is_not_held_out_when_closed(tmp_path: Path) -> None:
    diary = Diary(slow={"one open": 0.02})
    async with node(tmp_path, diary, SIMPLE.replace("one: {use: hearing}", "one: {use: leisurely}")) as supervisor:
        cell = supervisor.sinks["one"]
        for _ in range(5):
            await until(lambda: cell.stage is not None)
            diary.lines.clear()
            supervisor.restart("one")
            await until(lambda: "one is opening" in diary.lines)
            supervisor.restart("one")
            with anyio.move_on_after(0.06):
                while True:
                    assert cell.stage is None or cell.stage.is_open
                    await anyio.lowlevel.checkpoint()
        await supervisor.intake.submit(numbered(1))
        await until(lambda: "one heard e-1" in diary.lines)
    assert cell.stage is None, "nor when it has stopped"


async def test_who_opens_when_it_was_given_up_for_late_is_not_held_out(tmp_path: Path) -> None:
    diary = Diary(slow={"one open": 1.0})
    text = SIMPLE.replace("one: {use: hearing}", "one: {use: leisurely}") + (
        "supervision: {open_within: 100ms, close_within: 100ms}\n"
    )
    async with node(tmp_path, diary, text) as supervisor:
        cell = supervisor.sinks["one"]
        await until(lambda: cell.state == "quarantined")
        await until(lambda: "one" not in supervisor.at_work)
        assert cell.stage is None
        diary.slow.clear()
        supervisor.restart("one")
        await until(lambda: cell.state == "ok")
        assert supervisor.sinks["one"].stage.is_open
