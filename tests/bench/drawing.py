"""The page, measured in a browser: what it holds after hours, how evenly it draws, and how soon a month is there.

    python -m tests.bench.drawing [hours] [frames] [month] [--hours 8] [--times 20]

Hours: 50 events a second in a world of its own, in which time goes `--times` as fast (`tests/browser/hours.py` says
how): what the overview holds after each hour, and what each other live view does, one after another, for its share of
them. Frames: every metric that is measured as a chart, with values that come in once a second, beside a page that does
nothing; here time goes as it does. Month: 40 series with a sample each ten minutes for 30 days, told to the server as
events of former days, and drawn as 40 lines.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
from playwright.async_api import Browser

from bers import collector
from bers.testing.server import serving
from tests.browser.holding import Look
from tests.browser.hours import FastClock, Told
from tests.browsing import MISSING, browsing, program

HOUR = 3600
OTHERS = ("/metric", "/metric/build_performance", "/alerts", "/runs", "/pipelines")


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
    print("view                         hours    events    frames     heap  nodes listeners processor")
    with tempfile.TemporaryDirectory(prefix="bers-page-") as folder:
        async with (
            serving(Path(folder), clock=clock) as server,
            browsing() as browser,
            anyio.create_task_group() as group,
        ):
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


WATCH_FRAMES = """
() => {
  globalThis.gaps = [];
  globalThis.slow = [];
  let before = performance.now();
  const frame = (now) => { gaps.push(now - before); before = now; requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
  const observer = new PerformanceObserver((list) => slow.push(...list.getEntries().map((one) => one.duration)));
  observer.observe({ type: "long-animation-frame" });
}
"""


async def frames(seconds: float = 60.0) -> None:
    """How far frames lie apart while every chart gets a value each second."""
    with tempfile.TemporaryDirectory(prefix="bers-page-") as folder:
        async with serving(Path(folder)) as server, browsing() as browser, anyio.create_task_group() as group:
            told = Told(server, FastClock(1.0))
            group.start_soon(told.run)
            names = [name for name in await server.data("metrics") if not name.endswith("_total")]

            rng = random.Random(7)

            async def measure() -> None:
                while True:
                    measures = {name: rng.uniform(10, 90) for name in names}
                    await server.emit({"type": "service.measured", "source": "/app", "measures": measures})
                    await anyio.sleep(1.0)

            group.start_soon(measure)
            await server.until("metrics", lambda found: sum(one["count"] > 0 for one in found.values()) > 40)
            for path in ("/metric?range=5m", "/", "about:blank"):
                url = path if path.startswith("about") else server.url(path)
                look = await opened(browser, url, viewport={"width": 1920, "height": 1080})
                if url != path:
                    await look.page.locator(".card:visible canvas").first.wait_for()
                await anyio.sleep(3.0)  # What a page does when it is opened is another figure.
                charts = await look.page.locator(".card:visible canvas").count()
                before = await look()
                await look.page.evaluate(WATCH_FRAMES)
                await anyio.sleep(seconds)
                gaps: list[float] = sorted(await look.page.evaluate("gaps"))
                slow: list[float] = await look.page.evaluate("slow")
                busy = ((await look()).busy - before.busy) / seconds * 1000
                p99, late = gaps[-len(gaps) // 100], sum(gap > 100 for gap in gaps)
                longest = max(slow, default=0.0)
                print(
                    f"{path:17} {charts:3} charts, {len(gaps)} frames in {seconds:g} s, p99 {p99:.0f} ms apart, at most"
                    f" {gaps[-1]:.0f} ms, {late} over 100 ms; {len(slow)} took longer than 50 ms, at most"
                    f" {longest:.0f} ms; {busy:.0f} ms of a processor each second",
                    flush=True,
                )
                await look.close()
            group.cancel_scope.cancel()


CLICK = """
async () => {
  performance.clearResourceTimings();
  const began = performance.now();
  document.querySelector('[data-range="30d"]').click();
  await new Promise((done) => {
    const look = () => requestAnimationFrame(document.querySelectorAll("#key [data-line]").length < 40 ? look : drawn);
    const drawn = () => requestAnimationFrame(() => setTimeout(done));
    look();
  });
  const took = performance.now() - began;
  const asked = performance.getEntriesByType("resource").filter((one) => one.name.includes("lineFields"));
  const [{ startTime, responseEnd, decodedBodySize }] = asked.slice(-1);
  return { took, server: responseEnd - startTime, bytes: decodedBodySize };
}
"""


async def month(every: int = 600, series: int = 40, days: int = 30) -> None:
    """How long it takes from the click on 30 d until all lines are drawn."""
    with tempfile.TemporaryDirectory(prefix="bers-page-") as folder:
        await told_of_a_month(Path(folder), every, series, days)
        for _ in range(2):
            async with serving(Path(folder)) as server, browsing() as browser:
                url = server.url("/metric/test_suite_duration?range=15m&by=suite")
                look = await opened(browser, url, viewport={"width": 1280, "height": 900})
                await look.page.locator("#live", has_text="live").wait_for()
                collector.settle()  # As a node does.
                for what in ("nothing decoded before", "again", "and again"):
                    before, began = (await look()).busy, time.process_time()
                    told = await look.page.evaluate(CLICK)
                    server_took, busy = time.process_time() - began, (await look()).busy - before
                    print(
                        f"30 days of {series} series, {what:22}: {told['took']:.0f} ms from click to drawn, of which"
                        f" {told['server']:.0f} ms for an answer of {told['bytes'] / 1000:.0f} kB; processor:"
                        f" server {server_took * 1000:.0f} ms, page {busy * 1000:.0f} ms",
                        flush=True,
                    )
                    await look.page.click('[data-range="15m"]')
                    await look.page.locator("#key [data-line]").nth(39).wait_for(state="detached")
                await look.close()


async def told_of_a_month(folder: Path, every: int, series: int, days: int) -> None:
    rng, count = random.Random(7), 0
    async with serving(folder, changes=[(("sinks", "store", "fold_every"), "1s")]) as server:
        now = int(time.time())
        for at in range(now - days * 86_400 + 7200, now - 3600, every):
            events = [
                {"type": "testsuiterun.finished", "source": "/ci", "subject": f"{number}/{at}", "time": at,
                 "labels": {"suite": f"suite-{number:02}"}, "outcome": "success",
                 "duration_ms": round(rng.lognormvariate(6 + number / series, 0.3), 1)}
                for number in range(series)
            ]  # fmt: skip
            await server.emit(*events)
            count += len(events)
        query = "metrics/test_suite_duration?period=30d&by=&points=60&fields=count"
        await server.until(query, lambda answer: answer["count"] == count, seconds=60.0)


async def measured(what: Sequence[str], long: float, times: float) -> None:
    if "hours" in what:
        await hours(long, times)
    if "frames" in what:
        await frames()
    if "month" in what:
        await month()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure the page in a browser.")
    parser.add_argument("what", nargs="*", help="hours, frames, month; all of them if none is named")
    parser.add_argument("--hours", type=float, default=8.0, help="how long the page is watched, in its own time")
    parser.add_argument("--times", type=float, default=20.0, help="how many times as fast that goes")
    chosen = parser.parse_args(arguments)
    if program() is None:
        print(MISSING, file=sys.stderr)
        return 2
    anyio.run(measured, chosen.what or ("hours", "frames", "month"), chosen.hours, chosen.times)
    return 0


if __name__ == "__main__":
    sys.exit(main())
