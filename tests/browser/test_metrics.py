"""The start page of metrics, and charts of many lines, in a browser on a real server."""

from __future__ import annotations

import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
from playwright.async_api import Response, expect

from bers.testing.server import serving
from tests.browser.conftest import Opening
from tests.browser.looking import SLOW, is_answered, is_live

SERIES = 40
INK = """
canvas => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
  return data.reduce((sum, value, at) => sum + (at % 4 === 3 ? value : 0), 0);
}
"""
"""How much is drawn, and how strongly."""
HOUR = 3600


def is_of_a_month(reply: Response) -> bool:
    asked = parse_qs(urlsplit(reply.url).query)
    return "lineFields" in asked and int(asked["to"][0]) - int(asked["from"][0]) == 720 * HOUR * 1000


async def test_every_metric_is_a_chart_that_is_found_by_its_name_and_live(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.emit({"type": "build.finished", "source": "/ci", "subject": "b/1", "duration_ms": 40_000})
        await server.until("metrics/build_performance", lambda data: data["current"] == 40_000)
        # What nothing is known of stands nowhere, and what stands below it is in sight then.
        await server.until("metrics/system_network_transmit", lambda data: data["current"] is not None)
        async with opened(server.url("/metric"), java_script_enabled=False) as still:
            await is_answered(still)
            assert "40 s" in await still.inner_text('[data-metric="build_performance"]')
            assert "Bundle initial size" in await still.inner_text("#unmeasured")
        async with opened(server.url("/metric?range=1h"), viewport={"width": 360, "height": 800}) as page:
            await is_live(page)
            await expect(page.locator('[data-range="1h"]')).to_have_attribute("aria-pressed", "true")
            tile = page.locator('[data-metric="build_performance"]')
            await expect(tile.locator("canvas")).to_be_visible(timeout=SLOW)
            await server.emit({"type": "build.finished", "source": "/ci", "subject": "b/2", "duration_ms": 41_000})
            await expect(tile.locator('[data-field="current"]')).to_have_text("41 s", timeout=SLOW)
            size = {"bundle_initial_size": 5_000_000}
            await server.emit({"type": "x.measured", "source": "/ci", "measures": size})
            await expect(page.locator('[data-metric="bundle_initial_size"]')).to_be_visible(timeout=SLOW)
            await expect(page.locator('#unmeasured [data-name="bundle_initial_size"]')).to_be_hidden()
            await page.fill("#find", "memory process")
            await expect(page.locator("#tiles .card:visible")).to_have_count(1)
            await expect(page).to_have_url(re.compile(r"/metric\?range=1h&find=memory\+process$"))
            found = page.locator('[data-metric="process_memory_rss"] canvas')
            await expect(found).to_be_visible(timeout=SLOW)
            asked: list[str] = await page.evaluate("performance.getEntriesByType('resource').map(one => one.name)")
            assert [url for url in asked if "process_memory_rss" in url]
            assert not [url for url in asked if "system_network_transmit" in url], (
                "what is out of sight is not asked for"
            )
            await page.fill("#find", "no such thing")
            await expect(page.locator("#none")).to_be_visible()
            assert await page.evaluate("document.documentElement.scrollWidth") <= 360


async def test_a_month_of_forty_series_is_forty_lines(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        now = int(time.time())
        for ago in range(1, 721, 48):
            events = [
                {"type": "testsuiterun.finished", "source": "/ci", "subject": f"{n}/{ago}", "time": now - ago * HOUR,
                 "labels": {"suite": f"suite-{n:02}"}, "outcome": "success", "duration_ms": 1000 + 50 * n}
                for n in range(SERIES)
            ]  # fmt: skip
            await server.emit(*events)
        path = "metrics/test_suite_duration?period=30d&by=suite&points=60"
        await server.until(path, lambda answer: answer["count"] == SERIES * 15, seconds=20.0)
        async with opened(server.url("/metric/test_suite_duration?range=1h&by=suite")) as page:
            await is_live(page)
            async with page.expect_response(is_of_a_month) as asked:  # Of an hour it is asked every 10 seconds.
                await page.click('[data-range="30d"]')
            answer = (await (await asked.value).json())["data"]
            assert len(answer["series"]) == SERIES and len(answer["overall"]) <= 600
            names = page.locator("#key [data-line]")
            await expect(names).to_have_count(SERIES, timeout=SLOW)
            chart, whole, pointed = page.locator("#chart canvas"), 0, 0
            with anyio.fail_after(SLOW / 1000):
                while pointed >= 0.85 * whole:  # All others fade, once they are drawn.
                    await page.mouse.move(0, 0)
                    whole = await chart.evaluate(INK)
                    await names.nth(3).hover()
                    pointed = await chart.evaluate(INK)
