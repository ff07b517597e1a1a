"""Dead letters: seen, sent again, deleted."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from bers_emit import Emitter, dead_letters, folder, spool
from bers_emit.cli import main
from bers_emit.testing import Receiver


def _refused(receiver: Receiver, count: int = 3) -> list[str]:
    """Have some events refused; their ids."""
    ids: list[str] = []

    def reject(event: dict[str, Any]) -> bool:
        ids.append(event["id"])
        return True

    receiver.rejects = reject
    with Emitter(receiver.url) as emitter:
        for _ in range(count):
            emitter.emit("a.b")
    return ids


def test_the_status_tells_how_many_there_are_and_why(
    receiver: Receiver, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _refused(receiver)
    assert main(["spool", "status"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "dead            3" in out
    assert out[-1].split(maxsplit=2) == ["3", "x", "rejected to order"]
    assert main(["spool", "status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["dead"], told["reasons"]) == (3, {"rejected to order": 3})


def test_they_are_sent_again_with_the_ids_that_they_had(
    receiver: Receiver, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = _refused(receiver)
    receiver.rejects = lambda event: False
    assert main(["spool", "retry"]) == 0
    assert capsys.readouterr().out == "3 dead letters sent again; 0 events left, 0 dead letters\n"
    assert [event["id"] for event in receiver.events] == ids
    assert list((spool / "dead").iterdir()) == []


def test_what_is_refused_again_is_a_dead_letter_again(
    receiver: Receiver, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = _refused(receiver)
    assert main(["spool", "retry"]) == 1
    assert "0 events left, 3 dead letters" in capsys.readouterr().out
    receiver.rejects = lambda event: False
    assert main(["spool", "retry"]) == 0
    assert sorted(event["id"] for event in receiver.events) == sorted(set(ids))


def test_without_a_server_they_stay_where_they_are(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spool: Path
) -> None:
    _refused(receiver)
    monkeypatch.delenv("BERS_EMIT_URL")
    assert main(["spool", "retry"]) == 1
    assert "BERS_EMIT_URL is not set" in capsys.readouterr().err
    assert folder.status(str(spool))["dead"] == 3


def test_a_server_that_is_down_leaves_them_waiting(receiver: Receiver, spool: Path) -> None:
    _refused(receiver)
    assert main(["spool", "retry", "--url", "http://127.0.0.1:1", "--deadline", "1s"]) == 1
    assert (folder.status(str(spool))["waiting"], folder.status(str(spool))["dead"]) == (3, 0)


def test_they_are_deleted_on_demand(receiver: Receiver, spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _refused(receiver)
    assert main(["spool", "purge", "--older-than", "1h"]) == 0
    assert capsys.readouterr().out == "0 dead letters deleted\n"
    [file] = (spool / "dead").iterdir()
    os.utime(file, (0, 0))
    assert main(["spool", "purge", "--older-than", "1h"]) == 0
    assert capsys.readouterr().out == "3 dead letters deleted\n"
    assert folder.status(str(spool))["dead"] == 0


def test_many_letters_need_more_than_one_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MAX_BYTES", 2000)
    letters = [(json.dumps({"id": str(n), "data": "x" * 300}).encode(), "odd") for n in range(20)]
    dead_letters.bury(str(tmp_path), "a", letters)
    assert dead_letters.revive(str(tmp_path)) == 20
    assert folder.status(str(tmp_path))["waiting"] == 20
    assert len(list(tmp_path.glob("*.ndjson"))) > 1


def test_no_letter_is_lost_between_one_who_buries_and_one_who_takes(tmp_path: Path) -> None:
    total, taken = 400, 0
    letters = [(json.dumps({"id": str(n)}).encode(), "odd") for n in range(total)]

    def bury() -> None:
        for letter in letters:
            dead_letters.bury(str(tmp_path), "a", [letter])

    thread = threading.Thread(target=bury)
    thread.start()
    while thread.is_alive():
        taken += dead_letters.revive(str(tmp_path))
    thread.join()
    taken += dead_letters.revive(str(tmp_path))
    assert taken == total
    assert folder.status(str(tmp_path))["waiting"] == total


def test_rubbish_is_no_letter(tmp_path: Path) -> None:
    (tmp_path / "dead").mkdir()
    (tmp_path / "dead" / "a.ndjson").write_bytes(b'\0\n{"reason": "x"}\n[1]\n{"reason": "y", "event": {"id": "1"}}\n')
    assert dead_letters.reasons(str(tmp_path)) == {"unreadable": 2, "x": 1, "y": 1}
    assert dead_letters.revive(str(tmp_path)) == 1


def test_letters_are_not_written_through_a_link_nor_read_from_one(tmp_path: Path, spool: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("untouched\n")
    dead = Path(dead_letters.place(str(spool)))
    dead.mkdir(parents=True)
    (dead / "a.ndjson").symlink_to(mine)
    with pytest.raises(OSError):
        dead_letters.bury(str(spool), "a", [(b"{}", "no")])
    assert dead_letters.reasons(str(spool)) == {}
    assert dead_letters.revive(str(spool)) == dead_letters.purge(str(spool)) == 0
    assert mine.read_text() == "untouched\n"


def test_a_pipe_among_the_letters_holds_nobody(spool: Path) -> None:
    dead = Path(dead_letters.place(str(spool)))
    dead.mkdir(parents=True)
    os.mkfifo(dead / "a.ndjson")
    assert dead_letters.reasons(str(spool)) == {}
    assert dead_letters.revive(str(spool)) == 0
    with pytest.raises(OSError):
        dead_letters.bury(str(spool), "a", [(b"{}", "no")])


def test_a_reason_is_one_line(receiver: Receiver, spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dead_letters.bury(str(spool), "a", [(b"{}", "no\n::error::\x1b[2J")])
    assert main(["spool", "status"]) == 0
    assert capsys.readouterr().out.endswith("1 x no ::error:: [2J\n")
