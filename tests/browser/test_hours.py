"""What the page holds after a while of much happening, in a world in which time goes ten times as fast."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anyio
from playwright.async_api import Browser, expect

from bers.testing.server import Server, serving
from tests.browser.holding import Held, Look
from tests.browser.hours import STANDS_STILL, FastClock, Told

SLOW = 60_000
"""Milliseconds that a machine with much else to do may take."""

LOOKS = 5
MEGABYTE = 1_000_000
SHOWN = {"/": ("#build tr", 8), "/runs": ("#build tbody tr", 100)}
"""Each view that lists runs, what is a row of it, and how many it has at most."""


async def opened(browser: Browser, server: Server, clock: FastClock, path: str) -> Look:
    context = await browser.new_context()
    await context.add_init_script(clock.script())
    page = await context.new_page()
    await page.goto(server.url(path))
    await expect(page.locator("#live")).to_have_text("live", timeout=SLOW)
    await expect(page.locator(SHOWN[path][0]).first).to_be_visible(timeout=SLOW)
    return await Look.at(page)


async def heard(look: Look, frames: int) -> Held:
    """What a page holds once it has heard so many more frames: the least that is seen, as something is always drawn."""
    until, seen = (await look()).heard + frames, list[Held]()
    with anyio.fail_after(STANDS_STILL):
        while len(seen) < LOOKS:
            if (held := await look()).heard >= until:
                seen.append(held)
            await anyio.sleep(0.2)
    return replace(
        seen[-1],
        heap=min(one.heap for one in seen),
        nodes=min(one.nodes for one in seen),
        listeners=min(one.listeners for one in seen),
    )


async def test_what_a_page_is_told_for_minutes_makes_it_no_larger(browser: Browser, tmp_path: Path) -> None:
    clock = FastClock(10.0)
    async with serving(tmp_path, clock=clock) as server, anyio.create_task_group() as group:
        told = Told(server, clock, 90)
        group.start_soon(told.run)
        await told.until(1000)
        for path, (rows, most) in SHOWN.items():
            look = await opened(browser, server, clock, path)
            before = await heard(look, 500)
            after = await heard(look, 3000)
            assert after.heap - before.heap < MEGABYTE, (path, before, after)
            assert after.nodes < before.nodes + 12_000, (path, before, after)
            assert after.listeners <= before.listeners + 20, (path, before, after)
            assert 1 <= await look.page.locator(rows).count() <= most, path
            await look.close()
        group.cancel_scope.cancel()
