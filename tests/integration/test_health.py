"""Health as a node answers it: real stages that fault, real things that are down, badges, history and breakers."""

import sqlite3
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import anyio
import pytest

from bers import Check, Config, Emit, Finding, Interval, Source, SourceSpec, Stage, Status
from bers.plugins import Kind
from bers.stages import AnySpec
from bers.testing.server import Server, serving

SOON = 60.0
"""Seconds until the next look, on a machine that has other things to do."""
STATES: Sequence[Status] = ("healthy", "degraded", "unhealthy", "unknown")


BARE = """
sinks: {rest-store: {}, sse: {}}
pipelines:
  kept: {sources: [unmapped], sinks: [rest-store]}
  live: {sources: [unmapped], sinks: [sse]}
"""
"""Hardly anything that could be unwell by itself."""


class NoConfig(Config, frozen=True):
    """Nothing to configure."""


class Shaky(Stage[NoConfig], Source):
    """Its checks find what they are told to find, or raise."""

    finds: dict[str, Status | Exception]

    async def run(self, emit: Emit) -> None:
        await anyio.sleep_forever()

    def say(self, name: str) -> Finding:
        found = self.finds.get(name, "healthy")
        if isinstance(found, Exception):
            raise found
        return Finding(found, f"{name} is {found}", {}, "" if found == "healthy" else f"Mend {name}.")


async def heart(stage: Shaky) -> Finding:
    return stage.say("heart")


async def hand(stage: Shaky) -> Finding:
    return stage.say("hand")


def shaky(finds: dict[str, Status | Exception]) -> list[tuple[Kind, AnySpec]]:
    own = type("Shaky", (Shaky,), {"finds": finds})
    quick = Interval("50ms")
    checks = (
        Check("heart", heart, "Whether it beats.", interval=quick, critical=True),
        Check("hand", hand, "Whether it holds.", interval=quick),
    )
    return [("source", SourceSpec("shaky", NoConfig, own, checks=checks))]


@asynccontextmanager
async def node(
    folder: Path, finds: dict[str, Status | Exception] | None = None, **checks: Any
) -> AsyncGenerator[Server]:
    """A node with nothing but a store, a stage with two checks, and what else is asked for."""
    breaker = {"failures": 3, "reset_after": "1h"}
    flapping = {"changes": 1000}
    changes = [
        (("health", name), value) for name, value in (("checks", checks), ("breaker", breaker), ("flapping", flapping))
    ]
    async with serving(
        folder, f"sources: {{shaky: {{}}}}\n{BARE}", specs=shaky({} if finds is None else finds), changes=changes
    ) as server:
        yield server


def is_now(status: str) -> Callable[[Any], bool]:
    return lambda one: one["status"] == status


async def test_every_word_is_reachable_and_the_whole_is_what_a7_says(tmp_path: Path) -> None:
    finds: dict[str, Status | Exception] = {}
    async with node(tmp_path, finds) as server:
        for heart_is in STATES:
            for hand_is in STATES:
                finds.update(heart=heart_is, hand=hand_is)

                def both(data: Any, wanted: tuple[str, str] = (heart_is, hand_is)) -> bool:
                    found = {one["name"]: one["status"] for one in data["checks"]}
                    return (found["heart"], found["hand"]) == wanted

                data = await server.until("health", both, seconds=SOON)
                if heart_is == "unhealthy":
                    wanted = ("unhealthy", "critical", 503)
                elif heart_is == "unknown":
                    wanted = (
                        "unknown",
                        {"healthy": "info", "unknown": "info", "degraded": "warning"}.get(hand_is, "error"),
                        503,
                    )
                elif heart_is == hand_is == "healthy":
                    wanted = ("healthy", "none", 200)
                else:
                    bad = {"unhealthy": "error", "unknown": "warning" if heart_is == "degraded" else "info"}
                    wanted = ("degraded", bad.get(hand_is, "warning"), 200)
                reply = await server.get("health", "health")
                assert (data["overallStatus"], data["severity"], reply.status_code) == wanted
                assert data["summary"]["critical"] == (heart_is == "unhealthy")
                one = await server.get("health/heart", "health")
                assert one.status_code == (200 if heart_is in ("healthy", "degraded") else 503)
                assert (await server.get("/readyz")).status_code == 200  # A8: the rest is in health.
        finds.update(heart=RuntimeError("broken"), hand="healthy")
        data = await server.until("health", lambda data: data["severity"] == "critical", seconds=SOON)
        assert "heart: See the error, and logs/monitoring.log." in data["recommendations"]


async def test_a_breaker_opens_is_shown_is_reset_by_name_and_somebody_is_noted_for_it(tmp_path: Path) -> None:
    finds: dict[str, Status | Exception] = {"hand": RuntimeError("broken")}
    async with node(tmp_path, finds) as server:
        data = await server.until(
            "health/circuit-breakers", lambda every: every["hand"]["state"] == "open", seconds=SOON
        )
        assert data["hand"]["failures"] == 3 and data["hand"]["lastError"] == "RuntimeError: broken"
        assert data["hand"]["nextAttempt"] - data["hand"]["openedAt"] in range(3_599_000, 3_601_000)
        assert data["heart"]["state"] == "closed"
        finds.clear()
        reply = await server.post("health/circuit-breakers/hand/reset")
        assert reply.json()["data"] == {"reset": ["hand"]}
        await server.until("health/hand", lambda one: one["status"] == "healthy", seconds=SOON)
        assert (await server.post("health/circuit-breakers/hnd/reset")).json()["error"]["known"] == [
            "data-files", "hand", "heart", "metrics-collector", "metrics-store", "storage",
        ]  # fmt: skip
        assert (await server.post("health/circuit-breakers/reset")).json()["data"] == {"reset": []}
        deeds = [one["action"] for one in await server.data("audit")]
        assert deeds[-1:] == ["POST /api/monitoring/health/circuit-breakers/hand/reset"]
        assert "POST /api/monitoring/health/circuit-breakers/reset" in deeds


async def test_an_open_breaker_rests_on_after_a_restart_and_one_that_was_reset_does_not(tmp_path: Path) -> None:
    looks = tmp_path / "looks"
    script = f"open({str(looks)!r}, 'a').write('x'); import os; os.kill(os.getpid(), 9)"
    # A program that cannot be started gives no answer, so its breaker opens.
    gone = {"command": {"argv": [str(tmp_path / "gone")]}, "interval": "20ms", "critical": True}
    died = {"command": {"argv": [sys.executable, "-c", script]}, "interval": "20ms"}
    async with node(tmp_path, gone=gone, died=died) as server:
        opened = await server.until(
            "health/circuit-breakers", lambda every: every["gone"]["state"] == "open", seconds=SOON
        )
        assert opened["died"]["state"] == "closed"  # It answers: with the signal that ended it.
        assert (await server.data("health/died"))["message"] == "it was ended by SIGKILL"
        before = await server.data("health/gone")
    (tmp_path / "gone").write_text("#!/bin/sh\necho back\n")
    (tmp_path / "gone").chmod(0o755)
    async with node(tmp_path, gone=gone, died=died) as server:
        after = await server.data("health/gone")
        assert (after["status"], after["message"], after["error"]) == ("unhealthy", before["message"], before["error"])
        assert after["timestamp"] == before["timestamp"]  # Nobody has looked since.
        assert abs(after["breaker"]["nextAttempt"] - before["breaker"]["nextAttempt"]) < 2000
        assert (await server.data("health"))["overallStatus"] == "unhealthy"
        await server.post("health/circuit-breakers/gone/reset")
        await server.until("health/gone", lambda one: one["message"] == "back", seconds=SOON)
    async with node(tmp_path, gone=gone, died=died) as server:
        assert (await server.until("health/gone", lambda one: one["message"] == "back", seconds=SOON))["breaker"][
            "state"
        ] == "closed"


async def test_a_check_of_a_metric_asks_the_store(tmp_path: Path) -> None:
    slow = {
        "metric": {"name": "build_performance", "aggregate": "max", "degraded_above": "2s", "unhealthy_above": "10s"},
        "interval": "20ms",
    }
    changes = [(("health", "checks"), {"slow-builds": slow})]
    async with serving(tmp_path, changes=changes) as server:
        first = await server.until("health/slow-builds", lambda one: one["duration"] > 0, seconds=SOON)
        assert (first["status"], first["message"]) == ("unknown", "no sample in 5m")
        for seconds, status in ((1, "healthy"), (3, "degraded"), (11, "unhealthy")):
            await server.emit({"type": "build-completed", "detail": {"duration": seconds * 1000, "environment": "ci"}})
            found = await server.until("health/slow-builds", is_now(status), seconds=SOON)
            assert found["details"]["value"] == seconds * 1000.0


async def test_when_we_are_cut_off_nobody_is_blamed(tmp_path: Path) -> None:
    """Places that nobody listens at any more stand for a network that is gone."""
    from anyio.abc import SocketAttribute

    shop = await anyio.create_tcp_listener(local_host="127.0.0.1")
    gate = await anyio.create_tcp_listener(local_host="127.0.0.1")
    shop_port, gate_port = (one.extra(SocketAttribute.local_port) for one in (shop, gate))
    checks = {
        "shop": {"tcp": {"address": f"127.0.0.1:{shop_port}"}, "interval": "20ms", "outside": True, "critical": True}
    }
    guard = {"targets": [f"127.0.0.1:{gate_port}"], "interval": "1h"}
    changes = [(("health", "checks"), checks), (("health", "connectivity"), guard)]
    async with serving(tmp_path, BARE, changes=changes) as server:
        await server.until("health/shop", lambda one: one["status"] == "healthy", seconds=SOON)
        async with server.events("?types=health.checked") as frames:
            await gate.aclose()
            await shop.aclose()
            found = await server.until("health/shop", lambda one: one["status"] != "healthy", seconds=SOON)
            assert (found["status"], found["details"]) == ("unknown", {"becauseOf": "connectivity"})
            own = await server.data("health/connectivity")
            assert own["status"] == "unhealthy" and own["message"].startswith("this node is cut off: no connection to ")
            told: dict[str, Any] = {}
            with anyio.fail_after(SOON):
                async for frame in frames:
                    if frame.event == "health_status" and frame.data["data"]["data"]["status"] != "healthy":
                        told[frame.data["subject"]] = frame.data["data"]
                    if len(told) == 2:
                        break
            assert told["connectivity"]["outcome"] == "failure"
            assert told["connectivity"]["labels"] == {
                "check": "connectivity", "status": "unhealthy", "breaker": "closed", "critical": "false",
                "flapping": "false",
            }  # fmt: skip
            assert (told["shop"]["outcome"], told["shop"]["data"]["becauseOf"]) == ("skip", "connectivity")
        advice = (await server.data("health"))["recommendations"]
        assert [one.partition(":")[0] for one in advice] == ["connectivity"]


async def test_history_is_told_with_its_outages_and_shown_in_the_report(tmp_path: Path) -> None:
    finds: dict[str, Status | Exception] = {}
    async with node(tmp_path, finds) as server:
        stories: Sequence[Status] = ("unhealthy", "healthy", "unhealthy", "degraded")
        for status in stories:
            finds["hand"] = status
            await server.until("health/hand", is_now(status), seconds=SOON)
        found = await server.data("health/hand/history?period=1h")
        # Where the machine stood still, a span is followed by one that says the same.
        runs = [[*run] for _, run in groupby(found["spans"], key=lambda one: one["status"])]
        assert [one[0]["status"] for one in runs] == ["degraded", "unhealthy", "healthy", "unhealthy", "healthy"]
        assert found["outages"] == 2 and 0 < found["percent"] < 100 and found["spans"][0]["ongoing"]
        down = sum(one["duration"] for one in found["spans"] if one["status"] == "unhealthy")
        assert abs(found["downtimeMs"] - down) <= 2  # Each is rounded by itself.
        report = await server.data("health/hand")
        assert report["availability"]["7d"]["outages"] == 2 and report["since"] == runs[0][-1]["from"]
        whole = await server.data("health/history")
        assert {one["status"] for one in whole["spans"]} == {"healthy", "degraded"}
        assert (await server.get("health/hnd/history")).status_code == 404
        assert (await server.get("health/hand/history?period=91d")).status_code == 422
        assert (await server.get("health/hand/history?period=x")).status_code == 400


async def test_badges_are_pictures_that_can_be_kept_for_a_while(tmp_path: Path) -> None:
    async with node(tmp_path, {"hand": "degraded"}) as server:
        await server.until("health/hand", lambda one: one["status"] == "degraded", seconds=SOON)
        for path, said in (
            ("health/hand/badge.svg", "hand: degraded"),
            ("health/badge.svg", "health: degraded"),
            ("health/hand/availability.svg?period=7d", "hand 7d: 100 %"),
            ("health/availability.svg", "health 30d: 100 %"),
        ):
            reply = await server.get(path, "health")
            assert (reply.status_code, reply.headers["content-type"]) == (200, "image/svg+xml")
            assert ElementTree.fromstring(reply.content).get("aria-label") == said
            assert reply.headers["cache-control"] == "private, max-age=30"
            assert reply.headers["cross-origin-resource-policy"] == "same-origin"
            again = await server.get(path, headers={"If-None-Match": reply.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        assert (await server.get("health/nothing/badge.svg")).status_code == 404


@pytest.mark.parametrize("public", [False, True])
async def test_badges_need_a_key_unless_they_are_public(tmp_path: Path, public: bool) -> None:
    access = {"enabled": True, "key": "a-key-of-this-test-0123456789"}
    changes: list[tuple[tuple[str, ...], Any]] = [(("access", key), value) for key, value in access.items()]
    changes.append((("health", "public_badges"), public))
    async with serving(tmp_path, BARE, changes=changes) as server:
        for path in ("health/badge.svg", "health/availability.svg", "health/storage/badge.svg",
                     "health/storage/availability.svg"):  # fmt: skip
            reply = await server.get(path, "health", headers={"Sec-Fetch-Site": "cross-site"})
            assert reply.status_code == (200 if public else 401)
            if public:
                assert reply.headers["cache-control"] == "public, max-age=30"
                assert reply.headers["cross-origin-resource-policy"] == "cross-origin"
        unknown = await server.get("health/nothing/badge.svg", "health")
        assert "storage" not in unknown.text  # Nobody is told which checks there are.
        assert (await server.get("health", "health")).status_code == 401
        assert (await server.get("health/storage", "health")).status_code == 401


async def test_what_a_look_brings_along_is_masked_everywhere(tmp_path: Path) -> None:
    secret = "k3y-0f-th3-sh0p-9d81"
    script = "import os, sys; print('cannot log in with ' + os.environ['KEY']); sys.exit(2)"
    check = {"command": {"argv": [sys.executable, "-c", script], "env": {"KEY": secret}}, "interval": "50ms"}
    async with node(tmp_path, shop=check) as server:
        found = await server.until("health/shop", lambda one: one["status"] == "unhealthy", seconds=SOON)
        assert found["message"] == "cannot log in with ***"
        for path in ("health", "health/shop/history", "/metrics", "/openapi.json"):
            assert secret not in (await server.get(path)).text
    database = sqlite3.connect(tmp_path / ".bers" / "state.db")
    rows = database.execute("SELECT message FROM health_spans WHERE name = 'shop'").fetchall()
    database.close()
    assert set(rows) == {("cannot log in with ***",)}  # More than one where the machine stood still meanwhile.


async def test_a_rule_watches_a_check_and_an_alert_is_resolved_with_it(tmp_path: Path) -> None:
    finds: dict[str, Status | Exception] = {}
    rule = {
        "name": "Hand Down",
        "severity": "critical",
        "event": "health.checked",
        "where": {"check": "hand"},
        "outcome": "failure",
        "clears": {"event": "health.checked", "outcome": "success"},
        "group": ["check"],
    }
    changes: list[tuple[tuple[str, ...], Any]] = [
        (("sources", "shaky"), {}),
        (("sinks", "alert-engine", "rules"), [rule]),
    ]
    async with serving(tmp_path, specs=shaky(finds), changes=changes) as server:
        await server.until("health/hand", lambda one: one["status"] == "healthy", seconds=SOON)
        finds["hand"] = "unhealthy"
        found = await server.until("alerts", lambda every: every, seconds=SOON)
        assert [(one["title"], one["severity"]) for one in found] == [("Hand Down: hand", "critical")]
        del finds["hand"]
        await server.until("alerts", lambda every: not every, seconds=SOON)


async def test_two_stages_of_one_type_hide_nothing_of_each_other(tmp_path: Path) -> None:
    text = """
version: 1
sources: {build: {}}
sinks: {alert-engine: {}, first: {use: webhooks}, second: {use: webhooks}}
pipelines:
  alerts: {sources: [build], sinks: [alert-engine]}
  notify: {sources: [alert-engine], sinks: [first, second]}
health: {checks: {notifications-second: {interval: 1h}}}
"""
    async with serving(tmp_path, text) as server:
        names = {one["name"] for one in (await server.get("health", "health")).json()["data"]["checks"]}
        assert {"notifications", "notifications-second"} <= names
        assert (await server.get("health/notifications-second", "health")).status_code == 200
