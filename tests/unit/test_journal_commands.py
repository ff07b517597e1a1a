"""`bers journal`: what the files of the bus hold, what of them is damaged, and their events as lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from click.testing import CliRunner, Result

from bers import Database, Event
from bers.cli.journal import journal
from bers.frames import Frame
from bers.journal import Journal

HEAD = 24


async def write(folder: Path, *sizes: int) -> None:
    """A file for each frame of so many events, a second apart; one of five is a failure."""
    files, at = Journal(folder, segment_bytes=1), 0
    for size in sizes:
        events = [
            Event(
                f"e-{n}", "/ci", "build.finished" if n % 2 else "deployment.finished", 1.7e9 + n,
                outcome="success" if n % 5 else "failure", received=1.7e9 + n, seq=n + 1,
            )
            for n in range(at, at + size)
        ]  # fmt: skip
        files.add(Frame(at, at + size, msgspec.msgpack.encode(events)))
        await files.sync()
        at += size
    files.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files with ten events each, and a sink that has seen 25 of them."""
    data_dir = tmp_path / "data"
    anyio.run(write, data_dir / "journal", 10, 10, 10)
    (tmp_path / "pipelines.yaml").write_text(f"data_dir: {data_dir}\n")
    database = Database(data_dir / "state.db")
    rows = [("store", "metrics", 0, 25), ("store", "dead-letters/metrics", 0, 3)]
    database.run_now(lambda connection: connection.executemany("INSERT INTO positions VALUES (?, ?, ?, ?)", rows))
    database.close()
    return tmp_path


def bers(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(journal, [*arguments, "--config", str(folder / "pipelines.yaml")])


def as_json(folder: Path, *arguments: str) -> Any:
    return json.loads(bers(folder, *arguments, "--json").output)


def exported(folder: Path, *arguments: str) -> list[str]:
    return [json.loads(line)["id"] for line in bers(folder, "export", *arguments).output.splitlines()]


def damage(folder: Path, name: str, at: int) -> Path:
    path = folder / "data/journal" / name
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    return path


def test_inspect_says_what_files_reach_over_and_how_far_readers_are_behind(folder: Path) -> None:
    said = as_json(folder, "inspect")
    assert (said["start"], said["end"]) == (0, 30)
    assert [(one["file"], one["start"], one["end"], one["frames"], one["events"]) for one in said["segments"]] == [
        ("00000000000000000000.log", 0, 10, 1, 10),
        ("00000000000000000010.log", 10, 20, 1, 10),
        ("00000000000000000020.log", 20, 30, 1, 10),
    ]
    assert (said["segments"][0]["oldest"], said["segments"][2]["newest"]) == (1_700_000_000_000, 1_700_000_029_000)
    assert said["size"] == sum(path.stat().st_size for path in (folder / "data/journal").iterdir())
    assert said["readers"] == [
        {"database": "state.db", "sink": "store", "pipeline": "metrics", "position": 25, "lag": 5}
    ]
    done = bers(folder, "inspect")
    assert done.exit_code == 0 and "00000000000000000010.log\t10\t20\t1\t10\t" in done.output
    assert "store\tmetrics\tstate.db\t25\t5\n" in done.output


def test_verify_is_good_where_everything_is_whole(folder: Path) -> None:
    done = bers(folder, "verify")
    assert (done.exit_code, done.output) == (0, "good: 30 events in 3 files, positions 0 to 30\n")
    assert as_json(folder, "verify") == {
        "ok": True, "start": 0, "end": 30, "frames": 3, "events": 30, "tornBytes": 0, "damaged": [], "missing": [],
    }  # fmt: skip


def test_an_append_that_was_cut_short_is_no_damage(folder: Path) -> None:
    last = folder / "data/journal/00000000000000000020.log"
    last.write_bytes(last.read_bytes() + last.read_bytes()[:100])
    done = bers(folder, "verify")
    assert done.exit_code == 0 and f"{last.name}: 100 bytes of an append that was not finished" in done.output
    assert len(exported(folder)) == 30


@pytest.mark.parametrize(
    ("name", "at", "lost"),
    [
        ("00000000000000000000.log", HEAD + 3, (0, 10)),
        ("00000000000000000010.log", 6, (10, 20)),
        ("00000000000000000020.log", HEAD + 40, (20, None)),
    ],
)
def test_verify_names_the_bytes_and_the_positions(
    name: str, at: int, lost: tuple[int, int | None], folder: Path
) -> None:
    size = damage(folder, name, at).stat().st_size
    done = bers(folder, "verify", "--json")
    said = json.loads(done.output)
    assert done.exit_code == 1 and not said["ok"] and not said["missing"]
    assert said["damaged"] == [{"file": name, "firstByte": 0, "endByte": size, "start": lost[0], "end": lost[1]}]
    text = bers(folder, "verify")
    assert text.exit_code == 1 and f"{name}: bytes 0 to {size} are damaged" in text.output
    assert len(exported(folder)) == 20


def test_a_file_that_is_gone_is_missing(folder: Path) -> None:
    (folder / "data/journal/00000000000000000010.log").unlink()
    done = bers(folder, "verify")
    assert (done.exit_code, done.output) == (1, "no file has the events from position 10 to 20\n")
    assert as_json(folder, "verify")["missing"] == [{"start": 10, "end": 20}]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--from", "27"], range(27, 30)),
        (["--from", "8", "--to", "12"], range(8, 12)),
        (["--limit", "2"], range(2)),
        (["--type", "build.*", "--to", "10"], range(1, 10, 2)),
        (["--type", "build.finished", "--type", "deployment.finished"], range(30)),
        (["--type", "other"], []),
        (["--where", "outcome=failure"], range(0, 30, 5)),
        (["--since", "2023-11-14 22:13:45", "--until", "2023-11-14 22:13:47"], range(25, 27)),
    ],
)
def test_export_chooses(
    arguments: Sequence[str], wanted: Sequence[int], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    assert exported(folder, *arguments) == [f"e-{n}" for n in wanted]


def test_export_prints_events_as_they_are_and_masks_what_nobody_may_read(tmp_path: Path) -> None:
    async def write_one() -> None:
        files = Journal(tmp_path / "data/journal")
        event = Event("e-1", "/ci", "build.finished", 1.7e9, data={"password": "hunter22"}, received=1.7e9, seq=1)
        files.add(Frame(0, 1, msgspec.msgpack.encode([event])))
        await files.sync()
        files.close()

    anyio.run(write_one)
    (tmp_path / "pipelines.yaml").write_text(f"data_dir: {tmp_path / 'data'}\n")
    (line,) = bers(tmp_path, "export").output.splitlines()
    assert json.loads(line) == {
        "id": "e-1", "source": "/ci", "type": "build.finished", "time": 1.7e9, "data": {"password": "***"},
        "received": 1.7e9, "seq": 1,
    }  # fmt: skip


def test_a_folder_without_a_journal_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "pipelines.yaml").write_text(f"data_dir: {tmp_path / 'data'}\n")
    assert bers(tmp_path, "verify").output == f"no journal in {tmp_path / 'data'}\n"
    assert as_json(tmp_path, "inspect") == {"start": 0, "end": 0, "size": 0, "segments": [], "readers": []}
    assert bers(tmp_path, "export").output == ""
