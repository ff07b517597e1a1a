"""The emitter for Node: what becomes of events whatever becomes of the process, the server and the disk."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from anyio import to_thread

from bers.testing.server import serving
from bers_emit import Emitter, folder
from bers_emit.ring import MAX_EVENTS
from bers_emit.spool import Spool, new_name
from bers_emit.testing import Receiver
from tests.emit_js.node import Node, lines
from tests.unit.certificates import made, needs_openssl

EMIT = """
import { emit } from '@bers/emit'
for (let n = 0; n < Number(process.argv[2]); n++) {
  if (!emit('build.finished', { subject: `b-${n}` })) throw new Error('not kept')
}
"""
AND_DIE = EMIT + "process.kill(process.pid, 'SIGKILL')"
AND_TELL_THE_WAIT = (
    EMIT + "const over = performance.now(); process.on('exit', () => console.log(performance.now() - over))"
)
IDLE = """
import { emit } from '@bers/emit'
emit('a.b')
console.log('ready')
setInterval(() => {}, 1000)
"""


def own_mounts() -> bool:
    """Whether we may give a program files of the system that are its own."""
    command = ["unshare", "-m", "true"]
    return bool(shutil.which(command[0])) and subprocess.run(command, check=False, capture_output=True).returncode == 0


needs_mounts = pytest.mark.skipif(not own_mounts(), reason="only root can give a program a name server of its own")

MARGIN = 3000
"""Milliseconds by which a busy machine may miss a budget; who minds none waits for at least five seconds."""


def emit_and_die(node: Node, count: int) -> None:
    node.run(AND_DIE, str(count), code=-signal.SIGKILL)


async def test_a_build_that_a_program_reports_is_a_metric_of_the_server(node: Node, tmp_path: Path) -> None:
    program = """
        import { emitter } from '@bers/emit'
        const e = emitter({ source: '/ci/local' })
        e.emit('build-completed', { duration: 930, environment: 'staging', phases: { bundle: 410 } })
        if (!(await e.flush(10))) throw new Error(e.error)
    """
    async with serving(tmp_path) as server:
        await to_thread.run_sync(partial(node.run, program, BERS_EMIT_URL=server.url("/")))
        told = await server.until("metrics/build_performance", lambda data: data["current"] == 930)
        assert told["count"] == 1


async def test_a_target_of_events_is_bridged_in_node_as_in_a_page(node: Node, tmp_path: Path) -> None:
    program = """
        import { bridge, dispatch, EVENTS } from '@bers/emit'
        const target = new EventTarget()
        const told = bridge(target, { url: process.argv[2] })
        EVENTS.forEach((name, n) => dispatch(name, { duration: 900 + n, correlationId: `C${n}` }, target))
        if (!(await told.flush())) throw new Error('the server has not everything')
    """
    async with serving(tmp_path) as server:
        await to_thread.run_sync(partial(node.run, program, server.url("/")))
        await server.until("metrics/build_performance", lambda data: data["current"] == 901)
        told = await server.until("metrics/deployment_performance", lambda data: data["current"] == 907)
        assert told["count"] == 1


@needs_openssl
async def test_it_speaks_tls_to_whom_it_can_believe(node: Node, tmp_path: Path) -> None:
    pair = made(tmp_path, "bers")
    tls = {"certificate": str(pair.certificate), "key": str(pair.key)}
    program = """
        import { emitter } from '@bers/emit'
        const e = emitter({ url: process.argv[2] })
        e.emit('build-completed', { duration: 930 })
        console.log(await e.flush(10), e.error)
    """
    verify = ssl.create_default_context(cafile=str(pair.certificate))
    async with serving(tmp_path, changes=[(("server", "tls"), tls)], verify=verify) as server:
        stranger = await to_thread.run_sync(partial(node.run, program, server.url("/")))
        assert re.fullmatch(r"false https://.*: self-signed certificate\n", stranger)
        known = partial(node.run, program, server.url("/"), NODE_EXTRA_CA_CERTS=str(pair.certificate))
        assert await to_thread.run_sync(known) == "true \n"
        await server.until("metrics/build_performance", lambda data: data["current"] == 930)


def test_the_end_of_a_program_sends_what_it_emitted(node: Node, receiver: Receiver, spool: Path) -> None:
    node.run(EMIT, "1200")
    assert [event["subject"] for event in receiver.events] == [f"b-{n}" for n in range(1200)]
    assert receiver.duplicates == 0
    assert list(spool.iterdir()) == []


def test_a_program_that_goes_on_sends_meanwhile(node: Node, receiver: Receiver) -> None:
    with node.start(IDLE) as process:
        receiver.wait(lambda: len(receiver.events) == 1, 60)
        process.kill()


@pytest.mark.parametrize(
    ("end", "code"),
    [("process.exit(3)", 3), ("throw new Error('x')", 1), ("Promise.reject(new Error('x'))", 1)],
    ids=["exit", "throw", "reject"],
)
def test_ends_that_leave_no_time_lose_nothing(end: str, code: int, node: Node, receiver: Receiver, spool: Path) -> None:
    node.run(EMIT + end, "300", code=code)
    node.run("import { flush } from '@bers/emit'; if (!(await flush(10))) process.exit(1)")
    assert sorted(event["subject"] for event in receiver.events) == sorted(f"b-{n}" for n in range(300))
    assert list(spool.iterdir()) == []


def test_what_a_killed_program_emitted_is_sent_by_the_next(node: Node, nobody: str, spool: Path) -> None:
    for _ in range(2):
        emit_and_die(node, 700)
    with Receiver() as receiver:
        node.run(EMIT, "1", BERS_EMIT_URL=receiver.url)
        assert (len(receiver.events), receiver.duplicates) == (1401, 0)
    assert list(spool.iterdir()) == []


def test_killed_at_any_moment_it_loses_nothing_that_was_kept(node: Node, receiver: Receiver) -> None:
    program = """
        import fs from 'node:fs'
        import { emit } from '@bers/emit'
        const more = (n) => {
          if (emit('build.finished', { subject: `b-${n}` })) fs.writeSync(1, `b-${n}\\n`)
          setImmediate(more, n + 1)
        }
        more(0)
    """
    kept: list[str] = []
    for number in (1, 40, 400, 1500):
        with node.start(program) as process:
            assert process.stdout is not None
            told = [process.stdout.readline().strip() for _ in range(number)]
            process.kill()
            kept += [*told, *process.stdout.read().split()]
    with Emitter(receiver.url) as python:
        assert python.flush(10)
    reported = [event["subject"] for event in receiver.events]
    # The kill may come between the disk and our ear: then one is reported that we have not heard of.
    assert len(kept) <= len(reported) <= len(kept) + 4
    assert set(kept) <= set(reported)


# One spool for Node and Python.


def test_python_sends_what_a_killed_node_left(node: Node, nobody: str, spool: Path) -> None:
    emit_and_die(node, 700)
    assert folder.status(str(spool))["waiting"] == 700
    with Receiver() as receiver, Emitter(receiver.url) as python:
        assert python.flush(10)
        assert [event["subject"] for event in receiver.events] == [f"b-{n}" for n in range(700)]
    assert list(spool.iterdir()) == []


def test_node_sends_what_a_killed_python_left(node: Node, nobody: str, spool: Path) -> None:
    program = """
import os, signal
from bers_emit import emit
for n in range(700):
    assert emit("build.finished", subject=f"b-{n}")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    with Receiver() as receiver:
        node.run("import { flush } from '@bers/emit'; await flush(10)", BERS_EMIT_URL=receiver.url)
        assert [event["subject"] for event in receiver.events] == [f"b-{n}" for n in range(700)]
    assert list(spool.iterdir()) == []


def test_python_leaves_the_file_of_a_node_that_lives(node: Node, nobody: str, spool: Path) -> None:
    with node.start(IDLE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with Receiver() as receiver, Emitter(receiver.url) as python:
            python.flush(5)
            assert receiver.requests == []
        assert folder.status(str(spool))["in_use"] == 1
        process.kill()
    assert folder.status(str(spool))["in_use"] == 0


def test_node_leaves_the_file_of_a_python_that_lives(node: Node, nobody: str, spool: Path) -> None:
    with Emitter(nobody, budget=0) as alive, Receiver() as receiver:
        alive.emit("a.b")
        node.run("import { flush } from '@bers/emit'; await flush(5)", BERS_EMIT_URL=receiver.url)
        assert receiver.requests == []
        assert folder.status(str(spool))["in_use"] == 1


def test_of_two_that_adopt_one_sends(node: Node, nobody: str) -> None:
    emit_and_die(node, 2000)
    with Receiver() as receiver:
        both = [
            node.start("import { flush } from '@bers/emit'; await flush(10)", BERS_EMIT_URL=receiver.url) for _ in "ab"
        ]
        with Emitter(receiver.url) as python:
            python.flush(10)
        for process in both:
            process.communicate(timeout=60)
        assert (len(receiver.events), receiver.duplicates) == (2000, 0)


def test_half_a_line_of_a_killed_writer_is_not_sent(node: Node, receiver: Receiver, spool: Path) -> None:
    python = Spool.create(str(spool), new_name())
    python.append(b'{"id":"1","source":"/x","type":"a.b"}\n')
    python.append(b"no JSON\n")
    python.append(b'{"id":"2","source"')
    python.abandon()
    node.run("import { flush } from '@bers/emit'; await flush(10)")
    assert [event["id"] for event in receiver.events] == ["1"]
    assert folder.status(str(spool)) == {
        **folder.status(str(spool)), "files": 0, "waiting": 0, "dead": 1,
    }  # fmt: skip


def test_delivery_goes_on_where_another_stopped(node: Node, nobody: str) -> None:
    emit_and_die(node, 1200)
    with Receiver() as receiver:
        receiver.hang_after = 1
        node.run("import { flush } from '@bers/emit'; await flush(8)", BERS_EMIT_URL=receiver.url)
        assert len(receiver.events) == 500
    with Receiver() as receiver, Emitter(receiver.url) as python:
        assert python.flush(10)
        assert len(receiver.events) == 700


# Servers that are no help.


def test_a_server_that_is_down_holds_nobody_up_and_the_events_wait(node: Node, nobody: str, spool: Path) -> None:
    assert float(node.run(AND_TELL_THE_WAIT, "10")) < MARGIN
    assert len(lines(spool)) == 10


def test_a_server_that_hangs_costs_the_budget(node: Node, receiver: Receiver, spool: Path) -> None:
    receiver.hang_after = 0
    wait = float(node.run(AND_TELL_THE_WAIT, "10", BERS_EMIT_BUDGET="500ms"))
    assert 400 < wait < 500 + MARGIN
    assert len(lines(spool)) == 10


def test_a_server_that_cannot_be_reached_costs_the_budget(node: Node, spool: Path) -> None:
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for one in (first, second):  # The queue is full then, and what comes after is not answered.
            one.setblocking(False)
            one.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        wait = float(node.run(AND_TELL_THE_WAIT, "10", BERS_EMIT_URL=url, BERS_EMIT_BUDGET="500ms"))
    assert 400 < wait < 1000 + MARGIN
    assert len(lines(spool)) == 10


def test_a_name_that_nobody_has_holds_nobody_up(node: Node, spool: Path) -> None:
    url = "http://monitoring.invalid:3003"
    assert float(node.run(AND_TELL_THE_WAIT, "10", BERS_EMIT_URL=url, BERS_EMIT_BUDGET="1s")) < 1000 + MARGIN
    assert len(lines(spool)) == 10


@needs_mounts
def test_name_servers_that_do_not_answer_cost_the_budget(node: Node, spool: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.53.53", 53))
        (tmp_path / "resolv.conf").write_text("nameserver 127.0.53.53\n")
        program = shlex.join(node.command(AND_TELL_THE_WAIT, "10"))
        alone = f"mount --bind {shlex.quote(str(tmp_path / 'resolv.conf'))} /etc/resolv.conf && exec {program}"
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", alone],
            env={**os.environ, "BERS_EMIT_URL": "http://monitoring.example:3003", "BERS_EMIT_BUDGET": "500ms"},
            check=True, capture_output=True, text=True, cwd=node.folder,
        )  # fmt: skip
    assert float(done.stdout) < 1000 + MARGIN  # The system's own look-up takes 40 seconds.
    assert len(lines(spool)) == 10


def test_a_server_that_fails_is_asked_again_within_the_budget(node: Node, receiver: Receiver) -> None:
    receiver.answer(500)
    receiver.answer(503, {"Retry-After": "0"})
    node.run(AND_TELL_THE_WAIT, "10", BERS_EMIT_BUDGET="10s")
    assert (len(receiver.requests), len(receiver.events)) == (3, 10)


def test_retry_after_is_waited_for(node: Node, receiver: Receiver, spool: Path) -> None:
    receiver.answer(429, {"Retry-After": "60"}, times=10)
    assert float(node.run(AND_TELL_THE_WAIT, "10")) < MARGIN
    assert len(receiver.requests) == 1
    assert len(lines(spool)) == 10


def test_what_is_refused_for_good_is_kept_apart_with_the_reason(node: Node, receiver: Receiver, spool: Path) -> None:
    receiver.rejects = lambda event: event["subject"] == "b-1"
    program = EMIT.replace("{ emit }", "{ emitter }").replace(
        "for", "const e = emitter(); const emit = (...a) => e.emit(...a)\nfor", 1
    )
    assert node.run(program + "await e.flush(10); console.log(e.refused, e.error)", "3") == "1 rejected to order\n"
    assert [event["subject"] for event in receiver.events] == ["b-0", "b-2"]
    (dead,) = (spool / "dead").iterdir()
    assert '"reason":"rejected to order"' in dead.read_text()
    assert folder.status(str(spool))["dead"] == 1


def test_a_key_that_is_not_known_is_told_and_the_events_wait_for_a_better_one(
    node: Node, receiver: Receiver, spool: Path
) -> None:
    receiver.answer(401, body=b'{"error": {"message": "this key is not known"}}', times=10)
    program = """
        import { emitter } from '@bers/emit'
        const e = emitter()
        e.emit('a.b')
        await e.flush(10)
        console.log(e.error)
    """
    assert node.run(program, BERS_EMIT_TOKEN="write-only-key") == "401 Unauthorized: this key is not known\n"
    assert receiver.requests[0][0]["Authorization"] == "Bearer write-only-key"
    assert len(lines(spool)) == 1


def test_a_batch_that_is_too_large_for_somebody_in_between_is_halved(node: Node, receiver: Receiver) -> None:
    receiver.answer(413, times=4)  # Of five, of the first three, of the first two, and of the first alone.
    node.run(EMIT, "5")
    assert sorted(event["subject"] for event in receiver.events) == ["b-1", "b-2", "b-3", "b-4"]
    assert len(receiver.requests) == 7


def test_the_environments_key_goes_to_the_environments_server_alone(node: Node, receiver: Receiver) -> None:
    program = "import { emitter } from '@bers/emit'; emitter({ url: process.argv[2] }).emit('a.b')"
    with Receiver() as other:
        node.run(program, other.url, BERS_EMIT_TOKEN="write-only-key")
        node.run(program, receiver.url, BERS_EMIT_TOKEN="write-only-key")
        assert "Authorization" not in other.requests[0][0]
    assert receiver.requests[0][0]["Authorization"] == "Bearer write-only-key"


# The disk, the environment.


def test_files_are_private(node: Node, nobody: str, spool: Path) -> None:
    node.run(EMIT, "1")
    (file,) = spool.iterdir()
    assert (stat.S_IMODE(spool.stat().st_mode), stat.S_IMODE(file.stat().st_mode)) == (0o700, 0o600)


def test_where_the_disk_refuses_memory_keeps_the_last_thousand(node: Node, receiver: Receiver, spool: Path) -> None:
    spool.write_text("a file where the folder should be")
    node.run(EMIT + "await flush(10); emit('a.b')".replace("flush", "(await import('@bers/emit')).flush"), "1200")
    told = [event["subject"] for event in receiver.of("build.finished")]
    assert told == [f"b-{n}" for n in range(1200 - MAX_EVENTS, 1200)]
    assert [event["measures"] for event in receiver.of("emitter.report")] == [{"dropped": 1200 - MAX_EVENTS}]


def test_without_a_program_that_locks_memory_is_left_on_the_disk_at_the_end(
    node: Node, nobody: str, spool: Path
) -> None:
    only_node = node.folder / "bin"
    only_node.mkdir()
    (only_node / "node").symlink_to(Path(shutil.which("node") or ""))
    node.run(EMIT + "process.exit(3)", "300", code=3, PATH=str(only_node))
    assert folder.status(str(spool)) == {**folder.status(str(spool)), "files": 1, "waiting": 300, "in_use": 0}


@pytest.mark.parametrize("program", ["flock", "perl", "python3"])
def test_each_program_that_can_lock_locks_for_python_to_see(program: str, node: Node, nobody: str, spool: Path) -> None:
    only = node.folder / "bin"
    only.mkdir()
    for name in ("node", program):
        found = sys.executable if name == "python3" else shutil.which(name)
        if found is None:
            pytest.skip(f"there is no {name} here")
        (only / name).write_text(f'#!/bin/sh\nexec "{found}" "$@"\n')
        (only / name).chmod(0o700)
    with node.start(IDLE, PATH=str(only)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert folder.status(str(spool))["in_use"] == 1
        process.kill()
    assert folder.status(str(spool))["in_use"] == 0


def test_without_a_url_nothing_is_kept_or_sent(node: Node, spool: Path) -> None:
    program = "import { emit, flush } from '@bers/emit'; console.log(emit('a.b'), await flush())"
    assert node.run(program) == "false false\n"
    assert not spool.exists()


def test_it_can_be_switched_off(node: Node, receiver: Receiver, spool: Path) -> None:
    assert node.run("import { emit } from '@bers/emit'; console.log(emit('a.b'))", BERS_EMIT="off") == "false\n"
    assert (receiver.requests, spool.exists()) == ([], False)


def test_secrets_stay_on_the_machine(node: Node, nobody: str, spool: Path) -> None:
    program = """
        import { emit } from '@bers/emit'
        const data = { deep: ['x hunter-22 y'], key: new Error('hunter-22') }
        emit('a.b', { reason: 'hunter-22 at https://me:pass@host/', data })
    """
    node.run(program, DEPLOY_PASSWORD="hunter-22")
    (event,) = lines(spool)
    assert event["reason"] == "*** at https://***@host/"
    assert event["data"] == {"deep": ["x *** y"], "key": "Error: ***"}


def test_fields_that_are_named_like_secrets_are_masked(node: Node, nobody: str, spool: Path) -> None:
    program = """
        import { emit } from '@bers/emit'
        emit('a.b', { apiKey: 1, monkey: 2, data: { password: 'x', 'access-token': null, tokens_used: 3 },
                      reason: 'curl -H "Authorization: Bearer abcdefghijkl" "/?api_key=abcd&x=1"' })
    """
    node.run(program)
    (event,) = lines(spool)
    assert (event["apiKey"], event["monkey"]) == ("***", 2)
    assert event["data"] == {"password": "***", "access-token": None, "tokens_used": 3}
    assert event["reason"] == 'curl -H "Authorization: Bearer ***" "/?api_key=***&x=1"'


def test_in_ci_events_tell_commit_and_run_and_what_is_said_counts_more(node: Node, nobody: str, spool: Path) -> None:
    told = spool.parent / "event.json"
    told.write_text('{"pull_request": {"number": 7, "head": {"sha": "c0ffee"}, "base": {"sha": "ba5e"}}}')
    program = """
        import { emit } from '@bers/emit'
        emit('a.b')
        emit('a.b', { vcs: { revision: 'other' }, run: { id: '4711', job: 'mine' } })
    """
    node.run(
        program,
        GITHUB_ACTIONS="true",
        GITHUB_SERVER_URL="https://git.example",
        GITHUB_REPOSITORY="acme/app",
        GITHUB_EVENT_NAME="pull_request",
        GITHUB_EVENT_PATH=str(told),
        GITHUB_SHA="a-merge",
        GITHUB_HEAD_REF="topic",
        GITHUB_RUN_ID="4711",
        GITHUB_JOB="test",
        GITHUB_RUN_ATTEMPT="2",
    )
    first, second = lines(spool)
    repository = "https://git.example/acme/app"
    assert first["vcs"] == {
        "repository": repository, "revision": "c0ffee", "ref": "topic", "base_revision": "ba5e", "change": "7",
    }  # fmt: skip
    assert second["vcs"] == {"repository": repository, "revision": "other"}
    url = f"{repository}/actions/runs/4711"
    assert first["run"] == {"system": "github", "id": "4711", "job": "test", "url": url, "attempt": 2}
    assert second["run"] == {"system": "github", "id": "4711", "job": "mine", "url": url, "attempt": 2}


def test_events_of_a_run_name_it(node: Node, nobody: str, spool: Path) -> None:
    node.run(EMIT, "1", BERS_PARENT="run-7")
    assert lines(spool)[0]["chain"] == "run-7"


def test_a_pipe_in_the_place_of_githubs_event_holds_nobody(node: Node, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "event.json")
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "7", "GITHUB_EVENT_NAME": "pull_request"}
    environ |= {"BERS_EMIT_URL": "http://127.0.0.1:1", "GITHUB_EVENT_PATH": str(tmp_path / "event.json")}
    with node.start(EMIT, "1", **environ) as process:
        assert process.wait(60) == 0


def test_a_link_in_the_place_of_a_spool_is_not_written_through(node: Node, tmp_path: Path) -> None:
    """The folder may belong to somebody else."""
    mine = tmp_path / "mine"
    mine.write_text("untouched\n")
    swap = """
        import fs from 'node:fs'
        import { syncBuiltinESMExports } from 'node:module'
        const rename = fs.renameSync
        fs.renameSync = (hidden, path) => {
          rename(hidden, path)
          fs.unlinkSync(path)
          fs[process.argv[3]](process.argv[4], path)
        }
        syncBuiltinESMExports()
        const { emit } = await import('@bers/emit')
        emit('build.finished')
    """
    for how in ("symlinkSync", "linkSync"):
        node.run(swap, "1", how, str(mine), BERS_EMIT_URL="http://127.0.0.1:1")
    assert mine.read_text() == "untouched\n"


def test_the_password_in_an_address_is_not_told(node: Node) -> None:
    program = """
        import { emitter } from '@bers/emit'
        const e = emitter({ url: 'http://me:hunter2@127.0.0.1:1/base' })
        e.emit('a.b')
        await e.flush(1)
        console.log(e.error)
    """
    told = node.run(program)
    assert "http://127.0.0.1:1/base" in told
    assert "hunter2" not in told
