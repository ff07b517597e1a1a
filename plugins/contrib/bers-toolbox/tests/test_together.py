"""All three on a real server, as pipelines.yaml has them."""

import socket
from pathlib import Path
from typing import Any

import msgspec
from bers.testing.server import serving

import bers_toolbox

PIPELINES = """
version: 1
sources:
  connect: {targets: ["127.0.0.1:PORT"], interval: 50ms}
processors:
  windows: {use: aggregation}
  only: {types: ["connect.*"]}
sinks:
  store: {use: rest-store, delivery: {required: true}}
  file: {path: FILE, delivery: {required: true}}
pipelines:
  metrics: {sources: [unmapped, connect], processors: [windows, only], sinks: [file, store]}
"""


async def test_a_connection_is_a_figure_on_rest_and_a_line_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        text = PIPELINES.replace("PORT", str(port)).replace("FILE", str(path))
        async with serving(tmp_path, text) as server:
            await server.emit({"type": "custom.noise"})
            data = await server.until("metrics/connect_time", measured)
    assert data["unit"] == "ms" and 0 < data["current"] < 1000
    lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    assert {line["type"] for line in lines} == {"io.bers.connect.measured.v1"}
    assert lines[0]["data"]["labels"] == {"target": f"127.0.0.1:{port}"}


def test_each_stage_takes_fewer_than_forty_lines() -> None:
    for path in Path(bers_toolbox.__file__).parent.glob("*.py"):
        assert len([line for line in path.read_text().splitlines() if line]) < 40, path


def measured(data: dict[str, Any]) -> bool:
    return data["current"] is not None
