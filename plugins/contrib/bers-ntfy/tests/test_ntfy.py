"""The sink `ntfy`, from an event that breaches to a real receiver of its requests."""

from pathlib import Path
from typing import Any

import pytest
from bers import ConfigError, Context
from bers.testing import check_spec, step
from bers.testing.endpoint import Endpoint
from bers.testing.server import serving

from bers_ntfy import bers_sinks

(NTFY,) = bers_sinks()


def configuration(port: int) -> str:
    return f"""\
version: 1
sources: {{build: {{}}}}
sinks:
  alert-engine: {{}}
  ntfy: {{channels: [{{name: telephone, url: "http://127.0.0.1:{port}/builds-x7Tq", allow_internal: true,
    retries: {{initial: 20ms}}}}]}}
pipelines:
  alerts: {{sources: [build], sinks: [alert-engine]}}
  notify: {{sources: [alert-engine], sinks: [ntfy]}}
"""


async def test_the_spec_keeps_its_promises() -> None:
    await check_spec(NTFY)


async def test_a_slow_build_is_on_the_telephone_though_the_server_was_busy(tmp_path: Path) -> None:
    async with (
        Endpoint(usual="200 OK", answers=["503 Busy"]).serving() as there,
        serving(tmp_path, configuration(there.port)) as node,
    ):
        event = {"id": "b-1", "source": "ci", "type": "build.finished", "outcome": "success", "duration_ms": 9000}
        await node.emit({**event, "environment": "production"})
        await node.until("ntfy/deliveries?status=delivered", len)
        _, _, headers, body = there.requests[1]
        assert there.requests[0].body == body
        assert headers["priority"] == "4"
        assert headers["title"].startswith("FIRING error: Build Performance Degraded")
        assert b"Environment: production" in body
        report = (await node.post("ntfy/test", {"channel": "telephone"})).json()["data"]
        assert (report["taken"], report["status"]) == (True, 200)
        assert there.requests[2].headers["title"] == "TEST info: This is a test of channel telephone"


async def test_a_place_inside_has_to_be_meant() -> None:
    channel: dict[str, Any] = {"name": "telephone", "url": "https://10.0.0.1/topic"}
    with pytest.raises(ConfigError, match=r"sinks.ntfy.channels\[0\].url: .* internal"):
        async with step(NTFY, context=Context("ntfy"), channels=[channel]).open():
            pass
