"""The source `connect`, against real sockets."""

import socket
from collections.abc import Generator
from time import perf_counter

import msgspec
import pytest
from bers import Context
from bers.testing import VirtualClock, check_spec, emitting, run_source, step

from bers_toolbox.connect import CONNECT


@pytest.fixture
def listener() -> Generator[socket.socket]:
    """Somebody who can be reached; the kernel accepts on their behalf."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def free_port() -> Generator[int]:
    """A port where nobody listens, and nobody else begins to."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def address(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


async def test_the_spec_keeps_its_promises() -> None:
    await check_spec(CONNECT, targets=["localhost:1"])


async def test_a_connection_is_measured(listener: socket.socket) -> None:
    target, began = address(listener), perf_counter()
    (event,) = await run_source(CONNECT, targets=[target])
    assert (event.type, event.outcome, event.labels) == ("connect.measured", "success", {"target": target})
    assert 0.001 < event.measures["connect_time"] < (perf_counter() - began) * 1000


async def test_a_refused_connection_is_a_failure_with_its_reason_and_without_a_time(free_port: int) -> None:
    (event,) = await run_source(CONNECT, targets=[f"127.0.0.1:{free_port}"])
    assert (event.outcome, event.measures) == ("failure", {})
    assert event.reason


async def test_a_target_that_does_not_answer_is_a_timeout() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        with socket.create_connection(silent.getsockname()):  # Its queue is full: nobody else is answered.
            async with emitting(CONNECT, targets=[address(silent)], timeout="50ms") as events:
                event = await events.receive()
    assert (event.outcome, event.measures) == ("timeout", {})


async def test_one_target_that_fails_does_not_stop_the_others(listener: socket.socket, free_port: int) -> None:
    events = await run_source(CONNECT, count=2, targets=[f"127.0.0.1:{free_port}", address(listener)])
    assert {event.outcome for event in events} == {"failure", "success"}


async def test_there_is_a_round_each_interval(listener: socket.socket, clock: VirtualClock) -> None:
    context = Context("connect", clock=clock)
    async with emitting(CONNECT, context=context, targets=[address(listener)], interval="10s") as events:
        for moment in (0, 10, 20):
            assert (await events.receive()).time == 1_700_000_000 + moment
            await clock.advance(10)


@pytest.mark.parametrize("target", ["localhost", ":5432", "localhost:http", "localhost:65536"])
def test_a_target_that_is_none_is_refused_by_name(target: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=f"targets\\[1\\]: '{target}' is not host:port; write it as in"):
        step(CONNECT, targets=["localhost:1", target])
