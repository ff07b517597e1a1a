"""Nobody says what only the server itself says, in whatever words he says it."""

import hmac
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from bers.testing.server import Server, serving

SECRET = "a secret of this test"
PLAIN = {"Content-Type": "application/json"}
CLOUD = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/x", "ce-type": "build.finished"}
TYPES = [
    "alert.firing", "Alert.Firing", "ALERT.y", "health.changed", "stage.failed", "config.changed",
    "clock.jumped", "io.bers.alert.firing.v1", "dev.cdeventsx.alert.firing.0.1.0", "dev.cdevents.health.changed.0.1.0",
    " alert.firing",
]  # fmt: skip


@pytest.fixture(scope="module")
async def server(home: Path) -> AsyncGenerator[Server]:
    async with serving(home, changes=[(("sources", "github"), {"secrets": [SECRET]})]) as found:
        yield found


def escaped(text: str) -> str:
    """Every character of a header in percent."""
    return "".join(f"%{byte:02X}" for byte in text.encode())


async def kept(server: Server, path: str, body: Any, **headers: str) -> int:
    """How many events were taken, and would be by a dry run."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    dry = await server.post(f"{path}?dry_run=1", content=content, headers={**PLAIN, **headers})
    taken = (await server.post(path, content=content, headers={**PLAIN, **headers})).json()
    would = len(dry.json()["data"]["events"])
    return would + int(taken.get("data", {}).get("accepted", 0))


@pytest.mark.parametrize("type", TYPES)
async def test_a_type_of_the_servers_own_is_taken_in_no_words(server: Server, type: str) -> None:
    assert await kept(server, "ingest", {"type": type, "source": "/x"}) == 0
    assert await kept(server, "ingest", [{"type": type, "source": "/x"}] * 2) == 0
    cloud = {"specversion": "1.0", "id": "1", "source": "/x", "type": type}
    assert await kept(server, "ingest", cloud, **{"Content-Type": "application/cloudevents+json"}) == 0
    assert await kept(server, "ingest", {}, **{**CLOUD, "ce-type": escaped(type)}) == 0
    attributes = [{"key": "event.name", "value": {"stringValue": type}}]
    for record in ({"eventName": type}, {"attributes": attributes}):
        assert await kept(server, "/v1/logs", {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}) == 0


@pytest.mark.parametrize("source", ["bers:engine", "bers:"])
async def test_a_source_of_the_servers_own_is_taken_in_no_words(server: Server, source: str) -> None:
    assert await kept(server, "ingest", {"type": "build.finished", "source": source}) == 0
    context = {"version": "0.4.1", "id": "1", "source": source, "type": "dev.cdevents.build.finished.0.2.0"}
    cdevent: dict[str, object] = {"context": context, "subject": {"id": "b", "content": {}}}
    assert await kept(server, "ingest", cdevent) == 0
    assert await kept(server, "ingest", {}, **{**CLOUD, "ce-source": escaped(source)}) == 0
    inner = await server.post("ingest?dry_run=1", content=json.dumps({"source": source}), headers={**PLAIN, **CLOUD})
    assert [one["source"] for one in inner.json()["data"]["events"]] == ["/x"]
    for name in ("service.name", "service.namespace", "cicd.pipeline.name"):
        resource = {"attributes": [{"key": name, "value": {"stringValue": source}}]}
        record = {"eventName": "build.finished", "attributes": [{"key": "source", "value": {"stringValue": source}}]}
        body = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]}
        dry = (await server.post("/v1/logs?dry_run=1", body)).json()["data"]
        assert not [one for one in dry["events"] if one["source"].startswith("bers:")], name
    push = {"ref": "refs/heads/main", "after": "a" * 40, "repository": {"html_url": source, "default_branch": "main"}}
    content = json.dumps(push).encode()
    signed = {"X-Hub-Signature-256": "sha256=" + hmac.new(SECRET.encode(), content, "sha256").hexdigest()}
    assert await kept(server, "ingest/github", content, **signed, **{"X-GitHub-Event": "push"}) == 0
