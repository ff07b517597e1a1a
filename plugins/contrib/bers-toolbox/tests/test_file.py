"""The sink `file`, on real files."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from bers import Batch, Event
from bers.testing import check_spec, feed, run_pipeline, step

from bers_toolbox.file import FILE


def lines(path: Path) -> list[Any]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


async def test_the_spec_keeps_its_promises(tmp_path: Path) -> None:
    await check_spec(FILE, path=str(tmp_path / "events.jsonl"))


async def test_each_event_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "new" / "events.jsonl"
    bus = await feed(
        [Event("1", "test", "build.started", 0.0), Event("2", "test", "build.finished", 1.0, duration_ms=930)],
        [Event("3", "test", "build.started", 2.0)],
    )
    await run_pipeline(bus, sinks=[step(FILE, path=str(path))])
    assert [(line["id"], line["type"], line["time"]) for line in lines(path)] == [
        ("1", "io.bers.build.started.v1", "1970-01-01T00:00:00.000Z"),
        ("2", "io.bers.build.finished.v1", "1970-01-01T00:00:01.000Z"),
        ("3", "io.bers.build.started.v1", "1970-01-01T00:00:02.000Z"),
    ]
    assert lines(path)[1]["data"]["duration_ms"] == 930


async def test_what_is_there_already_stays(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"id": "0"}\n')
    await run_pipeline(await feed([Event("1", "test", "build.started", 0.0)]), sinks=[step(FILE, path=str(path))])
    assert [line["id"] for line in lines(path)] == ["0", "1"]


async def test_secrets_are_masked(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    event = Event("1", "test", "build.started", 0.0, data={"api_token": "hunter2hunter2"})
    await run_pipeline(await feed([event]), sinks=[step(FILE, path=str(path))])
    assert "hunter2" not in path.read_text()


async def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    async with step(FILE, path=str(tmp_path)).open() as sink:
        with pytest.raises(IsADirectoryError, match=str(tmp_path)):
            await sink.write(Batch([Event("1", "test", "build.started", 0.0)], end=1))
