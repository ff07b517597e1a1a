"""How pages come by their values: by the stream, by asking while it cannot be had, and many of them at once."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
from playwright.async_api import Page, Route, expect

from bers.testing.server import Server, serving
from tests.browser.conftest import Opening
from tests.browser.looking import SLOW, failed, is_live, slow

SECOND = [(("sinks", "dashboard", "refresh"), "1s")]

TWO = [(("sinks", "dashboard", "refresh"), "2s")]

PATIENT = "AbortSignal.timeout = () => new AbortController().signal;"
"""Questions without an end: how long a browser waits for an answer is not of the page's clock."""

SEEN = """
Object.defineProperty(document, "hidden", { get: () => Boolean(window.isCovered), configurable: true });
"""
"""A browser without a screen takes every page for one that is seen, so this says which is not."""


async def is_covered(page: Page, covered: bool) -> None:
    await page.evaluate(f"isCovered = {str(covered).lower()}; document.dispatchEvent(new Event('visibilitychange'))")


async def streams(server: Server) -> int:
    """How many listen, besides whoever asks this."""
    async with server.events() as frames:
        async for frame in frames:
            return int(frame.data["clients"]) - 1
    raise AssertionError("nothing was told")


async def no_more_streams_than(server: Server, most: int) -> None:
    with anyio.fail_after(SLOW / 1000):
        while await streams(server) > most:
            await anyio.sleep(0.05)


async def test_c141_without_a_stream_it_polls_and_returns_by_itself(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path, changes=SECOND) as server:
        async with opened(server.url("/runs"), excused="ERR_FAILED") as page:
            await is_live(page)
            blocked = True

            async def gate(route: Route) -> None:
                await (route.abort() if blocked else route.continue_())

            await page.route("**/api/monitoring/events*", gate)
            await page.reload()
            await expect(page.locator("#live")).to_have_text("every 1 s", timeout=SLOW)
            await server.emit(slow("chat/5"))
            await expect(page.locator('#build [data-key="chat/5"]')).to_be_visible(timeout=SLOW)
            blocked = False
            await is_live(page)
            await expect(page.locator("#news")).to_have_text("Updates are live again", timeout=SLOW)


async def test_a_page_without_an_answer_says_from_when_it_is(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path, changes=SECOND) as server:
        async with opened(server.url("/runs"), excused="ERR_FAILED", timezone_id="Asia/Tokyo") as page:
            await is_live(page)
            as_of = page.locator("#now time")
            said, utc = await as_of.inner_text(), await as_of.get_attribute("title")
            assert utc and utc.endswith(" UTC") and said.split()[-1][:2] != utc.split()[1][:2], "it is local time"
            answer = "abort"

            async def gate(route: Route) -> None:
                if answer == "abort":
                    await route.abort()
                elif answer == "continue":
                    await route.continue_()

            await page.route("**/api/monitoring/**", gate)
            await page.reload()
            await expect(page.locator("#stale")).to_contain_text("The server does not answer", timeout=SLOW)
            answer = "continue"
            await is_live(page)
            await expect(page.locator("#stale")).to_be_hidden()
            answer = "none at all"
            await page.add_init_script(PATIENT)
            await page.clock.install()
            await page.clock.pause_at(time.time() + 60)  # It stands, however long the page takes to come.
            await page.reload()
            await expect(page.locator("#theme")).to_be_visible(timeout=SLOW)  # The script has begun.
            await page.clock.fast_forward(25_000)
            await expect(page.locator("#stale")).to_be_hidden()
            await page.clock.fast_forward(7000)
            await expect(page.locator("#stale")).to_be_visible(timeout=SLOW)
            assert await page.evaluate("getComputedStyle(document.querySelector('main')).filter") == "grayscale(1)"


async def test_many_pages_of_one_browser_are_all_answered_and_those_that_nobody_sees_hold_no_stream(
    opened: Opening, tmp_path: Path
) -> None:
    async with serving(tmp_path, changes=TWO) as server, opened(server.url("/alerts")) as first:
        await first.context.add_init_script(SEEN)
        await first.clock.install()
        await first.reload()
        others = [await first.context.new_page() for _ in range(7)]
        async with anyio.create_task_group() as group:
            for page in others:
                group.start_soon(page.goto, server.url("/alerts"))
        pages = [first, *others]
        for page in pages:
            await expect(page.locator("#live")).to_have_text(re.compile("live|every 2 s"), timeout=SLOW)
        await no_more_streams_than(server, 4)
        await server.emit(failed("chat/7", service="seven"))
        for page in pages:
            await expect(page.locator("#list tbody")).to_contain_text("seven", timeout=SLOW)
        for page in others:
            await page.close()
        await is_live(first)
        await no_more_streams_than(server, 1)
        await is_covered(first, True)
        await first.clock.fast_forward(11_000)
        await no_more_streams_than(server, 0)
        await server.emit(failed("chat/8", service="eight"))
        await server.until("alerts", lambda found: "eight" in str(found))
        held = anyio.Event()

        async def hold(route: Route) -> None:
            await held.wait()
            await route.continue_()

        await first.route("**/api/monitoring/health?*", hold)
        await is_covered(first, False)
        await expect(first.locator("#live")).to_have_text("catching up", timeout=SLOW)
        held.set()
        await expect(first.locator("#list tbody")).to_contain_text("eight", timeout=SLOW)
        await is_live(first)


CALM: Sequence[tuple[tuple[str, ...], Any]] = (
    (("health", "checks"), {"system-resources": {"enabled": False}}),  # How the machine of the test is.
    (("sinks", "dashboard", "refresh"), "1s"),
)


async def test_that_nothing_has_to_be_done_is_not_said_before_alerts_are_known(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path, changes=CALM) as server:
        await server.emit(failed())
        await server.until("alerts", len)
        async with opened(server.url("/"), excused="ERR_FAILED") as page:
            asked, held = anyio.Event(), anyio.Event()

            async def hold(route: Route) -> None:
                asked.set()
                await held.wait()
                await route.continue_()

            await page.goto("about:blank")
            await page.route("**/api/monitoring/events*", lambda route: route.abort())
            await page.route("**/api/monitoring/alerts?*", hold)
            await page.goto(server.url("/"))
            with anyio.fail_after(SLOW / 1000):
                await asked.wait()  # Health is asked for, and drawn, before.
            assert "Build Failed: " in await page.inner_text("#advice")
            held.set()
            await expect(page.locator("#live")).to_have_text("every 1 s", timeout=SLOW)
            await expect(page.locator("#advice")).to_contain_text("Build Failed: ")


async def test_what_is_firing_is_shown_though_metrics_cannot_be_asked_for(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path, changes=CALM) as server:
        async with opened(server.url("/"), excused=("ERR_FAILED", "503 (Service")) as page:
            gone = {"success": False, "error": {"code": "unavailable", "message": "'rest-store' is not running"}}
            await page.route("**/api/monitoring/events*", lambda route: route.abort())
            await page.route("**/api/monitoring/metrics", lambda route: route.fulfill(status=503, json=gone))
            await page.reload()
            await expect(page.locator("#trouble")).to_contain_text("is not running", timeout=SLOW)
            await server.emit(failed())
            await expect(page.locator("#alerts")).to_contain_text("Build Failed", timeout=SLOW)
            await expect(page.locator("#advice")).to_contain_text("Build Failed: ")
