"""The kit for sources finds what a source does wrong."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Self

import anyio
import pytest
from anyio.abc import SocketAttribute

from bers import Config, Emit, Event, Metric, SourceSpec, Stage
from bers.testing import check_source


class NoConfig(Config, frozen=True):
    """Nothing to configure."""


def event(type: str = "door.opened", **fields: object) -> Event:
    return Event("1", "/house", type, 1.0, **fields)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def source(
    *events: Event, durable: bool = False, claims: Sequence[str] = ("door.*",), brings: Sequence[str] = ()
) -> SourceSpec[NoConfig]:
    """A source that emits these once, whatever becomes of them."""

    class Once(Stage[NoConfig]):
        async def run(self, emit: Emit) -> None:
            await emit(events, durable=durable)
            await anyio.sleep_forever()

    return SourceSpec(
        "once", NoConfig, Once, claims=claims, brings=brings, metrics=(Metric("width", "1", "How wide."),)
    )


async def nothing(_: object) -> None:
    pass


async def test_a_source_without_fault_passes() -> None:
    assert await check_source(source(event(measures={"width": 1.0})), nothing) == [event(measures={"width": 1.0})]


async def test_what_is_brought_may_be_of_others_and_measure_what_they_measure() -> None:
    brought = event("build.finished", measures={"phase.minify": 3.0})
    for brings in (("build.*",), ("*",), ("build.finished",)):
        assert await check_source(source(brought, claims=(), brings=brings), nothing) == [brought]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (event("build.finished"), "does not claim build.finished, and does not say that it brings it"),
        (event(measures={"height": 1.0}), "declares no metric for"),
        (Event("", "/house", "door.opened", 1.0), "without an id or a source"),
        (event("Opened"), "a type is written as in"),
    ],
)
async def test_a_wrong_event_is_found(wrong: Event, message: str) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await check_source(source(wrong), nothing)
    assert caught.group_contains(AssertionError, match=message, depth=None)


async def test_a_source_that_says_too_little_is_found() -> None:
    with pytest.raises(AssertionError, match=r"emitted 1 of 2 events within 0\.1 s"):
        await check_source(source(event()), nothing, count=2, within=0.1)


async def test_a_source_that_dies_of_a_full_intake_is_found() -> None:
    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        await check_source(source(event(), durable=True), nothing)


async def test_a_source_that_takes_its_time_to_end_is_found() -> None:
    class Slow(Stage[NoConfig]):
        async def run(self, emit: Emit) -> None:
            await emit([event()])
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(2.1)

    with pytest.raises(AssertionError, match="to end when it was cancelled"):
        await check_source(SourceSpec("slow", NoConfig, Slow, claims=("door.*",)), nothing)


async def test_a_source_that_keeps_its_port_is_found() -> None:
    held: list[anyio.abc.UDPSocket] = []

    class Keeping(Stage[NoConfig]):
        @asynccontextmanager
        async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
            port = held[0].extra(SocketAttribute.local_port) if held else 0
            held.append(await anyio.create_udp_socket(local_host="127.0.0.1", local_port=port))
            yield self

        async def run(self, emit: Emit) -> None:
            await emit([event()])

    try:
        with pytest.raises(OSError):
            await check_source(SourceSpec("keeping", NoConfig, Keeping, claims=("door.*",)), nothing)
    finally:
        for one in held:
            await one.aclose()
