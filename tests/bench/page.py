"""How long until the dashboard says something, and until what is emitted is drawn: a real server, a real browser.

``python -m tests.bench.page 20`` opens the overview so often and emits so many builds, one after the other.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median

import anyio
from playwright.async_api import Browser, Page, expect

from bers.testing.server import Server, serving
from tests.browser.looking import DRAWN_AT, PAINTED, is_live, slow
from tests.browsing import browsing


async def painted(browser: Browser, url: str) -> float:
    """The first paint of a browser that knows nothing of the page, and has a value on it by then."""
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(url, wait_until="commit")
    found = float(await page.evaluate(PAINTED))
    assert "40 s" in await page.inner_text('[data-metric="build_performance"]')
    await context.close()
    return found


async def drawn(browser: Browser, server: Server, count: int) -> Sequence[float]:
    """Milliseconds from before an event is handed in until its row stands on a page that is open."""
    page = await (await browser.new_context()).new_page()
    await page.goto(server.url("/"))
    await is_live(page)
    await expect(page.locator("#indicators .card canvas").first).to_be_visible()
    return [await _drawn(page, server, f"shop/{number}") for number in range(count)]


async def _drawn(page: Page, server: Server, subject: str) -> float:
    at: list[float] = []
    emitted = 0.0

    async def look() -> None:
        at.append(float(await page.evaluate(DRAWN_AT, subject)))

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        await anyio.sleep(0.05)  # The page looks by then.
        emitted = time.time() * 1000
        await server.emit(slow(subject))
    return at[0] - emitted


def said(what: str, milliseconds: Sequence[float]) -> str:
    return f"{what}: median {median(milliseconds):.0f} ms, at most {max(milliseconds):.0f} ms of {len(milliseconds)}"


async def measured(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bers-page-") as name:
        async with serving(Path(name)) as server, browsing() as browser:
            await server.emit(slow("shop/before"))
            await server.until("metrics/build_performance", lambda data: data["current"] == 40_000)
            await painted(browser, server.url("/"))  # The first one starts the browser's own processes.
            print(said("first paint with values", [await painted(browser, server.url("/")) for _ in range(count)]))
            print(said("emitted until drawn", await drawn(browser, server, count)))


if __name__ == "__main__":
    anyio.run(partial(measured, int(sys.argv[1]) if len(sys.argv) > 1 else 20))
