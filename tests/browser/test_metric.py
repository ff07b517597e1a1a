"""The metric view in a browser: other times, other lines, what stands beside them, and the numbers taken along."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
from playwright.async_api import Page, expect

from bers.testing.server import serving
from tests.browser.conftest import Opening
from tests.browser.looking import SLOW, TOLD_ALONE, slow

NUMBERS = "#numbers tbody tr"


def span(page: Page) -> tuple[int, int]:
    """From when until when is looked at, by the address."""
    asked = parse_qs(urlsplit(page.url).query)
    return int(asked["from"][0]), int(asked["to"][0])


async def test_a_time_is_moved_zoomed_and_read_by_pointer_and_keyboard(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.emit(slow("chat/1") | {"duration_ms": 4000, "environment": "production"})
        await server.emit(slow("chat/2") | {"duration_ms": 8000, "environment": "staging"})
        await server.until("metrics/build_performance?period=1h", lambda found: found["count"] == 2)
        async with opened(server.url("/metric/build_performance?range=5m")) as page:
            await expect(page.locator(NUMBERS).first).to_be_visible(timeout=SLOW)
            await page.click('[data-move="-0.5"]')
            await page.wait_for_url("**from=*")
            begin, end = span(page)
            assert end - begin == 300_000
            await page.click('[data-zoom="0.5"]')
            await page.wait_for_function(f"!location.search.includes('from={begin}&')")
            inner = span(page)
            assert inner[1] - inner[0] == 150_000 and begin < inner[0] < inner[1] < end

            await page.focus("#chart")
            await page.keyboard.press("ArrowLeft")
            await page.wait_for_function(f"!location.search.includes('from={inner[0]}&')")
            left = span(page)
            assert left[1] - left[0] == 150_000 and abs(inner[0] - left[0] - 37_500) <= 1

            over = await page.locator("#chart .u-over").bounding_box()
            assert over
            await page.keyboard.down("Shift")
            await page.mouse.move(over["x"] + 100, over["y"] + 50)
            await page.mouse.down()
            await page.mouse.move(over["x"] + 100 + over["width"] / 2, over["y"] + 50, steps=4)
            await page.mouse.up()
            await page.keyboard.up("Shift")
            await page.wait_for_function(f"!location.search.includes('from={left[0]}&')")
            dragged = span(page)
            assert dragged[1] - dragged[0] == 150_000 and abs(left[0] - dragged[0] - 75_000) < 2_000

            await page.click('[data-range="5m"]')
            await expect(page.locator(NUMBERS).first).to_be_visible(timeout=SLOW)
            ((at, *_), *_) = (await server.data("metrics/build_performance?period=5m&by="))["overall"]
            with anyio.fail_after(SLOW / 1000):
                while "average" not in await page.locator("#readout").inner_text():
                    # The chart ends when it was asked for last, and may still have to be drawn: it is pointed at again.
                    now = await page.evaluate("Date.now()")
                    over = await page.locator("#chart .u-over").bounding_box()
                    assert over
                    await page.mouse.move(over["x"] + over["width"] * (1 - (now - at) / 300_000), over["y"] + 50)
            await page.mouse.move(over["x"] + 50, over["y"] + 50)
            await expect(page.locator("#readout")).to_contain_text("nothing was measured")
            await page.mouse.move(over["x"], over["y"] - 100)
            await expect(page.locator("#readout")).to_contain_text("Drag over the chart")


async def test_lines_thresholds_notes_and_downloads_are_those_that_were_asked_for(
    opened: Opening, tmp_path: Path
) -> None:
    async with serving(tmp_path, changes=[TOLD_ALONE]) as server:
        await server.emit(slow("chat/1") | {"duration_ms": 4000, "environment": "production"})
        await server.emit(slow("chat/2") | {"duration_ms": 8000, "environment": "staging"})
        await server.emit(
            {"type": "deployment.finished", "source": "/ci", "service": "web", "version": "1.7", "outcome": "failure",
             "environment": "production"},
        )  # fmt: skip
        await server.until("alerts", lambda found: len(found) == 2)
        await server.until("metrics/build_performance?period=1h", lambda found: found["count"] == 2)
        async with opened(server.url("/metric/build_performance?range=15m&before=1")) as page:
            key = page.locator("#key")
            await expect(key).to_contain_text("p50 to p95", timeout=SLOW)
            await expect(key).to_contain_text("target 30 s")
            await expect(key).to_contain_text("Build Performance Degraded last > 5 s")
            happened = page.locator("#happened")
            await expect(happened.locator("summary")).to_contain_text("1 deployment and 2 alerts")
            await happened.locator("summary").click()
            await expect(happened).to_contain_text("Deployed web 1.7 (failure)")

            offered = page.locator("#by option")
            await expect(offered).to_have_text(
                ["all in one, with percentiles", "environment", "every series"], timeout=SLOW
            )
            await page.select_option("#by", "environment")
            await expect(key).to_contain_text("environment=staging", timeout=SLOW)
            await expect(key).to_contain_text("environment=production")
            await expect(key).not_to_contain_text("p50 to p95")
            await page.select_option("#by", "*")
            await expect(page).to_have_url(server.url("/metric/build_performance?range=15m&by=*&before=1"))
            await page.fill("[name=labels]", "environment=production")
            await page.press("[name=labels]", "Enter")
            await expect(page.locator("#summary")).to_contain_text("4 s", timeout=SLOW)
            await expect(key).not_to_contain_text("environment=staging", timeout=SLOW)
            await expect(key.locator("li").nth(0)).to_have_text("environment=production")

            rows = list(csv.DictReader(io.StringIO(await taken(page, "#csv"))))
            assert [row["label_environment"] for row in rows] == ["production"]
            assert {"p50_ms", "p99_ms"} <= {*rows[0]}
            assert '"environment":"production"' in (await taken(page, "#json")).replace(" ", "")
            assert "staging" not in await taken(page, "#json")


async def taken(page: Page, link: str) -> str:
    """What a link leads to."""
    address = await page.get_attribute(link, "href")
    return str(await page.evaluate("address => fetch(address).then(reply => reply.text())", address))
