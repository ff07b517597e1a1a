"""What the command line makes of configurations: it needs no network, keeps secrets, and mends old files."""

import json
import os
import stat
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.acceptance.conftest import BERS, ROOT

NO_NETWORK = """\
import socket

def refused(*_, **__):
    raise AssertionError("this asks the network")

socket.socket.connect = socket.socket.connect_ex = socket.socket.bind = socket.socket.sendto = refused
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = refused
"""


def bers(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BERS, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, **more},
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments", [["check"], ["check", "--json"], ["schema"], ["config", "show"], ["config", "migrate"], ["graph"]]
)
def test_nothing_that_looks_at_a_configuration_asks_the_network(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    text = (ROOT / "pipelines.yaml").read_text()
    assert "  webhooks: {}" in text and "  providers: {}" in text
    text = text.replace(
        "  webhooks: {}", "  webhooks: {channels: [{name: chat, url: 'https://chat.example/hook'}]}"
    ).replace("  providers: {}", "  providers: {probes: [{provider: db, kind: http, url: 'http://db.example/'}]}")
    (tmp_path / "pipelines.yaml").write_text(text)
    done = bers(tmp_path, *arguments, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    proof = subprocess.run(
        [BERS[0], "-c", "import socket; socket.getaddrinfo('localhost', 80)"],
        cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert "this asks the network" in proof.stderr


def test_schema_is_one_and_the_shipped_file_is_valid_by_it(tmp_path: Path) -> None:
    schema = json.loads(bers(tmp_path, "schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load((ROOT / "pipelines.yaml").read_text()), schema)
    assert schema["properties"]["server"]["properties"]["control"]["description"]


def test_config_show_has_every_default_and_no_secret(tmp_path: Path) -> None:
    text = (ROOT / "pipelines.yaml").read_text()
    channel = "{name: chat, url: 'https://chat.example/T0AB12CD34EF', headers: {Authorization: 'Bearer ${env:KEY}'}}"
    (tmp_path / "pipelines.yaml").write_text(text.replace("  webhooks: {}", f"  webhooks: {{channels: [{channel}]}}"))
    done = bers(tmp_path, "config", "show", KEY="hunter2hunter2")
    shown = yaml.safe_load(done.stdout)
    assert "hunter2" not in done.stdout and "T0AB12CD34EF" not in done.stdout
    assert shown["sinks"]["webhooks"]["channels"][0]["url"] == "***"
    assert (shown["server"]["host"], shown["server"]["control"]) == ("127.0.0.1", 3003)
    assert shown["sinks"]["store"]["delivery"]["required"] is True
    assert json.loads(bers(tmp_path, "config", "show", "--json", KEY="hunter2hunter2").stdout) == shown
    (tmp_path / "again.yaml").write_text(done.stdout)
    assert "webhooks.channels[0].url" not in bers(tmp_path, "check", "-c", "again.yaml").stdout


def test_config_migrate_prints_and_with_write_changes_the_file_keeps_its_rights_and_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "pipelines.yaml"
    old = "# ours\ndeployment: {dashboardPort: 8080}  # the page\n"
    path.write_text(old)
    path.chmod(0o640)
    printed = bers(tmp_path, "config", "migrate")
    assert path.read_text() == old and "control: 8080" in printed.stdout
    assert "deployment.dashboardPort: 8080 is server.control: 8080 now" in printed.stderr

    done = bers(tmp_path, "config", "migrate", "--write")
    assert (done.returncode, done.stdout, path.read_text()) == (0, "", printed.stdout)
    assert "# ours" in path.read_text() and "# the page" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    (kept,) = tmp_path.glob("*.bak")
    assert kept.read_text() == old

    again = bers(tmp_path, "config", "migrate", "--write")
    assert "is up to date" in again.stderr and len(list(tmp_path.glob("*.bak"))) == 1
    assert bers(tmp_path, "check").returncode == 0


def test_config_migrate_says_what_is_wrong_with_the_result_and_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "pipelines.yaml").write_text("deployment: {dashboardPort: 8080}\nsources: {biuld: {}}\n")
    done = bers(tmp_path, "config", "migrate")
    assert done.returncode == 1 and "unknown source 'biuld'; did you mean 'build'?" in done.stderr
    (tmp_path / "pipelines.yaml").write_text("version: 2\n")
    done = bers(tmp_path, "config", "migrate")
    assert (done.returncode, done.stdout) == (2, "")
    assert "version: this bers knows versions up to 1; install a newer one" in done.stderr


def test_a_server_that_cannot_start_says_why_without_its_secrets(tmp_path: Path) -> None:
    text = (ROOT / "pipelines.yaml").read_text()
    text += "server: {health: 0, metrics: 0, control: 0}\ndata_dir: ${env:SECRET_FOLDER}\n"
    (tmp_path / "pipelines.yaml").write_text(text)
    done = bers(tmp_path, "start", SECRET_FOLDER="/proc/hunter2hunter2")
    assert done.returncode == 2
    assert done.stderr.startswith("data_dir: '***' cannot be written to: ")
    assert "hunter2" not in done.stderr + done.stdout
