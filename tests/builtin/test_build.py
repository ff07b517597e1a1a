"""What the build source makes of the events of builds."""

from collections.abc import Mapping, Sequence

import pytest
from anyio import create_task_group
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bers import Context, Event, Interval, Outcome, Table
from bers.testing import VirtualClock, check_spec, run_receive
from bers_builtin.sources._assets import sizes
from bers_builtin.sources.build import BUILD, BuildConfig, BuildSource
from tests.builtin.orders import Orders, figures, figures_of, in_two_orders, remembers_the_same

SOURCE = "/ci/local"


def told(
    what: str,
    time: float = 0.0,
    *,
    id: str = "",
    subject: str = "b/1",
    outcome: Outcome | None = None,
    duration_ms: float | None = None,
    measures: Mapping[str, float] | None = None,
    labels: Mapping[str, str] | None = None,
    environment: str | None = None,
) -> Event:
    return Event(
        id or f"{subject}:{what}:{time}",
        SOURCE,
        what,
        time,
        subject=subject,
        outcome=outcome,
        duration_ms=duration_ms,
        measures=measures or {},
        labels=labels or {},
        environment=environment,
    )


async def test_the_spec_keeps_its_promises() -> None:
    await check_spec(BUILD)


async def test_c160_a_finished_build_is_measured() -> None:
    (done,) = await run_receive(BUILD, [told("build.finished", outcome="success", duration_ms=930)])
    assert done.measures == {"build_performance": 930, "build_total": 1, "build_success_rate": 100}


@pytest.mark.parametrize(
    ("outcome", "measures"),
    [
        ("failure", {"build_total": 1, "build_success_rate": 0}),
        ("error", {"build_total": 1, "build_success_rate": 0}),
        ("timeout", {"build_total": 1, "build_success_rate": 0}),
        ("cancel", {"build_total": 1}),
        (None, {"build_total": 1, "build_performance": 930}),
    ],
)
async def test_only_a_build_that_does_not_fail_tells_how_long_builds_take(
    outcome: Outcome | None, measures: dict[str, float]
) -> None:
    (done,) = await run_receive(BUILD, [told("build.finished", outcome=outcome, duration_ms=930)])
    assert done.measures == measures
    assert done.duration_ms == 930


async def test_the_time_between_start_and_finish_is_the_duration() -> None:
    _, done = await run_receive(
        BUILD, [told("build.started", 10), told("build.finished", 12.5, outcome="success", measures={"odd": 1})]
    )
    assert done.duration_ms == 2500
    assert done.measures == {"build_performance": 2500, "build_total": 1, "build_success_rate": 100, "odd": 1}


async def test_a_start_that_comes_last_brings_the_duration_as_an_event_that_follows() -> None:
    finished = told("build.finished", 12.5, id="f", outcome="success", environment="staging", labels={"build": "chat"})
    done, started, measured = await run_receive(BUILD, [finished, told("build.started", 10, id="s")])
    assert (done.duration_ms, started.measures) == (None, {})
    assert measured == Event(
        "f/measured",
        SOURCE,
        "build.measured",
        12.5,
        subject="b/1",
        environment="staging",
        measures={"build_performance": 2500},
        labels={"build": "chat"},
        cause="s",
    )


async def test_a_start_that_comes_last_tells_nothing_of_a_build_that_failed() -> None:
    out = await run_receive(BUILD, [told("build.finished", 12.5, outcome="failure"), told("build.started", 10)])
    assert [event.measures for event in out] == [{"build_total": 1, "build_success_rate": 0}, {}]


async def test_the_duration_that_the_emitter_measured_wins() -> None:
    events = [told("build.started", 10), told("build.finished", 12.5, outcome="success", duration_ms=2400)]
    for order in (events, events[::-1]):
        out = await run_receive(BUILD, order)
        assert [event.measures["build_performance"] for event in out if "build_performance" in event.measures] == [2400]


async def test_b7_without_a_subject_nothing_is_joined() -> None:
    out = await run_receive(BUILD, [told("build.started", 10, subject=""), told("build.finished", 12, subject="")])
    assert [event.measures for event in out] == [{}, {"build_total": 1}]


async def test_a_finish_before_its_start_has_no_duration() -> None:
    out = await run_receive(BUILD, [told("build.started", 12), told("build.finished", 10, outcome="success")])
    assert out[1].measures == {"build_total": 1, "build_success_rate": 100}


async def test_the_time_in_the_queue_is_measured() -> None:
    _, started = await run_receive(BUILD, [told("build.queued", 1), told("build.started", 4)])
    assert started.measures == {"build_queue_time": 3000}
    _, started = await run_receive(BUILD, [told("build.queued", 1), told("build.started", 4, measures={"queue": 2900})])
    assert started.measures == {"build_queue_time": 2900}


async def test_c162_c163_names_of_emitters_become_names_of_the_catalogue() -> None:
    sent = {
        "bundle.initial": 9e4,
        "bundle.assets": 12,
        "dependencies.resolve": 300,
        "dependencies_install": 4100,
        "cache.hit_rate": 71,
        "queue": 20,
        "own": 7,
    }
    (done,) = await run_receive(BUILD, [told("artifact.packaged", measures=sent)])
    assert done.measures == {
        "bundle_initial_size": 9e4,
        "bundle_asset_count": 12,
        "dependency_resolution_time": 300,
        "dependency_install_time": 4100,
        "build_cache_hit_rate": 71,
        "build_queue_time": 20,
        "own": 7,
    }


async def test_a_measure_with_a_label_of_its_own_becomes_an_event_of_its_own() -> None:
    sent = {"phase.bundle": 410, "bundle.size": 412_331, "bundle.size.gzip": 99_000}
    done, *more = await run_receive(
        BUILD, [told("build.finished", 5, id="f", environment="staging", measures=sent, labels={"build": "chat"})]
    )
    assert done.measures == {"build_total": 1}
    assert [(event.id, event.type, event.measures, event.labels) for event in more] == [
        ("f/phase/bundle", "build.measured", {"build_phase_time": 410}, {"build": "chat", "phase": "bundle"}),
        ("f/kind/raw", "build.measured", {"bundle_size_total": 412_331}, {"build": "chat", "kind": "raw"}),
        ("f/kind/gzip", "build.measured", {"bundle_size_total": 99_000}, {"build": "chat", "kind": "gzip"}),
    ]
    assert {(event.time, event.environment, event.subject, event.cause) for event in more} == {
        (5, "staging", "b/1", "f")
    }


async def test_a_label_of_the_event_says_what_a_bare_measure_is() -> None:
    (done,) = await run_receive(
        BUILD, [told("build.measured", measures={"bundle.size": 99_000}, labels={"kind": "gzip"})]
    )
    assert (done.measures, done.labels) == ({"bundle_size_total": 99_000}, {"kind": "gzip"})


async def test_a_subject_may_be_used_again() -> None:
    out = await run_receive(
        BUILD,
        [
            told("build.started", 0),
            told("build.finished", 10, outcome="success"),
            told("build.started", 100),
            told("build.finished", 130, outcome="success"),
        ],
    )
    assert [event.measures.get("build_performance") for event in out] == [None, 10_000, None, 30_000]


def one_build(number: int) -> st.SearchStrategy[list[Event]]:
    """Any part of the life of one build."""
    subject = f"b/{number % 3}"  # The same subjects in two sources are different builds.
    source = f"/ci/{number // 3}"

    def events(
        given: set[str], times: list[int], outcome: Outcome | None, duration: float | None, size: float | None
    ) -> list[Event]:
        queued, started, finished = sorted(times)
        measures = {} if size is None else {"bundle.size": size, "phase.lint": size}
        all = [
            Event(f"{number}-q", source, "build.queued", queued, subject=subject),
            Event(f"{number}-s", source, "build.started", started, subject=subject),
            Event(
                f"{number}-f",
                source,
                "build.finished",
                finished,
                subject=subject,
                environment="staging" if number % 2 else None,
                outcome=outcome,
                duration_ms=duration,
                measures=measures,
                weight=1 + number % 2,
            ),
        ]
        return [event for event in all if event.type in given]

    return st.builds(
        events,
        st.sets(st.sampled_from(["build.queued", "build.started", "build.finished"])),
        st.lists(st.integers(0, 50), min_size=3, max_size=3),
        st.sampled_from([None, "success", "failure", "cancel"]),
        st.none() | st.integers(0, 9000).map(float),
        st.none() | st.integers(0, 9000).map(float),
    )


@given(st.tuples(*map(one_build, range(6))).flatmap(in_two_orders))
@settings(max_examples=60, derandomize=True, phases=[Phase.generate, Phase.shrink])
async def test_c173_order_does_not_change_any_figure(orders: Orders) -> None:
    events, shuffled = orders
    assert await figures_of(BUILD, shuffled) == await figures_of(BUILD, events)
    assert remembers_the_same(BuildSource(BuildConfig(), Context("build")), shuffled)


class Intake:
    """A source that runs, and what would come to the bus from it: what it emits is received, as the intake does."""

    def __init__(self, clock: VirtualClock, lost_after: str = "60s") -> None:
        self.table = Table()
        self.clock = clock
        self.source = BuildSource(
            BuildConfig(lost_after=Interval(lost_after)), Context("build", clock=clock, table=self.table)
        )
        self.bus: list[Event] = []
        self.known: set[tuple[str, str]] = set()

    async def emit(self, events: Sequence[Event], *, durable: bool = False) -> None:
        for event in events:
            if (event.source, event.id) not in self.known:
                self.known.add((event.source, event.id))
                self.bus += self.source.receive(event, self.table)

    def of(self, type: str) -> list[Event]:
        return [event for event in self.bus if event.type == type]

    def active(self) -> list[float]:
        return [event.measures["build_active"] for event in self.bus if "build_active" in event.measures]


async def test_a_build_without_finish_is_lost_after_its_deadline(clock: VirtualClock) -> None:
    intake = Intake(clock)
    async with create_task_group() as group:
        group.start_soon(intake.source.run, intake.emit)
        await intake.emit([told("build.started", clock.time(), environment="staging")])
        await clock.advance(59)
        assert intake.of("build.lost") == []
        assert intake.active() == [1]
        await clock.advance(600)
        (lost,) = intake.of("build.lost")
        assert (lost.id, lost.source, lost.subject, lost.environment) == ("b/1/lost", SOURCE, "b/1", "staging")
        assert (lost.outcome, lost.reason) == ("error", "lost: no finish within 1m")
        assert intake.active() == [1, 0]
        group.cancel_scope.cancel()


async def test_a_finish_that_comes_late_corrects_what_was_lost(clock: VirtualClock) -> None:
    intake = Intake(clock, "5s")
    began = clock.time()
    on_time = await run_receive(
        BUILD, [told("build.started", began), told("build.finished", began + 30, outcome="success")]
    )
    async with create_task_group() as group:
        group.start_soon(intake.source.run, intake.emit)
        await intake.emit([told("build.started", began)])
        await clock.advance(30)
        assert len(intake.of("build.lost")) == 1
        await intake.emit([told("build.finished", clock.time(), outcome="success")])
        await clock.advance(30)
        assert len(intake.of("build.lost")) == 1
        group.cancel_scope.cancel()
    assert "build.lost" not in str(intake.table.keys())
    assert intake.of("build.finished")[0].measures == on_time[1].measures
    assert await figures(BUILD, [e for e in intake.bus if "build_active" not in e.measures]) == await figures(
        BUILD, on_time
    )


async def test_a_subject_that_was_lost_can_be_lost_again(clock: VirtualClock) -> None:
    intake = Intake(clock, "5s")
    async with create_task_group() as group:
        group.start_soon(intake.source.run, intake.emit)
        for _ in range(2):
            await intake.emit([told("build.started", clock.time())])
            await clock.advance(20)
        group.cancel_scope.cancel()
    assert len(intake.of("build.lost")) == 2


async def test_a_build_without_subject_is_never_lost(clock: VirtualClock) -> None:
    intake = Intake(clock, "5s")
    async with create_task_group() as group:
        group.start_soon(intake.source.run, intake.emit)
        await intake.emit([told("build.started", clock.time(), subject="")])
        await clock.advance(20)
        group.cancel_scope.cancel()
    assert intake.of("build.lost") == []
    assert intake.active() == [0]


async def test_what_is_lost_after_its_finish_came_changes_nothing() -> None:
    events = [
        told("build.started", 0),
        told("build.finished", 10, outcome="success"),
        told("build.lost", 11, outcome="error"),
    ]
    out = await run_receive(BUILD, events)
    assert out[2] == events[2]


async def test_the_number_of_running_builds_is_told_when_it_changes(clock: VirtualClock) -> None:
    intake = Intake(clock)
    async with create_task_group() as group:
        group.start_soon(intake.source.run, intake.emit)
        for number in range(3):
            await intake.emit([told("build.started", clock.time(), subject=f"b/{number}")])
            await clock.advance(2)
        await intake.emit([told("build.finished", clock.time(), subject="b/1")])
        await clock.advance(10)
        group.cancel_scope.cancel()
    assert intake.active() == [1, 2, 3, 2]
    assert all(event.type == "build.measured" for event in intake.bus if "build_active" in event.measures)


async def test_c163_each_file_of_a_bundle_is_measured_under_a_name_that_the_next_build_has_too() -> None:
    listed = [
        {"name": "assets/index-B3vZRz9l.js", "raw": 400, "gzip": 120, "brotli": 100},
        {"name": "assets/index-Cq81xPaa.js", "raw": 100, "gzip": 40},
        {"name": "main.5f3a9c1b77.css", "raw": 90},
        {"name": "logo-transparent.svg", "raw": "many"},
        "no file at all",
    ]
    event = Event("e", SOURCE, "build.finished", 5.0, subject="b/1", outcome="success", data={"assets": listed})
    _, *more = await run_receive(BUILD, [event])
    assert {(one.labels["asset"], one.labels["kind"]): one.measures for one in more} == {
        ("assets/index-*.js", "raw"): {"bundle_asset_size": 500},
        ("assets/index-*.js", "gzip"): {"bundle_asset_size": 160},
        ("main.*.css", "raw"): {"bundle_asset_size": 90},
    }  # Of one of both there is no size in brotli, so there is none of both.
    assert {(one.type, one.cause) for one in more} == {("build.measured", "e")}


async def test_c163_of_a_thousand_files_the_largest_are_measured() -> None:
    listed = [{"name": f"page{n}.js", "raw": n} for n in range(1000)]
    event = Event("e", SOURCE, "build.finished", 5.0, subject="b/1", data={"assets": listed})
    _, *more = await run_receive(BUILD, [event])
    assert sorted(value for one in more for value in one.measures.values()) == list(range(950, 1000))


@pytest.mark.parametrize("assets", [None, {}, "x", [], [1], [{"name": 1}], [{"name": "a.js"}], [{"raw": 5}]])
async def test_a_list_of_files_that_is_none_measures_nothing(assets: object) -> None:
    event = Event("e", SOURCE, "build.finished", 5.0, data={"assets": assets})
    assert len(await run_receive(BUILD, [event])) == 1


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("index-B3vZRz9l.js", "index-*.js"),
        ("app.1a2b3c4d5e6f.js", "app.*.js"),
        ("chunk-TW6RHQUZ.js", "chunk-*.js"),
        ("polyfill-internet.js", "polyfill-internet.js"),
        ("jquery.min.js", "jquery.min.js"),
        ("main.js", "main.js"),
    ],
)
def test_a_hash_in_a_name_is_no_part_of_it(name: str, wanted: str) -> None:
    listed = [{"name": one, "raw": 10} for one in (name, wanted)]
    assert sizes(Event("e", SOURCE, "build.finished", 5.0, data={"assets": listed})) == {wanted: {"raw": 20.0}}
