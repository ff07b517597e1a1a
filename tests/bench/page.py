"""The page, measured in a browser: what it holds after hours, how evenly it draws, and how soon a month is there.

    python -m tests.bench.page [hours] [frames] [month] [--hours 8] [--times 20]

Hours: 50 events a second in a world of its own, in which time goes `--times` as fast (`tests/browser/hours.py` says how):
what the overview holds after each hour, and what each other live view does, one after another, for its share of them.
Frames: every metric that is drawn at once, with values that come in once a second, as long as it takes; here time goes as
it does. Month: 40 series with a sample a minute for 30 days, told to the server as late events, and drawn as 40 lines.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from playwright.async_api import Browser, async_playwright

from bers.testing.server import serving
from tests.browser.hours import FastClock, Look, Told
from tests.browsing import FLAGS

HOUR = 3600
OTHERS = ("/metric", "/metric/build_performance", "/alerts", "/runs", "/pipelines")


@asynccontextmanager
async def browsing() -> AsyncGenerator[Browser]:
    async with async_playwright() as playwright:
        options: dict[str, Any] = {"executable_path": shutil.which("chromium"), "args": list(FLAGS)}
        async with await playwright.chromium.launch(**options) as browser:
            yield browser


async def opened(browser: Browser, url: str, script: str = "", **look: Any) -> Look:
    context = await browser.new_context(**look)
    if script:
        await context.add_init_script(script)
    page = await context.new_page()
    page.on("pageerror", lambda fault: print(f"{url}: {fault}", flush=True))
    await page.goto(url)
    return await Look.at(page)


async def hours(long: float, times: float) -> None:
    """What pages hold, hour after hour."""
    clock, each = FastClock(times), long / len(OTHERS)
    print(f"{'view':28} {'hours':>5} {'events':>9} {'frames':>9} {'heap':>8} {'nodes':>6} {'listeners':>9} {'processor':>9}")
    with tempfile.TemporaryDirectory(prefix="bers-page-") as folder:
        async with serving(Path(folder), clock=clock) as server, browsing() as browser, anyio.create_task_group() as group:
            told = Told(server, clock)
            group.start_soon(told.run)

            async def watch(path: str, since: float, until: float, every: float) -> None:
                at = since
                look = await opened(browser, server.url(path), clock.script())
                while at < until + 1e-6:
                    # Two minutes until everything has been asked for and drawn once.
                    await told.until(int((at * HOUR + (120 if at == since else 0)) * told.per_second))
                    held = await look()
                    print(
                        f"{path:28} {at - since:5.2f} {told.count:9,} {held.heard:9,} {held.heap / 1e6:5.2f} MB"
                        f" {held.nodes:6} {held.listeners:9} {held.busy:7.1f} s",
                        flush=True,
                    )
                    at += every
                await look.close()

            async def others() -> None:
                for number, path in enumerate(OTHERS):
                    await watch(path, number * each, (number + 1) * each, each / 4)

            async with anyio.create_task_group() as watching:
                watching.start_soon(watch, "/", 0.0, long, min(0.5, long / 4))
                watching.start_soon(others)
            group.cancel_scope.cancel()


async def measured(what: Sequence[str], long: float, times: float) -> None:
    if "hours" in what:
        await hours(long, times)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure the page in a browser.")
    parser.add_argument("what", nargs="*", help="hours, frames, month; all of them if none is named")
    parser.add_argument("--hours", type=float, default=8.0, help="how long the page is watched, in its own time")
    parser.add_argument("--times", type=float, default=20.0, help="how many times as fast that goes")
    chosen = parser.parse_args(arguments)
    if shutil.which("chromium") is None:
        print("there is no Chromium; `make test-browser-setup` installs it", file=sys.stderr)
        return 2
    anyio.run(measured, chosen.what or ("hours", "frames", "month"), chosen.hours, chosen.times)
    return 0


if __name__ == "__main__":
    sys.exit(main())
