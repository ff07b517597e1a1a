"""The pages about senders that a source of their own reads: what they show is run, and measured."""

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from bers import config
from bers.config.located import parse
from bers.testing.server import Server, serving
from tests.docs.generate import DOCS
from tests.docs.test_pages import Block, blocks, leaves

FOLDER = DOCS / "how-to" / "emit"


def shown(page: str, language: str) -> list[str]:
    found: Iterator[Block] = blocks((FOLDER / f"{page}.md").read_text(encoding="utf-8"))
    return [one.text for one in found if one.language == language]


async def run(text: str, **environ: str) -> str:
    with anyio.fail_after(60):
        done = await anyio.run_process(["bash", "-c", text], env=os.environ | environ, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def changes(page: str) -> list[tuple[tuple[str, ...], Any]]:
    """What the pages' options change in the shipped configuration."""
    (text,) = [one for one in shown(page, "yaml") if "sources:" in one and "pipelines:" not in one]
    found: list[Any] = list(leaves(parse(text, page).value))
    return found


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here to run what the page shows")
async def test_what_opentelemetry_sends_by_hand_is_measured(tmp_path: Path) -> None:
    (text,) = [one for one in shown("opentelemetry", "sh") if "curl" in one]
    async with serving(tmp_path, changes=changes("opentelemetry")) as server:
        assert await run(text, BERS_EMIT_URL=server.url("/").rstrip("/")) == "{}{}"
        await server.until("metrics/build_performance", lambda one: one["current"] == 4200)
        await server.until("metrics/deployment_performance", lambda one: one["current"] == 94_000)
        assert (await server.data("metrics/answer_time"))["unit"] == "ms"


async def test_what_an_emitter_leaves_is_handed_in(tmp_path: Path) -> None:
    folder = str(tmp_path / "spool")
    (text,) = [one for one in shown("spool-folder", "sh") if "bers-emit" in one]
    ((steps, given),) = changes("spool-folder")
    with socket.socket() as free:  # Bound, and nobody listens: who sends there is refused.
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        await run(
            text.replace(given, folder), BERS_EMIT_URL=url, PATH=f"{Path('.venv/bin').absolute()}:{os.environ['PATH']}"
        )
    left = list(Path(folder).glob("*.ndjson"))
    assert left, "there was no server"
    async with serving(tmp_path, changes=[(steps, folder)]) as server:
        await server.until("metrics/build_performance", lambda one: one["current"] == 930)
        await server.until("dashboard/status", lambda one: one["details"]["spool"]["files"] == 1)
    assert not left[0].exists()


async def stands(server: Server, metric: str, sum: float) -> None:
    await server.until("metrics/current", lambda one: [series["sum"] for series in one[metric]] == [sum])


async def test_what_statsd_sends_by_hand_is_measured(tmp_path: Path) -> None:
    pytest.importorskip("bers_statsd", reason="the plugin is not installed here")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ((text, command),) = zip(
        shown("statsd", "yaml"), [one for one in shown("statsd", "sh") if "udp" in one], strict=True
    )
    text = text.replace("statsd: {metrics", f"statsd: {{port: {port}, metrics")
    async with serving(tmp_path, f"version: 1\n{text}") as server:
        await run(command.replace("8125", port))
        await stands(server, "login_total", 11)
        await stands(server, "answer_time", 320)
        (series,) = (await server.data("metrics/current"))["answer_time"]
        assert series["labels"] == {"route": "/cart"}


async def test_the_configuration_for_bazel_reads_a_stream(tmp_path: Path) -> None:
    pytest.importorskip("bers_bazel", reason="the plugin is not installed here")
    (text,) = shown("bazel", "yaml")
    now = int(time.time() * 1000)
    started = {"uuid": "b-1", "workspaceDirectory": "/src", "startTimeMillis": str(now)}
    finished = {"exitCode": {"name": "SUCCESS"}, "finishTimeMillis": str(now + 900)}
    events: list[Any] = [
        {"id": {"started": {}}, "children": [{"buildFinished": {}}], "started": started},
        {"id": {"buildFinished": {}}, "finished": finished},
    ]
    lines = "".join(f"{json.dumps(event)}\n" for event in events)
    (tmp_path / "bep").mkdir()
    async with serving(tmp_path, "version: 1\n" + text.replace("/var/lib/bep", str(tmp_path / "bep"))) as server:
        await anyio.Path(tmp_path / "bep" / "b.json").write_text(lines)
        told = await server.until("metrics/build_performance", lambda one: one["current"] == 900)
        assert told["count"] == 1


def test_every_page_is_named_on_the_page_about_all_ways() -> None:
    page = (DOCS / "how-to" / "emit.md").read_text(encoding="utf-8")
    table = [line for line in page.split("## Which way")[1].splitlines() if line.startswith("| ")]
    for path in (DOCS / "how-to" / "emit").glob("*.md"):
        assert any(f"(emit/{path.name})" in row for row in table), path.name


def test_the_shipped_configuration_takes_what_opentelemetry_sends() -> None:
    assert "otlp" in config.shipped().value["sources"]
