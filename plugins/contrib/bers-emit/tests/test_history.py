"""What a deployment brings, out of git's own history."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bers_emit import history
from bers_emit.cli import main
from bers_emit.testing import Receiver

WRAPPED = [sys.executable, "-m", "bers_emit", "run", "--kind", "deploy", "--name", "chat", "--env", "production"]
NOW = int(time.time())


def git(*arguments: str, stdin: str | None = None) -> str:
    done = subprocess.run(["git", *arguments], input=stdin, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three hundred commits, a minute apart, the last a minute old; ``v1`` is three before the last."""
    try:
        subprocess.run(["git", "--version"], check=True, capture_output=True)
    except OSError:
        pytest.skip("there is no git")
    home = tmp_path / "project"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    git("init", "--quiet", "--initial-branch=main")
    commits = "".join(
        f"commit refs/heads/main\nmark :{n + 1}\ncommitter A <a@example.com> {NOW - 60 * (300 - n)} +0000\ndata 1\nx\n"
        for n in range(300)
    )
    git("fast-import", "--quiet", stdin=f"{commits}reset refs/tags/v1\nfrom :297\n\nreset refs/tags/v0\nfrom :1\n\n")
    git("remote", "add", "origin", "https://bot:ghp_s3cret@git.example.com/acme/chat.git")
    return home


def test_a_deployment_tells_of_the_commit_that_it_brings(receiver: Receiver) -> None:
    subprocess.run([*WRAPPED, "--", "true"], check=True)
    started, finished = receiver.events
    assert started["vcs"] == finished["vcs"]
    assert finished["vcs"] == {
        "repository": "https://git.example.com/acme/chat.git",
        "revision": git("rev-parse", "HEAD"),
        "ref": "main",
        "committed_at": NOW - 60,
    }
    assert "lead_time" not in finished["measures"]  # The server knows it from the commit's time.


def test_a_base_tells_of_all_commits_since(receiver: Receiver) -> None:
    subprocess.run([*WRAPPED, "--base", "v1", "--", "true"], check=True)
    [finished] = receiver.of("deployment.finished")
    assert finished["vcs"]["base_revision"] == git("rev-parse", "v1")
    names = git("log", "--format=%H", "v1..HEAD").splitlines()
    assert finished["data"]["commits"] == [[name, NOW - 60 * (n + 1)] for n, name in enumerate(names)]
    assert len(names) == 3
    assert finished["measures"]["lead_time"] == pytest.approx(1000 * (time.time() - (NOW - 120)), rel=0.2)


def test_no_more_than_200_commits_are_told(receiver: Receiver) -> None:
    subprocess.run([*WRAPPED, "--base", "v0", "--", "true"], check=True)
    told = receiver.of("deployment.finished")[0]["data"]["commits"]
    assert len(told) == 200
    assert told[0][0] == git("rev-parse", "HEAD")


def test_a_deployment_that_fails_has_no_lead_time(receiver: Receiver) -> None:
    assert subprocess.run([*WRAPPED, "--base", "v1", "--", "false"], check=False).returncode == 1
    [finished] = receiver.of("deployment.finished")
    assert "lead_time" not in finished["measures"]
    assert len(finished["data"]["commits"]) == 3


def test_a_revision_alone_is_asked_for_its_time(receiver: Receiver) -> None:
    short = git("rev-parse", "--short", "v1")
    assert main(["deployment.finished", "--revision", short, "--outcome", "success", "--strict"]) == 0
    assert main(["deployment.finished", "--revision", "v1", "--committed-at", "2026-01-31T12:00:00Z", "--strict"]) == 0
    assert main(["deployment.finished", "--revision", "not-there", "--strict"]) == 0
    assert main(["deployment.finished", "--revision", "HEAD", "--base", "v1", "--cause", "x", "--strict"]) == 0
    assert main(["deployment.finished", "--strict"]) == 0
    known, told, unknown, based, plain = receiver.events
    assert (known["vcs"]["revision"], known["vcs"]["committed_at"]) == (git("rev-parse", "v1"), NOW - 240)
    assert told["vcs"] == {"revision": "v1", "committed_at": "2026-01-31T12:00:00Z"}
    assert unknown["vcs"] == {"revision": "not-there"}
    assert (based["data"]["cause"], len(based["data"]["commits"])) == ("x", 3)
    assert "vcs" not in plain  # An event may be about anything, wherever it is emitted.


def test_a_deployment_from_another_folder_says_so(receiver: Receiver, tmp_path: Path) -> None:
    subprocess.run([*WRAPPED, "--no-git", "--", "true"], check=True)
    subprocess.run([*WRAPPED, "--", "true"], check=True, cwd=tmp_path)
    assert all("vcs" not in event for event in receiver.events)


@pytest.mark.parametrize("name", ["--output=x", "-x", "", "a b", "../x", "v1..HEAD"])
def test_a_name_is_never_an_option(name: str, repository: Path) -> None:
    found = history.change(name, name)
    assert found.get("revision") in (None, git("rev-parse", "HEAD"))
    assert "base_revision" not in found
    assert not (repository / "x").exists()


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("https://user:token@git.example.com/a/b.git", "https://git.example.com/a/b.git"),
        ("https://token@git.example.com/a/b.git", "https://git.example.com/a/b.git"),
        ("https://user:p@ss@git.example.com/a.git", "https://git.example.com/a.git"),
        ("ssh://git@git.example.com:22/a/b.git", "ssh://git.example.com:22/a/b.git"),
        ("git@git.example.com:a/b.git", "git.example.com:a/b.git"),
        ("/srv/git/a@b.git", "/srv/git/a@b.git"),
        ("https://git.example.com/a@b.git", "https://git.example.com/a@b.git"),
    ],
)
def test_an_address_without_who_fetches_from_it(remote: str, expected: str) -> None:
    assert history.without_user(remote) == expected
