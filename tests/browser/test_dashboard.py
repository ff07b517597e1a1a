"""The dashboard in a browser, on a real server with real events."""

from __future__ import annotations

import re
import time
from pathlib import Path

from playwright.async_api import expect

from bers.testing.server import serving
from tests.browser.conftest import Opening
from tests.browser.looking import DRAWN_AT, PAINTED, SLOW, all_is_there, failed, is_answered, is_live, slow
from tests.integration.processes import at_leisure

SOON = 5.0
"""Seconds that may pass here until something is seen, at leisure; a quiet machine takes a fifth of one: see
tests/bench/page.py."""


async def test_c010_the_first_paint_has_values_and_what_is_emitted_is_drawn(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        async with opened(server.url("/")) as page:
            await all_is_there(page, "/")
            await expect(page.locator("#begin")).to_be_visible()
            address = server.url("/").rstrip("/")
            await expect(page.locator("#begin .address").first).to_have_text(address)
            await server.emit(slow())
            await expect(page.locator("#begin")).to_be_hidden(timeout=SLOW)
        await server.until("metrics/build_performance", lambda data: data["current"] == 40_000)
        await server.until("records?type=build.*", len)
        async with opened(server.url("/"), java_script_enabled=False) as still:
            await is_answered(still)
            assert "40 s" in await still.inner_text('[data-metric="build_performance"]')
            assert "chat/2" in await still.inner_text("#build")
            assert await still.locator("#begin").is_hidden()
        async with opened(server.url("/")) as page:
            assert await page.evaluate(PAINTED) < at_leisure(SOON) * 1000
            await all_is_there(page, "/")
            assert re.fullmatch(r"(\(\d+\) )?\w+ · Overview · BERS Monitoring", await page.title())
            emitted = time.time()
            await server.emit(failed("chat/3"))
            assert await page.evaluate(DRAWN_AT, "chat/3") / 1000 - emitted < at_leisure(SOON)
            row = page.locator('#build tr[data-key="chat/3"]')
            await expect(row).to_contain_text("failure", timeout=SLOW)
            await expect(page.locator("#alerts")).to_contain_text("Build Failed", timeout=SLOW)
            await expect(page.locator("#news")).to_contain_text("error: Build Failed", timeout=SLOW)
            await expect(page).to_have_title(re.compile(r"^\([1-9]\d*\) \w+ · Overview"), timeout=SLOW)
            await server.emit(slow("chat/4") | {"duration_ms": 41_000})
            value = page.locator('[data-metric="build_performance"] [data-field="current"]')
            await expect(value).to_have_text("41 s", timeout=SLOW)


async def test_who_has_the_focus_keeps_it_while_things_are_drawn_anew(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server, opened(server.url("/pipelines")) as page:
        await all_is_there(page, "/pipelines")
        button = page.locator('[data-key="metrics/store"] button', has_text="Restart")
        await button.focus()
        rate = page.locator('#graph [data-key="bus"]')
        before = await rate.inner_text()
        for n in range(3):
            await server.emit(*(slow(f"chat/{n}-{at}") for at in range(20)))
        await expect(rate).not_to_have_text(before, timeout=SLOW)
        focused = await page.evaluate("document.activeElement.closest('tr').dataset.key")
        assert focused == "metrics/store"


async def test_an_address_keeps_what_is_looked_at(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.emit(slow())
        address = server.url("/metric/build_performance?range=24h&before=1")
        async with opened(address, excused="400 (Bad Request)") as page:
            await all_is_there(page, "/metric/build_performance")
            await expect(page.locator('[data-range="24h"]')).to_have_attribute("aria-pressed", "true")
            await expect(page.locator("#before")).to_be_checked()
            await page.click('[data-range="5m"]')
            await expect(page).to_have_url(server.url("/metric/build_performance?range=5m&before=1"))
            await page.go_back()
            await expect(page.locator('[data-range="24h"]')).to_have_attribute("aria-pressed", "true")
            await page.fill('[name="labels"]', "no-such-thing")
            await page.press('[name="labels"]', "Enter")
            await expect(page.locator("#fault")).to_be_visible(timeout=SLOW)


async def test_the_theme_is_the_readers_and_is_kept(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server, opened(server.url("/"), excused="ERR_FAILED", color_scheme="light") as page:
        await is_live(page)
        ground = "getComputedStyle(document.body).backgroundColor"
        light = await page.evaluate(ground)
        button = page.locator("#theme")
        await button.click()
        assert await page.evaluate(ground) == light
        await button.click()
        dark = await page.evaluate(ground)
        assert dark != light
        await page.route("**/main-*.js", lambda route: route.abort())
        await page.reload(wait_until="domcontentloaded")
        assert await page.evaluate(ground) == dark, "it is dark before the page's script has come"
