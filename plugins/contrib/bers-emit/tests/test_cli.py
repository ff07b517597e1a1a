"""The command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bers_emit import __version__, folder
from bers_emit.cli import COMMANDS, main
from bers_emit.commands.emit import emit_command
from bers_emit.commands.run import run_command
from bers_emit.durations import seconds
from bers_emit.testing import Receiver


def test_one_event_with_everything(receiver: Receiver, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "d.json").write_text('{"a": [1]}')
    line = "build.finished --subject B1 --outcome success --duration 1.5s --environment staging --service s --version 1"
    line += " --reason r --measure bundle.size=4097 --measure x=1e3 --label a=b --label c=d=e --id my-id --strict"
    line += f" --time 2026-01-31T12:00:00Z --data @{tmp_path}/d.json"
    assert main(line.split()) == 0
    assert capsys.readouterr() == ("", "")
    [event] = receiver.events
    del event["source"]
    assert event == {
        "id": "my-id",
        "type": "build.finished",
        "subject": "B1",
        "outcome": "success",
        "duration_ms": 1500.0,
        "environment": "staging",
        "service": "s",
        "version": "1",
        "reason": "r",
        "measures": {"bundle.size": 4097.0, "x": 1000.0},
        "labels": {"a": "b", "c": "d=e"},
        "time": "2026-01-31T12:00:00Z",
        "data": {"a": [1]},
    }


def test_a_deployment_tells_of_its_commit_its_run_and_its_cause(receiver: Receiver) -> None:
    change = ["--revision", "abc", "--committed-at", "2026-01-31T12:00:00+01:00", "--run", "7", "--attempt", "2"]
    assert main(["deployment.finished", *change, "--cause", "inc-7", "--data", '{"a": 1}', "--strict"]) == 0
    assert main(["deployment.finished", "--cause", "inc-7", "--data", "[1]", "--strict"]) == 0
    assert run_command(["--kind", "deploy", "--label", "kind=hotfix", *change, "--", "true"]) == 0
    first, second, *_, last = receiver.events
    expected = ({"revision": "abc", "committed_at": "2026-01-31T12:00:00+01:00"}, {"id": "7", "attempt": 2})
    assert (first["vcs"], first["run"]) == (last["vcs"], last["run"]) == expected
    assert (first["data"], second["data"]) == ({"a": 1, "cause": "inc-7"}, {"data": [1], "cause": "inc-7"})
    assert last["labels"] == {"kind": "hotfix"}
    assert "vcs" not in second


def test_a_heartbeat_says_that_a_job_ran_and_how(receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["heartbeat", "backup", "--strict"]) == 0
    assert main(["heartbeat", "backup", "--fail", "--reason", "no room", "--strict"]) == 0
    assert capsys.readouterr() == ("", "")
    first, second = receiver.events
    assert (first["type"], first["subject"], first["outcome"]) == ("heartbeat.received", "backup", "success")
    assert (second["subject"], second["outcome"], second["reason"]) == ("backup", "failure", "no room")
    assert main(["heartbeat"]) == 2


def test_a_rollback_has_a_label(receiver: Receiver) -> None:
    assert main(["deployment.finished", "--rollback", "--label", "team=web", "--strict"]) == 0
    assert receiver.events[0]["labels"] == {"kind": "rollback", "team": "web"}


def test_a_dry_run_shows_the_event_and_sends_nothing(
    receiver: Receiver, spool: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOY_TOKEN", "hunter2-hunter2")
    monkeypatch.setenv("GITLAB_CI", "true")
    monkeypatch.setenv("CI_COMMIT_SHA", "abc")
    for _ in range(2):
        assert main(["build.finished", "--subject", "B1", "--reason", "hunter2-hunter2", "--dry-run"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert (shown["type"], shown["subject"], shown["reason"]) == ("build.finished", "B1", "***")
        assert shown["vcs"] == {"revision": "abc"}
        monkeypatch.delenv("BERS_EMIT_URL", raising=False)  # It needs no server.
    assert receiver.requests == []
    assert not spool.exists()


@pytest.mark.parametrize(("more", "code"), [([], 0), (["--strict"], 1)])
def test_what_cannot_be_delivered_is_kept_and_said(
    more: list[str], code: int, nobody: str, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["a.b", *more]) == code
    error = capsys.readouterr().err
    assert error.startswith(f"bers-emit: not delivered yet, kept in {spool}: {nobody}: ")
    assert error.count("\n") == 1
    assert folder.status(str(spool))["waiting"] == 1


@pytest.mark.parametrize(("more", "code"), [([], 0), (["--strict"], 1)])
def test_what_is_refused_is_said(
    more: list[str], code: int, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.answer(422, body=b'{"error": {"message": "no such type"}}')
    assert main(["a.b", *more]) == code
    assert "refused by the server" in (error := capsys.readouterr().err)
    assert "no such type" in error


@pytest.mark.parametrize(("more", "code"), [([], 0), (["--strict"], 1)])
def test_without_a_url_it_is_inert_and_says_so(
    more: list[str], code: int, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["a.b", *more]) == code
    assert "BERS_EMIT_URL is not set" in capsys.readouterr().err
    assert not spool.exists()


def test_the_main_program_brings_an_address_of_its_own(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as other:
        assert emit_command(["a.b"], default_url=other.url) == 0  # The environment goes before it.
        assert other.events == []
        monkeypatch.delenv("BERS_EMIT_URL")
        assert emit_command(["a.b", "--strict"], default_url=other.url) == 0
        assert run_command(["--", "sh", "-c", "exit 3"], default_url=other.url) == 3
        assert [event["type"] for event in other.events] == ["a.b", "task.started", "task.finished"]
    assert len(receiver.events) == 1


def test_url_and_token_can_be_named(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERS_EMIT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("MINE", "t0ken")
    assert main(["a.b", "--url", receiver.url, "--token-env", "MINE", "--strict"]) == 0
    assert main(["run", "--url", receiver.url, "--token-env", "MINE", "--", "true"]) == 0
    assert {request[0]["Authorization"] for request in receiver.requests} == {"Bearer t0ken"}


def test_flush_appends_five_lines_to_a_summary(
    receiver: Receiver, spool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    assert main(["flush", "--summary", str(summary)]) == 0
    monkeypatch.setenv("DEPLOY_TOKEN", "hunter-22")
    receiver.answer(403, body=b'{"error": {"message": "not `hunter-22`\\n# of yours"}}', times=9)
    main(["a.b"])
    url = receiver.url.replace("//", "//me:pass@")
    assert main(["flush", "--summary", str(summary), "--url", url, "--deadline", "1s", "--strict"]) == 1
    lines = summary.read_text().splitlines()
    assert lines[:6] == [
        "before",
        "**BERS Monitoring**",
        f"- Server: `{receiver.url}`",
        "- Spool: everything was handed over",
        "- Dead letters: 0",
        "- Why: nothing is wrong",
    ]
    assert lines[6:] == [
        "**BERS Monitoring**",
        f"- Server: `{receiver.url.replace('//', '//***@')}`",
        "- Spool: 1 events wait, 0 files in use",
        "- Dead letters: 0",
        "- Why: `403 Forbidden: not '***' # of yours`",
    ]
    assert main(["flush", "--url", receiver.url, "--summary", str(tmp_path)]) == 0  # A folder is no file.
    assert "no summary was written" in capsys.readouterr().err


def test_flush_sends_what_is_left(nobody: str, spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        main(["a.b"])
    assert main(["flush", "--strict"]) == 1
    assert main(["spool", "status", "--json"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("3 events left (")
    status = json.loads(out[1])
    assert (status["folder"], status["files"], status["waiting"], status["dead"]) == (str(spool), 3, 3, 0)
    with Receiver() as receiver:
        assert main(["flush", "--url", receiver.url, "--deadline", "60s", "--strict"]) == 0
        assert len(receiver.events) == 3
    assert main(["spool", "status"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "0 events left, 0 files in use, 0 dead letters"
    assert "waiting         0" in out


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("a.b --duration 930", "930ms"),
        ("a.b --duration soon", "930ms"),
        ("a.b --measure x", "NAME=VALUE"),
        ("a.b --measure x=much", "NAME=NUMBER"),
        ("a.b --label =x", "NAME=VALUE"),
        ("a.b --data {", "@FILE"),
        ("a.b --data @no-such-file", "@FILE"),
        ("a.b --time 2026-01-31", "RFC 3339"),
        ("a.b --outcom success", "--outcom"),
        ("a.b --data @no-such-file", "cannot be read"),
        ("run true", "after --"),
        ("run --", "after --"),
        ("run --kind boil -- true", "deploy"),
        ("flsh", "write flush"),
        ("status", "write spool status"),
        ("help", "write --help"),
        ("gate --env production --for luck", "ENVIRONMENT-validation"),
        ("flush --deadline x", "930ms"),
        ("spool", "ACTION"),
        ("spool empty", "invalid choice"),
        ("gate", "--env"),
    ],
)
def test_wrong_usage_is_2_and_names_the_remedy(line: str, remedy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    said = capsys.readouterr().err
    assert remedy in said
    assert said.count("\n") == 1
    assert said.startswith("bers-emit")


def test_a_type_of_one_word_is_an_event(receiver: Receiver) -> None:
    assert main(["released"]) == 0
    assert [event["type"] for event in receiver.events] == ["released"]


@pytest.mark.parametrize("words", [[], ["a.b"], *([name] for name in COMMANDS)], ids=" ".join)
def test_help_fits_a_terminal(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert main([*words, "--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "run [options] -- CMD..." in capsys.readouterr().out
    assert main([]) == 2
    assert main(["--version"]) == 0
    assert main(["a.b", "--help"]) == 0
    assert __version__ in capsys.readouterr().out


def test_help_imports_no_parser_and_no_network() -> None:
    script = "import sys\nfrom bers_emit.cli import main\nmain(['--help'])\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"argparse", "http", "socket", "ssl", "subprocess", "logging", "email"} & set(done.stdout.split())


@pytest.mark.parametrize(("text", "expected"), [("930ms", 0.93), ("1.5s", 1.5), ("2m", 120.0), (" 1h ", 3600.0)])
def test_durations(text: str, expected: float) -> None:
    assert round(seconds(text), 6) == expected


@pytest.mark.parametrize("text", ["", "1", "s", "-1s", "1 d", "nans", "infs", "1sm"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="write a number and a unit"):
        seconds(text)
