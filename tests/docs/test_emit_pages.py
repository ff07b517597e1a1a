"""What the pages about senders show is sent to a real server, and taken."""

import json
import os
import re
import shutil
import sys
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from bers import config
from bers.config.located import parse
from bers.testing.server import Server, serving
from tests.docs.generate import DOCS
from tests.docs.test_pages import Block, blocks, leaves, wrong
from tests.integration.test_cloudevents_senders import modules

FOLDER = DOCS / "how-to/emit"
PAGES = ("github-webhooks", "gitlab-webhooks", "cloudevents", "cdevents", "tekton")
GIVEN = {
    "GITHUB_WEBHOOK_SECRET": "a secret that is long enough",
    "GITLAB_WEBHOOK_TOKEN": "a token that is long enough",
}


def shown(page: str, language: str) -> Iterator[Block]:
    return (one for one in blocks((FOLDER / f"{page}.md").read_text(encoding="utf-8")) if one.language == language)


@pytest.fixture(scope="module")
async def server(home: Path) -> AsyncGenerator[Server]:
    """Configured as the pages say."""
    changes = [
        (tuple(map(str, steps)), _given(value))
        for page in PAGES
        for block in shown(page, "yaml")
        if block.text.startswith("sources:")
        for steps, value in leaves(parse(block.text, page).value)
    ]
    async with serving(home, changes=changes) as found:
        yield found


def _given(value: Any) -> Any:
    """A list of secrets with what the environment has; tests do not substitute."""
    text = json.dumps(value)
    for name, secret in GIVEN.items():
        text = text.replace(f"${{env:{name}}}", secret)
    return json.loads(text)


def environ(server: Server) -> dict[str, str]:
    url = server.url("/").rstrip("/")
    return os.environ | GIVEN | {"BERS_EMIT_URL": url}


async def printed(server: Server, *command: str, **more: str) -> str:
    with anyio.fail_after(60):
        done = await anyio.run_process(command, env=environ(server) | more, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("page", "block"),
    [(page, block) for page in PAGES for block in shown(page, "sh")],
    ids=lambda one: one if isinstance(one, str) else str(one.line),
)
async def test_what_is_sent_by_hand_is_taken(page: str, block: Block, server: Server) -> None:
    for program in ("curl", *(["openssl"] if "openssl" in block.text else [])):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here to run what the page shows")
    answer = json.loads(await printed(server, "bash", "-c", block.text))
    assert answer["success"] is True, answer
    data = answer["data"]
    assert not data["rejected"]
    if "dry_run" in block.text:
        assert len(data["events"]) == 1
        assert data["metrics"]
    else:
        assert (data["accepted"] > 0, data["duplicates"]) == (True, 0)


def test_the_configurations_of_the_pages_fit_the_shipped_one() -> None:
    for page in PAGES:
        for block in shown(page, "yaml"):
            if block.text.startswith("sources:"):
                document = config.shipped()
                for steps, value in leaves(parse(block.text, page).value):
                    document.put(steps, value)
                assert not list(wrong(document, GIVEN, []))


async def test_the_programs_of_the_pages_send(server: Server, tmp_path: Path) -> None:
    (python,) = shown("cloudevents", "python")
    assert "/ci/demo" in python.text
    await printed(server, sys.executable, "-c", python.text.replace("/ci/demo", "/ci/of-python"))
    found = await server.until(
        "records?type=build.finished", lambda data: any("python" in one["source"] for one in data)
    )
    assert [one["source"] for one in found if "python" in one["source"]] == ["/ci/of-python"]


async def test_the_program_for_node_sends(server: Server, tmp_path: Path) -> None:
    (block,) = shown("cloudevents", "js")
    (tmp_path / "send.cjs").write_text(block.text.replace("/ci/demo", "/ci/of-node"))
    await printed(server, "node", str(tmp_path / "send.cjs"), NODE_PATH=str(modules()))
    found = await server.until("records?type=build.finished", lambda data: any("node" in one["source"] for one in data))
    assert [one["source"] for one in found if "node" in one["source"]] == ["/ci/of-node"]


async def test_what_argo_cd_sends_is_taken(server: Server) -> None:
    """Its templates, with a text for whatever Argo CD fills in."""
    (block,) = shown("argo-cd", "yaml")
    bodies = re.findall(r"body: \|\n((?: {10}.*\n?)+)", block.text)
    assert len(bodies) == 2
    for body in bodies:
        filled = re.sub(r"\{\{[^}]*finishedAt\}\}", "2026-11-23T17:00:00Z", body)
        event = json.loads(re.sub(r"\{\{\.([^}]*)\}\}", r"\1", filled))
        data = (await server.post("ingest?dry_run=1", event)).json()["data"]
        assert [one["type"] for one in data["events"]] == ["deployment.finished"]
        assert {"deployment_total", "deployment_success_rate"} <= {one["metric"] for one in data["metrics"]}
        assert await server.emit(event) == {"accepted": 1, "duplicates": 0, "rejected": []}
