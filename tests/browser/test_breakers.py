"""A breaker on the overview and among the operations: it is shown while it is open, and closed by its own button."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from playwright.async_api import expect

from bers import Status
from bers.testing.server import serving
from tests.browser.conftest import Opening
from tests.browser.looking import SLOW, does, is_live
from tests.integration.test_health import SOON, shaky


async def test_an_open_breaker_is_told_first_and_closed_alone(opened: Opening, tmp_path: Path) -> None:
    finds: dict[str, Status | Exception] = {"hand": RuntimeError("broken"), "heart": RuntimeError("broken too")}
    changes: list[tuple[tuple[str, ...], Any]] = [
        (("sources", "shaky"), {}),
        (("pipelines", "shaken"), {"sources": ["shaky"], "sinks": ["sse"]}),
        (("health", "breaker"), {"failures": 3, "reset_after": "1h"}),
    ]
    async with serving(tmp_path, changes=changes, specs=shaky(finds)) as server:
        await server.until("health/circuit-breakers", lambda every: every["hand"]["state"] == "open", seconds=SOON)
        await server.until("health/circuit-breakers", lambda every: every["heart"]["state"] == "open", seconds=SOON)
        async with opened(server.url("/")) as page:
            await is_live(page)
            first = page.locator("#checks li").nth(0)
            await expect(first).to_contain_text(re.compile(r"breaker open, tried again in 5\d min"), timeout=SLOW)
            await expect(page.locator("#advice")).to_contain_text(
                "the check itself failed. See the error", timeout=SLOW
            )
            await page.keyboard.press("h")
            await page.wait_for_url("**/operations")
            await is_live(page)
            hand = '#checks [data-key="hand"]'
            await expect(page.locator(hand)).to_contain_text(re.compile("open since .*asked again"), timeout=SLOW)
            await expect(page.locator(hand)).to_contain_text("RuntimeError: broken")
            await expect(page.locator("#availability .strip")).to_be_visible()
            finds.clear()
            await does(page, "Reset", "It is closed.", "Audit 1: anonymous", place=hand)
            await expect(page.locator(hand)).to_contain_text("closed", timeout=SLOW)
            await expect(page.locator(f"{hand} button")).to_have_count(0)
            await expect(page.locator('#checks [data-key="heart"]')).to_contain_text("open since")
            await does(page, "Reset all breakers", "Closed: heart.", "Audit 2: anonymous")
            await server.until("health/heart", lambda one: one["status"] == "healthy", seconds=SOON)
