"""The official libraries for CloudEvents send to a real server: Python's and Node's, in every mode that they have."""

import json
import os
import shutil
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from bers.decoding import Decoder
from bers.testing.server import Server, serving

JSON = {"outcome": "success", "durationMs": 4321}
SUBJECT = 'größe "7" 100% €'
NODE_MODULES = Path(__file__).parents[2] / "plugins/contrib/bers-emit-js/node_modules"


@pytest.fixture(scope="module")
async def server(home: Path) -> AsyncGenerator[Server]:
    async with serving(home) as found:
        yield found


def made(data: Any = None, **attributes: Any) -> CloudEvent:
    fields = {"type": "build.finished", "source": "/ci/python", "time": datetime(2026, 11, 23, 8, tzinfo=UTC)}
    return CloudEvent(fields | attributes, data)


async def sent(server: Server, message: HTTPMessage, query: str = "") -> Any:
    reply = await server.post(f"ingest{query}", content=message.body, headers=message.headers)
    assert reply.status_code in (200, 202), reply.text
    return reply.json()["data"]


async def shown(server: Server, message: HTTPMessage) -> Any:
    (event,) = (await sent(server, message, "?dry_run=1"))["events"]
    return event


@pytest.mark.parametrize("write", [to_binary_event, to_structured_event])
async def test_python_sends_json(write: Any, server: Server) -> None:
    event = made(JSON, subject=SUBJECT, datacontenttype="application/json", mine="a b")
    seen = await shown(server, write(event))
    assert (seen["id"], seen["subject"], seen["time"]) == (event.get_id(), SUBJECT, 1_795_420_800.0)
    assert (seen["outcome"], seen["duration_ms"], seen["data"]) == ("success", 4321.0, {"mine": "a b"})
    receipt = await sent(server, write(event))
    assert (receipt["accepted"], receipt["duplicates"]) == (1, 0)
    assert (await sent(server, write(event)))["duplicates"] == 1
    await server.until("metrics/build_performance", lambda data: data["current"] == 4321)


@pytest.mark.parametrize("write", [to_binary_event, to_structured_event])
@pytest.mark.parametrize(
    ("data", "media", "kept"),
    [
        ("<a/>", "text/xml", {"data": "<a/>", "datacontenttype": "text/xml"}),
        (b"\x89PNG", "image/png", {"data_base64": "iVBORw==", "datacontenttype": "image/png"}),
        ([1, 2], "application/json", {"data": [1, 2]}),
        (None, None, {}),
    ],
)
async def test_python_sends_data_of_every_kind(
    data: Any, media: str | None, kept: Any, write: Any, server: Server
) -> None:
    event = made(data, **({"datacontenttype": media} if media else {}))
    assert (await shown(server, write(event))).get("data", {}) == kept


async def test_python_sends_a_batch(server: Server) -> None:
    bodies = [to_structured_event(made(JSON, id=f"batch-{n}")).body for n in (1, 2)]
    message = HTTPMessage({"content-type": "application/cloudevents-batch+json"}, b"[" + b",".join(bodies) + b"]")
    assert await sent(server, message) == {"accepted": 2, "duplicates": 0, "rejected": []}


VISIBLE = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)


@given(VISIBLE, VISIBLE)
def test_we_read_what_python_writes_and_python_reads_what_we_do(subject: str, mine: str) -> None:
    message = to_binary_event(made(subject=subject, mine=mine))
    headers = [(name.encode(), value.encode()) for name, value in message.headers.items()]
    (event,) = Decoder().binary(headers, "", message.body, now=0.0).events
    assert (event.subject, event.data["mine"]) == (subject, mine)
    theirs = from_binary_event(message)
    assert (theirs.get_subject(), theirs.get_extension("mine")) == (event.subject, event.data["mine"])


NODE = r"""
const { CloudEvent, HTTP, Mode, emitterFor, httpTransport } = require('cloudevents');
const url = process.argv[2];
const time = new Date().toISOString(), source = '/ci/node', type = 'build.finished', subject = process.argv[3];
const make = (id, data, more) => new CloudEvent({ id, source, type, time, subject, data, ...more });
const post = async (message) => {
  const reply = await fetch(url, { method: 'POST', headers: message.headers, body: message.body });
  return [reply.status, (await reply.json()).data];
};
(async () => {
  const json = { outcome: 'success', durationMs: 1234 };
  const found = {};
  found.binary = await post(HTTP.binary(make('n-binary', json, { mine: 'a-b' })));
  found.structured = await post(HTTP.structured(make('n-structured', json)));
  found.latin = await post(HTTP.binary(make('n-latin', json, { subject: 'größe' })));
  found.utf8 = await post(HTTP.structured(make('n-utf8', json, { subject: 'größe' })));
  found.again = await post(HTTP.structured(make('n-binary', json)));
  found.text = await post(HTTP.binary(make('n-text', '<a/>', { datacontenttype: 'text/xml' })));
  found.bytes = await post(HTTP.structured(make('n-bytes', new Uint8Array([1, 2]), { datacontenttype: 'image/png' })));
  const events = [make('n-batch-1', json), make('n-batch-2', json), { id: 'n-bad' }];
  found.batch = await post({
    headers: { 'content-type': 'application/cloudevents-batch+json' }, body: JSON.stringify(events),
  });
  for (const mode of [Mode.BINARY, Mode.STRUCTURED]) {
    await emitterFor(httpTransport(url), { mode })(make(`n-emitter-${mode}`, json));
  }
  console.log(JSON.stringify(found));
})();
"""


def modules() -> Path:
    """Where npm has put Node's library."""
    if shutil.which("node") is None:
        pytest.skip("there is no Node.js here, so nothing can send with its library")
    found = [Path(os.environ["BERS_NODE_MODULES"])] if "BERS_NODE_MODULES" in os.environ else []
    for folder in (*found, NODE_MODULES):
        if (folder / "cloudevents").is_dir():
            return folder
    pytest.skip("npm has not installed `cloudevents` where the packages for Node are, so Node's library cannot send")


async def test_node_sends_in_every_mode(server: Server, tmp_path: Path) -> None:
    program = tmp_path / "send.cjs"
    program.write_text(NODE)
    with anyio.fail_after(60):
        done = await anyio.run_process(
            ["node", str(program), server.url("ingest"), "build/7"], env=os.environ | {"NODE_PATH": str(modules())}
        )
    found = json.loads(done.stdout)
    one: dict[str, Any] = {"accepted": 1, "duplicates": 0, "rejected": []}
    for mode in ("binary", "structured", "text", "bytes", "utf8"):
        assert found[mode] == [202, one], mode
    assert found["latin"] == [400, None]  # It does not percent-encode, as it must: what comes is not UTF-8.
    assert found["again"] == [202, {"accepted": 0, "duplicates": 1, "rejected": []}]
    status, batch = found["batch"]
    assert (status, batch["accepted"], [one["index"] for one in batch["rejected"]]) == (202, 2, [2])
    for id, subject in (("n-binary", "build/7"), ("n-utf8", "größe"), ("n-emitter-binary", "build/7"),
                        ("n-emitter-structured", "build/7")):  # fmt: skip
        (kept,) = await server.until(f"records?id={id}", len)
        assert (kept["type"], kept["subject"]) == ("build.finished", subject)
