"""vitest and jest report each of their runs once, with the counts of their own summary."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Generator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from bers_emit.testing import Receiver
from tests.acceptance.conftest import Operator, configuration, operating
from tests.emit_js.projects import SLOW_MS, Done, Project, change, project, stop, told, until

Make = Callable[..., Project]

VITEST = """
export default { test: {
  include: ['**/*.test.js'], reporters: ['default', ['@bers/emit/vitest', { name: process.env.NAME }]],
} }
"""

JEST = """
module.exports = { testMatch: ['**/*.test.js'], transform: {}, reporters: [
  'default', ['@bers/emit/jest', { name: process.env.NAME }],
] }
"""

CASES = """
describe('a shop', () => {
  test('sells', async () => { await new Promise((done) => setTimeout(done, Number(process.env.SLOW ?? 0))) })
  test('gives away', () => { expect(1).toBe(2) })
  test.skip('lends', () => {})
  test.todo('rents')
  let tried = 0
  test('answers at last', RETRY() => { if (tried++ < 1) throw new Error('not yet') })
  test.EXPECTED('loses money', () => { throw new Error('as expected') })
})
"""
"""The tests of a suite in which everything happens that may happen."""

RUNNERS: Mapping[str, tuple[tuple[str, ...], Mapping[str, str]]] = {
    "vitest": (("vitest", "run"), {
        "package.json": '{"name": "shop", "type": "module"}',
        "vitest.config.js": VITEST,
        "all.test.js": "import { describe, expect, test } from 'vitest'\n"
        + CASES.replace("RETRY", "{ retry: 2 }, ").replace("EXPECTED", "fails"),
        "broken.test.js": "this is no JavaScript (",
        "hook.test.js": "import { beforeAll, test } from 'vitest'\n"
        "beforeAll(() => { throw new Error('no database') })\ntest('never runs', () => {})",
    }),
    "jest": (("jest", "--ci"), {
        "package.json": '{"name": "shop"}',
        "jest.config.js": JEST,
        "all.test.js": "jest.retryTimes(2)\n" + CASES.replace("RETRY", "").replace("EXPECTED", "failing"),
        "broken.test.js": "this is no JavaScript (",
        "hook.test.js": "beforeAll(() => { throw new Error('no database') })\ntest('never runs', () => {})",
    }),
}  # fmt: skip
"""The command of each runner, and its project."""

FAILED = {
    "vitest": {"a shop > gives away", "broken.test.js", "hook.test.js"},
    "jest": {"a shop gives away", "never runs", "broken.test.js"},
}

FINE: Mapping[str, Mapping[str, str]] = {
    "vitest": {"all.test.js": "import { test } from 'vitest'\ntest('sells', () => {})"},
    "jest": {"all.test.js": "test('sells', () => {})"},
}

LATER = """
import { test } from 'vitest'
test('sells', () => {
  setTimeout(() => { throw new Error('too late') }, 1)
  return new Promise((done) => setTimeout(done, 50))
})
"""

OBSOLETE = "// Jest Snapshot v1, https://jestjs.io/docs/snapshot-testing\n\nexports[`gone 1`] = `2`;\n"

ENDS: Mapping[str, tuple[str, Mapping[str, str], tuple[str, ...], int, str, str | None]] = {
    "vitest-fine": ("vitest", FINE["vitest"], (), 0, "success", None),
    "vitest-none": ("vitest", {}, (), 1, "error", "no tests ran"),
    "vitest-none-is-fine": ("vitest", {}, ("--passWithNoTests",), 0, "success", None),
    "vitest-unhandled": (
        "vitest", {"all.test.js": LATER}, (), 1, "failure", "too late",
    ),
    "vitest-only-broken": ("vitest", {"all.test.js": "("}, (), 1, "failure", "1 of 1 tests did not pass"),
    "jest-fine": ("jest", FINE["jest"], (), 0, "success", None),
    "jest-only-broken": ("jest", {"all.test.js": "("}, (), 1, "failure", "1 of 1 tests did not pass"),
    "jest-obsolete": (
        "jest", {**FINE["jest"], "__snapshots__/all.test.js.snap": OBSOLETE}, (), 1, "failure",
        "snapshots are obsolete",
    ),
    "jest-bail": (
        "jest", {"all.test.js": "test('sells', () => { throw new Error() })"}, ("--bail",), 1, "failure",
        "1 of 1 tests did not pass",
    ),
}  # fmt: skip
"""A runner, its tests, its options; the exit code that it has then; and the outcome and the reason that are told."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    folder = tmp_path_factory.mktemp("operator")
    configuration(folder)
    with operating(folder) as operator:
        yield operator


@pytest.fixture
def make(built: Path, tmp_path: Path) -> Make:
    """Makes the project of a runner, which reports to a URL; with other tests than its own, if told."""

    def made(runner: str, url: str, name: str = "unit", tests: Mapping[str, str] | None = None) -> Project:
        files = RUNNERS[runner][1]
        if tests is not None:
            files = {**{file: text for file, text in files.items() if ".test." not in file}, **tests}
        return project(tmp_path, built, files, BERS_EMIT_URL=url, NAME=name, CI="1")

    return made


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_run_is_told_once_with_the_counts_of_its_summary(runner: str, server: Operator, make: Make) -> None:
    tests = make(runner, server.url("/"), runner)
    done = tests.run(*RUNNERS[runner][0], SLOW=str(SLOW_MS))
    assert done.code == 1, done.said
    started, finish = ended(server, runner)
    assert finish["outcome"] == "failure" and finish["subject"] == started["subject"]
    if runner == "jest":  # It counts the delivery of what is told of it, too, which a busy machine takes its time for.
        assert SLOW_MS <= finish["duration_ms"] <= said(done) * 1.05
    else:
        assert finish["duration_ms"] == pytest.approx(said(done), rel=0.05)
    assert finish["duration_ms"] <= done.seconds * 1000
    assert tests.spooled() == []

    data = finish["data"]
    assert set(data["failed"]) == FAILED[runner]
    assert [name.split()[-1] for name in data["flaky"]] == ["last"]
    assert data["slowest"][0]["name"].endswith("sells") and data["slowest"][0]["ms"] >= SLOW_MS

    summary = counts(done)
    errored = len([name for name in FAILED[runner] if name.endswith(".js")])  # Their tests do not even exist.
    expected = {
        "passed": summary["passed"] + summary.get("expected fail", 0),
        "failed": summary["failed"],
        "skipped": summary["skipped"] + summary["todo"],
        "errored": errored,
    }
    assert sum(expected.values()) == summary["total"] + errored
    for status, count in expected.items():
        shows(server, "test_count", count, f"status={status}")
    bad, executed = expected["failed"] + errored, sum(expected.values()) - expected["skipped"]
    shows(server, "test_failure_rate", 100 * bad / executed)
    assert finish["reason"] == f"{bad} of {executed} tests did not pass"
    shows(server, "test_flaky_count", 1)
    shows(server, "test_suite_duration", finish["duration_ms"], f"suite={runner}")


@pytest.mark.parametrize("case", ENDS)
def test_how_a_run_ends_is_what_the_runner_says(case: str, server: Operator, make: Make) -> None:
    runner, tests, options, code, outcome, reason = ENDS[case]
    done = make(runner, server.url("/"), case, tests).run(*RUNNERS[runner][0], *options)
    assert done.code == code, done.said
    _, finish = ended(server, case)
    assert (finish["outcome"], finish.get("reason")) == (outcome, reason)


def test_each_further_run_while_vitest_watches_is_one_of_its_own(server: Operator, make: Make) -> None:
    tests = make("vitest", server.url("/"), "watched", FINE["vitest"])
    with tests.start("vitest", "watch") as process:
        try:
            until(lambda: finished(server, "watched"))
            failing = FINE["vitest"]["all.test.js"].replace("{}", "{ throw new Error('no') }")
            change(tests, {"all.test.js": failing}, lambda: finished(server, "watched")[-1]["outcome"] == "failure")
        finally:
            stop(process)
    events = told(server, "testsuiterun", "watched")
    ends = [one for one in events if one["type"] == "testsuiterun.finished"]
    assert [outcome for outcome, _ in groupby(one["outcome"] for one in ends)] == ["success", "failure"]
    started = [one["subject"] for one in events if one["type"] == "testsuiterun.started"]
    # One change may be noticed twice, and the runner be stopped within the second run of it.
    assert started[: len(ends)] == [one["subject"] for one in ends]
    assert len(set(started)) == len(started) <= len(ends) + 1


def test_a_run_that_is_stopped_is_told_as_cancelled(make: Make) -> None:
    slow = {"all.test.js": FINE["vitest"]["all.test.js"].replace("() => {}", "() => new Promise(() => {}), 60_000")}
    with Receiver() as receiver:
        tests = make("vitest", receiver.url, tests=slow)
        with tests.start("vitest", "run") as process:
            receiver.wait(lambda: len(receiver.events) == 1, 60)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
        tests.run(
            "node", "-e", "import('@bers/emit').then(({ emit, flush }) => { emit('task.done'); return flush(10) })"
        )
        [finish] = receiver.of("testsuiterun.finished")
    assert (finish["outcome"], finish["reason"]) == ("cancel", "stopped by SIGTERM")


@pytest.mark.parametrize("runner", RUNNERS)
def test_what_goes_wrong_in_the_reporter_is_said_once_and_fails_no_run(runner: str, make: Make) -> None:
    with Receiver() as receiver:
        tests = make(runner, receiver.url, tests=FINE[runner])
        config = next(tests.folder.glob("*.config.js"))
        text = config.read_text()
        assert "name: process.env.NAME" in text
        config.write_text(
            text.replace("name: process.env.NAME", "get name() { throw new Error('a fault of our own') }")
        )
        done = tests.run(*RUNNERS[runner][0])
    assert done.code == 0, done.said
    assert done.said.count("a fault of our own") == 1, done.said
    assert receiver.events == []


@pytest.mark.parametrize("runner", RUNNERS)
def test_without_a_server_nothing_is_written(runner: str, make: Make) -> None:
    tests = make(runner, "", tests=FINE[runner])
    assert tests.run(*RUNNERS[runner][0]).code == 0
    assert not Path(tests.environ["BERS_EMIT_SPOOL"]).exists()


def said(done: Done) -> float:
    """The milliseconds that the runner itself says it took."""
    found = re.search(r"(?:Duration|Time:) +([\d.]+) ?(ms|s)\b", done.said)
    assert found, done.said
    return float(found[1]) * (1000 if found[2] == "s" else 1)


def counts(done: Done) -> Mapping[str, int]:
    """The tests in the runner's own summary: `Tests  2 failed | 3 passed (5)`, `Tests: 2 failed, 3 passed, 5 total`."""
    line = re.search(r"^ *Tests:? +(.*)$", done.said, re.MULTILINE)
    assert line, done.said
    found = {name: int(count) for count, name in re.findall(r"(\d+) ([a-z][a-z ]*[a-z])", line[1])}
    if total := re.search(r"\((\d+)\)", line[1]):
        found["total"] = int(total[1])
    return found


def ended(server: Operator, name: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The beginning and the end of the only run of that name."""
    until(lambda: finished(server, name))
    started, finish = told(server, "testsuiterun", name)
    assert (started["type"], finish["type"]) == ("testsuiterun.started", "testsuiterun.finished")
    return started, finish


def finished(server: Operator, name: str) -> list[Mapping[str, Any]]:
    return [one for one in told(server, "testsuiterun", name) if one["type"] == "testsuiterun.finished"]


def shows(server: Operator, metric: str, value: float, labels: str = "") -> None:
    server.until(f"metrics/{metric}?labels={labels}", lambda data: data["current"] == value)
