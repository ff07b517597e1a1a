"""Answers that come late: what was seen, chosen or done since they were made is not taken back by them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from playwright.async_api import APIResponse, Page, Route, expect

from bers.testing.server import Server, serving
from tests.browser.conftest import Opening
from tests.browser.looking import SLOW, drawn, failed, focused, is_live, slow, tab_to


class Late:
    """An answer that is made at once, and comes when it is let; who asks again meanwhile is answered the same."""

    def __init__(self) -> None:
        self.made, self.come = anyio.Event(), anyio.Event()
        self._made: APIResponse | None = None

    async def __call__(self, route: Route) -> None:
        reply = self._made = self._made or await route.fetch()
        self.made.set()
        await self.come.wait()
        await route.fulfill(response=reply)


@asynccontextmanager
async def late(page: Page, *asked: str) -> AsyncGenerator[None]:
    """What is asked so in the block is answered when the block is over, and drawn then; after it, at once again."""
    every = {f"**/api/monitoring/{one}": Late() for one in asked}
    for pattern, answers in every.items():
        await page.route(pattern, answers)
    yield
    for pattern, answers in every.items():
        with anyio.fail_after(SLOW / 1000):
            await answers.made.wait()
        async with page.expect_response(pattern, timeout=SLOW) as answered:
            answers.come.set()
        await (await answered.value).finished()
        await page.unroute(pattern)
    await drawn(page)


@asynccontextmanager
async def looking_at(server: Server, view: str, opened: Opening) -> AsyncGenerator[Page]:
    """A page that shows one build already, and whose clock is ours."""
    await server.emit(slow("chat/1"))
    await server.until("runs?id=chat/1", len)
    async with opened(server.url(view)) as page:
        await page.clock.install()
        await page.reload()
        await is_live(page)
        yield page


async def test_what_the_stream_told_stays_though_an_answer_is_from_before(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        async with looking_at(server, "/", opened) as page:
            value = page.locator('[data-metric="build_performance"] [data-field="current"]')
            await expect(value).to_have_text("40 s")
            row, alerts = page.locator('#build [data-key="chat/3"]'), page.locator("#alerts")
            async with late(page, "metrics", "alerts?limit=100", "records?type=build*"):
                async with page.expect_request("**/api/monitoring/records?type=build*", timeout=2 * SLOW):
                    await page.clock.fast_forward(15_000)
                await server.emit(slow("chat/2") | {"duration_ms": 41_000}, failed("chat/3"))
                await expect(row).to_be_visible()
                await expect(value).to_have_text("41 s")
                await expect(alerts).to_contain_text("Build Failed")
            assert await row.count() == 1
            assert await value.inner_text() == "41 s"
            assert "Build Failed" in await alerts.inner_text()


async def test_a_run_that_is_not_stored_yet_stays_in_its_list(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        async with looking_at(server, "/runs", opened) as page:
            await expect(page.locator('#build [data-key="chat/1"]')).to_be_visible()
            row = page.locator('#build [data-key="chat/2"]')
            async with late(page, "runs?kind=build*limit=15"):
                async with page.expect_request("**/api/monitoring/runs?kind=build*", timeout=2 * SLOW):
                    await page.clock.fast_forward(30_000)
                await server.emit(slow("chat/2"))
                await expect(row).to_be_visible()
            assert await row.count() == 1


@pytest.mark.parametrize(
    ("view", "asked", "place", "before"),
    [
        ("/alerts", "alerts?limit=100&status=active", "#list", "Build Failed"),
        ("/runs", "runs?kind=build&state=&*", "#build", "chat/2"),
    ],
    ids=["alerts", "runs"],
)
async def test_what_was_chosen_since_is_what_is_shown(
    view: str, asked: str, place: str, before: str, opened: Opening, tmp_path: Path
) -> None:
    async with serving(tmp_path) as server:
        await server.emit(failed("chat/1"), slow("chat/2"))
        await server.emit(failed("chat/3"))
        await server.until("runs?kind=build", lambda runs: len(runs) == 3)
        await server.until("alerts?rule=Build Failed", len)
        async with opened(server.url("/operations")) as page:
            await is_live(page)
            async with late(page, asked):
                async with page.expect_request(f"**/api/monitoring/{asked}", timeout=SLOW):
                    await page.goto(server.url(view))
                if view == "/alerts":
                    await page.click('[data-state="silences"]')
                    chosen = "Nothing is silenced."
                else:
                    await page.locator('#filter [name="outcome"]').select_option("failure")
                    chosen = "chat/3"
                await expect(page.locator(place)).to_contain_text(chosen)
                await expect(page.locator(place)).not_to_contain_text(before)  # As it was when the page came.
            shown = await page.locator(place).text_content() or ""
            assert chosen in shown and before not in shown


async def test_who_has_gone_on_with_the_keyboard_is_left_there(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.emit(failed())
        (alert, *_) = await server.until("alerts?rule=Build Failed", len)
        async with opened(server.url("/alerts")) as page:
            await is_live(page)
            await tab_to(page, alert["title"])
            async with late(page, "alerts?limit=100&status=active"):
                await page.keyboard.press("Enter")
                await expect(page.locator("#one h2")).to_contain_text("Build Failed")
                await tab_to(page, "Acknowledge")
            assert await focused(page) == "Acknowledge"


async def test_a_tap_says_when_it_has_begun_to_look(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server, opened(server.url("/pipelines")) as page:
        await is_live(page)
        held = anyio.Event()

        async def hold(route: Route) -> None:
            await held.wait()
            await route.continue_()

        await page.route("**/api/monitoring/tap?*", hold)
        await page.goto(server.url("/pipelines?at=bus"))
        state = page.locator("#tap-state")
        await expect(state).to_have_text("not looking yet")
        held.set()
        await expect(state).to_contain_text("seen")
