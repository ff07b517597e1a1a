"""Logs are JSON lines, one file per concern, bounded, and free of secrets."""

import json
import logging
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bers import Event, Size
from bers.claims import Owners
from bers.config.settings import LogSettings
from bers.logs import Logs, to_terminal, writing
from bers.redaction import Redactor

FILES = {"build": "build", "host": "", "unnamed": "monitoring"}
OWNERS = Owners({"build": ["build.*"], "host": ["system.*"], "unnamed": ["other.*"]})


@contextmanager
def logs(folder: Path, **settings: Any) -> Generator[Logs]:
    with writing(LogSettings(folder=str(folder), **settings), FILES) as found:
        yield found


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def finished(id: str = "1", **more: Any) -> Event:
    return Event(id, "/ci", "build.finished", 1_700_000_000.0, received=1_700_000_001.0, **more)


def test_what_is_logged_is_one_object_a_line_with_its_extras(tmp_path: Path) -> None:
    with logs(tmp_path):
        logging.getLogger("bers.test").warning("took %d s", 5, extra={"took": 5, "where": "here\nthere"})
        logging.getLogger("bers.test").debug("not said")
    (line,) = lines(tmp_path / "monitoring.log")
    assert (line["level"], line["logger"], line["message"]) == ("WARNING", "bers.test", "took 5 s")
    assert (line["took"], line["where"]) == (5, "here\nthere")
    assert line["time"].endswith("+00:00")


def test_a_traceback_is_in_the_line_of_its_record(tmp_path: Path) -> None:
    with logs(tmp_path):
        try:
            raise RuntimeError("broken")
        except RuntimeError:
            logging.getLogger("bers.test").exception("it failed")
    (line,) = lines(tmp_path / "monitoring.log")
    assert "RuntimeError: broken" in json.dumps(line)


def test_every_file_is_there_before_its_first_line(tmp_path: Path) -> None:
    with logs(tmp_path / "deep" / "logs"):
        assert sorted(path.name for path in (tmp_path / "deep" / "logs").iterdir()) == ["build.log", "monitoring.log"]


def test_a_stage_logs_to_its_own_file_and_the_rest_to_the_main_one(tmp_path: Path) -> None:
    with logs(tmp_path):
        for name in ("bers.stage.build", "bers.stage.host", "bers.stage.new", "bers.supervisor", "other"):
            logging.getLogger(name).error("from %s", name)
    assert [line["logger"] for line in lines(tmp_path / "build.log")] == ["bers.stage.build"]
    assert [line["logger"] for line in lines(tmp_path / "monitoring.log")] == [
        "bers.stage.host",
        "bers.stage.new",
        "bers.supervisor",
    ]


def test_secrets_are_masked_by_pattern_and_by_name(tmp_path: Path) -> None:
    with logs(tmp_path) as found:
        log = logging.getLogger("bers.test")
        log.error("GET https://ada:hunter2@example.com", extra={"api_key": "hunter2", "details": {"token": "hunter2"}})
        found.tell([finished(labels={"token": "hunter2", "os": "linux"}, reason="Bearer hunter2hunter2")], OWNERS)
    assert "hunter2" not in (tmp_path / "monitoring.log").read_text() + (tmp_path / "build.log").read_text()
    assert lines(tmp_path / "monitoring.log")[0]["api_key"] == "***"
    assert lines(tmp_path / "build.log")[0]["labels"] == {"token": "***", "os": "linux"}


def test_an_event_is_one_line_in_the_log_of_its_source(tmp_path: Path) -> None:
    with logs(tmp_path) as found:
        events = [
            finished(subject="b-1", outcome="failure", duration_ms=5.0, measures={"a": 1.0}),
            Event("2", "bers:host", "system.measured", 0.0),
            Event("3", "/x", "custom.coffee", 0.0),
            Event("4", "/x", "other.thing", 1e300),
        ]
        found.tell(events, OWNERS)
    assert lines(tmp_path / "build.log") == [
        {
            "time": "2023-11-14T22:13:21.000+00:00",
            "level": "INFO",
            "logger": "bers.event.build",
            "message": "build.finished b-1 failure",
            "type": "build.finished",
            "id": "1",
            "source": "/ci",
            "occurred": "2023-11-14T22:13:20.000+00:00",
            "subject": "b-1",
            "outcome": "failure",
            "duration_ms": 5.0,
            "measures": {"a": 1.0},
        }
    ]
    assert [line["id"] for line in lines(tmp_path / "monitoring.log")] == ["3", "4"]


@pytest.mark.parametrize(
    "evil", ["-----BEGIN PRIVATE KEY-----\nMIIE", "https://host:1", "x@y", "\n{", '"}\n{"', "\u2028"]
)
def test_no_event_can_spoil_the_lines_of_others(evil: str, tmp_path: Path) -> None:
    with logs(tmp_path) as found:
        found.tell([finished("1", reason=evil, subject=evil), finished("2", subject="a@b"), finished("3")], OWNERS)
    raw = (tmp_path / "build.log").read_bytes().split(b"\n")[:-1]
    assert [json.loads(line)["id"] for line in raw] == ["1", "2", "3"]


@pytest.mark.parametrize("say", ["records", "events"])
def test_a_log_is_rotated_and_bounded(say: str, tmp_path: Path) -> None:
    with logs(tmp_path, max_bytes=Size("2kB"), keep=2) as found:
        for n in range(100):
            if say == "events":
                found.tell([finished(f"e-{n}")], OWNERS)
            else:
                logging.getLogger("bers.stage.build").error("number %d", n)
    files = sorted(tmp_path.glob("build.log*"))
    assert [path.name for path in files] == ["build.log", "build.log.1", "build.log.2"]
    assert all(path.stat().st_size < 2500 for path in files)
    assert all(lines(path) for path in files[1:])


def test_a_moved_file_is_made_anew_when_the_logs_are_reopened(tmp_path: Path) -> None:
    with logs(tmp_path) as found:
        found.tell([finished("1")], OWNERS)
        (tmp_path / "build.log").rename(tmp_path / "build.old")
        found.tell([finished("2")], OWNERS)
        found.reopen()
        found.tell([finished("3")], OWNERS)
        logging.getLogger("bers.stage.build").error("here too")
    assert [line.get("id") for line in lines(tmp_path / "build.old")] == ["1", "2"]
    assert [line.get("id") for line in lines(tmp_path / "build.log")] == ["3", None]


def test_reopening_under_fire_loses_no_line(tmp_path: Path) -> None:
    with logs(tmp_path) as found:

        def write() -> None:
            for n in range(200):
                found.tell([finished(str(n))], OWNERS)

        thread = threading.Thread(target=write)
        thread.start()
        for n in range(20):
            (tmp_path / "build.log").rename(tmp_path / f"build.{n:02}.old")
            found.reopen()
            time.sleep(0.001)
        thread.join()
    told = [line["id"] for path in [*sorted(tmp_path.glob("*.old")), tmp_path / "build.log"] for line in lines(path)]
    assert told == [str(n) for n in range(200)]


def test_the_level_is_what_the_settings_say_and_is_put_back(tmp_path: Path) -> None:
    before = logging.getLogger("bers").level
    with logs(tmp_path, level="debug"):
        logging.getLogger("bers.test").debug("fine print")
    assert lines(tmp_path / "monitoring.log")[0]["message"] == "fine print"
    assert logging.getLogger("bers").level == before
    logging.getLogger("bers.test").warning("after")
    assert len(lines(tmp_path / "monitoring.log")) == 1


def test_a_running_log_takes_other_settings(tmp_path: Path) -> None:
    with logs(tmp_path) as found:
        found.tell([finished("1")], OWNERS)
        settings = LogSettings(folder=str(tmp_path), level="warning", max_bytes=Size("4KiB"), keep=1)
        found.change(settings, {"build": "other", "host": "host"})
        logging.getLogger("bers.stage.host").info("not said any more")
        logging.getLogger("bers.stage.host").warning("said")
        found.tell([finished(f"{n}", reason="x" * 500) for n in range(2, 30)], OWNERS)
        assert (tmp_path / "host.log").exists()  # Before its first line.
    assert [line["message"] for line in lines(tmp_path / "host.log")] == ["said"]
    assert [line["id"] for line in lines(tmp_path / "build.log")] == ["1"]
    assert [path.name for path in sorted(tmp_path.glob("other.log*"))] == ["other.log", "other.log.1"]


def test_what_came_from_outside_moves_no_cursor_where_a_person_started_the_server(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = logging.getLogger("bers")
    before = list(log.handlers)
    try:
        to_terminal("info", Redactor())
        log.warning("a sink said: %s", "\x1b[2J\x9bno\rway")
    finally:
        for handler in [one for one in log.handlers if one not in before]:
            log.removeHandler(handler)
    assert capsys.readouterr().err == "WARNING bers: a sink said:  [2J no way\n"
