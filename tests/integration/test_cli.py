"""The command line as people and scripts use it: what it prints, where it prints it, and how it exits."""

import json
import os
import pty
import re
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.acceptance.conftest import BERS, Operator
from tests.integration.processes import configure, free_ports, shown_on, started

COMMANDS = [
    "start", "dev", "stop", "restart", "status", "check", "config", "schema", "graph", "plugins", "emit", "run",
    "alerts", "audit", "silence", "dead", "report", "dora", "openapi", "doctor", "env", "keys", "top", "tap", "explain",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    folder = tmp_path_factory.mktemp("cli")
    configure(folder)
    with started(folder) as operator:
        yield operator


def bers(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BERS, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, **more},
    )  # fmt: skip


def on_terminal(folder: Path, *arguments: str, columns: int = 160) -> str:
    """What a command shows where a person looks on."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns)}
    with subprocess.Popen(
        [*BERS, *arguments], cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=env
    ) as process:
        os.close(theirs)
        shown = shown_on(ours)
        assert process.wait(30) == 0, shown
    os.close(ours)
    return shown


def test_help_says_what_each_command_is_for_and_what_exit_codes_mean(tmp_path: Path) -> None:
    bers(tmp_path, "--help")  # It compiles what is new.
    before = os.times()
    done = bers(tmp_path, "--help")
    after = os.times()
    # Of the processor, which others do not make longer. The aim of 150 ms is for tests/bench: it needs a quiet machine.
    took = after.children_user + after.children_system - before.children_user - before.children_system
    assert done.returncode == 0 and took < 1.0
    assert set(COMMANDS) <= set(re.findall(r"^  ([a-z]+) ", done.stdout, re.MULTILINE))
    assert "0 yes, 1 the answer is no" in done.stdout and "3 no server" in done.stdout.replace("\n ", "")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_takes_help(command: str, tmp_path: Path) -> None:
    done = bers(tmp_path, command, "--help")
    assert done.returncode == 0 and "usage: " in done.stdout.lower() and f"bers {command}" in done.stdout


@pytest.mark.parametrize("arguments", [("nope",), ("status", "--nope"), ("plugins", "nope"), ()])
def test_a_request_that_is_wrong_is_exit_code_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = bers(tmp_path, *arguments)
    assert done.returncode == 2 and "Usage: bers" in done.stderr + done.stdout


@pytest.mark.parametrize("arguments", [("status",), ("alerts", "list"), ("alerts", "ack", "a"), ("report",)])
def test_no_server_is_exit_code_3_and_one_line_that_helps(arguments: tuple[str, ...], tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_ports()['control']}"
    done = bers(tmp_path, *arguments, BERS_EMIT_URL=nobody)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"no server answers at {nobody}") and "`bers start`" in done.stderr
    assert done.stderr.count("\n") == 1


def test_who_has_no_server_is_told_where_the_file_lets_it_listen(tmp_path: Path) -> None:
    port = free_ports()["control"]
    (tmp_path / "pipelines.yaml").write_text(f"version: 1\nserver: {{host: 0.0.0.0, control: {port}}}\n")
    done = bers(tmp_path, "status")
    assert done.returncode == 3 and done.stderr.startswith(f"no server answers at http://127.0.0.1:{port}:")


@pytest.mark.parametrize("group", ["alerts", "silence", "rules", "notify", "health", "audit", "backup", "journal"])
def test_the_help_of_a_group_says_whole_sentences_within_80_columns(group: str, tmp_path: Path) -> None:
    said = bers(tmp_path, group, "--help", COLUMNS="80").stdout
    _, _, commands = said.partition("Commands:")
    assert "..." not in commands and max(map(len, said.splitlines())) <= 80
    assert commands.strip().endswith(".")


def test_status_is_columns_in_a_pipe_and_json_where_asked(server: Operator) -> None:
    done = bers(server.folder, "status")
    assert done.returncode == 0 and "\x1b" not in done.stdout
    rows = [line.split("\t") for line in done.stdout.splitlines() if "\t" in line]
    assert any(row[:3] == ["host", "system-resources", "ok"] and row[4] == "0" for row in rows)
    assert any(row[:3] == ["provider-health", "healthy", "closed"] for row in rows)
    said = json.loads(bers(server.folder, "status", "--json").stdout)
    assert said["health"]["overallStatus"] == "healthy" and said["status"]["server"]["ports"] == server.ports


def test_status_has_colour_and_tables_on_a_terminal(server: Operator) -> None:
    shown = on_terminal(server.folder, "status")
    assert re.search(r"\x1b\[[0-9;]*32m(healthy|ok)", shown) and "─" in shown and "what it found" in shown
    assert "\t" not in shown and re.search(r"provider-health +", shown)


def test_a_narrow_terminal_shows_what_rows_are_about_whole_and_cuts_nothing_off(server: Operator) -> None:
    for columns in (80, 60):
        shown = on_terminal(server.folder, "status", columns=columns)
        assert re.search(r"configuration-validity +\S", shown) and "…" not in shown


def test_json_is_indented_on_a_terminal_and_one_line_in_a_pipe(server: Operator) -> None:
    assert '\n  "health": {' in on_terminal(server.folder, "status", "--json").replace("\r", "")
    assert bers(server.folder, "status", "--json").stdout.count("\n") == 1


def test_status_of_a_server_that_is_not_well_is_exit_code_1(tmp_path: Path) -> None:
    often = "environment-resolver: {interval: 100ms}"
    looks = "health: {checks: {environment-resolver: {interval: 200ms}}}\n"
    configure(tmp_path, {"environment-resolver: {fallback: production}": often}, more=looks)
    with started(tmp_path, PICASSO_ENV="nowhere") as server:
        server.until("health", lambda data: data["overallStatus"] == "unhealthy")
        done = bers(tmp_path, "status", "--url", f"http://127.0.0.1:{server.ports['control']}")
        assert done.returncode == 1 and re.search(r"^status +unhealthy", done.stdout)
        assert re.search(r"^environment-resolver\tunhealthy\tclosed\t.*nowhere", done.stdout, re.MULTILINE)
        assert json.loads(bers(tmp_path, "status", "--json").stdout)["health"]["overallStatus"] == "unhealthy"


def test_check_finds_nothing_wrong_with_the_shipped_file_and_with_none(server: Operator, tmp_path: Path) -> None:
    done = bers(server.folder, "check")
    assert done.returncode == 0 and done.stdout.startswith("pipelines.yaml: 9 sources,") and not done.stderr
    assert "nothing wrong" in bers(tmp_path, "check").stdout
    assert json.loads(bers(tmp_path, "check", "--json").stdout) == {"ok": True, "faults": [], "warnings": []}


def test_check_names_every_fault_with_its_place_and_is_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "pipelines.yaml").write_text(
        "version: 1\n"
        "sources:\n"
        "  host: {use: system-resorces, interval: 1s}\n"
        "  build: {lost_after: 60}\n"
        "sinks: {store: {use: rest-store}}\n"
        "pipelines: {metrics: {sources: [host, biuld], sinks: [store]}}\n"
    )
    done = bers(tmp_path, "check")
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert all(re.match(r"pipelines\.yaml:\d+:\d+: \S+: ", line) for line in lines), done.stderr
    assert any(line.startswith("pipelines.yaml:3:") and "did you mean 'system-resources'" in line for line in lines)
    assert any(line.startswith("pipelines.yaml:4:") and "lost_after" in line for line in lines)
    assert any(line.startswith("pipelines.yaml:6:") and "did you mean 'build'" in line for line in lines)
    said = json.loads(bers(tmp_path, "check", "--json").stdout)
    assert said["ok"] is False and len(said["faults"]) == len(lines)
    assert {"file", "line", "column", "place", "path", "message"} == set(said["faults"][0])
    assert all(f"{one['file']}:{one['line']}:{one['column']}" == one["place"] for one in said["faults"])
    assert all(isinstance(one["line"], int) and isinstance(one["column"], int) for one in said["faults"])


@pytest.mark.parametrize("command", ["start", "dev", "graph", "openapi", "restart"])
def test_a_configuration_that_is_wrong_or_missing_is_exit_code_2_of_every_command(command: str, tmp_path: Path) -> None:
    (tmp_path / "pipelines.yaml").write_text("sinks: {store: {use: rest-stor}}\n")
    done = bers(tmp_path, command)
    assert done.returncode == 2 and "pipelines.yaml:1:" in done.stderr and "Traceback" not in done.stderr
    missing = bers(tmp_path, command, "--config", "elsewhere.yaml")
    assert missing.returncode == 2 and "elsewhere.yaml" in missing.stderr and "Traceback" not in missing.stderr


def test_graph_is_drawn_in_mermaid_dot_and_json(tmp_path: Path) -> None:
    mermaid = bers(tmp_path, "graph").stdout.splitlines()
    assert mermaid[0] == "flowchart LR"
    assert '  build["build"] -->|metrics| windows__metrics_["windows (metrics)"]' in mermaid
    assert '  alert_engine["alert-engine"] -->|notify| webhooks["webhooks"]' in mermaid
    dot = bers(tmp_path, "graph", "--format", "dot").stdout
    assert dot.startswith("digraph bers {\n") and dot.endswith("}\n") and dot.count("{") == 1
    assert '  "retention (metrics)" -> "store" [label="metrics"];' in dot
    edges = json.loads(bers(tmp_path, "graph", "--json").stdout)
    assert len(edges) == len(mermaid) - 1 == dot.count("->")
    assert {"from": "alert-engine", "to": "store", "pipeline": "history"} in edges


def test_plugins_are_listed_and_shown_with_their_options(tmp_path: Path) -> None:
    rows = [line.split("\t") for line in bers(tmp_path, "plugins", "list").stdout.splitlines()]
    assert ["source", "build"] in [row[:2] for row in rows] and all(len(row) == 3 and row[2] for row in rows)
    listed = json.loads(bers(tmp_path, "plugins", "list", "--json").stdout)
    assert [[one["kind"], one["name"], one["summary"]] for one in listed] == rows
    shown = bers(tmp_path, "plugins", "show", "system-resources").stdout
    assert re.search(r"^interval\tinterval\t\"1s\"\t\S", shown, re.MULTILINE)
    described = json.loads(bers(tmp_path, "plugins", "show", "system-resources", "--json").stdout)
    assert described["kind"] == "source" and described["schema"]["type"] == "object"
    assert "system_memory_usage" in [one["name"] for one in described["metrics"]]


def test_a_plugin_that_there_is_not_is_an_error_with_the_name_that_was_meant(tmp_path: Path) -> None:
    done = bers(tmp_path, "plugins", "show", "bild")
    assert done.returncode == 2 and "did you mean 'build'" in done.stderr


def test_alerts_are_listed_acknowledged_and_resolved(server: Operator) -> None:
    server.emit({"type": "build-completed", "detail": {"duration": 5100, "environment": "staging"}})
    (alert,) = server.until("alerts", len)
    (row,) = [line.split("\t") for line in bers(server.folder, "alerts", "list").stdout.splitlines()]
    assert [row[0], row[1], row[2], row[4]] == [alert["id"], "error", "active", "Build Performance Degraded: staging"]
    assert json.loads(bers(server.folder, "alerts", "list", "--json").stdout)[0]["id"] == alert["id"]
    assert "\x1b[" in on_terminal(server.folder, "alerts", "list")
    done = bers(server.folder, "alerts", "ack", alert["id"], "--operator", "ada", "--notes", "looking")
    assert (done.returncode, done.stdout) == (0, "Build Performance Degraded: staging: acknowledged\n")
    assert server.data("alerts")[0]["acknowledgment"]["operator"] == "ada"
    assert bers(server.folder, "alerts", "list", "--status", "acknowledged").stdout.startswith(alert["id"])
    assert bers(server.folder, "alerts", "resolve", alert["id"]).stdout.endswith(": resolved\n")
    none = bers(server.folder, "alerts", "list")
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "no alerts\n")


HOSTILE = "\x1b[2J\x07\x9b2J\u202e"
"""What clears a terminal, rings its bell, clears it in another way, and turns text around."""


def test_what_an_event_says_moves_no_cursor(server: Operator) -> None:
    event = {"type": "build.finished", "outcome": "failure", "service": f"a{HOSTILE}\nb", "environment": "e\x9b2J"}
    server.emit({**event, "reason": HOSTILE, "id": HOSTILE, "source": "/hostile"})
    (alert,) = server.until("alerts", len)
    for arguments in (("alerts", "list"), ("alerts", "list", "--json"), ("status",)):
        shown = on_terminal(server.folder, *arguments)
        assert "\x1b[2J" not in shown and not {"\x07", "\x9b", "\u202e"} & set(shown), arguments
    piped = bers(server.folder, "alerts", "list").stdout
    assert piped.count("\n") == 1 and "\x1b" not in piped and "a [2J  2J  b" in piped
    assert bers(server.folder, "alerts", "resolve", alert["id"]).stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("alerts", "ack", "no-such"), 1, "there is no alert 'no-such'"),
        (("alerts", "resolve", "no-such"), 1, "there is no alert 'no-such'"),
        (("alerts", "list", "--status", "loud"), 2, "'loud'"),
        (("report", "--period", "fortnight"), 2, "'fortnight' is not a period"),
    ],
)
def test_what_the_server_refuses_is_one_line_and_1_for_not_found_or_2_for_wrong(
    arguments: tuple[str, ...], code: int, said: str, server: Operator
) -> None:
    done = bers(server.folder, *arguments)
    assert done.returncode == code and said in done.stderr and done.stderr.count("\n") == 1


def test_the_report_has_availability_and_metrics(server: Operator) -> None:
    server.emit({"type": "build-completed", "detail": {"duration": 800, "environment": "test"}})
    server.until("metrics/build_performance", lambda data: data["current"] is not None)
    done = bers(server.folder, "report", "--period", "5m")
    assert done.returncode == 0 and "availability  100.0 % (target 99.9 %)" in done.stdout
    assert re.search(r"^build_performance\t\w+\t", done.stdout, re.MULTILINE)
    assert re.search(r"^uptime +\d+ ?m?s", done.stdout, re.MULTILINE) and "error budget" in done.stdout
    said = json.loads(bers(server.folder, "report", "--period", "7d", "--json").stdout)
    assert said["periodMs"] == 604_800_000 and said["availability"]["percent"] == 100.0


@pytest.mark.parametrize("surface", ["control", "health", "metrics"])
def test_openapi_needs_no_server_and_says_what_the_server_says(surface: str, server: Operator, tmp_path: Path) -> None:
    done = bers(tmp_path, "openapi", "--surface", surface)
    assert done.returncode == 0 and not any(tmp_path.iterdir())
    assert json.loads(done.stdout) == server.get("/openapi.json", surface).json()


def test_c007_doctor_looks_without_the_network_and_is_exit_code_1_where_something_is_wrong(
    server: Operator, tmp_path: Path
) -> None:
    done = bers(server.folder, "doctor")
    found = dict(line.split("\t", 1) for line in done.stdout.splitlines())
    assert done.returncode == 0 and found["configuration"] == "ok\tpipelines.yaml"
    assert found["data directory"] == f"ok\t.bers, in use by process {server.process.pid}"
    (tmp_path / "pipelines.yaml").write_text("version: 2\n")
    ill = bers(tmp_path, "doctor", "--json")
    verdicts = {one["what"]: one["verdict"] for one in json.loads(ill.stdout)}
    assert ill.returncode == 1 and verdicts["configuration"] == "error" and verdicts["python"] == "ok"


def test_c007_doctor_asks_for_newer_versions_and_does_without_an_answer(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_ports()['control']}/"
    done = bers(tmp_path, "doctor", "--outdated", PIP_INDEX_URL=nobody, PIP_RETRIES="0", PIP_CONFIG_FILE=os.devnull)
    assert done.returncode == 0 and "newer versions\twarning\t" in done.stdout


def test_c008_the_environment_is_detected_as_json_with_exit_code_1_where_there_is_none(tmp_path: Path) -> None:
    none = bers(tmp_path, "env", "detect")
    assert none.returncode == 1 and json.loads(none.stdout)["environment"] is None and none.stderr
    found = bers(tmp_path, "env", "detect", PICASSO_ENV="staging")
    said = json.loads(found.stdout)
    assert found.returncode == 0 and said["environment"] == "staging" and said["source"] == "env"
    assert set(said) == {"environment", "source", "confidence", "detectionTime", "validationErrors"}
    explained = bers(tmp_path, "env", "detect", "--explain", PICASSO_ENV="staging", NODE_ENV="production")
    assert re.search(r"PICASSO_ENV +staging", explained.stdout) and "NODE_ENV" in explained.stdout
    assert "candidates" in json.loads(bers(tmp_path, "env", "detect", "--explain", "--json").stdout)


def test_a27_an_event_is_handed_in_by_the_server_of_the_folder(server: Operator) -> None:
    done = bers(server.folder, "emit", "deployment.finished", "--service", "chat", "--outcome", "success",
                "--duration", "94s", "--strict")  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    server.until("metrics/deployment_performance", lambda data: data["current"] == 94_000)


def test_emit_is_0_where_nobody_answers_unless_it_is_strict(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_ports()['control']}"
    kept = bers(tmp_path, "emit", "build-completed", "--url", nobody)
    assert kept.returncode == 0 and kept.stderr.startswith("bers emit: not delivered yet, kept in")
    assert bers(tmp_path, "emit", "build-completed", "--url", nobody, "--strict").returncode == 1


def test_emit_and_run_say_how_they_are_used(tmp_path: Path) -> None:
    assert "usage: bers emit TYPE" in bers(tmp_path, "emit", "--help").stdout
    assert "usage: bers run [options] -- CMD..." in bers(tmp_path, "run", "--help").stdout
    assert bers(tmp_path, "emit").returncode == bers(tmp_path, "run").returncode == 2
    assert bers(tmp_path, "run", "--kind", "cake", "--", "true").returncode == 2


@pytest.mark.parametrize(
    ("command", "code"), [(("true",), 0), (("sh", "-c", "exit 3"), 3), (("sh", "-c", "kill -9 $$"), 137),
                          (("sh", "-c", "kill -TERM $$"), 143), (("no-such-program",), 127), (("/dev/null",), 126)]
)  # fmt: skip
def test_run_ends_as_its_command_does(command: tuple[str, ...], code: int, server: Operator) -> None:
    assert bers(server.folder, "run", "--", *command).returncode == code


def test_run_leaves_arguments_and_streams_to_its_command(server: Operator) -> None:
    echo = "import sys; print(sys.argv[1:]); print(sys.stdin.read(), file=sys.stderr)"
    done = subprocess.run(
        [*BERS, "run", "--name", "echo", "--", "python3", "-c", echo, "--help", "--", "--kind", "-x"],
        cwd=server.folder, input="typed", capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("['--help', '--', '--kind', '-x']\n", "typed\n")


def test_run_leaves_the_terminal_to_its_command(server: Operator) -> None:
    shown = on_terminal(server.folder, "run", "--", "python3", "-c", "import os; print(os.isatty(0), os.isatty(1))")
    assert shown == "True True\r\n"


def test_a_broken_pipe_is_no_traceback(server: Operator) -> None:
    with subprocess.Popen([*BERS, "plugins", "list"], cwd=server.folder, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:  # fmt: skip
        assert process.stdout and process.stderr
        process.stdout.close()
        said = process.stderr.read().decode()
    assert "Traceback" not in said, said
