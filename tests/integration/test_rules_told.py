"""Who was told of an alert: `bers explain` names the channel, once the receiver took it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.acceptance.conftest import BERS
from tests.acceptance.receiving import receiving
from tests.integration.processes import configure, environ, started


def test_explain_names_the_channel_that_was_told(tmp_path: Path) -> None:
    with receiving() as receiver:
        channel = f"{{channels: [{{name: team, url: '{receiver.url}', allow_internal: true}}]}}"
        configure(tmp_path, {"webhooks: {}": f"webhooks: {channel}"})
        with started(tmp_path) as server:
            server.emit({"type": "build.finished", "source": "/ci", "service": "web", "outcome": "failure"})
            (alert,) = server.until("alerts", len)
            receiver.until("alert.firing")
            path = f"deliveries?subject={alert['id']}"
            (told,) = server.until(path, lambda told: [one["status"] for one in told] == ["delivered"])
            assert (told["sink"], told["channel"], told["type"]) == ("webhooks", "team", "alert.firing")
            said = subprocess.run(
                [*BERS, "explain", alert["id"]], cwd=tmp_path, env=environ(tmp_path), capture_output=True, text=True,
                timeout=60, check=False,
            )  # fmt: skip
    assert "who was told\n  webhooks team, alert.firing: delivered " in said.stdout
