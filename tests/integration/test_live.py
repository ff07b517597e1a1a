"""The live stream from the door to the client: what is told, how soon, and what a client that was away is told."""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from typing import Any, NamedTuple

import httpx2
import msgspec
import pytest

from tests.acceptance.conftest import Operator
from tests.integration.processes import at_leisure, configure, started, until


class Frame(NamedTuple):
    """One frame, with the name that it was sent under; empty where it had none."""

    name: str
    id: str
    data: Any


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    folder = tmp_path_factory.mktemp("live")
    configure(folder, {"  sse: {}": "  sse: {heartbeat: 1s, replay: 200}"})
    with started(folder) as operator:
        yield operator


@contextmanager
def listening(server: Operator, query: str = "", **headers: str) -> Generator[Iterator[Frame]]:
    """Open the stream; it is open when the block begins."""
    with httpx2.stream("GET", server.url(f"events{query}"), headers=headers, timeout=30) as reply:
        assert reply.status_code == 200
        frames = _frames(reply.iter_lines())
        assert _kind(hello := next(frames)) == "connected", hello
        yield frames


def wanted(frames: Iterator[Frame], *names: str, seconds: float = 30.0) -> list[Frame]:
    """The next frames of these names, in this order, whatever stands between."""
    deadline = time.monotonic() + seconds
    found: list[Frame] = []
    for frame in frames:
        if _kind(frame) == names[len(found)]:
            found.append(frame)
        if len(found) == len(names):
            return found
        assert time.monotonic() < deadline, f"wanted {names}, heard {found}"
    raise AssertionError(f"the stream ended; wanted {names}, heard {found}")


def of_build(frames: Iterator[Frame], id: str) -> Frame:
    """The frame of one build, whatever others have emitted before."""
    while (frame := wanted(frames, "build-completed")[0]).data["id"] != id:
        pass
    return frame


def build(subject: str, duration: float = 900, **fields: Any) -> dict[str, Any]:
    return {
        "type": "build.finished",
        "source": "ci",
        "id": subject,
        "subject": subject,
        "outcome": "success",
        "duration_ms": duration,
        "environment": "test",
        **fields,
    }


def test_c013_c160_an_event_is_on_the_stream_within_a_second(server: Operator) -> None:
    with listening(server) as frames:
        began = time.monotonic()
        server.emit(build("soon"))
        frame = of_build(frames, "soon")
        assert time.monotonic() - began < at_leisure(1.0)
    assert frame.data["subject"] == "soon"
    assert frame.data["data"]["measures"]["build_performance"] == 900


def test_c033_each_step_of_an_alert_is_told_within_a_second(server: Operator) -> None:
    with listening(server) as frames:
        server.emit(build("slow", 5300, environment="staging"))
        (alert,) = _step(frames, "alert_firing", 1)
        for verb, name, left in (("acknowledge", "alert_acknowledged", 1), ("resolve", "alert_resolved", 0)):
            server.post(f"alerts/{alert['id']}/{verb}", {"operator": "ada", "notes": "mine"})
            assert len(_step(frames, name, left)) == left


def _step(frames: Iterator[Frame], name: str, left: int) -> Any:
    """Wait for an alert's frame and for the list with so many alerts in it, whichever is first; that list."""
    began, told, listed = time.monotonic(), False, None
    while not told or listed is None:
        frame = next(frames)
        told |= frame.name == name
        if frame.name == "active_alerts" and frame.data["total"] == left:
            listed = frame.data["alerts"]
        assert time.monotonic() - began < at_leisure(1.5)  # The list comes once a second at most.
    return listed


def test_c038_metrics_come_every_second_with_their_newest_values(server: Operator) -> None:
    with listening(server) as frames:
        told = wanted(frames, *["performance_metrics"] * 5)
        assert_a_second_apart(told)
        assert 0 < told[-1].data["metrics"]["system_memory_usage"]["current"] <= 100


def test_c038_a_client_that_hears_nothing_else_is_sent_pings(server: Operator) -> None:
    with listening(server, "?types=change.*") as frames:
        assert_a_second_apart(wanted(frames, *["ping"] * 5))


def assert_a_second_apart(frames: list[Frame]) -> None:
    """One that a busy machine made late is soon followed by the next; not each can be late, and not each too soon."""
    times = [frame.data["timestamp"] for frame in frames]
    gaps = [(later - earlier) / 1000 for earlier, later in pairwise(times)]
    assert min(gaps) > 0 and max(gaps) > 0.5 and min(gaps) < 2, gaps


def test_who_comes_back_is_told_what_was_missed_once_and_in_order(server: Operator) -> None:
    with listening(server, "?types=build.*") as frames:
        server.emit(build("r-1"))
        (seen,) = wanted(frames, "build-completed")
    server.emit(build("r-2"))
    server.emit(build("r-3"), build("r-4"))
    server.until("dashboard/status", lambda data: data["pipelines"]["live"] == 0)
    with listening(server, "?types=build.*", **{"Last-Event-ID": seen.id}) as frames:
        server.emit(build("r-5"))
        found = wanted(frames, *["build-completed"] * 4)
    assert [frame.data["id"] for frame in found] == ["r-2", "r-3", "r-4", "r-5"]
    assert len({frame.id for frame in found}) == 4 and [int(one.id) for one in found] == sorted(
        int(o.id) for o in found
    )
    with listening(server, f"?types=build.*&lastEventId={found[2].id}") as frames:
        assert wanted(frames, "build-completed")[0].data["id"] == "r-5"


@pytest.mark.parametrize("id", ["0", "999999999", "not-an-id"])
def test_who_was_away_for_too_long_is_told_that_there_is_a_gap(id: str, server: Operator) -> None:
    numbers = count()

    def gap() -> Frame | None:
        server.emit(*(build(f"gap-{id}-{next(numbers)}") for _ in range(60)))
        with listening(server, **{"Last-Event-ID": id}) as frames:
            return frame if (frame := next(frames)).name == "gap" else None

    told = until(gap, 20)  # Once so many are told that the first are not kept any more.
    assert told.data["since"] == id and "not kept" in told.data["reason"]


def test_a28_frames_without_names_say_what_they_are_in_their_data(server: Operator) -> None:
    with listening(server, "?format=message") as frames:
        server.emit(build("unnamed"))
        heard: dict[str, Frame] = {}
        ids = set[str]()
        while "performance_metrics" not in heard or "unnamed" not in ids:  # What others emitted may come before.
            frame = next(frames)
            heard[frame.data["type"]] = frame
            ids.add(frame.data.get("id", ""))
    assert {frame.name for frame in heard.values()} == {""}
    assert heard["io.bers.build.finished.v1"].data["id"] == "unnamed"


def test_c052_two_clients_hear_the_same_and_are_counted(server: Operator) -> None:
    server.until("dashboard/status", lambda data: data["server"]["sseClients"] == 0)
    with listening(server) as one, listening(server) as two:
        assert server.data("dashboard/status")["server"]["sseClients"] == 2
        server.emit(build("both"))
        assert of_build(one, "both") == of_build(two, "both")
    server.until("dashboard/status", lambda data: data["server"]["sseClients"] == 0)


def test_a_filter_lets_through_what_was_asked_for_alone(server: Operator) -> None:
    with listening(server, "?types=deployment.*,ping") as frames:
        server.emit(build("other"), {"type": "deployment.started", "source": "ci", "id": "d", "subject": "d"})
        names = set[str]()
        while not {"deployment-started", "deployment-measured", "ping"} <= names:
            names.add(next(frames).name)
        assert names == {"deployment-started", "deployment-measured", "ping"}
    assert server.get("events?types=Build!").status_code == 400
    assert server.get("events?format=carrier-pigeon").status_code == 422


def test_a33_of_too_many_events_at_once_the_rest_is_counted(server: Operator) -> None:
    server.until("dashboard/status", lambda data: data["pipelines"]["live"] == 0)
    with listening(server, "?types=change.*") as frames:
        server.emit(*({"type": "change.merged", "source": "vcs", "id": f"c{n}x"} for n in range(400)))
        told, counted = 0, 0
        while told + counted < 400:
            frame = next(frames)
            told += frame.name == "event"
            counted += frame.data["counts"].get("change.merged", 0) if frame.name == "events" else 0
    assert (told + counted, told <= 150) == (400, True)


def _kind(frame: Frame) -> str:
    return frame.name or str(frame.data["type"])


def _frames(lines: Iterator[str]) -> Iterator[Frame]:
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield Frame(fields.get("event", ""), fields.get("id", ""), msgspec.json.decode(fields["data"]))
            fields = {}
