"""A reload changes what differs and nothing else; one that fails leaves everything as it was, and no task behind."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Meta

from bers import (
    Batch,
    Check,
    Config,
    Context,
    Emit,
    Event,
    Finding,
    Metric,
    ProcessorSpec,
    Refused,
    SinkSpec,
    SourceSpec,
    Stage,
    Table,
)
from bers.checks import NODE_CHECKS
from bers.config import Plan, plan
from bers.config.located import parse
from bers.differences import Turnover
from bers.plugins import Catalogue
from bers.reloading import Reload
from bers.supervisor import Supervisor
from tests.unit.ledger import LEDGER, Ledger, LedgerConfig, written


@dataclass
class Diary:
    """What the stages of a test did, in order, and what they are to do."""

    lines: list[str] = field(default_factory=list[str])
    hanging: set[str] = field(default_factory=set[str])
    ready: Callable[[], bool] = lambda: True
    """Whether what takes its time to open has taken it."""
    """Who never opens."""
    hung: list[str] = field(default_factory=list[str])
    """Who was to be opened, and hangs."""
    staying: set[str] = field(default_factory=set[str])
    """Who does not close yet."""


class Options(Config, frozen=True):
    """Something to configure."""

    size: Annotated[int, Meta(description="A size; no stage opens that is to be smaller than nothing.")] = 0


class Recorded(Stage[Any]):
    """Writes down when it is opened and closed."""

    diary: Diary

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        name, size = self.context.stage_id, self.config.size
        if size < 0:
            raise OSError(f"{name} has no room")
        if name in self.diary.hanging:
            self.diary.hung.append(name)
            await anyio.sleep_forever()
        self.diary.lines.append(f"{name}({size}) opened")
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)  # A task that a reload could leave behind.
            yield self
            group.cancel_scope.cancel()
        while name in self.diary.staying:
            await anyio.sleep(0.005)
        self.diary.lines.append(f"{name}({size}) closed")


class Ticking(Recorded):
    """Emits an event, over and over."""

    async def run(self, emit: Emit) -> None:
        while True:
            await emit([self.context.event(f"{self.context.stage_id}.done")], durable=True)
            await anyio.sleep(0.002)


class Reading(Recorded):
    """Reads what others hand in, and counts how often it has seen a subject."""

    def receive(self, event: Event, table: Table) -> Sequence[Event]:
        table.put(event.id, event)
        return [event]


class Slow(Reading):
    """Takes its time to open."""

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        while not self.diary.ready():
            await anyio.sleep(0.005)
        async with super().__asynccontextmanager__():
            yield self


class Passing(Recorded):
    async def process(self, batch: Batch) -> Batch:
        return batch


class Hearing(Recorded):
    """Takes batches, and writes down what was in them."""

    async def write(self, batch: Batch) -> None:
        self.diary.lines += [f"{self.context.stage_id} heard {event.id}" for event in batch.events]

    async def look(self) -> Finding:
        return Finding("healthy", f"size {self.config.size}")


class BookConfig(LedgerConfig, frozen=True):
    """Count events in a database."""

    size: Annotated[int, Meta(description="A size.")] = 0


class Book(Ledger):
    """A ledger that has no room where it is told so."""

    diary: Diary
    config: BookConfig

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        if self.config.size < 0:
            raise OSError("the book has no room")
        async with super().__asynccontextmanager__():
            self.diary.lines.append(f"{self.context.stage_id}({self.config.size}) opened")
            yield self
        self.diary.lines.append(f"{self.context.stage_id}({self.config.size}) closed")

    async def look(self) -> Finding:
        return Finding("healthy", f"size {self.config.size}")


LATENCY = Metric("latency", "ms", "How long it took.", 100.0)


def catalogue(diary: Diary, checks: Sequence[Check[Any]] = ()) -> Catalogue:
    """What a node of a test knows; ``checks`` are those of a book."""

    def of(stage: type[Any]) -> Any:
        return type(stage.__name__, (stage,), {"diary": diary})

    look = (Check("hearing", Hearing.look, "Whether it hears."),)
    return Catalogue(
        {
            "source": {
                "ticking": SourceSpec("ticking", Options, of(Ticking), claims=("ticking.*",), metrics=(LATENCY,)),
                "reading": SourceSpec("reading", Options, of(Reading), claims=("build.*",)),
                "keen": SourceSpec("keen", Options, of(Reading), claims=("build.*", "test.*")),
                "slow": SourceSpec("slow", Options, of(Slow), claims=("slow.*",), alone=True),
                "port": SourceSpec("port", Options, of(Ticking), claims=("port.*",), alone=True),
            },
            "processor": {"passing": ProcessorSpec("passing", Options, of(Passing))},
            "sink": {
                "hearing": SinkSpec("hearing", Options, of(Hearing), checks=look),
                "book": type(LEDGER)("book", BookConfig, of(Book), checks=checks),
            },
        }
    )


TEXT = """
sources: {{reading: {{}}, ticking: {{}}, port: {{}}}}
processors: {{pass: {{use: passing}}, through: {{use: passing}}}}
sinks:
  book: {{path: {folder}/book.db}}
  other: {{use: book, path: {folder}/other.db}}
  ear: {{use: hearing}}
pipelines:
  keep: {{sources: [reading], processors: [pass], sinks: [book]}}
  file: {{sources: [reading], processors: [through], sinks: [other]}}
  hear: {{sources: [reading, ticking], sinks: [ear]}}
"""


class Node:
    """A node whose file can be written."""

    def __init__(self, folder: Path, open_within: str = "30s", checks: Sequence[Check[Any]] = ()) -> None:
        self.folder = folder
        self.open_within = open_within
        self.diary = Diary()
        self.stages = catalogue(self.diary, checks)
        self.text = TEXT.format(folder=folder)
        self.now = self.text
        self.changed_at = 0
        self.supervisor: Supervisor

    def read(self) -> Plan:
        document = parse(self.now, "pipelines.yaml")
        document.put(("data_dir",), str(self.folder))
        document.value.setdefault("stop_within", "2s")
        document.put(("supervision",), {"open_within": self.open_within, "close_within": "10s"})
        return plan(document, self.stages, environ={})

    async def reload(self, *replaced: tuple[str, str]) -> Reload:
        """Replace these texts in what the file was at first, and reload."""
        self.now = self.text
        for old, new in replaced:
            assert old in self.now, old
            self.now = self.now.replace(old, new)
        self.changed_at = len(self.diary.lines)
        return await self.supervisor.reload(by="test")

    @property
    def happened(self) -> list[str]:
        """What was opened and closed since."""
        processors = ("pass(", "through(")  # They are opened to see whether they can be.
        return [
            line
            for line in self.diary.lines[self.changed_at :]
            if "heard" not in line and not line.startswith(processors)
        ]

    @property
    def open(self) -> dict[str, Any]:
        """The sources and sinks that are open, by key."""
        cells = {**self.supervisor.sources, **self.supervisor.sinks}
        return {key: cell.stage for key, cell in cells.items()}

    def stage(self, key: str) -> Any:
        return self.open[key]

    async def emit(self, *numbers: int, type: str = "build.finished") -> None:
        await self.supervisor.intake.submit([Event(f"e-{n}", "/ci", type, 0.0) for n in numbers])

    async def written(self, name: str, *numbers: int) -> None:
        """Assert that exactly these come to be written, each once, in this order."""
        path = self.folder / f"{name}.db"
        await until(lambda: len(written(path)) >= len(numbers))
        assert written(path) == [f"e-{n}" for n in numbers]


@asynccontextmanager
async def running(folder: Path, open_within: str = "30s", checks: Sequence[Check[Any]] = ()) -> AsyncGenerator[Node]:
    node = Node(folder, open_within, checks)
    async with Supervisor(node.read(), reread=node.read) as node.supervisor:
        with anyio.fail_after(30):
            await node.supervisor.settled.wait()
            while len(node.supervisor.pipelines) < len(
                node.supervisor.plan.pipelines
            ):  # A stage may need two attempts.
                await anyio.sleep(0.005)
        yield node
        await until(lambda: not node.supervisor.counters.gaps())
    assert not node.supervisor.counters.gaps()


async def until(good: Callable[[], Any]) -> None:
    with anyio.fail_after(30):
        while not good():
            await anyio.sleep(0.005)


def left() -> tuple[int, set[str]]:
    """How many tasks there are, and what is open.

    What is open twice is there once: SQLite keeps the file of a reader open, such as those of this test, for as long
    as somebody else in the process has the database locked.
    """
    files: set[str] = set()
    for one in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # The listing itself was one of them.
            files.add(str(one.readlink()))
    return len(asyncio.all_tasks()), files


async def at_rest() -> tuple[int, set[str]]:
    """What there is when everything has started that was about to."""
    found, same = left(), 0
    while same < 20:
        await anyio.sleep(0.01)
        same, found = (same + 1, found) if left() == found else (0, left())
    return found


async def test_what_differs_in_nothing_is_not_touched(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        before = node.open
        pipelines = dict(node.supervisor.pipelines)
        attempt = await node.reload(("reading: {}", "reading: {size: 0}"))
        assert (attempt.result, attempt.changed.nothing) == ("ok", True)
        assert node.open == before
        assert node.supervisor.pipelines == pipelines and not node.happened
        assert node.supervisor.configuration.generation == 1


async def test_a_changed_source_is_open_before_the_old_one_closes_and_every_event_is_read(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        old, table = node.stage("reading"), node.supervisor.intake.receivers.table("reading")
        others = {key: stage for key, stage in node.open.items() if key != "reading"}
        pipelines = dict(node.supervisor.pipelines)
        await node.emit(0)
        attempt = await node.reload(("reading: {}", "reading: {size: 1}"))
        assert (attempt.result, attempt.changed.sources) == ("ok", Turnover(changed=("reading",)))
        assert node.happened == ["reading(1) opened", "reading(0) closed"]
        assert node.stage("reading") is not old and node.stage("reading").config.size == 1
        assert {key: stage for key, stage in node.open.items() if key != "reading"} == others
        assert all(node.supervisor.pipelines[name] is one for name, one in pipelines.items())
        await node.emit(1)
        assert list(table.keys()) == ["e-0", "e-1"]  # What it remembers belongs to its key.
        await node.written("book", 0, 1)


async def test_numbers_of_a_changed_source_go_on(tmp_path: Path) -> None:
    """Its events would be taken for repeats of those of the former one."""
    async with running(tmp_path) as node:
        await until(lambda: sum("ear heard" in line for line in node.diary.lines) > 3)
        await node.reload(("ticking: {}", "ticking: {size: 1}"))
        await until(lambda: sum("ear heard" in line for line in node.diary.lines[node.changed_at :]) > 3)
        assert node.supervisor.counters.edge("intake").filtered == 0


async def test_another_type_under_a_key_owns_other_events_and_remembers_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        await node.emit(0)
        await node.reload(("reading: {}", "reading: {use: keen}"))
        assert len(node.supervisor.intake.receivers.table("reading")) == 0
        await node.emit(1, type="test.finished")
        assert list(node.supervisor.intake.receivers.table("reading").keys()) == ["e-1"]
        await node.written("book", 0, 1)  # Its pipeline takes what it owns now.


async def test_a_source_that_is_alone_reads_every_event_while_it_is_changed(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.text = node.text.replace("port: {}}", "port: {}, slow: {}}")
        await node.reload()
        numbers, done = list[int](), anyio.Event()
        node.diary.ready = lambda: len(numbers) > 10

        async def emit() -> None:
            while not done.is_set():
                numbers.append(len(numbers))
                await node.emit(numbers[-1], type="slow.done")

        async with anyio.create_task_group() as group:
            group.start_soon(emit)
            await node.reload(("slow: {}", "slow: {size: 1}"))
            done.set()
        assert node.happened == ["slow(0) closed", "slow(1) opened"]
        assert list(node.supervisor.intake.receivers.table("slow").keys()) == [f"e-{n}" for n in numbers]
        assert len(numbers) > 10


async def test_a_changed_sink_is_opened_beside_the_old_one_and_takes_over_where_that_was(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        kept = {key: node.stage(key) for key in ("reading", "ticking", "port", "book", "other")}
        attempt = await node.reload(("ear: {use: hearing}", "ear: {use: hearing, size: 1}"))
        assert attempt.changed.pipelines == Turnover(changed=("hear",))
        assert node.happened == ["ear(1) opened", "ear(0) closed"]
        assert {key: node.stage(key) for key in kept} == kept
        await until(lambda: len(node.diary.lines) > 20)
    ticks = [line for line in node.diary.lines if "ear heard" in line]
    assert [int(tick.rpartition("-")[2]) for tick in ticks] == list(range(len(ticks)))  # None is missing, none twice.


async def test_a_changed_durable_sink_is_closed_first_and_goes_on_at_its_positions(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        other = node.stage("other")
        await node.emit(0, 1, 2)
        attempt = await node.reload(("/book.db}", "/book.db, size: 1}"))
        assert attempt.changed.pipelines == Turnover(changed=("keep",))
        assert node.happened == ["book(0) closed", "book(1) opened"]
        await node.emit(3)
        await node.written("book", 0, 1, 2, 3)
        await node.written("other", 0, 1, 2, 3)
        assert node.stage("other") is other


async def test_a_changed_processor_touches_the_pipelines_that_name_it_and_no_stage(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        stages = node.open
        pipelines = dict(node.supervisor.pipelines)
        attempt = await node.reload(("pass: {use: passing}", "pass: {use: passing, size: 1}"))
        assert attempt.changed.pipelines == Turnover(changed=("keep",))
        assert node.open == stages
        assert {name: node.supervisor.pipelines[name] is one for name, one in pipelines.items()} == {
            "keep": False,
            "file": True,
            "hear": True,
        }
        await node.emit(0)
        await node.written("book", 0)


async def test_a_new_pipeline_begins_at_the_end_and_one_that_is_removed_gives_its_position_up(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        await node.emit(0)
        await node.written("other", 0)
        without = ("  file: {sources: [reading], processors: [through], sinks: [other]}\n", "")
        assert (await node.reload(without)).changed.pipelines == Turnover(removed=("file",))
        assert "file" not in node.supervisor.pipelines
        await node.emit(1)
        assert (await node.reload()).changed.pipelines == Turnover(added=("file",))
        await node.emit(2)
        await node.written("other", 0, 2)
        await node.written("book", 0, 1, 2)


async def test_stages_come_and_go(tmp_path: Path) -> None:
    more = ("  ear: {use: hearing}\n", "  ear: {use: hearing}\n  eye: {use: hearing}\n")
    async with running(tmp_path) as node:
        attempt = await node.reload(
            more, ("sinks: [ear]", "sinks: [ear, eye]"), (", ticking: {}", ""), (", ticking]", "]")
        )
        assert (attempt.changed.sources, attempt.changed.sinks) == (
            Turnover(removed=("ticking",)),
            Turnover(added=("eye",)),
        )
        assert node.happened == ["eye(0) opened", "ticking(0) closed"]
        assert list(node.open) == ["reading", "port", "book", "other", "ear", "eye"]
        await node.emit(0)
        await until(lambda: {"ear heard e-0", "eye heard e-0"} <= set(node.diary.lines))
        await node.reload()
        assert list(node.open) == ["reading", "ticking", "port", "book", "other", "ear"]


FAILING = [
    (("size: nothing", "ear: {use: hearing}", "ear: {use: hearing, size: nothing}"), "7:23", "expected a whole number"),
    (("a negative ear", "ear: {use: hearing}", "ear: {use: hearing, size: -1}"), "7:3", "ear has no room"),
    (("a negative source", "reading: {}", "reading: {size: -1}"), "2:11", "reading has no room"),
    (("a negative book", "/book.db}", "/book.db, size: -1}"), "5:3", "the book has no room"),
    (("a negative port", "port: {}", "port: {size: -1}"), "2:44", "port has no room"),
    (("a negative processor", "use: passing}, ", "use: passing, size: -1}, "), "3:14", "pass has no room"),
    (("a new one", "  ear:", "  eye: {use: hearing, size: -1}\n  ear:"), "7:3", "eye has no room"),
    (("a port of the server", "\nsources:", "\nserver: {control: 1}\nsources:"), "2:10", "cannot be changed while"),
]
"""What fails, by name: the change, where it is said to be wrong, and what is said."""


@pytest.mark.parametrize(("replaced", "place", "message"), FAILING, ids=[one[0][0] for one in FAILING])
async def test_what_fails_is_located_and_everything_is_as_it_was(
    replaced: tuple[str, str, str], place: str, message: str, tmp_path: Path
) -> None:
    async with running(tmp_path) as node:
        await node.emit(0)
        await until(lambda: len(written(tmp_path / "book.db")) == 1)
        before, digest = await at_rest(), node.supervisor.plan.digest
        _, old, new = replaced
        # Together with changes of everything else that would be right.
        right = [("through: {use: passing}", "through: {use: passing, size: 7}"), ("/other.db}", "/other.db, size: 7}")]
        right += [] if "ticking" in old else [("ticking: {}", "ticking: {size: 7}")]
        attempt = await node.reload((old, new), *right)
        assert attempt.result == "failed"
        (fault,) = attempt.faults
        assert fault.place == f"pipelines.yaml:{place}"
        assert message in fault.message
        assert node.supervisor.configuration.generation == 1
        assert node.supervisor.configuration.hash == digest == node.supervisor.plan.digest
        assert {key: stage.config.size for key, stage in node.open.items()} == dict.fromkeys(
            ("reading", "ticking", "port", "book", "other", "ear"), 0
        )
        await node.emit(1)
        await node.written("book", 0, 1)
        await node.written("other", 0, 1)
        await until(lambda: any("ear heard e-1" in line for line in node.diary.lines))
        assert await at_rest() == before
        assert (await node.reload(*right)).result == "ok"
        await node.emit(2)
        await node.written("other", 0, 1, 2)


@pytest.mark.parametrize("key", ["ear", "port", "pass"])
async def test_what_hangs_while_it_opens_is_given_up(key: str, tmp_path: Path) -> None:
    change = {
        "ear": ("ear: {use: hearing}", "ear: {use: hearing, size: 1}"),
        "port": ("port: {}", "port: {size: 1}"),
        "pass": ("pass: {use: passing}", "pass: {use: passing, size: 1}"),
    }[key]
    async with running(tmp_path, "200ms") as node:
        before = await at_rest()
        node.diary.hanging.add(key)
        release = anyio.Event()

        async def let_the_old_one_open() -> None:
            await until(lambda: "port(0) closed" in node.diary.lines)
            await anyio.sleep(0.25)
            node.diary.hanging.clear()
            release.set()

        attempts: list[Reload] = []
        async with anyio.create_task_group() as group:
            if key == "port":
                group.start_soon(let_the_old_one_open)
            attempts.append(await node.reload(change))
            if key == "port":
                await release.wait()
        (attempt,) = attempts
        node.diary.hanging.clear()
        assert attempt.result == "failed"
        assert "did not open within 0.2 s" in attempt.faults[0].message
        if key != "pass":
            await until(lambda: node.stage(key) is not None)
            assert node.stage(key).config.size == 0
        assert await at_rest() == before


async def test_a_failing_plugin_of_the_reading_itself_is_a_failed_reload(tmp_path: Path) -> None:
    async with running(tmp_path) as node:

        def verify(config: Any, metrics: Any) -> None:
            raise ZeroDivisionError("nothing may be divided")

        object.__setattr__(node.stages.specs["sink"]["hearing"], "verify", verify)
        attempt = await node.reload()
        assert [fault.message for fault in attempt.faults] == ["ZeroDivisionError: nothing may be divided"]
        await node.emit(0)
        await node.written("book", 0)


async def test_a_node_without_a_file_says_so(tmp_path: Path) -> None:
    node = Node(tmp_path)
    async with Supervisor(node.read()) as supervisor:
        with pytest.raises(Refused, match="no file that could be read again"):
            await supervisor.reload()


async def test_reloads_happen_one_after_another(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.now = node.text.replace("reading: {}", "reading: {size: 1}")
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(node.supervisor.reload)
        assert node.supervisor.configuration.generation == 2
        assert node.happened[-2:] == ["reading(1) opened", "reading(0) closed"]


async def test_a_reload_that_is_abandoned_is_carried_out(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.now = node.text.replace("reading: {}", "reading: {size: 1}")
        with anyio.move_on_after(0):
            await node.supervisor.reload()
        async with anyio.create_task_group() as group:
            group.start_soon(node.supervisor.reload)
            await anyio.sleep(0.001)
            group.cancel_scope.cancel()
        assert node.stage("reading").config.size == node.supervisor.configuration.generation - 1


async def test_a_node_that_is_to_stop_does_not_wait_for_a_reload_that_hangs(tmp_path: Path) -> None:
    attempts: list[Reload] = []
    nodes: list[Node] = []
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            async with running(tmp_path, "1h") as node:
                nodes.append(node)
                node.diary.hanging.add("ear")

                async def reload() -> None:
                    attempts.append(await node.reload(("ear: {use: hearing}", "ear: {use: hearing, size: 1}")))

                group.start_soon(reload)
                await until(lambda: node.diary.hung)
    assert attempts[0].result == "failed" and "this node is stopping" in attempts[0].faults[0].message
    with pytest.raises(Refused, match="this node is stopping"):
        await nodes[0].supervisor.reload()


async def test_a_check_of_an_untouched_stage_goes_on_and_that_of_a_changed_one_is_made_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        health = node.supervisor.health
        first = health.report("hearing")
        await node.reload(("reading: {}", "reading: {size: 1}"))
        assert health.report("hearing").timestamp == first.timestamp
        await node.reload(("ear: {use: hearing}", "ear: {use: hearing, size: 1}"))
        assert health.report("hearing").status == "healthy"
        await until(lambda: health.report("hearing").message == "size 1")
        text = "\nhealth: {checks: {hearing: {enabled: false}}}\nsources:"
        await node.reload(("\nsources:", text))
        assert health.names == ["metrics-collector", "data-files", "storage"]
        assert set(health.names) == NODE_CHECKS - {"connectivity"}  # Nobody has said how that is found out.
        await node.reload()
        await until(lambda: health.report("hearing").message == "size 0")


async def test_a_check_goes_on_after_a_reload_that_failed_when_its_stage_was_closed(tmp_path: Path) -> None:
    async with running(tmp_path, checks=[Check("books", Book.look, "Whether it is there.")]) as node:
        health = node.supervisor.health
        assert health.report("books").message == "size 0"
        assert (await node.reload(("/book.db}", "/book.db, size: -1}"))).result == "failed"
        await until(lambda: node.stage("book") is not None)
        await health.look(["books"])
        assert (health.report("books").status, health.report("books").message) == ("healthy", "size 0")


async def test_a_stage_whose_place_another_has_is_not_said_to_be_down(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.text = node.text.replace("  ear:", "  eye: {use: hearing}\n  ear:").replace("[ear]", "[ear, eye]")
        await node.reload()
        health, told = node.supervisor.health, list[str]()
        node.diary.staying.add("eye")
        async with anyio.create_task_group() as group:
            changes = [(f"{key}: {{use: hearing}}", f"{key}: {{use: hearing, size: 1}}") for key in ("ear", "eye")]
            group.start_soon(node.reload, *changes)
            await until(lambda: "ear(0) closed" in node.diary.lines)
            for name in ("hearing", "hearing-ear", "hearing-eye"):  # The last of them has not closed yet.
                await health.look([name])
                told += [health.report(name).status] if name in health.names else []
            node.diary.staying.clear()
        assert told == ["healthy", "healthy"]


async def test_what_is_in_place_is_said_to_whoever_is_told_that_it_is(tmp_path: Path) -> None:
    seen: list[tuple[int, str, bool]] = []
    async with running(tmp_path) as node:

        def look(supervisor: Supervisor) -> None:
            found = supervisor.configuration
            seen.append((found.generation, found.result, found.hash == supervisor.plan.digest))

        node.supervisor.listeners.append(look)
        await node.reload(("reading: {}", "reading: {size: x}"))
        await node.reload(("reading: {}", "reading: {size: 1}"))
        assert seen == [(2, "ok", True)]
        await node.reload(("reading: {}", "reading: {size: 1}"))
        assert node.supervisor.configuration.generation == 2


async def test_settings_are_those_of_the_new_configuration(tmp_path: Path) -> None:
    seen: list[int] = []
    async with running(tmp_path) as node:
        node.supervisor.listeners.append(lambda supervisor: seen.append(supervisor.plan.settings.intake.max_events))
        context: Context = node.stage("ear").context
        assert context.metrics["latency"].target == 100
        more = "\nmetrics: {latency: {target: 5s}}\nintake: {max_events: 7}\nsources:"
        attempt = await node.reload(("\nsources:", more))
        assert attempt.changed.settings == ("intake.max_events", "metrics.latency")
        assert context.metrics["latency"].target == 5000 and not node.happened
        assert seen == [7]


async def test_everybody_can_tell_what_came_of_it(tmp_path: Path) -> None:
    what = "expected a whole number, found text; write digits alone, without quotes"
    wrong = f"pipelines.yaml:2:21: sources.reading.size: {what}"
    async with running(tmp_path) as node:
        await node.reload(("\nsources:", "\nstop_within: 4s\nsources:"))
        await node.reload(("reading: {}", "reading: {size: x}"))
        found = node.supervisor.configuration
        assert (found.generation, found.result, found.file) == (2, "failed", "pipelines.yaml")
        assert [str(fault) for fault in found.faults] == [wrong]
        assert found.reload and found.reload.by == "test"
        await node.written("book")
    events = [event async for event in told(tmp_path)]
    assert [(event.outcome, event.data["generation"]) for event in events] == [("success", 2), ("failure", 2)]
    assert events[1].reason == wrong
    assert events[0].data["changed"]["settings"] == ["stop_within"]


async def told(folder: Path) -> AsyncGenerator[Event]:
    """The events that tell of reloads, as the journal has them."""
    from bers.log import Log

    async with Log(folder / "journal") as log:
        at, end = await log.span(0)
        while at < end:
            batches = log.read(0, after=at)
            batch = await anext(batches)
            await batches.aclose()
            at = batch.end
            for event in batch.events:
                if event.type == "config.reloaded":
                    yield event


CHANGES = [
    ("reading: {}", "reading: {size: 1}"),
    ("reading: {}", "reading: {size: -1}"),
    ("ticking: {}", "ticking: {size: 1}"),
    ("port: {}", "port: {size: 1}"),
    ("port: {}", "port: {size: -1}"),
    ("/book.db}", "/book.db, size: 1}"),
    ("/book.db}", "/book.db, size: -1}"),
    ("ear: {use: hearing}", "ear: {use: hearing, size: 1}"),
    ("pass: {use: passing}", "pass: {use: passing, size: -1}"),
    ("  hear:", "  listen:"),
    ("  file:", "  files:"),
    ("\nsources:", "\nenvironment: nowhere\nsources:"),
    ("\nsources:", "\nlog: {level: debug}\nsources:"),
    ("sources: {", "sources: ["),
]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from(CHANGES), max_size=3, unique_by=lambda change: change[0]), max_size=8))
def test_whatever_was_tried_nothing_is_left_lost_or_doubled(
    tmp_path_factory: pytest.TempPathFactory, sequence: list[list[tuple[str, str]]]
) -> None:
    async def main() -> None:
        folder = tmp_path_factory.mktemp("node")
        async with running(folder) as node:
            await node.emit(0)
            await node.written("book", 0)
            before, numbers = await at_rest(), [0]
            for changes in sequence:
                await node.reload(*changes)
                numbers.append(len(numbers))
                await node.emit(numbers[-1])
            await node.reload()
            await node.written("book", *numbers)
            assert await at_rest() == before
            assert {key: stage.config.size for key, stage in node.open.items()} == dict.fromkeys(
                ("reading", "ticking", "port", "book", "other", "ear"), 0
            )

    anyio.run(main)
