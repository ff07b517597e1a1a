"""The sink `command`: real programs, told by their input and judged by their exit codes."""

import json
import os
import re
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from shlex import quote
from typing import Any

import anyio
import pytest

from bers import Caller, ConfigError, Context, Database, Secret
from bers.notifications import desk
from bers.notifications.desk import ListDeliveries
from bers.notifications.ledger import Delivery
from bers.notifications.notifier import Notifier
from bers.testing import check_spec, step
from bers_builtin.sinks.command import COMMAND
from tests.builtin.test_webhooks import alert, write


@asynccontextmanager
async def telling(folder: Path, command: list[str], **more: Any) -> AsyncGenerator[Notifier[Any]]:
    state = Database(folder / "state.db")
    named = {"name": "page", "command": command, "retries": {"initial": "10ms", "attempts": 3}, **more}
    try:
        with anyio.fail_after(20):
            context = Context("command", data_dir=folder, state=state)
            async with step(COMMAND, context=context, channels=[named]).open() as stage:
                assert isinstance(stage, Notifier)
                await stage.position("notify", 0, begin=0)
                yield stage
    finally:
        state.close()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


async def finished(stage: Notifier[Any]) -> list[Delivery]:
    while True:
        found = (await desk.list_deliveries(stage, ListDeliveries(), Caller()))[::-1]
        if all(one.status != "waiting" for one in found):
            return found
        await anyio.sleep(0.01)


async def test_the_spec_keeps_its_promises() -> None:
    await check_spec(COMMAND)


async def test_a_command_reads_the_event_and_finds_what_it_asks_for_most_in_its_environment(tmp_path: Path) -> None:
    seen = tmp_path / "seen.json"
    code = (
        "import json, os, sys; json.dump({'event': json.load(sys.stdin), 'environment': dict(os.environ), "
        f"'argv': sys.argv[1:]}}, open({str(seen)!r}, 'w'))"
    )
    os.environ["BERS_TEST_OF_LEAKS"] = os.environ["ANOTHER_TEST_OF_LEAKS"] = "secret of the server"
    try:
        async with telling(
            tmp_path, [*python(code), "$(touch x); `id`"], environment={"ROOM": Secret("t0ps3cret-room")}
        ) as stage:
            await write(stage, alert(1, title="Slow; rm -rf / $(id)"))
            (delivery,) = await finished(stage)
            assert (delivery.status, delivery.last_status) == ("delivered", 0), delivery.last_error
    finally:
        del os.environ["BERS_TEST_OF_LEAKS"], os.environ["ANOTHER_TEST_OF_LEAKS"]
    told = json.loads(seen.read_text())
    assert (told["event"]["type"], told["event"]["subject"]) == ("io.bers.alert.firing.v1", "a-1")
    assert told["argv"] == ["$(touch x); `id`"]
    environment = told["environment"]
    assert environment["ROOM"] == "t0ps3cret-room"
    assert environment["BERS_TITLE"] == "Slow; rm -rf / $(id)"
    wanted = {"BERS_STATUS": "firing", "BERS_ALERT": "a-1", "BERS_SEVERITY": "error", "BERS_TYPE": "alert.firing"}
    assert environment.items() >= wanted.items()
    assert "secret of the server" not in environment.values()


@pytest.mark.parametrize(
    ("code", "status", "attempts"), [(0, "delivered", 1), (75, "failed", 3), (1, "failed", 1), (127, "failed", 1)]
)
async def test_exit_codes_say_taken_later_and_never(code: int, status: str, attempts: int, tmp_path: Path) -> None:
    async with telling(tmp_path, python(f"import sys; print('the pager is off'); sys.exit({code})")) as stage:
        await write(stage, alert(1))
        (delivery,) = await finished(stage)
        assert (delivery.status, delivery.attempts, delivery.last_status) == (status, attempts, code)
        assert delivery.last_error == (f"exit code {code}: the pager is off" if code else "")


async def test_what_takes_too_long_ends_with_all_that_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    script = (
        f"sleep 60 & echo $! > {quote(str(child))}; wait"  # A shell, as it is there long before the two seconds end.
    )
    async with telling(tmp_path, ["/bin/sh", "-c", script], timeout="2s", retries={"attempts": 1}) as stage:
        await write(stage, alert(1))
        (delivery,) = await finished(stage)
        assert (delivery.status, delivery.last_error) == ("failed", "no answer within 2 s")
    await ends(int(child.read_text()))


async def test_what_a_command_leaves_behind_is_ended_and_its_answer_counts(tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"open({str(child)!r}, 'w').write(str(p.pid)); print('told')"
    )
    async with telling(tmp_path, python(code)) as stage:
        await write(stage, alert(1))
        assert [one.status for one in await finished(stage)] == ["delivered"]
    await ends(int(child.read_text()))


async def ends(pid: int) -> None:
    """Wait until a process is gone, or is a zombie that nobody has asked about."""
    with anyio.fail_after(30):
        while Path(f"/proc/{pid}").exists():
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
            await anyio.sleep(0.01)


async def test_what_a_command_says_is_bounded_and_masked(tmp_path: Path) -> None:
    code = "import os, sys; sys.stderr.write('x' * 10_000_000 + ' no room ' + os.environ['ROOM']); sys.exit(1)"
    async with telling(tmp_path, python(code), environment={"ROOM": Secret("t0ps3cret-room")}) as stage:
        await write(stage, alert(1))
        (delivery,) = await finished(stage)
        assert delivery.last_error.startswith("exit code 1: ")
        assert len(delivery.last_error) <= 500
        report = await desk.test_channel(stage, desk.NameChannel("page"), Caller())
        assert "t0ps3cret" not in report.answer + delivery.last_error
        assert "BERS_TYPE=alert.test" in report.sent


async def test_a_command_that_reads_nothing_has_taken_it_all_the_same(tmp_path: Path) -> None:
    async with telling(tmp_path, ["true"]) as stage:
        await write(stage, alert(1, message="x" * 200_000))
        assert [one.status for one in await finished(stage)] == ["delivered"]


async def test_so_many_run_at_once_and_no_more(tmp_path: Path) -> None:
    """Each waits until two have met, however long a program takes to start, and a while for a third."""
    code = (
        "import os, sys, time\n"
        f"os.chdir({str(tmp_path)!r}); mine = f'run-{{os.getpid()}}'; open(mine, 'w').close()\n"
        "def count(): return len([one for one in os.listdir('.') if one.startswith('run-')])\n"
        "while count() < 2 and not os.path.exists('most'): time.sleep(0.01)\n"
        "seen = count(); open('most', 'a').write(str(seen))\n"
        "time.sleep(0.1); open('most', 'a').write(str(count())); os.remove(mine)\n"
    )
    async with telling(tmp_path, python(code), at_once=2) as stage:
        await write(stage, *(alert(number, subject=f"a-{number}") for number in range(1, 9)))
        await finished(stage)
    assert max(map(int, (tmp_path / "most").read_text())) == 2


async def test_a_program_that_is_not_there_is_said_and_tried_again(tmp_path: Path) -> None:
    async with telling(tmp_path, ["/nowhere/page"]) as stage:
        await write(stage, alert(1))
        (delivery,) = await finished(stage)
        assert (delivery.status, delivery.attempts) == ("failed", 3)
        assert delivery.last_error == "/nowhere/page cannot be started: No such file or directory"


async def test_a_directory_that_is_not_there_is_said_at_the_start() -> None:
    named = {"name": "page", "command": ["true"], "directory": "/nowhere"}
    with pytest.raises(ConfigError, match=r"channels\[0\].directory: .* is no directory"):
        async with step(COMMAND, channels=[named]).open():
            pass


async def test_the_script_of_the_guide_pages_and_asks_to_be_tried_again_when_it_cannot(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/notify.md").read_text()
    (script,) = re.findall(r"^```bash\n(#!/bin/bash\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    program, curl = tmp_path / "page", tmp_path / "curl"
    program.write_text(script)
    curl.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" > {tmp_path}/asked; exit $(cat {tmp_path}/code)\n')
    for path in (program, curl):
        path.chmod(0o755)
    for code, status in (("0", "delivered"), ("22", "failed")):
        (tmp_path / "code").write_text(code)
        token = {"PAGER_TOKEN": Secret("t0ps3cret-token"), "PATH": Secret(f"{tmp_path}:{os.environ['PATH']}")}
        folder = tmp_path / code
        folder.mkdir()
        async with telling(folder, [str(program)], environment=token) as stage:
            await write(stage, alert(1))
            (delivery,) = await finished(stage)
            assert (delivery.status, delivery.last_status) == (status, 75 if code != "0" else 0)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert {"dedup=a-1", "status=firing", "Authorization: Bearer t0ps3cret-token"} <= set(asked)
