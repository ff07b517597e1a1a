"""The running graph in a browser: what passes a place or a way, filtered and paused, and what is not well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.async_api import expect

from bers import Batch, Config, SinkSpec, Stage
from bers.testing.server import serving
from tests.browser.conftest import Opening
from tests.browser.looking import EVIL, SLOW, all_is_there, does, is_live, slow

SECRETS = ("hunter-22", "ghp_" + "a1B2" * 9)


def build(subject: str, **fields: Any) -> dict[str, Any]:
    return {"type": "build.finished", "source": "/ci", "subject": subject, "outcome": "success", **fields}


class FragileConfig(Config, frozen=True):
    """Break with every batch that has a build."""


class Fragile(Stage[FragileConfig]):
    async def write(self, batch: Batch) -> None:
        if any(event.type == "build.finished" for event in batch.events):
            raise RuntimeError(f"the disk is gone {EVIL[:30]}")


FRAGILE = SinkSpec("fragile-of-test", FragileConfig, Fragile)


async def test_the_graph_has_its_edges_and_opens_what_passes(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server, opened(server.url("/pipelines")) as page:
        await all_is_there(page, "/pipelines")
        graph = await server.data("pipelines")
        await expect(page.locator("#picture .edge")).to_have_count(len(graph["links"]))
        await expect(page.locator("#picture .place")).to_have_count(len(graph["nodes"]))
        fed = await page.locator('#picture [data-key="live"] rect').bounding_box()
        feeds = await page.locator('#picture [data-key="bus"] rect').bounding_box()
        assert fed and feeds and fed["x"] > feeds["x"] + feeds["width"], "what is fed stands to the right"
        await page.locator('#picture [data-key="bus"]').focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("#tap-title")).to_have_text("What passes bus", timeout=SLOW)
        await server.emit(slow("chat/seen"))
        await expect(page.locator("#tapped li").first).to_be_visible(timeout=SLOW)


async def test_what_passes_a_place_and_a_way_is_seen_filtered_and_paused_and_secrets_are_masked(
    opened: Opening, tmp_path: Path
) -> None:
    async with serving(tmp_path) as server, opened(server.url("/pipelines"), excused="422 (Unprocessable") as page:
        await is_live(page)
        tapped = page.locator("#tapped li")
        await page.locator('.place[data-key="bus"]').press("Enter")
        await expect(page.locator("#tap-title")).to_have_text("What passes bus", timeout=SLOW)
        assert page.url.endswith("/pipelines?at=bus")
        await page.fill('#tap-filter [name="pattern"]', "build.*")
        await page.fill('#tap-filter [name="where"]', "subject~^shop")
        await page.press('#tap-filter [name="where"]', "Enter")
        await expect(page.locator("#tap-state")).to_have_text("nothing yet", timeout=SLOW)  # It looks.
        await server.until("pipelines", lambda graph: graph["taps"] == 1)
        secrets = {"password": SECRETS[0], "log": f"token {SECRETS[1]}"}
        await server.emit(build("other/1"), build("shop/1", data=secrets, reason=EVIL))
        await expect(tapped).to_have_count(1, timeout=SLOW)
        await expect(tapped).to_contain_text("build.finished shop/1")
        await tapped.locator("summary").click()
        whole = await tapped.inner_text()
        assert EVIL in whole
        assert not [secret for secret in SECRETS if secret in whole]
        await page.get_by_role("button", name="Pause").click()
        await server.emit(build("shop/2"))
        await expect(page.locator("#tap-state")).to_contain_text("paused, 1 wait", timeout=SLOW)
        await expect(tapped).to_have_count(1)
        await page.get_by_role("button", name="Go on").click()
        await expect(tapped).to_have_count(2)
        await page.fill('#tap-filter [name="where"]', "subjekt=1")
        await page.get_by_role("button", name="Filter").click()
        await expect(page.locator("#tap-state")).to_contain_text("did you mean 'subject'?", timeout=SLOW)

        # A way shows what takes it: from a processor what it makes, into a source what it reads.
        way = page.locator('[data-edge="metrics/windows metrics/sampling"] .hit')
        await way.dispatch_event("click")
        await expect(page.locator("#tap-title")).to_have_text("What goes from metrics/windows to metrics/sampling")
        await expect(tapped.first).to_contain_text("measured", timeout=SLOW)
        await page.locator('[data-edge="intake source/build"] .hit').dispatch_event("click")
        await expect(page.locator('#tap-filter [name="pattern"]')).to_have_value("build.*,artifact.*")
        await page.get_by_role("button", name="Close").click()
        await expect(page.locator("#tap")).to_be_hidden()
        await server.until("pipelines", lambda graph: graph["taps"] == 0)
        await page.goto(server.url("/pipelines?at=live"))
        await expect(page.locator("#tap-title")).to_have_text("What passes live", timeout=SLOW)


async def test_a_stage_that_is_left_alone_says_why_and_what_to_do(opened: Opening, tmp_path: Path) -> None:
    changes: list[tuple[tuple[str, ...], Any]] = [
        (("sinks", "fragile-of-test"), {"delivery": {"required": True}}),
        (("pipelines", "live", "sinks"), ["sse", "dashboard", "fragile-of-test"]),
    ]
    async with serving(tmp_path, specs=[("sink", FRAGILE)], changes=changes) as server:
        await server.emit(build("shop/1"))
        async with opened(server.url("/pipelines")) as page:
            wrong = page.locator('#wrong li[data-key="live/fragile-of-test"]')
            await expect(wrong).to_contain_text(f"the disk is gone {EVIL[:30]}", timeout=SLOW)
            await expect(wrong.locator(".step")).to_contain_text("Look at what it says", timeout=SLOW)
            place = page.locator('.place[data-key="live/fragile-of-test"]')
            await expect(place).to_have_attribute("data-status", "unhealthy", timeout=SLOW)
            await does(page, "Restart", "It is started anew.", "Audit 1: anonymous", place="#wrong")
