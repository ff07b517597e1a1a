"""Alerts of a real process whose wall clock is set, and that is stopped, while a rule, an answer and a silence are half
way: each goes on by the clock that counts, and ends when it was to.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.acceptance.conftest import Operator
from tests.faults.test_clocks_real import HOUR, wall
from tests.integration.processes import at_leisure, started, until

__all__ = ["wall"]

FOR = 4.0
EVERY = 0.25
"""Seconds between two values."""

PIPELINES = """
version: 1
server: {{health: 0, metrics: 0, control: 0}}
access: {{rate: {{per_second: 100000, burst: 100000}}}}
sinks:
  store: {{use: rest-store, primary: true}}
  alert-engine:
    defaults: false
    escalation: []
    heartbeat: 0s
    rate_limiting: {{max_alerts: 1000}}
    rules:
      - {{name: Down, event: service-is.down, clears: {{event: service-is.up}}, group: [subject]}}
      - {{name: Slow, metric: build_performance, above: 5s, for: {lasting:g}s, group: [subject]}}
      - {{name: Kept, metric: validation_duration, above: 5s, keep_firing_for: 30s, group: [subject]}}
      - {{name: Mean, metric: test_suite_duration, above: 5s, aggregate: mean, window: 60s, group: [subject]}}
      - {{name: Few, metric: change_total, below: "1", aggregate: count, window: {silence:g}s}}
      - {{name: Absent, event: service-is.seen, absent: {silence:g}s}}
      - {{name: Unheard, metric: build_queue_time, above: 5m, no_data_after: {silence:g}s, on_no_data: alert}}
    maintenance: [{maintenance}]
pipelines:
  details: {{sources: [unmapped, alert-engine], sinks: [store]}}
  alerts: {{sources: [unmapped], sinks: [alert-engine]}}
"""


@dataclass
class World:
    """A server, and by how much its wall clock is wrong."""

    server: Operator
    wrong: Path
    numbers: count[int] = field(default_factory=lambda: count(1))
    undisturbed: Lock = field(default_factory=Lock)
    """Held by whoever hands something in, and while the server is stopped."""

    def set(self, seconds: float) -> None:
        new = self.wrong.with_suffix(".new")
        new.write_text(f"{seconds:.0f}")
        new.replace(self.wrong)  # At no moment is there half of it.

    def happen(self, kind: str, subject: str = "", **measures: float) -> None:
        now = time.time() + float(self.wrong.read_text())
        id = f"e-{next(self.numbers)}"
        event = {"id": id, "source": "/ci", "type": f"service-is.{kind}", "time": now, "subject": subject}
        self.server.emit({**event, "measures": measures} if measures else event)

    def slow(self, subject: str = "slow", seconds: float = 9.0) -> None:
        self.happen("measured", subject, build_performance=seconds * 1000)

    @contextmanager
    def heard(self) -> Generator[None]:
        """What is to come again and again does, however long anything else takes, but while the server is stopped."""
        over = Event()

        def beat() -> None:
            while not over.wait(EVERY):
                with self.undisturbed:
                    self.happen("seen", change_total=1, build_queue_time=1)

        self.happen("seen", change_total=1, build_queue_time=1)
        thread = Thread(target=beat)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def answer(self, path: str, body: Any) -> Any:
        reply = self.server.post(path, {"operator": "ada", **body}).json()
        assert reply["success"], reply
        return reply["data"]

    def acknowledge(self, subject: str, expires: str) -> None:
        (id,) = until(lambda: [one["id"] for one in self.alerts() if one["labels"].get("subject") == subject])
        self.answer(f"alerts/{id}/acknowledge", {"expires": expires})

    def alerts(self) -> Sequence[Any]:
        found: Sequence[Any] = self.server.data("alerts?status=pending,active,acknowledged,suppressed")
        return found

    def statuses(self) -> dict[str, str]:
        """Of every living alert, by its subject or else its rule."""
        return {alert["labels"].get("subject", alert["rule"]): alert["status"] for alert in self.alerts()}

    def until(self, good: Callable[[Mapping[str, str]], object], seconds: float = 10.0) -> None:
        """Wait until the statuses are good: what was handed in is read a moment later."""
        until(lambda: good(self.statuses()), at_leisure(seconds))


@contextmanager
def world(
    folder: Path, wall: Path, *, silence: float = 60.0, wrong: float = 0.0, maintenance: str = "", **more: str
) -> Generator[World]:
    """``silence`` is after how many seconds something is missed that is to come again and again."""
    text = PIPELINES.format(lasting=FOR, silence=silence, maintenance=maintenance)
    (folder / "pipelines.yaml").write_text(text)
    file = folder / "wrong"
    file.write_text(f"{wrong:.0f}")
    with started(folder, LD_PRELOAD=str(wall), BERS_TEST_WALL=str(file), **more) as server:
        yield World(server, file)


def follow(one: World, seconds: float, began: float, steps: Sequence[tuple[float, float]]) -> dict[str, list[Any]]:
    """Let values come and the clock be set; the statuses of each alert, each with the first and last time it was seen.

    Times are seconds since ``began``, by the clock that counts.
    """
    seen, left, asked = dict[str, list[Any]](), list(steps), 0.0
    while asked < seconds:
        if left and left[0][0] <= time.monotonic() - began:
            one.set(left.pop(0)[1])
        one.slow()
        asked = time.monotonic() - began
        for name, status in one.statuses().items():
            spans = seen.setdefault(name, [])
            if not spans or spans[-1][0] != status:
                spans.append([status, asked, asked, time.monotonic() - began])
            spans[-1][2] = asked
        time.sleep(EVERY)
    return seen


@pytest.mark.parametrize("steps", [[HOUR], [-HOUR], [HOUR, 0.0], [-HOUR, 0.0]], ids=str)
def test_a_wall_clock_that_is_set_half_way_moves_nothing(steps: Sequence[float], tmp_path: Path, wall: Path) -> None:
    ends = time.time() + 120
    starts, over = (datetime.fromtimestamp(at).astimezone().isoformat() for at in (ends - 600, ends))
    window = f'{{name: rack, starts: "{starts}", ends: "{over}", matchers: [labels.subject=moved]}}'
    with world(tmp_path, wall, silence=at_leisure(3.0), maintenance=window) as one, one.heard():
        for subject in ("bad", "taken", "moved"):
            one.happen("down", subject)
        one.happen("measured", "kept", validation_duration=9000)
        one.happen("measured", "mean", test_suite_duration=9000)
        asked = time.monotonic()
        one.acknowledge("taken", "5s")
        answered = time.monotonic()
        one.answer("silences", {"matchers": ["labels.subject=quiet"], "comment": "known", "duration": "5s"})
        silenced = time.monotonic()
        one.happen("down", "quiet")
        began = time.monotonic()
        one.slow()
        by = time.monotonic() - began
        # The server is asked each so often, and answers in its own time.
        late = EVERY + at_leisure(0.7)
        steps_at = [(2.0 + number, step) for number, step in enumerate(steps)]
        seen = follow(one, max(9.0, 5 + 2 * late), began, steps_at)

        for name, status, lasts, since, until_then in (
            ("slow", "pending", FOR, 0.0, by),
            ("taken", "acknowledged", 5, asked - began, answered - began),
            ("quiet", "suppressed", 5, answered - began, silenced - began),
        ):
            *was, (now, *_, told) = seen[name]
            assert now == "active" and told >= since + lasts, "not sooner"
            assert [span[0] for span in was] in ([status], []), "on a busy machine we may look when it is over"
            assert all(last < until_then + lasts + late for _, _, last, _ in was), "and not later"
        for name, status in (("bad", "active"), ("kept", "active"), ("mean", "active"), ("moved", "suppressed")):
            assert [span[0] for span in seen[name]] == [status] and seen[name][0][2] > 8, name
        assert set(seen) == {"slow", "bad", "taken", "quiet", "moved", "kept", "mean"}, "nothing else fired"
        history = one.server.data("alerts/history?period=7d")
        assert not [alert for alert in history if alert["status"] == "resolved"]


@contextmanager
def stopped(one: World, seconds: float) -> Generator[None]:
    """Stop the process for so long, while the block runs."""
    with one.undisturbed:
        began = time.monotonic()
        os.kill(one.server.process.pid, signal.SIGSTOP)
        try:
            yield
            time.sleep(max(0.0, began + seconds - time.monotonic()))
        finally:
            os.kill(one.server.process.pid, signal.SIGCONT)


@pytest.mark.parametrize("seconds", [2.6, FOR + 0.5, FOR + 3])
def test_a_process_that_is_stopped_half_way_concludes_nothing_from_that(
    seconds: float, tmp_path: Path, wall: Path
) -> None:
    # Shorter than a stop that is long, and as long as that allows: on a busy machine nobody is heard for moments, too.
    silence = 0.9 * seconds if seconds > FOR else at_leisure(3.0)
    with world(tmp_path, wall, silence=silence) as one, one.heard():
        for subject in ("bad", "taken", "brief"):
            one.happen("down", subject)
        one.happen("measured", "kept", validation_duration=9000)
        one.happen("measured", "mean", test_suite_duration=9000)
        time.sleep(0.6)  # What was seen once is expected to come again.
        one.acknowledge("brief", "2s")
        asked = time.monotonic()
        one.acknowledge("taken", f"{seconds + 4:g}s")
        taken = time.monotonic()
        one.answer("silences", {"matchers": ["labels.subject=quiet"], "comment": "known", "duration": "2s"})
        one.happen("down", "quiet")
        began = time.monotonic()
        one.slow("stays bad")
        one.slow("gets well")
        one.until(lambda found: {"stays bad", "gets well"} <= found.keys())
        with stopped(one, seconds):
            pass
        since = time.monotonic()
        found = one.statuses()
        assert found["stays bad"] == found["gets well"] == "pending", "silence proves nothing"
        one.slow("gets well", 1.0)
        one.slow("stays bad")
        one.until(lambda found: "gets well" not in found)
        if seconds > FOR:
            one.until(lambda found: found["stays bad"] == "active")  # It is bad all the while.
        usual = {"bad": "active", "kept": "active", "mean": "active", "brief": "active", "quiet": "active"}
        one.until(lambda found: found.items() >= usual.items())  # What was to end meanwhile has.
        while time.monotonic() - since < 3:
            one.slow("stays bad")
            now = time.monotonic()
            found = one.statuses()
            assert found.items() >= usual.items(), "and nothing else has"
            assert found.keys() <= {*usual, "taken", "stays bad"}, "and nothing fired"
            if found["stays bad"] == "active":
                assert time.monotonic() - began >= FOR
            else:
                assert now - began < FOR + at_leisure(0.7)
            time.sleep(EVERY)
        while one.statuses()["taken"] != "active":
            assert time.monotonic() - taken < seconds + 4 + at_leisure(1.0)
            time.sleep(EVERY)
        assert time.monotonic() - asked >= seconds + 4
        history = one.server.data("alerts/history?period=7d")
        assert {alert["rule"] for alert in history} == {"Down", "Slow", "Kept", "Mean"}
        assert not [alert for alert in history if alert["status"] == "resolved"]


BERLIN = ZoneInfo("Europe/Berlin")
SPRING, AUTUMN = (2027, 3, 28), (2027, 10, 31)


def at(day: tuple[int, int, int], clock: str, fold: int = 0) -> float:
    hours, minutes = map(int, clock.split(":"))
    return datetime(*day, hours, minutes, tzinfo=BERLIN, fold=fold).timestamp()


@pytest.mark.parametrize(
    ("begins", "ends", "moment", "before", "after"),
    [
        pytest.param("02:30", "03:30", at(SPRING, "03:00"), "active", "suppressed", id="begins with what is skipped"),
        pytest.param("01:30", "03:30", at(SPRING, "03:00"), "suppressed", "suppressed", id="goes on over it"),
        pytest.param("01:30", "03:30", at(SPRING, "03:30"), "suppressed", "active", id="ends an hour sooner"),
        pytest.param("02:10", "02:50", at(SPRING, "03:00"), "active", "active", id="is skipped"),
        pytest.param("02:30", "02:45", at(AUTUMN, "02:30"), "active", "suppressed", id="begins the first time"),
        pytest.param("02:30", "02:45", at(AUTUMN, "02:45"), "suppressed", "suppressed", id="does not end the first"),
        pytest.param("02:30", "02:45", at(AUTUMN, "02:00", 1), "suppressed", "suppressed", id="comes twice"),
        pytest.param("02:30", "02:45", at(AUTUMN, "02:45", 1), "suppressed", "active", id="ends the second time"),
    ],
)
def test_maintenance_by_a_clock_that_is_set_for_summer(
    begins: str, ends: str, moment: float, before: str, after: str, tmp_path: Path, wall: Path
) -> None:
    """The wall clock goes over the moment by itself, seconds after the process was started."""
    window = f'{{name: night, from: "{begins}", to: "{ends}", time_zone: Europe/Berlin}}'
    for lead in (at_leisure(4.0), at_leisure(16.0)):  # The second time for a machine that is too busy.
        wrong = round(moment - time.time() - lead)
        folder = tmp_path / f"{lead:g}"
        folder.mkdir()
        with world(folder, wall, wrong=wrong, maintenance=window, TZ="Europe/Berlin") as one:
            one.happen("down", "bad")
            one.until(lambda found: "bad" in found)
            if moment - time.time() - wrong < 0.3:
                continue
            while (now := time.time() + wrong) < moment - 0.1:
                found = one.statuses()
                assert found["bad"] == before or time.time() + wrong >= moment, now
                time.sleep(0.05)
            time.sleep(0.2)
            one.until(lambda found: found["bad"] == after, 1.0)
            time.sleep(1.0)
            assert one.statuses()["bad"] == after
            return
    raise AssertionError("the machine was too busy to start it in time")
