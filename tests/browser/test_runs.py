"""The view of runs in a browser: lists, one run opened, what goes on now, conditions and pages."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from playwright.async_api import expect

from bers.testing.server import serving
from tests.browser.conftest import Opening
from tests.browser.looking import EVIL, SLOW, is_answered, is_live

ASSETS = [{"name": "main-*.js", "raw": 90_000, "gzip": 30_000, "entry": True}]


def now() -> int:
    return int(time.time() * 1000)


def told(type: str, subject: str, **fields: Any) -> dict[str, Any]:
    return {"type": type, "source": "/ci", "subject": subject, "time": now() - 5000, **fields}


def build(subject: str, *, ago: int = 5000, size: int = 90_000, **fields: Any) -> dict[str, Any]:
    end = now() - ago
    start = end - 4000
    phases = [{"phase": "bundle", "start": start, "ms": 3000}, {"phase": "lint", "start": start + 1000, "ms": 3000}]
    assets = [{**ASSETS[0], "raw": size}]
    return {
        **told("build.finished", subject, outcome="success", duration_ms=4000, labels={"build": "app"}),
        "time": end, "measures": {"bundle.raw": size, "phase.bundle": 3000, "phase.lint": 3000, "exit_code": 0},
        "data": {"timeline": phases, "assets": assets, "command": "vite"}, "environment": "production",
        "vcs": {"revision": "0123456789abcdef", "ref": "main"},
        "run": {"system": "github", "pipeline": "ci", "id": "7", "url": "https://ci.example/runs/7"}, **fields,
    }  # fmt: skip


def suite(subject: str, ago: int, failed: list[str], flaky: list[str]) -> dict[str, Any]:
    outcome = "failure" if failed else "success"
    measures = {"tests.total": 9, "tests.passed": 9 - len(failed), "tests.failed": len(failed)}
    return told("testsuiterun.finished", subject, outcome=outcome, duration_ms=100, labels={"suite": "unit"},
                time=now() - ago, measures=measures, data={"failed": failed, "flaky": flaky})  # fmt: skip


async def test_a_run_opens_to_its_phases_files_log_and_alerts(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.emit(
            told("build.started", "app/2", time=now() - 9000, labels={"build": "app"}),
            build("app/1", ago=60_000, size=45_000),
            build("app/2", outcome="failure", reason=EVIL),
        )
        await server.until("runs?id=app/2", lambda runs: runs and runs[0]["state"] == "ended")
        await server.until("alerts", len)
        async with opened(server.url("/runs?id=app/2")) as page:
            one = page.locator("#one")
            await expect(one.locator(".waterfall li")).to_have_count(2, timeout=SLOW)
            await expect(one.locator(".waterfall li").nth(0)).to_have_text("bundle+0 ms3 s")
            await expect(one.locator(".waterfall li").nth(1)).to_have_text("lint+1 s3 s")
            bars = [await one.locator(".bar").nth(at).bounding_box() for at in (0, 1)]
            assert bars[0] and bars[1]
            assert bars[0]["x"] < bars[1]["x"] < bars[0]["x"] + bars[0]["width"], "they overlapped"
            await expect(one).to_contain_text(EVIL)
            for said in ("production", "main", "0123456789ab", "Exit code", "vite", "4 s"):
                await expect(one.locator(".summary")).to_contain_text(said)
            await expect(one.get_by_role("link", name="github ci 7")).to_have_attribute(
                "href", "https://ci.example/runs/7"
            )
            row = one.locator('tr[data-key="main-*.js"]')
            await expect(row).to_contain_text("90 kB")
            await expect(row).to_contain_text("+100 %")
            await expect(one).to_contain_text("Build Failed")
            await expect(one.locator("table").last).to_contain_text("build.started")
            await expect(page.locator("#build tbody tr")).to_have_count(2)
            assert await page.locator("#deployment").is_hidden()
            await one.get_by_role("link", name="All of app").click()
            await page.wait_for_url("**/runs?name=app")
            await expect(page.locator("#build tbody tr")).to_have_count(2, timeout=SLOW)
            await expect(page.locator("#build")).to_contain_text("How large app is · 90 kB now, +100 %", timeout=SLOW)
        async with opened(server.url("/runs?id=nobody%2F1")) as page:
            await expect(page.locator("#one")).to_contain_text("Nothing is known of this run", timeout=SLOW)
        async with opened(server.url("/runs?id=app%2F2"), java_script_enabled=False) as still:
            await is_answered(still)
            assert "failure" in await still.inner_text("#one")


async def test_tests_that_fail_are_named_with_what_they_said_and_how_they_were(opened: Opening, tmp_path: Path) -> None:
    case = told("testcaserun.finished", "unit/3/t::b", outcome="failure", reason="AssertionError: 1 == 2\nassert",
                labels={"suite": "unit"}, data={"test": "t::b", "run": "unit/3"})  # fmt: skip
    async with serving(tmp_path) as server:
        await server.emit(suite("unit/1", 30_000, [], []), suite("unit/2", 20_000, ["t::b"], []), case,
                          suite("unit/3", 5000, ["t::b"], ["t::a"]))  # fmt: skip
        await server.until("runs?kind=validation", lambda runs: len(runs) == 3)
        await server.until("records?type=testcaserun.*", len)
        async with opened(server.url("/runs")) as page:
            await expect(page.locator('#validation tr[data-key="unit/3"]')).to_contain_text(
                "8 passed, 1 failed, 1 flaky b and 1 more", timeout=SLOW
            )
            await page.locator('#validation tr[data-key="unit/3"] a').click()
            row = page.locator('#one tr[data-key="t::b"]')
            await expect(row).to_contain_text("AssertionError: 1 == 2", timeout=SLOW)
            await expect(row.locator(".past")).to_contain_text("2 of 3")
            marks = [await row.locator(".past a").nth(at).get_attribute("data-status") for at in range(3)]
            assert marks == ["healthy", "unhealthy", "unhealthy"]
            await expect(page.locator('#one tr[data-key="t::a"]')).to_contain_text("flaky")


async def test_what_runs_is_seen_to_run_and_deployments_stand_by_environment(opened: Opening, tmp_path: Path) -> None:
    shop = {"service": "shop", "environment": "production"}
    async with serving(tmp_path) as server:
        at = now()
        await server.emit(
            told("deployment.finished", "shop/1", outcome="success", duration_ms=10, version="1.4", time=at - 9000,
                 vcs={"revision": "aa", "committed_at": (at - 69_000) / 1000}, **shop),
            told("deployment.finished", "shop/2", outcome="failure", duration_ms=10, time=at - 8000, **shop),
            told("deployment.finished", "", outcome="success", labels={"kind": "rollback"}, time=at - 7000, **shop),
        )  # fmt: skip
        await server.until("runs?kind=deployment", lambda runs: len(runs) == 3)
        async with opened(server.url("/runs")) as page:
            await is_live(page)
            standing = page.locator("#deployment table").first
            await expect(standing).to_contain_text("1.4", timeout=SLOW)
            await expect(standing).to_contain_text("3, 1 failed, 1 taken back")
            await expect(page.locator('#deployment tr[data-key="shop/1"]')).to_contain_text("1 min")
            await expect(page.locator('#dora tr[data-key="deploymentFrequency"]')).to_contain_text("a day")
            await server.emit(told("testsuiterun.started", "unit/9", labels={"suite": "unit"}, time=now() - 65_000))
            row = page.locator('#validation tr[data-key="unit/9"]')
            await expect(row).to_contain_text(re.compile("running.*1 min"), timeout=SLOW)
            measures = {"progress.passed": 4, "progress.failed": 1, "progress.selected": 9}
            await server.emit(told("testsuiterun.progress", "unit/9", measures=measures, data={"running": ["t::slow"]}))
            await expect(row).to_contain_text("5 of 9 done, 1 failed, now slow", timeout=SLOW)
            await server.emit(suite("unit/9", 0, [], []))
            await expect(row).to_contain_text("success", timeout=SLOW)


async def test_runs_are_chosen_by_conditions_that_stand_in_the_address_and_paged(
    opened: Opening, tmp_path: Path
) -> None:
    async with serving(tmp_path) as server:
        await server.emit(*(
            build(f"app/{n}", ago=n * 1000, outcome="success" if n % 2 else "failure", service='a "b" \\c',
                  vcs={"ref": "main" if n < 30 else "topic", "revision": "0"})
            for n in range(40)
        ))  # fmt: skip
        await server.until("runs?limit=100", lambda runs: len(runs) == 40)
        rows = "#build tbody tr"
        async with opened(server.url("/runs")) as page:
            await expect(page.locator(rows)).to_have_count(15, timeout=SLOW)
            await page.locator("#build").get_by_role("button", name="Older").click()
            await expect(page.locator(rows)).to_have_count(30, timeout=SLOW)
            await page.locator("#build").get_by_role("button", name="Older").click()
            await expect(page.locator(rows)).to_have_count(40, timeout=SLOW)
            await page.locator('#filter [name="outcome"]').select_option("failure")
            await page.locator('#filter [name="branch"]').fill("topic")
            await page.locator('#filter [name="service"]').fill('a "b" \\c')
            await page.keyboard.press("Enter")
            await expect(page.locator(rows)).to_have_count(5, timeout=SLOW)
            await page.reload()
            await expect(page.locator(rows)).to_have_count(5, timeout=SLOW)
            assert "branch=topic" in page.url
            await page.get_by_role("button", name="All", exact=True).click()
            await expect(page.locator(rows)).to_have_count(15, timeout=SLOW)
            assert page.url.endswith("/runs")


async def test_what_is_drawn_asks_for_nothing(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.emit(build("app/0"))
        await server.until("runs?id=app/0", len)
        async with opened(server.url("/runs")) as page:
            asked: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            await is_live(page)
            await expect(page.locator("#build h3", has_text="How large app is")).to_be_visible(timeout=SLOW)
            for number in range(1, 7):  # Each is told by the stream, and drawn by itself.
                await server.emit(build(f"app/{number}"))
                await expect(page.locator(f'#build [data-key="app/{number}"]')).to_be_visible(timeout=SLOW)
            lists = sum("runs?kind=build" in one and "whole" not in one for one in asked)
            histories = sum("whole=true" in one for one in asked)
            # The first list may have been asked for before anybody counted.
            assert histories <= lists + 1, "how large they are is asked with the list"
