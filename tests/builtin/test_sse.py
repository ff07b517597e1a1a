from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from time import process_time
from typing import Any, NamedTuple

import anyio
import msgspec
import pytest
from anyio.lowlevel import checkpoint

from bers import Batch, Catalog, Context, Event, Metric, Outcome, Refused, as_cdevent
from bers.testing import VirtualClock, check_spec, step
from bers_builtin.sinks.sse import SSE, Ask, Sse

CATALOG = Catalog(
    [
        Metric("build_performance", "ms", "How long builds take.", target=30_000),
        Metric("system_network_receive", "By/s", "Bytes received.", labels=("interface",)),
    ]
)


class Told(NamedTuple):
    name: str
    id: str
    data: dict[str, Any]


@dataclass
class Ear:
    """A client that reads everything at once, or, closed, nothing."""

    raw: list[bytes] = field(default_factory=list[bytes])
    open: anyio.Event = field(default_factory=anyio.Event)
    gone: bool = False

    async def send(self, data: bytes) -> None:
        await self.open.wait()
        self.raw.append(data)

    def offer(self, data: bytes) -> bool:
        if self.open.is_set():
            self.raw.append(data)
        return self.open.is_set()

    @property
    def told(self) -> list[Told]:
        return [parse(frame) for frame in b"".join(self.raw).decode().split("\n\n") if frame]

    def names(self) -> list[str]:
        return [told.name for told in self.told]

    def of(self, name: str) -> list[dict[str, Any]]:
        return [told.data for told in self.told if told.name == name]


def parse(frame: str) -> Told:
    fields = dict(line.split(": ", 1) for line in frame.split("\n"))
    return Told(fields.get("event", ""), fields["id"], msgspec.json.decode(fields["data"]))


def context(clock: VirtualClock, alerts: Sequence[Mapping[str, Any]] = ()) -> Context:
    async def call(method: str, path: str, fields: Mapping[str, Any]) -> Any:
        assert (method, path) == ("GET", "alerts")
        return list(alerts)

    return Context("live", environment="production", clock=clock, metrics=CATALOG, call=call)


def event(number: int, type: str = "build.finished", outcome: Outcome | None = "success", **fields: Any) -> Event:
    fields.setdefault("subject", f"run-{number}")
    return Event(f"e-{number}", "/ci", type, 1_700_000_000.0 + number, outcome=outcome, seq=number, **fields)


def batch(*events: Event) -> Batch:
    return Batch(list(events), reader="live", end=events[-1].seq)


@asynccontextmanager
async def live(clock: VirtualClock, **options: object) -> AsyncGenerator[Sse]:
    with anyio.fail_after(60):
        async with step(SSE, context=context(clock), **options).open() as stage:
            assert isinstance(stage, Sse)
            yield stage


@asynccontextmanager
async def listening(stage: Sse, clock: VirtualClock, *, reads: bool = True, **ask: Any) -> AsyncGenerator[Ear]:
    ear = Ear()
    if reads:
        ear.open.set()

    async def listen() -> None:
        await stage.stream(Ask(**ask), ear)
        ear.gone = True

    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        await clock.advance(0)
        yield ear
        group.cancel_scope.cancel()


async def test_spec_keeps_its_promises() -> None:
    await check_spec(SSE)


async def test_filters_of_many_clients_keep_nobody_waiting(clock: VirtualClock) -> None:
    waits = list[float]()
    async with live(clock) as stage, AsyncExitStack() as stack:
        filters = [f"custom.*,{','.join(f'other-{n}-{k}.*' for k in range(40))}" for n in range(400)]
        ears = [await stack.enter_async_context(listening(stage, clock, types=one)) for one in filters]
        await stage.write(batch(*[event(n, "custom.measured") for n in range(1, 2001)]))
        while not ears[-1].of("events"):
            began = process_time()
            await checkpoint()
            waits.append(process_time() - began)
    assert max(waits) < 0.1, "each of them looked at each event: more than half a second"
    (count,) = ears[-1].of("events")
    assert (len(ears[-1].of("event")), count["total"]) == (100, 1900)


async def test_c038_the_first_frame_comes_at_once_and_says_when_to_retry(clock: VirtualClock) -> None:
    async with live(clock) as stage, listening(stage, clock) as ear:
        assert ear.raw[0].startswith(b"event: connected\nretry: 2000\nid: 0\n")
        assert ear.told[0].data["server"]["environment"] == "production"


@pytest.mark.parametrize(
    ("type", "outcome", "name"),
    [
        ("build.started", None, "build-started"),
        ("build.finished", "success", "build-completed"),
        ("build.finished", "failure", "build-failed"),
        ("build.finished", "timeout", "build-failed"),
        ("build.lost", "error", "build-failed"),
        ("testsuiterun.started", None, "validation-started"),
        ("testsuiterun.finished", "failure", "validation-failed"),
        ("validation.finished", "success", "validation-completed"),
        ("deployment.finished", None, "deployment-completed"),
        ("deployment.rolledback", None, "deployment-rolledback"),
        ("alert.firing", None, "alert_firing"),
        ("alert.acknowledged", None, "alert_acknowledged"),
        ("alert.resolved", None, "alert_resolved"),
        ("health.checked", None, "health_status"),
        ("incident.detected", None, "event"),
        ("build.odd\nevent: alert_firing", None, "event"),
    ],
)
async def test_a28_events_have_the_names_that_listeners_know(
    clock: VirtualClock, type: str, outcome: Outcome | None, name: str
) -> None:
    async with live(clock) as stage, listening(stage, clock) as ear:
        await stage.write(batch(event(7, type, outcome)))
        await clock.advance(0)
        told = next(told for told in ear.told if told.data.get("id") == "e-7")
        assert (told.name, told.id) == (name, "7")
        assert told.data["type"] == f"io.bers.{type}.v1"


async def test_an_event_travels_as_a_cloudevent_without_its_secrets(clock: VirtualClock) -> None:
    async with live(clock) as stage, listening(stage, clock) as ear:
        await stage.write(
            batch(event(1, duration_ms=930.0, data={"api_key": "hunter2", "log": "line\nid: 9\n\nevent: x"}))
        )
        await clock.advance(0)
        (document,) = ear.of("build-completed")
        assert document["specversion"] == "1.0"
        assert document["source"] == "/ci"
        assert document["subject"] == "run-1"
        assert document["time"] == "2023-11-14T22:13:21.000Z"
        assert document["sequence"] == "1"
        assert document["data"]["duration_ms"] == 930.0
        assert document["data"]["data"] == {"api_key": "***", "log": "line\nid: 9\n\nevent: x"}
        assert b"hunter2" not in b"".join(ear.raw)


async def test_what_an_emitter_adds_is_left_out_where_it_is_too_much(clock: VirtualClock) -> None:
    async with live(clock) as stage, listening(stage, clock) as ear:
        await stage.write(batch(event(1, data={"log": "x" * 200_000})))
        await clock.advance(0)
        assert ear.of("build-completed")[0]["data"]["data"] == {"omitted_bytes": 200_010}


async def test_a28_message_format_names_no_frame(clock: VirtualClock) -> None:
    async with live(clock) as stage, listening(stage, clock, format="message") as ear:
        await stage.write(batch(event(1, "alert.firing", None)))
        await clock.advance(0)
        assert set(ear.names()) == {""}
        assert {told.data["type"] for told in ear.told} >= {"connected", "io.bers.alert.firing.v1", "active_alerts"}


async def test_events_are_told_as_cdevents_to_whoever_asks_for_them(clock: VirtualClock) -> None:
    async with live(clock) as stage, listening(stage, clock, format="cdevents") as ear:
        told = event(1, data={"password": "hunter-22"})
        await stage.write(batch(told))
        await clock.advance(0)
        (document,) = ear.of("build-completed")
        assert document == as_cdevent(told)
        assert document["context"]["type"] == "dev.cdevents.build.finished.0.3.0"
        assert ear.of("connected")[0]["type"] == "connected"  # What is no event is told as ever.
        assert b"hunter-22" not in b"".join(ear.raw)


async def test_a_filter_lets_only_its_types_through(clock: VirtualClock) -> None:
    async with live(clock) as stage, listening(stage, clock, types="build.*, alert.resolved") as ear:
        await stage.write(
            batch(event(1), event(2, "deployment.started"), event(3, "alert.firing"), event(4, "alert.resolved"))
        )
        await clock.advance(0)
        assert [name for name in ear.names() if name != "active_alerts"] == [
            "connected",
            "build-completed",
            "alert_resolved",
        ]


async def test_a_filter_that_is_none_is_refused(clock: VirtualClock) -> None:
    async with live(clock) as stage:
        with pytest.raises(Refused, match="'bu<ild' is not a type"):
            await stage.stream(Ask(types="alert.*,bu<ild"), Ear())
        assert stage.clients == 0


async def test_a33_metrics_come_once_a_second_with_the_newest_values(clock: VirtualClock) -> None:
    async with live(clock) as stage, listening(stage, clock, types="performance_metrics") as ear:
        for number in range(1, 41):  # Five seconds, eight readings in each.
            await stage.write(
                batch(event(number, "system.measured", measures={"build_performance": number, "no.such.metric": 1}))
            )
            await clock.advance(0.125)
        frames = ear.of("performance_metrics")
        assert [frame["metrics"]["build_performance"]["current"] for frame in frames] == [1, 8, 16, 24, 32, 40]
        assert list(frames[0]["metrics"]) == ["build_performance"]


async def test_c038_something_comes_every_second_while_there_are_readings(clock: VirtualClock) -> None:
    async with live(clock) as stage, listening(stage, clock) as ear:
        for number in range(1, 11):
            await stage.write(batch(event(number, "system.measured", measures={"build_performance": 1.0})))
            before = len(ear.told)
            await clock.advance(1.0)
            assert len(ear.told) > before


async def test_a_metrics_frame_tells_of_each_series(clock: VirtualClock) -> None:
    async with live(clock) as stage, listening(stage, clock) as ear:
        await stage.write(
            batch(
                event(1, "system.measured", measures={"system_network_receive": 5.0}, labels={"interface": "eth0"}),
                event(2, "system.measured", measures={"system_network_receive": 7.0}, labels={"interface": "lo"}),
            )
        )
        await clock.advance(0)
        (frame,) = ear.of("performance_metrics")
        shown = frame["metrics"]["system_network_receive"]
        assert (shown["current"], shown["unit"]) == (7.0, "By/s")
        assert [(one["labels"], one["current"]) for one in shown["series"]] == [
            ({"interface": "eth0"}, 5.0),
            ({"interface": "lo"}, 7.0),
        ]


async def test_events_are_told_at_most_ten_times_a_second(clock: VirtualClock) -> None:
    async with live(clock) as stage, listening(stage, clock) as ear:
        before = len(ear.raw)
        for number in range(1, 91):
            await stage.write(batch(event(number, "custom.noise")))
            await clock.advance(0.01)
        await clock.advance(0.1)
        assert len(ear.of("event")) == 90
        assert len(ear.raw) - before <= 10


@pytest.mark.parametrize("type", ["alert.firing", "build.finished", "health.checked"])
async def test_what_is_urgent_does_not_wait_for_the_next_tenth_of_a_second(clock: VirtualClock, type: str) -> None:
    async with live(clock) as stage, listening(stage, clock, types=f"{type},custom.noise") as ear:
        await stage.write(batch(event(1, "custom.noise")))
        await clock.advance(0.005)
        await stage.write(batch(event(2, "custom.noise")))
        await clock.advance(0.02)
        assert [told.data["sequence"] for told in ear.told[1:]] == ["1"]
        await stage.write(batch(event(3, type)))
        await clock.advance(0.01)
        assert [told.data["sequence"] for told in ear.told[1:]] == ["1", "2", "3"]  # And nothing before it is left out.


async def test_much_that_is_urgent_is_gathered_too(clock: VirtualClock) -> None:
    async with live(clock) as stage, listening(stage, clock) as ear:
        before = len(ear.raw)
        for number in range(1, 301):
            await stage.write(batch(event(number, "alert.repeated", None)))
            await clock.advance(0.01)
        told = len(ear.of("alert_repeated")) + sum(count["total"] for count in ear.of("events"))
        assert told >= 290
        assert len(ear.raw) - before <= 20 + 3 * 30  # Twenty that make haste at once, then as many a second, and lists.


async def test_a33_too_many_events_are_counted_and_alerts_are_told_first(clock: VirtualClock) -> None:
    async with live(clock) as stage, listening(stage, clock) as ear:
        noise = [event(number, "custom.noise") for number in range(1, 1001)]
        await stage.write(batch(*noise, event(1001, "alert.firing", None)))
        await clock.advance(0)
        assert len(ear.of("alert_firing")) == 1
        assert len(ear.of("event")) == 99
        (counted,) = ear.of("events")
        assert (counted["total"], counted["counts"]) == (901, {"custom.noise": 901})


async def test_a33_steps_of_runs_are_told_before_their_figures_and_alerts_before_both(clock: VirtualClock) -> None:
    async with live(clock) as stage, listening(stage, clock, types="build.*,alert.firing") as ear:
        figures = [event(number, "build.measured", None) for number in range(1, 1001)]
        steps = [event(number, "build.finished") for number in range(1001, 1061)]
        await stage.write(batch(*figures, *steps, event(1061, "alert.firing", None)))
        await clock.advance(0)
        assert (len(ear.of("alert_firing")), len(ear.of("build-completed"))) == (1, 60)
        assert ear.of("events")[0]["counts"] == {"build.measured": 1000 - 39}
        await stage.write(batch(*(event(number) for number in range(1062, 2062)), event(2062, "alert.firing", None)))
        await clock.advance(0.1)
        assert len(ear.of("alert_firing")) == 2


async def test_nothing_goes_uncounted_when_there_is_far_too_much(clock: VirtualClock) -> None:
    async with live(clock) as stage, listening(stage, clock) as ear:
        await stage.write(batch(*(event(number, "custom.noise") for number in range(1, 10_001))))
        await clock.advance(0)
        assert len(ear.of("event")) + ear.of("events")[0]["total"] == 10_000


async def test_c038_a_client_that_would_hear_nothing_is_pinged(clock: VirtualClock) -> None:
    async with live(clock) as stage, listening(stage, clock, types="alert.*") as ear:
        heard: list[float] = []
        for second in range(1, 61):
            before = len(ear.of("ping"))
            await stage.write(batch(event(second, "custom.noise")))
            await clock.advance(1.0)
            if len(ear.of("ping")) > before:
                heard.append(second)
        assert heard[0] <= 15
        assert all(later - earlier <= 15 for earlier, later in pairwise(heard))
        assert len(heard) == 4


async def test_a_client_that_comes_back_is_told_what_it_missed(clock: VirtualClock) -> None:
    async with live(clock) as stage:
        await stage.write(batch(*(event(number) for number in range(1, 11))))
        await clock.advance(1)
        async with listening(stage, clock, last_event_id="7") as ear:
            assert ear.names() == ["connected", *["build-completed"] * 3, "active_alerts"]
            assert [told.id for told in ear.told] == ["7", "8", "9", "10", "10"]
            await stage.write(batch(event(11)))
            await clock.advance(0)
            assert ear.told[-1].id == "11"


async def test_who_comes_back_after_a_flood_is_told_what_others_were(clock: VirtualClock) -> None:
    async with live(clock, replay=300) as stage:
        async with listening(stage, clock) as ear:
            await stage.write(batch(event(1)))
            await clock.advance(1)
            noise = [event(number, "custom.noise") for number in range(2, 5002)]
            await stage.write(batch(*noise, *(event(number, "build.measured", None) for number in range(5002, 6002))))
            await clock.advance(1)
            others = [told for told in ear.told if told.name in ("event", "events")]
        async with listening(stage, clock, last_event_id="1") as back:
            assert [told for told in back.told if told.name in ("event", "events")] == others
            assert sum(count["total"] for count in back.of("events")) + len(back.of("event")) == 6000
        async with listening(stage, clock, last_event_id="1", types="build.*") as back:
            counts = [told.data["counts"] for told in back.told if told.name == "events"]
            told = len([told for told in back.told if "build.measured" in told.data["type"]])
            assert told + sum(count["build.measured"] for count in counts) == 1000
            assert {type for count in counts for type in count} == {"build.measured"}


async def test_a_minute_of_fifty_events_a_second_is_kept_for_whoever_comes_back(clock: VirtualClock) -> None:
    async with live(clock) as stage:
        for second in range(60):
            await stage.write(batch(*(event(50 * second + number) for number in range(1, 51))))
            await clock.advance(1)
        async with listening(stage, clock, last_event_id="50") as ear:
            assert "gap" not in ear.names()
            assert len(ear.of("build-completed")) == 2950


async def test_after_a_restart_everybody_is_told_of_the_gap(clock: VirtualClock) -> None:
    async with live(clock) as before:
        await before.write(batch(event(41)))
        await clock.advance(1)
    async with live(clock) as stage:
        for last in ("41", "0"):  # Who came before anything had happened was told 0.
            async with listening(stage, clock, last_event_id=last) as ear:
                assert ear.names()[:2] == ["connected", "gap"]
        await stage.write(batch(event(43)))
        await clock.advance(1)
        async with listening(stage, clock, last_event_id="41") as ear:
            assert ear.names()[:2] == ["connected", "gap"]


@pytest.mark.parametrize("id", ["3", "99", "no-position", "-1", "²"])
async def test_a_gap_is_told_where_what_was_missed_is_not_known(clock: VirtualClock, id: str) -> None:
    async with live(clock, replay=5) as stage:
        await stage.write(batch(*(event(number) for number in range(1, 11))))
        await clock.advance(1)
        async with listening(stage, clock, last_event_id=id) as ear:
            assert ear.names()[:2] == ["connected", "gap"]
            assert ear.of("gap")[0]["since"] == id


async def test_a_client_that_missed_nothing_is_told_of_no_gap(clock: VirtualClock) -> None:
    async with live(clock) as stage:
        await stage.write(batch(event(1)))
        await clock.advance(1)
        async with listening(stage, clock, last_event_id="1") as ear:
            assert "gap" not in ear.names()


async def test_a_slow_client_gets_the_newest_metrics_and_learns_what_it_missed(clock: VirtualClock) -> None:
    async with live(clock, buffer=8) as stage:
        async with listening(stage, clock, reads=False) as slow, listening(stage, clock) as quick:
            for second in range(1, 21):
                await stage.write(batch(event(second, measures={"build_performance": second})))
                await clock.advance(1.0)
            skipped = stage.tell()["skipped"]
            assert stage.tell() == {"clients": 2, "slow": 1, "skipped": skipped, "ended": 0}
            slow.open.set()
            await clock.advance(1.0)
            assert stage.tell() == {"clients": 2, "slow": 0, "skipped": skipped, "ended": 0}
            assert skipped == slow.of("gap")[0]["dropped"] > 0
            assert len(quick.of("build-completed")) == 20
            assert slow.of("gap")[0]["dropped"] + len(slow.of("build-completed")) == 20
            assert [told["metrics"]["build_performance"]["current"] for told in slow.of("performance_metrics")] == [20]
            ids = [int(told.id) for told in slow.told]
            assert ids == sorted(ids)


async def test_a_client_that_is_stuck_is_sent_away(clock: VirtualClock) -> None:
    async with live(clock) as stage, listening(stage, clock, reads=False) as stuck, listening(stage, clock) as other:
        await clock.advance(29)
        assert not stuck.gone
        await clock.advance(2)
        assert stuck.gone
        assert not other.gone
        assert stage.clients == 1
        assert stage.tell()["ended"] == 1


async def test_c052_clients_are_counted_while_they_stay(clock: VirtualClock) -> None:
    async with live(clock) as stage:
        async with listening(stage, clock), listening(stage, clock, types="build.*"):
            assert stage.clients == 2
        assert stage.clients == 0


async def test_a26_no_more_clients_than_allowed(clock: VirtualClock) -> None:
    async with live(clock, max_clients=1) as stage, listening(stage, clock):
        with pytest.raises(Refused, match="max_clients") as refusal:
            await stage.stream(Ask(), Ear())
        assert refusal.value.reason == "unavailable"


async def test_the_active_alerts_are_told_to_whoever_comes_and_with_every_change(clock: VirtualClock) -> None:
    alerts = [{"id": "a-1", "title": "Build Performance Degraded"}]
    with anyio.fail_after(60):
        async with step(SSE, context=context(clock, alerts)).open() as stage, listening(stage, clock) as ear:
            assert ear.of("active_alerts")[0]["alerts"] == alerts
            alerts.append({"id": "a-2", "title": "Disk full"})
            await clock.advance(1.0)
            await stage.write(batch(event(1, "alert.firing", None)))
            await clock.advance(1.0)
            assert ear.of("active_alerts")[-1]["total"] == 2


async def test_alerts_that_could_not_be_asked_for_are_told_as_soon_as_they_can(clock: VirtualClock) -> None:
    alerts, is_down = [{"id": "a-1", "title": "Build Performance Degraded"}], False

    async def call(method: str, path: str, fields: Mapping[str, Any]) -> Any:
        if is_down:
            raise Refused("unavailable", "alerts cannot be written down")
        return list(alerts)

    told = Context("live", clock=clock, metrics=CATALOG, call=call)
    with anyio.fail_after(10):
        async with step(SSE, context=told).open() as stage, listening(stage, clock) as ear:
            await clock.advance(1.0)
            is_down = True
            alerts.clear()
            await stage.write(batch(event(1, "alert.resolved", None)))
            await clock.advance(5.0)
            async with listening(stage, clock) as other:
                assert other.of("active_alerts") == [], "how they were is not how they are"
                is_down = False
                await clock.advance(1.0)
                assert [one.of("active_alerts")[-1]["total"] for one in (ear, other)] == [0, 0]


async def test_one_frame_is_encoded_once_for_a_thousand_clients(clock: VirtualClock) -> None:
    ears = [Ear() for _ in range(1000)]
    async with live(clock) as stage, anyio.create_task_group() as group:
        for ear in ears:
            ear.open.set()
            group.start_soon(stage.stream, Ask(), ear)
        await clock.advance(0)
        await stage.write(batch(event(1, "alert.firing", None)))
        await clock.advance(0.2)
        last = [next(raw for raw in ear.raw if b"alert_firing" in raw) for ear in ears]
        assert len({id(raw) for raw in last}) < 3, "the bytes are shared"
        assert stage.clients == 1000
        group.cancel_scope.cancel()
