"""What webhooks are sent: signed, and in the formats of others."""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from anyio import to_thread
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from bers import ConfigError, Event, Notice
from bers.testing import step
from bers_builtin.sinks.webhooks import WEBHOOKS, Webhook
from bers_builtin.sinks.webhooks.bodies import Body
from bers_builtin.sinks.webhooks.slack import plain
from tests.builtin.test_webhooks import alert, channel, finished, receiver, telling, write

OLD, NEW = ("whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))


def body(*events: Event, group: dict[str, str] | None = None, **options: Any) -> Any:
    """What a channel with these options is sent of these events."""
    named = {"name": "team", "url": "https://example.org/", **options}
    whole = Body(msgspec.convert(named, Webhook, dec_hook=_decode))
    return json.loads(whole.of(Notice("n-1", "team", events, group)))


def _decode(kind: type, value: Any) -> Any:
    return kind(value)


def firing(number: int = 1, subject: str = "a-1", **more: Any) -> Event:
    data: dict[str, Any] = {
        "severity": "error",
        "title": "Build Slow: web",
        "message": "build_time is 9 s",
        "value": 9000,
        "threshold": 5000,
        "unit": "ms",
        "firedAt": 1_700_000_000_123,
        "fingerprint": "f00d",
        "labels": {"service": "web", "git.branch": "main"},
        "annotations": {"runbook": "https://runbooks.example/slow"},
        **more,
    }
    event = alert(number, str(data.pop("kind", "firing")), subject, **data)
    return msgspec.structs.replace(event, labels={"rule": "Build Slow", "severity": "error"}, environment="production")


def resolved(number: int = 2, subject: str = "a-1") -> Event:
    return firing(number, subject, kind="resolved")


# Signatures


async def test_what_is_sent_is_verified_by_the_published_package(tmp_path: Path) -> None:
    signed: dict[str, Any] = {"secrets": [OLD, NEW]}
    async with receiver("500 Oops") as there, telling(tmp_path, [channel(there, **signed)]) as stage:
        await write(stage, alert(1, title="with ümlaut"))
        await finished(stage)
        for seen in there.received:
            raw = msgspec.json.encode(seen.body)
            for secret in (OLD, NEW):
                assert Verifier(secret).verify(raw, seen.headers) == seen.body
            forged = {**seen.headers, "webhook-id": "another"}
            with pytest.raises(WebhookVerificationError):
                Verifier(OLD).verify(raw, forged)
            with pytest.raises(WebhookVerificationError):
                Verifier("whsec_" + base64.b64encode(bytes(32)).decode()).verify(raw, seen.headers)
        first, second = there.received
        assert first.id == second.id == "bers:alert-engine/t-1"
        assert abs(int(second.headers["webhook-timestamp"]) - time.time()) < 60


async def test_an_id_has_no_full_stop_because_full_stops_part_what_is_signed(tmp_path: Path) -> None:
    event = Event("build.7", "ci.example.org", "deployment.failed", 1e9, seq=1)
    async with receiver() as there:
        async with telling(tmp_path, [channel(there, events=["deployment.*"], secrets=[OLD])]) as stage:
            await write(stage, event)
            await finished(stage)
        assert there.ids == ["ci%2Eexample%2Eorg/build%2E7"]
        Verifier(OLD).verify(msgspec.json.encode(there.received[0].body), there.received[0].headers)


@pytest.mark.parametrize(
    ("secret", "fault"),
    [
        ("plain-text-secret", "does not begin with 'whsec_'"),
        ("whsec_not base64", "no base64"),
        ("whsec_" + base64.b64encode(b"short").decode(), "has 5 bytes, and not 24 to 64"),
    ],
)
async def test_a_key_that_cannot_be_used_is_refused_and_not_shown(secret: str, fault: str) -> None:
    named = {"name": "team", "url": "https://example.org/", "secrets": [secret]}
    with pytest.raises(ConfigError, match=rf"channels\[0\].secrets: .*{fault}") as refusal:
        async with step(WEBHOOKS, channels=[named]).open():
            pass
    assert secret.removeprefix("whsec_") not in str(refusal.value)


# CloudEvents


async def test_a_group_is_told_as_a_batch_of_cloudevents(tmp_path: Path) -> None:
    async with receiver() as there:
        grouped = channel(there, group={"wait": "20ms", "every": "0s"})
        async with telling(tmp_path, [grouped]) as stage:
            await write(stage, alert(1), alert(2, subject="a-2"))
            await finished(stage)
        (seen,) = there.received
        assert seen.headers["content-type"] == "application/cloudevents-batch+json"
        assert [one["subject"] for one in seen.body] == ["a-1", "a-2"]
        assert seen.id == "bers:alert-engine/t-1+1"


# Slack


def test_slack_gets_a_message_with_the_severity_as_colour() -> None:
    message = body(firing(), format="slack")
    (attachment,) = message["attachments"]
    assert message["text"] == "FIRING error: Build Slow: web"
    assert (attachment["color"], attachment["text"]) == ("#d64545", "build_time is 9 s")
    assert {"title": "Environment", "value": "production", "short": True} in attachment["fields"]
    assert body(resolved(), format="slack")["attachments"][0]["color"] == "#2e8540"


@pytest.mark.parametrize(
    "text",
    ["<!channel> wake up", "<@U012AB3CD>", "@here @all", "<https://evil.example|bank>", "[bank](https://evil.example)",
     "www.evil.example", "https://evil.example"],
)  # fmt: skip
def test_slack_shows_what_an_event_says_and_mentions_nobody(text: str) -> None:
    message = body(firing(title=text, message=text, annotations={"runbook": text}), format="slack")
    sent = json.dumps(message, ensure_ascii=False)
    for evil in ("<!", "<@", "<http", "@here", "@all", "](", "://evil", "www.evil"):
        assert evil not in sent, evil
    assert (message["link_names"], message["unfurl_links"], message["parse"]) == (False, False, "none")


def test_what_slack_shows_reads_as_it_was() -> None:
    shown = plain("a < b && c@example.org").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert shown.replace("\u200b", "") == "a < b && c@example.org"


def test_slack_is_told_of_twenty_and_of_how_many_more() -> None:
    message = body(*(firing(n, f"a-{n}") for n in range(1, 31)), format="slack", group={"rule": "Build Slow"})
    assert len(message["attachments"]) == 20
    assert message["text"] == "30 FIRING: Build Slow (and 10 more)"


# Alertmanager


def test_alertmanagers_payload_has_its_version_4() -> None:
    payload = body(
        firing(),
        resolved(2, "a-2"),
        format="alertmanager",
        group={"rule": "Build Slow", "environment": "production"},
        external_url="https://bers.example",
    )
    assert payload == {
        "version": "4",
        "groupKey": '{}:{alertname="Build Slow", environment="production"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "team",
        "groupLabels": {"alertname": "Build Slow", "environment": "production"},
        "commonLabels": LABELS,
        "commonAnnotations": {name: text for name, text in ANNOTATIONS.items() if name != "alert_id"},
        "externalURL": "https://bers.example",
        "alerts": [
            {
                "status": "firing",
                "labels": LABELS,
                "annotations": ANNOTATIONS,
                "startsAt": "2023-11-14T22:13:20.123Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "https://bers.example/#alert=a-1",
                "fingerprint": "f00d",
            },
            {
                "status": "resolved",
                "labels": LABELS,
                "annotations": {**ANNOTATIONS, "alert_id": "a-2"},
                "startsAt": "2023-11-14T22:13:20.123Z",
                "endsAt": "2023-11-14T22:13:22.000Z",
                "generatorURL": "https://bers.example/#alert=a-2",
                "fingerprint": "f00d",
            },
        ],
    }
    assert body(resolved(), format="alertmanager")["status"] == "resolved"


LABELS = {
    "alertname": "Build Slow",
    "severity": "error",
    "environment": "production",
    "service": "web",
    "git_branch": "main",
}
ANNOTATIONS = {
    "summary": "Build Slow: web",
    "description": "build_time is 9 s",
    "alert_id": "a-1",
    "runbook": "https://runbooks.example/slow",
}


@pytest.mark.skipif(not shutil.which("prometheus-alertmanager"), reason="Debian's prometheus-alertmanager is not here")
async def test_alertmanager_itself_takes_alerts_and_their_ends_and_sends_on_what_we_would(tmp_path: Path) -> None:
    async with receiver() as there:
        with anyio.fail_after(60):
            with alertmanager(tmp_path, there.url) as port:
                url = f"http://127.0.0.1:{port}/api/v2/alerts"
                direct = {"name": "direct", "url": url, "format": "alertmanager-api", "allow_internal": True}
                async with telling(tmp_path, [direct]) as stage:
                    now = int(time.time())
                    event = msgspec.structs.replace(firing(firedAt=now * 1000), time=now)
                    await write(stage, event)
                    (delivery,) = await finished(stage)
                    assert (delivery.status, delivery.last_status) == ("delivered", 200), delivery.last_error
                    (known,) = await to_thread.run_sync(_get, url)
                    assert known["labels"] == LABELS and known["annotations"] == ANNOTATIONS
                    assert known["status"]["state"] in ("active", "unprocessed")
                    while len(there.received) < 1:
                        await anyio.sleep(0.02)
                    over = msgspec.structs.replace(resolved(), time=time.time(), data=event.data)
                    await write(stage, over)
                    assert [one.status for one in await finished(stage)] == ["delivered"] * 2
                    while len(there.received) < 2:
                        await anyio.sleep(0.02)
        theirs = [seen.body for seen in there.received]
        ours = [body(event, format="alertmanager"), body(over, format="alertmanager")]
        for mine, other in zip(ours, theirs, strict=True):
            assert mine.keys() == other.keys()
            assert (mine["status"], mine["version"]) == (other["status"], other["version"])
            assert (mine["commonLabels"], mine["commonAnnotations"]) == (
                other["commonLabels"],
                other["commonAnnotations"],
            )
            (my_alert,), (their_alert,) = mine["alerts"], other["alerts"]
            assert my_alert.keys() == their_alert.keys()
            same = ("status", "labels", "annotations")
            assert [my_alert[name] for name in same] == [their_alert[name] for name in same]
        assert theirs[0]["alerts"][0]["startsAt"].startswith(ours[0]["alerts"][0]["startsAt"][:19])


@contextmanager
def alertmanager(folder: Path, webhook: str) -> Generator[int]:
    """A real Alertmanager that tells a webhook at once."""
    (folder / "am.yml").write_text(
        "route: {receiver: told, group_by: [alertname], group_wait: 0s, group_interval: 1s}\n"
        f"receivers: [{{name: told, webhook_configs: [{{url: '{webhook}', send_resolved: true}}]}}]\n"
    )
    with (folder / "am.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus-alertmanager",
                f"--config.file={folder / 'am.yml'}",
                f"--storage.path={folder / 'am'}",
                "--web.listen-address=127.0.0.1:0",
                "--cluster.listen-address=",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 30
        while not (listening := re.search(r"address=127\.0\.0\.1:(\d+)", said := (folder / "am.log").read_text())):
            assert time.monotonic() < deadline and process.poll() is None, said
            time.sleep(0.05)
        urllib.request.urlopen(f"http://127.0.0.1:{listening[1]}/-/ready", timeout=30).close()
        yield int(listening[1])
    finally:
        process.terminate()
        process.wait()


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as reply:
        return json.load(reply)


# Connections


async def test_a_connection_is_kept_and_one_that_went_stale_costs_no_attempt(tmp_path: Path) -> None:
    from tests.builtin.keeping import keeping

    async with keeping() as there:
        url = f"http://127.0.0.1:{there.port}/"
        named = {"name": "team", "url": url, "allow_internal": True, "at_once": 1, "retries": {"initial": "1h"}}
        async with telling(tmp_path, [named]) as stage:
            for number in range(1, 6):
                await write(stage, alert(number, subject=f"a-{number}"))
                await finished(stage)
            assert (there.connections, there.requests) == (1, 5)
            there.end_at_next_request = True
            await write(stage, alert(6, subject="a-6"))
            deliveries = await finished(stage)
            assert [one.attempts for one in deliveries] == [1] * 6
            assert (there.connections, there.requests) == (2, 7)


async def test_what_the_guide_says_of_receivers_verifies_what_we_send(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/notify.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    async with receiver() as there, telling(tmp_path, [channel(there, secrets=[OLD])]) as stage:
        await write(stage, alert(1))
        await finished(stage)
        (seen,) = there.received
        assert names["receive"](msgspec.json.encode(seen.body), seen.headers, OLD) == seen.body
        with pytest.raises(WebhookVerificationError):
            names["receive"](b"{}", seen.headers, OLD)
