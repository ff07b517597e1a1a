"""`bers top`, `tap`, `explain` and `graph --live`, against a server that runs."""

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import BERS, Operator
from tests.integration.processes import at_leisure, configure, shown_on, started, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    folder = tmp_path_factory.mktemp("eyes")
    configure(folder)
    with started(folder) as operator:
        yield operator


def build(id: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "source": "/ci", "type": "build.finished", "subject": id, "time": time.time(), **more}


@contextmanager
def heeding_ctrl_c() -> Generator[None]:
    """What is started here heeds Ctrl-C, also where these tests run in the background and were told to ignore it."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def nobody_taps(server: Operator) -> None:
    """Wait until the server knows that earlier taps are gone."""
    until(lambda: server.data("pipelines")["taps"] == 0)


def tapping(server: Operator, *arguments: str) -> subprocess.Popen[str]:
    """A tap that looks already."""
    nobody_taps(server)
    with heeding_ctrl_c():
        process = subprocess.Popen(
            [*BERS, "tap", *arguments], cwd=server.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    until(lambda: server.data("pipelines")["taps"])
    return process


def test_a_tap_in_a_pipe_prints_what_was_asked_for_as_lines_of_json(server: Operator) -> None:
    with tapping(server, "build.*", "--where", "outcome=failure and labels.branch~^main", "--limit", "1") as tap:
        server.emit(build("t-1", outcome="failure", labels={"branch": "release"}))
        server.emit(build("t-2", outcome="success", labels={"branch": "main"}))
        server.emit(build("t-3", outcome="failure", labels={"branch": "main-1", "token": "abc"}))
        said, errors = tap.communicate(timeout=at_leisure(10))
    assert (tap.returncode, errors) == (0, "")
    event = json.loads(said)["event"]
    assert (event["id"], event["labels"]) == ("t-3", {"branch": "main-1", "token": "***"})


def test_a_tap_shows_what_comes_out_of_a_processor(server: Operator) -> None:
    with tapping(server, "build_total", "--at", "metrics/windows", "--limit", "1") as tap:
        server.emit(build("w-1", outcome="success"))
        said, _ = tap.communicate(timeout=at_leisure(10))
    assert json.loads(said)["window"]["metric"] == "build_total"


def test_ctrl_c_ends_a_tap_as_it_should(server: Operator) -> None:
    with tapping(server, "nothing.*") as tap:
        tap.send_signal(signal.SIGINT)
        said, errors = tap.communicate(timeout=at_leisure(10))
    assert (tap.returncode, said, errors) == (0, "", "")
    nobody_taps(server)


def test_a_tap_on_a_terminal_is_one_line_for_each_event_and_nothing_moves_the_cursor(server: Operator) -> None:
    nobody_taps(server)
    ours, theirs = pty.openpty()
    with subprocess.Popen([*BERS, "tap", "build.*", "--limit", "1"], cwd=server.folder, stdout=theirs) as tap:
        os.close(theirs)
        until(lambda: server.data("pipelines")["taps"])
        server.emit(build("c-1", outcome="failure", reason="oom\x1b[2J\nnow", duration_ms=1500))
        shown = shown_on(ours)
        assert tap.wait(at_leisure(10)) == 0
    os.close(ours)
    assert "\x1b[2J" not in shown and shown.count("\n") == 1
    assert "build.finished" in shown and "1500 ms" in shown and "oom [2J now" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("tap", "--where", "outcom=failure"), 2, "did you mean 'outcome'"),
        (("tap", "--at", "metrics/window"), 1, "did you mean 'metrics/windows'"),
        (("tap", "--url", "http://127.0.0.1:9"), 3, "no server answers"),
        (("explain", "nothing"), 1, "the journal reaches back to position 1"),
        (("explain",), 2, "either ID or --position"),
        (("top", "--once", "--url", "http://127.0.0.1:9"), 3, "no server answers"),
        (("graph", "--live", "--url", "http://127.0.0.1:9"), 3, "no server answers"),
    ],
)
def test_what_cannot_be_shown_is_said(server: Operator, arguments: tuple[str, ...], code: int, says: str) -> None:
    done = server.bers(*arguments, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr and "Traceback" not in done.stderr


def test_top_in_a_pipe_is_one_reading_in_plain_columns(server: Operator) -> None:
    lines = [line.split("\t") for line in server.bers("top", "--interval", "0.3").stdout.splitlines()]
    assert [len(line) for line in lines] == [11] * len(lines)
    places = [line[0] for line in lines]
    assert places[0] == "intake" and {"source/build", "metrics/windows", "live/sse"} <= set(places)
    assert all(float(figure) >= 0 for line in lines for figure in line[2:10])


def test_top_tells_rates_between_two_readings(server: Operator) -> None:
    top = subprocess.Popen(
        [*BERS, "top", "--json", "--interval", "2", "--sort", "in"],
        cwd=server.folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    emitted = 0
    with top:
        while top.poll() is None:
            server.emit(*(build(f"r-{time.time_ns()}-{n}") for n in range(10)))
            emitted += 10
            time.sleep(0.05)
        assert top.stdout is not None
        said = json.loads(top.stdout.read())
    stages = {one["place"]: one for one in said["stages"]}
    rate = stages["source/build"]["taken"]
    assert 0 < rate <= emitted / 2, "in two seconds at least"
    assert stages["source/build"]["out"] >= rate
    assert said["unaccounted"] == {} and said["stages"][0]["taken"] == max(one["taken"] for one in said["stages"])


def test_top_on_a_terminal_is_drawn_until_ctrl_c(server: Operator) -> None:
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "140", "LINES": "40"}
    with heeding_ctrl_c():
        top = subprocess.Popen(
            [*BERS, "top", "--interval", "0.3"], cwd=server.folder, stdout=theirs, stdin=theirs, env=environ
        )
    with top:
        os.close(theirs)
        shown = ""
        deadline = time.monotonic() + at_leisure(10)
        while shown.count("metrics/windows") < 2:
            assert time.monotonic() < deadline, shown
            shown += os.read(ours, 65536).decode(errors="replace")
        top.send_signal(signal.SIGINT)
        shown += shown_on(ours)
        assert top.wait(at_leisure(10)) == 0
    os.close(ours)
    assert "CPU %" in shown and "journal" in shown


def test_explain_tells_the_path_of_an_event(server: Operator) -> None:
    server.emit(build("x-1", outcome="success", duration_ms=6200))
    (alert,) = server.until("alerts?rule=Build%20Performance%20Degraded", bool)
    told = server.bers("explain", "x-1").stdout
    assert told.startswith("build.finished x-1 of /ci\n")
    assert "Source 'build' (build) claims the type 'build.finished'." in told
    assert "pipeline metrics takes it\n  windows: changed\n" in told and "pipeline notify does not take it" in told
    assert f"Alert {alert['id']} is active; this event brought it last." in told
    position = json.loads(server.bers("explain", "x-1", "--source", "/ci", "--json").stdout)["position"]
    assert server.bers("explain", "--position", str(position)).stdout.startswith("build.finished x-1 of /ci\n")


def test_a_live_graph_has_rates_and_states(server: Operator) -> None:
    mermaid = server.bers("graph", "--live").stdout.splitlines()
    assert mermaid[0] == "flowchart LR"
    assert any(line.startswith('  bus["bus"] -->|') and 'metrics["metrics"]' in line for line in mermaid)
    assert "  style metrics_windows stroke:green" in mermaid
    dot = server.bers("graph", "--live", "--format", "dot").stdout
    assert '"metrics/store" [label="metrics/store\\nok", color=green];' in dot
    rows = [line.split("\t") for line in server.bers("graph", "--live", "--format", "table").stdout.splitlines()]
    assert {(row[0], row[1], row[3]) for row in rows} >= {("metrics/windows", "metrics/sampling", "ok")}
    ways = json.loads(server.bers("graph", "--live", "--json").stdout)
    assert ways[0].keys() == {"from", "to", "rate", "state"}


def test_a_graph_that_is_not_live_needs_no_server(tmp_path: Path) -> None:
    done = subprocess.run(
        [*BERS, "graph", "--format", "table"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert "build\twindows (metrics)\tmetrics" in done.stdout.splitlines()
