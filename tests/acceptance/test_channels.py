"""From a breach to those who are told: all kinds of channels at once, contacts in turn, and a restart in between."""

import json
import sys
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import configuration, operating
from tests.acceptance.receiving import receiving


def slow(id: str, duration: float) -> dict[str, Any]:
    return {
        "id": id,
        "source": "ci",
        "type": "build.finished",
        "outcome": "success",
        "duration_ms": duration,
        "environment": "production",
    }


def test_a34_contacts_are_told_in_turn_and_all_are_told_that_it_is_over(tmp_path: Path) -> None:
    log = tmp_path / "told.jsonl"
    script = f"import sys; open({str(log)!r}, 'a').write(sys.stdin.read())"
    with receiving() as first, receiving() as second:
        configuration(
            tmp_path,
            **{
                "  alert-engine: {}": (
                    "  alert-engine: {escalation: [{after: 1s, contact: secondary}, {after: 1h, contact: escalation}]}"
                ),
                "  webhooks: {}": (
                    "  command: {channels: [{name: lead, contact: escalation, command: "
                    f'["{sys.executable}", "-c", {json.dumps(script)}]}}]}}\n'
                    f"  webhooks: {{channels: [{{name: chat, url: '{first.url}', allow_internal: true}}, "
                    f"{{name: second, contact: secondary, url: '{second.url}', allow_internal: true}}]}}"
                ),
                "sinks: [webhooks, heartbeat]": "sinks: [webhooks, heartbeat, command]",
            },
        )
        with operating(tmp_path) as server:
            server.emit(slow("b-1", 5001))
            first.until("alert.firing", "alert.escalated")
            second.until("alert.escalated")
            escalated = second.bodies[0]["data"]
            assert escalated["labels"]["contact"] == "secondary"
            assert escalated["data"]["reason"]
            server.emit(slow("b-2", 10))
            first.until("alert.firing", "alert.escalated", "alert.resolved")
            second.until("alert.escalated", "alert.resolved")
            told = {one["name"]: one for one in server.data("webhooks/channels")}
            assert (told["second"]["contact"], told["second"]["state"]) == ("secondary", "ready")
            assert not log.exists(), "nobody escalated to the third contact"


def test_who_was_told_firing_before_a_restart_and_a_changed_filter_is_told_resolved(tmp_path: Path) -> None:
    with receiving() as chat:
        channel = f"webhooks: {{channels: [{{name: chat, url: '{chat.url}', allow_internal: true}}]}}"
        path = configuration(tmp_path, **{"webhooks: {}": channel})
        with operating(tmp_path) as server:
            server.emit(slow("b-1", 5001))
            chat.until("alert.firing")
        with operating(tmp_path) as server:
            text = path.read_text()
            assert "allow_internal: true}" in text
            path.write_text(text.replace("allow_internal: true}", "allow_internal: true, severities: [critical]}"))
            server.bers("reload")
            server.emit(slow("b-2", 10))
            chat.until("alert.firing", "alert.resolved")
            server.emit(slow("b-3", 5001))
            server.until("records?type=alert.firing", lambda found: len(found) == 2)
            server.until("dashboard/status", lambda data: data["pipelines"]["notify"] == 0)
            server.until("webhooks/deliveries?status=waiting", lambda found: not found)
            assert len(set(chat.ids)) == 2, "what is not critical is not told any more"
