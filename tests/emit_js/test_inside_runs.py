"""Builds and tests inside of ``bers-emit run`` of their kind are that run: one start, one end, the figures of all."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bers_emit.testing import Receiver
from tests.acceptance.conftest import Operator, configuration, operating
from tests.emit_js.projects import APP, COMMANDS, CONFIGURATIONS, Project, project, stop, told, until

Make = Callable[..., Project]

RUN = (sys.executable, "-m", "bers_emit", "run")
BOTH = """
import { build } from 'vite'
await build()
await build({ build: { ssr: 'src/later.js', outDir: 'dist-server' } })
"""
KILLS = """
const kills = { name: 'kills', buildEnd() { process.kill(process.env.RUN, 'SIGKILL') } }
export const faults = [kills]
export const slow = {}
"""
SUITES: Mapping[str, tuple[Sequence[str], Mapping[str, str]]] = {
    "vitest": (("vitest", "run"), {
        "package.json": '{"name": "shop", "type": "module"}',
        "vitest.config.js": "export default { test: { include: ['**/*.test.js'], reporters: ['@bers/emit/vitest'] } }",
        "all.test.js": "import { test } from 'vitest'\ntest('sells', () => {})\n"
        "test('lends', () => { throw new Error() })",
    }),
    "jest": (("jest", "--ci"), {
        "package.json": '{"name": "shop"}',
        "jest.config.js": "module.exports = { transform: {}, reporters: ['@bers/emit/jest'] }",
        "all.test.js": "test('sells', () => {})\ntest('lends', () => { throw new Error() })",
    }),
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    folder = tmp_path_factory.mktemp("operator")
    configuration(folder)
    with operating(folder) as operator:
        yield operator


@pytest.fixture
def make(built: Path, tmp_path: Path) -> Make:
    def made(url: str, files: Mapping[str, str] = {}, **environ: str) -> Project:
        files = files or {**APP, **CONFIGURATIONS, "package.json": '{"name": "shop", "type": "module"}'}
        return project(tmp_path, built, files, BERS_EMIT_URL=url, CI="1", **environ)

    return made


def run(kind: str, name: str, *command: str) -> tuple[str, ...]:
    """The command under ``run``, and not as a part of the test that starts it."""
    return ("env", "-u", "PYTEST_CURRENT_TEST", *RUN, "--kind", kind, "--name", name, "--", *command)


def ends(server: Operator, kind: str, name: str) -> Any:
    """The end of the one run that there is of that name, and of its kind at all in this project."""
    until(lambda: len(told(server, kind, name)) >= 2)
    started, finished = told(server, kind, name)
    assert (started["type"], finished["type"]) == (f"{kind}.started", f"{kind}.finished")
    assert started["subject"] == finished["subject"]
    assert told(server, kind, "shop") == []
    return finished


def size(files: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in files)


@pytest.mark.parametrize("tool", COMMANDS)
def test_a_build_in_a_run_of_builds_is_one(tool: str, server: Operator, make: Make) -> None:
    app = make(server.url("/"), FOR=f"for-{tool}")
    done = app.run(*run("build", f"run-{tool}", "sh", "-c", f"{' '.join(COMMANDS[tool])} && sleep 1"))
    assert done.code == 0, done.said
    finished = ends(server, "build", f"run-{tool}")
    assert finished["outcome"] == "success" and finished["environment"] == f"for-{tool}"
    assert 1000 < finished["duration_ms"] <= done.seconds * 1000
    files = [path for path in (app.folder / "dist").rglob("*.*") if path.suffix != ".map"]
    measures = finished["measures"]
    assert (measures["bundle_asset_count"], measures["exit_code"], measures["build_total"]) == (len(files), 0, 1)
    assert sum(one["files"] for one in finished["data"]["assets"]) == len(files)
    server.until("metrics/bundle_size_total?labels=kind=raw", lambda data: data["current"] == size(files))
    # The spool is empty, and nothing of the run is left in it.
    assert app.spooled() == [] and not list(Path(app.environ["BERS_EMIT_SPOOL"]).glob(".*"))


def test_several_builds_in_a_run_are_added_up(server: Operator, make: Make) -> None:
    app = make(server.url("/"))
    app.write({"both.js": BOTH})
    done = app.run(*run("build", "run-both", "node", "both.js"))
    assert done.code == 0, done.said
    finished = ends(server, "build", "run-both")
    folders = [app.folder / "dist", app.folder / "dist-server"]
    files = [path for folder in folders for path in folder.rglob("*.*") if path.suffix != ".map"]
    assert finished["measures"]["bundle_asset_count"] == len(files)
    server.until("metrics/bundle_size_total?labels=kind=raw", lambda data: data["current"] == size(files))
    assert [part["outcome"] for part in finished["data"]["parts"]] == ["success", "success"]


def test_a_build_that_fails_says_why_and_the_exit_code_decides(server: Operator, make: Make) -> None:
    app = make(server.url("/"), FAULT="transform")
    assert app.run(*run("build", "run-fails", *COMMANDS["vite"])).code == 1
    finished = ends(server, "build", "run-fails")
    assert finished["outcome"] == "failure" and finished["reason"].startswith("exit code 1: ")
    assert "this is the fault of transform" in finished["reason"]
    assert app.run(*run("build", "run-ignores", "sh", "-c", f"{' '.join(COMMANDS['vite'])}; true")).code == 0
    assert ends(server, "build", "run-ignores")["outcome"] == "success"


@pytest.mark.parametrize("runner", SUITES)
def test_a_suite_in_a_run_of_tests_is_one(runner: str, server: Operator, make: Make) -> None:
    command, files = SUITES[runner]
    tests = make(server.url("/"), files)
    done = tests.run(*run("test", f"run-{runner}", *command))
    assert done.code == 1, done.said
    finished = ends(server, "testsuiterun", f"run-{runner}")
    assert finished["measures"]["test_failure_rate"] == 50
    assert finished["data"]["failed"] == ["lends"] and finished["outcome"] == "failure"
    assert finished["reason"] == "exit code 1: 1 of 2 tests did not pass"


def test_a_suite_in_a_run_of_another_kind_is_its_own(server: Operator, make: Make) -> None:
    command, files = SUITES["vitest"]
    tests = make(server.url("/"), {**files, "package.json": '{"name": "inside", "type": "module"}'})
    assert tests.run(*run("build", "run-with-tests", *command)).code == 1
    until(lambda: len(told(server, "testsuiterun", "inside")) >= 2)
    [_, suite], build = told(server, "testsuiterun", "inside"), ends(server, "build", "run-with-tests")
    assert suite["data"]["parent"] == build["subject"] and "test_failure_rate" not in build["measures"]


def test_rebuilds_are_their_own_inside_of_a_run(make: Make) -> None:
    with Receiver() as receiver:
        app = make(receiver.url)
        with app.start(*run("build", "watched", *COMMANDS["vite"], "--watch")) as process:
            try:
                receiver.wait(lambda: bool(receiver.of("build.finished")), 60)
            finally:
                stop(process)
        first, last = receiver.of("build.finished")[0], receiver.of("build.finished")[-1]
    assert (first["labels"], last["labels"]) == ({"build": "shop"}, {"build": "watched"})
    assert first["data"]["parent"] == last["subject"] and "bundle.raw" not in last["measures"]


def test_where_the_run_is_killed_the_build_ends_it(make: Make) -> None:
    with Receiver() as receiver:
        app = make(receiver.url)
        app.write({"faults.js": KILLS})
        script = f"export RUN=$PPID; {' '.join(COMMANDS['vite'])}"
        with app.start(*run("build", "killed", "sh", "-c", script)) as process:
            process.wait(60)
            receiver.wait(lambda: bool(receiver.of("build.finished")), 60)
        [started], [finished] = receiver.of("build.started"), receiver.of("build.finished")
    assert process.returncode == -signal.SIGKILL
    assert finished["subject"] == started["subject"] and finished["labels"] == {"build": "killed"}
    assert finished["measures"]["bundle.raw"] > 0 and "parent" not in finished["data"]


def test_what_cannot_be_handed_over_is_told_as_before(make: Make) -> None:
    with Receiver() as receiver:
        app = make(receiver.url)
        app.run("env", "-u", "PYTEST_CURRENT_TEST", f"BERS_BUILD_RUN={app.folder}/none", *COMMANDS["vite"])
        assert [one["type"] for one in receiver.events] == ["build.started", "build.finished"]
        gone = json.dumps({"subject": "x/1", "name": "x", "chain": "x/1", "url": "http://elsewhere"})
        (app.folder / "other").write_text(gone + "\n")
        app.run("env", "-u", "PYTEST_CURRENT_TEST", f"BERS_BUILD_RUN={app.folder}/other", *COMMANDS["vite"])
        assert [one["type"] for one in receiver.events[2:]] == ["build.started", "build.finished"]
        assert receiver.events[3]["labels"] == {"build": "shop"}


def test_a_suite_in_a_build_that_reads_its_report_is_one(make: Make) -> None:
    command, files = SUITES["vitest"]
    reports = ("--reporter=@bers/emit/vitest", "--reporter=junit", "--outputFile.junit=v.xml")
    with Receiver() as receiver:
        tests = make(receiver.url, files)
        wrapped = ("env", "-u", "PYTEST_CURRENT_TEST", *RUN, "--kind", "build", "--junit", "v.xml", "--")
        assert tests.run(*wrapped, *command, *reports).code == 1
        [build], [suite] = receiver.of("build.finished"), receiver.of("testsuiterun.finished")
        assert not receiver.of("testsuiterun.started")
    assert (suite["subject"], suite["labels"], suite["outcome"]) == (build["subject"], {"suite": "shop"}, "failure")
    assert (suite["measures"]["tests.total"], suite["measures"]["tests.failed"]) == (2, 1)
