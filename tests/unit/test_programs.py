"""Programs that are run once: whatever they do, we get on with our work."""

import os
import signal
import sys

import anyio
import psutil
import pytest

from bers.programs import MAX_OUTPUT, run_program


def _said(process: psutil.Process) -> list[str]:
    """What a process was started with; nothing once it has ended."""
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


async def test_a_program_reads_its_input_and_says_how_it_ended() -> None:
    ended = await run_program(
        python("import sys; print(input()); print('why', file=sys.stderr); sys.exit(3)"), told=b"hello\n"
    )
    assert (ended.code, ended.out, ended.err) == (3, b"hello\n", b"why\n")


@pytest.mark.parametrize(("last", "kept"), [(False, b"a"), (True, b"z")])
async def test_of_a_long_output_the_first_or_the_last_is_kept(last: bool, kept: bytes) -> None:
    ended = await run_program(python(f"print('a' * {MAX_OUTPUT} + 'z' * {MAX_OUTPUT}, end='')"), last=last)
    assert (set(ended.out), len(ended.out)) == (set(kept), MAX_OUTPUT)


async def test_what_went_its_own_way_with_the_outputs_is_not_waited_for() -> None:
    code = (
        "import subprocess, sys; left = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
        " start_new_session=True); print(left.pid)"
    )
    with anyio.fail_after(30):
        ended = await run_program(python(code))
    assert ended.code == 0
    os.kill(int(ended.out), signal.SIGKILL)  # It was there still.


async def test_one_that_may_not_be_killed_does_not_keep_us_from_going_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: int) -> None:
        raise PermissionError("it is root's")

    monkeypatch.setattr(os, "killpg", refused)
    monkeypatch.setattr(os, "kill", refused)
    with anyio.fail_after(30), anyio.move_on_after(0.2) as scope:
        await run_program(python("import time; time.sleep(60)"))
    assert scope.cancelled_caught
    monkeypatch.undo()
    with anyio.fail_after(30):
        while left := [one for one in psutil.Process().children() if "import time; time.sleep(60)" in _said(one)]:
            for one in left:
                one.kill()
            await anyio.sleep(0.01)
