"""A tap shows what passes, to whom asked, and what passes never waits for it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import msgspec
import pytest

from bers import Batch, Config, Event, ProcessorSpec, Refused, SinkSpec, Stage, Window, tapping
from bers.clock import SystemClock
from bers.counters import Counters
from bers.delivery import Delivery, Target
from bers.pipeline import Pipeline
from bers.tapping import MAX_TAPS, MAX_WAITING, AskTap, Taps
from bers.testing import Log, VirtualClock, step


@dataclass
class Eye:
    """A client that reads everything at once, or, closed, nothing."""

    told: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    open: anyio.Event = field(default_factory=anyio.Event)

    async def send(self, data: bytes) -> None:
        self.told += map(msgspec.json.decode, data.splitlines())
        await self.open.wait()

    def offer(self, data: bytes) -> bool:
        return False

    @property
    def ids(self) -> list[str]:
        return [one["event"]["id"] for one in self.told if "event" in one]


def seeing() -> Eye:
    eye = Eye()
    eye.open.set()
    return eye


def events(count: int, *, first: int = 0, type: str = "build.finished", **more: Any) -> list[Event]:
    return [Event(f"e-{n}", "/ci", type, float(n), **more) for n in range(first, first + count)]


def taps(bus: Log, counters: Counters | None = None) -> Taps:
    return Taps(bus, counters or Counters(), SystemClock())


@asynccontextmanager
async def looking(taps: Taps, eye: Eye, places: Sequence[str] = (), **ask: Any) -> AsyncGenerator[None]:
    """Somebody looks for as long as the block lasts."""
    async with anyio.create_task_group() as group:
        group.start_soon(taps.tap, AskTap(**ask), eye, places)
        await until(lambda: eye.told)
        yield
        group.cancel_scope.cancel()


async def until(good: Any) -> None:
    with anyio.fail_after(30):
        while not good():
            await anyio.sleep(0.001)


async def test_a_tap_on_the_bus_shows_what_comes_until_it_has_shown_enough() -> None:
    bus, eye = Log(), seeing()
    await bus.append(0, events(2))
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(taps(bus).tap, AskTap(limit=2), eye, ())
            await until(lambda: eye.told)
            await bus.append(0, events(3, first=2))
    assert eye.told[0] == {"tap": {"pattern": "", "where": "", "at": "bus", "limit": 2, "every": 1}}
    assert eye.ids == ["e-2", "e-3"]
    assert eye.told[-1] == {"end": {"seen": 2, "matched": 2, "shown": 2, "skipped": 0}}


async def test_only_what_is_asked_for_is_shown() -> None:
    bus, eye = Log(), seeing()
    async with looking(taps(bus), eye, pattern="build.*, host.read", where="duration_ms>=2", every=2):
        await bus.append(0, events(1, type="test.finished", duration_ms=9.0))
        await bus.append(0, [Event(f"b-{n}", "/ci", "build.finished", 0.0, duration_ms=float(n)) for n in range(5)])
        await bus.append(0, events(1, first=9, type="host.read", duration_ms=9.0))
        await until(lambda: len(eye.ids) == 2)
    assert eye.ids == ["b-3", "e-9"]


async def test_a_pattern_that_takes_long_over_a_text_skips_it_and_says_so() -> None:
    """Nine of these on eight taps held a node up for seconds with each event."""
    pattern = r"((\w|\d|.)*(\w|\d)*)*" * 4
    hard = "".join(map(chr, range(0x4E00, 0x4E00 + 990)))
    bus, eye = Log(), seeing()
    async with looking(taps(bus), eye, where=f"reason!~'{pattern}z$'", limit=1):
        await bus.append(0, [*events(2, reason=hard), *events(1, first=2, reason="short")])
        await until(lambda: "end" in eye.told[-1])
    assert eye.ids == ["e-2"] and {"skipped": 2, "reason": "the filter's patterns take too long over them"} in eye.told
    assert eye.told[-1]["end"] == {"seen": 3, "matched": 1, "shown": 1, "skipped": 2}


async def test_nobody_is_shown_a_secret() -> None:
    bus, eye = Log(), seeing()
    async with looking(taps(bus), eye):
        await bus.append(0, events(1, labels={"api_key": "abc"}, data={"url": "https://me:pass@host/"}))
        await until(lambda: eye.ids)
    assert eye.told[1]["event"]["labels"] == {"api_key": "***"}
    assert eye.told[1]["event"]["data"] == {"url": "https://***@host/"}


async def test_who_takes_nothing_goes_on_at_the_end_and_is_told_what_was_skipped() -> None:
    bus, eye = Log(), Eye()
    async with looking(taps(bus), eye):
        for first in range(0, 3 * MAX_WAITING, 1000):
            await bus.append(0, events(1000, first=first))
        assert len(eye.told) == 1
        eye.open.set()
        await until(lambda: any("skipped" in one for one in eye.told))
        await bus.append(0, events(1, first=99_999))
        await until(lambda: eye.ids[-1:] == ["e-99999"])
    skipped = sum(one["skipped"] for one in eye.told if "skipped" in one)
    assert skipped > MAX_WAITING
    assert skipped + len(eye.ids) == 3 * MAX_WAITING + 1


async def test_a_tap_that_says_nothing_for_long_gives_a_sign_of_life() -> None:
    bus, eye, clock = Log(), seeing(), VirtualClock()
    async with looking(Taps(bus, Counters(), clock), eye, pattern="nothing"):
        await bus.append(0, events(3))
        await clock.advance(tapping.SIGN_OF_LIFE)
        await until(lambda: len(eye.told) == 2)
    assert eye.told[1] == {"still": {"seen": 3, "matched": 0, "shown": 0, "skipped": 0}}


class NoConfig(Config, frozen=True):
    """Nothing to configure."""


class Fold(Stage[NoConfig]):
    async def process(self, batch: Batch) -> Batch:
        kept = [event for event in batch.events if event.outcome != "success"]
        windows = [Window.of(("m", (), event.time, 1.0), 1.0, event.time, batch.end) for event in batch.events]
        return Batch(kept, windows, batch.reader, batch.partition, batch.end)


class Spoil(Stage[NoConfig]):
    """Does with windows what a store may: they are its own."""

    async def write(self, batch: Batch) -> None:
        for window in batch.windows:
            window.add(100.0, 0.0, 0, 99)


FOLD, SPOIL = ProcessorSpec("fold", NoConfig, Fold), SinkSpec("spoil", NoConfig, Spoil)
PLACES = ["p", "p/fold", "p/spoil"]


@asynccontextmanager
async def running(bus: Log, counters: Counters) -> AsyncGenerator[Pipeline]:
    async with step(SPOIL).open() as sink, anyio.create_task_group() as group:
        pipeline = Pipeline(
            "p", [step(FOLD)], [Target("spoil", sink, delivery=Delivery(required=True))], counters=counters
        )
        await group.start(pipeline.run, bus)
        yield pipeline
        group.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("at", "kinds"),
    [("p", ["event", "event"]), ("p/fold", ["event", "window", "window"]), ("p/spoil", ["event", "window", "window"])],
)
async def test_a_tap_shows_what_passes_a_place_of_a_pipeline(at: str, kinds: list[str]) -> None:
    bus, counters, eye = Log(), Counters(), seeing()
    async with running(bus, counters):
        async with looking(taps(bus, counters), eye, PLACES, at=at):
            await bus.append(0, [*events(1, outcome="failure"), *events(1, first=1, outcome="success")])
            await until(lambda: len(eye.told) == 1 + len(kinds))
        assert [kind for one in eye.told[1:] for kind in one] == kinds
        assert not counters.edge(at).taps, "who has left is shown nothing more"


async def test_what_a_sink_does_to_its_windows_is_not_shown_as_what_came_out_of_the_processor() -> None:
    bus, counters, eye = Log(), Counters(), Eye()
    async with running(bus, counters) as pipeline, looking(taps(bus, counters), eye, PLACES, at="p/fold"):
        await bus.append(0, events(1, outcome="success"))
        await until(lambda: pipeline.position == 1)
        eye.open.set()
        await until(lambda: len(eye.told) == 2)
    assert (eye.told[1]["window"]["count"], eye.told[1]["window"]["sum"]) == (1, 1.0)


async def test_a_slow_tap_never_slows_the_pipeline_and_keeps_little() -> None:
    bus, counters, eye = Log(), Counters(), Eye()
    total = 3 * MAX_WAITING
    async with running(bus, counters) as pipeline, looking(taps(bus, counters), eye, PLACES, at="p"):
        for first in range(0, total, 1000):
            await bus.append(0, events(1000, first=first))
        await until(lambda: pipeline.position == total)
        assert len(eye.told) == 1
        eye.open.set()
        await until(lambda: len(eye.ids) + sum(one.get("skipped", 0) for one in eye.told) == total)
    assert len(eye.ids) <= MAX_WAITING
    assert not counters.gaps()


async def test_there_are_at_most_so_many_and_who_leaves_makes_room() -> None:
    bus = Log()
    many = taps(bus)
    async with anyio.create_task_group() as group:
        for _ in range(MAX_TAPS):
            group.start_soon(many.tap, AskTap(), seeing(), ())
        await until(lambda: many.open == MAX_TAPS)
        with pytest.raises(Refused, match="8 taps are open"):
            await many.tap(AskTap(), seeing(), ())
        group.cancel_scope.cancel()
    assert many.open == 0


async def test_a_client_that_takes_nothing_for_long_loses_its_tap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapping, "STALL", 0.05)
    one = taps(Log())
    with anyio.fail_after(30), pytest.raises(Refused, match="took nothing"):
        await one.tap(AskTap(), Eye(), ())
    assert one.open == 0


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        ({"at": "p/fild"}, "did you mean 'p/fold'"),
        ({"where": "outcom=failure"}, "did you mean 'outcome'"),
        ({"where": "type~("}, "not closed"),
    ],
)
async def test_what_cannot_be_shown_is_refused_with_the_remedy(ask: dict[str, Any], says: str) -> None:
    with pytest.raises(Refused) as refused:
        await taps(Log()).tap(AskTap(**ask), seeing(), PLACES)
    assert says in str(refused.value)


def test_the_types_that_are_wanted_are_as_long_as_a_filter_at_most() -> None:
    with pytest.raises(msgspec.ValidationError, match="length <= 1000"):
        msgspec.convert({"pattern": "a*," * 334}, AskTap)
