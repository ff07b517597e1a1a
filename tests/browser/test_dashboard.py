"""The dashboard in a browser, on a real server with real events."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from bers.testing.server import serving
from bers_builtin import dashboard
from tests.browser.conftest import Opening

AXE = Path(dashboard.__file__).parent / "web" / "node_modules" / "axe-core" / "axe.min.js"
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"
VIEWS = {
    "/": "#indicators .card canvas",
    "/metric": "#tiles .card canvas",
    "/metric/build_performance": "#numbers tbody tr",
    "/alerts": "#list tbody tr",
    "/runs": "#build tbody tr",
    "/pipelines": "#graph tbody tr",
    "/operations": "#checks tbody .strip",
}
"""Each view, and something that it shows once its script has asked for everything."""

SLOW = 20_000
"""Milliseconds that a machine with much else to do may take."""


def failed(subject: str = "chat/1", **fields: object) -> dict[str, object]:
    return {"type": "build.finished", "source": "/ci", "subject": subject, "outcome": "failure", "duration_ms": 6100,
            "reason": "lint", **fields}  # fmt: skip


def slow(subject: str = "chat/2") -> dict[str, object]:
    return {"type": "build.finished", "source": "/ci", "subject": subject, "outcome": "success", "duration_ms": 40_000,
            "measures": {"build.phase.bundle": 30_000, "build.phase.minify": 9_000}}  # fmt: skip


async def is_live(page: Page) -> None:
    await expect(page.locator("#live")).to_have_text("live", timeout=SLOW)


async def all_is_there(page: Page, path: str) -> None:
    await is_live(page)
    await expect(page.locator(VIEWS[path]).first).to_be_visible(timeout=SLOW)


async def test_c010_the_first_paint_has_values_and_what_is_emitted_is_drawn(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.emit(slow())
        await server.until("metrics/build_performance", lambda data: data["current"] == 40_000)
        async with opened(server.url("/"), java_script_enabled=False) as still:
            assert "40 s" in await still.inner_text('[data-metric="build_performance"]')
            assert "chat/2" in await still.inner_text("#build")
        async with opened(server.url("/")) as page:
            await all_is_there(page, "/")
            await server.emit(failed("chat/3"))
            row = page.locator('#build tr[data-key="chat/3"]')
            await expect(row).to_contain_text("failure", timeout=SLOW)
            await expect(page.locator("#alerts")).to_contain_text("Build Failed", timeout=SLOW)
            await server.emit(slow("chat/4") | {"duration_ms": 41_000})
            value = page.locator('[data-metric="build_performance"] [data-field="current"]')
            await expect(value).to_have_text("41 s", timeout=SLOW)


async def test_every_view_is_whole_by_day_and_by_night_and_on_a_phone(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.emit(slow(), failed())
        await server.until("alerts", len)
        for path in VIEWS:
            for scheme, width in (("light", 1280), ("dark", 360)):
                look = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
                async with opened(server.url(path), **look) as page:
                    await all_is_there(page, path)
                    wide = await page.evaluate("document.documentElement.scrollWidth")
                    assert wide <= width, f"{path} is {wide} wide on {width}"


@pytest.mark.skipif(not AXE.exists(), reason="`make setup` has installed no npm packages, so axe is not there")
async def test_axe_finds_nothing_serious_on_any_view(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.emit(slow(), failed())
        (alert, *_) = await server.until("alerts", len)
        for path in VIEWS:
            for scheme in ("light", "dark"):
                url = server.url(path) + (f"?id={alert['id']}" if path == "/alerts" else "")
                async with opened(url, color_scheme=scheme) as page:
                    await all_is_there(page, path)
                    await page.evaluate(AXE.read_text(encoding="utf-8"))
                    found = await page.evaluate("axe.run().then(({violations}) => violations)")
                    serious = [
                        (one["id"], node["html"][:200])
                        for one in found
                        if one["impact"] in ("serious", "critical")
                        for node in one["nodes"]
                    ]
                    assert not serious, (path, scheme)


async def test_an_alert_is_acknowledged_and_resolved_with_the_keyboard_alone(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.emit(failed())
        (alert, *_) = await server.until("alerts", len)
        async with opened(server.url("/")) as page:
            await all_is_there(page, "/")
            await page.keyboard.press("a")
            await page.wait_for_url("**/alerts")
            await all_is_there(page, "/alerts")
            await tab_to(page, alert["title"])
            await page.keyboard.press("Enter")
            await expect(page.locator("#one h2")).to_contain_text("Build Failed", timeout=SLOW)
            await tab_to(page, "Acknowledge")
            await page.keyboard.press("Enter")
            await page.keyboard.type("ada")
            await page.keyboard.press("Tab")
            await page.keyboard.type("looking")
            await page.keyboard.press("Enter")
            await expect(page.locator("dialog .said")).to_contain_text("acknowledged", timeout=SLOW)
            await page.keyboard.press("Escape")
            (known,) = await server.until("alerts?status=acknowledged", len)
            assert (known["acknowledgment"]["operator"], known["acknowledgment"]["notes"]) == ("ada", "looking")
            await expect(page.locator("#one")).to_contain_text("Acknowledged by ada", timeout=SLOW)
            await tab_to(page, "Resolve")
            await page.keyboard.press("Enter")
            await expect(page.locator("dialog input[name=operator]")).to_have_value("ada")
            await page.keyboard.press("Enter")
            await expect(page.locator("dialog .said")).to_contain_text("resolved", timeout=SLOW)
            await page.keyboard.press("Escape")
            assert await server.data("alerts") == []


async def tab_to(page: Page, text: str) -> None:
    """Press the tabulator until what has the focus is called so."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.textContent.trim()") == text:
            return
    raise AssertionError(f"nothing that is called {text!r} can be reached")


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


async def test_runs_and_evaluations_are_drawn_as_they_were_measured(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        sizes = {"bundle.size": 412_331}
        await server.emit(slow("chat/1"), failed("chat/2"), slow("other/1") | {"measures": sizes})
        found = await server.until("alerts", lambda alerts: [one for one in alerts if one["value"] is not None])
        (alert, *_) = [one for one in found if one["value"] is not None]
        async with opened(server.url("/runs")) as page:
            await all_is_there(page, "/runs")
            took, bundles = page.locator("#build .plot").nth(0), page.locator("#build .plot").nth(1)
            await expect(took).to_have_attribute("aria-label", re.compile("^Runs: 3 from .*, at most 40 s$"))
            phases = page.locator('#build tr[data-key="chat/1"] .phase')
            await expect(phases).to_have_text(["bundle", "minify"])
            await expect(took.locator('.dot[data-status="unhealthy"]')).to_have_count(1)
            await expect(bundles).to_have_attribute("aria-label", re.compile("^Bundles: 1 from .*, at most 412 kB$"))
        async with opened(server.url(f"/alerts?id={alert['id']}")) as page:
            await expect(page.locator("#one .plot .threshold")).to_be_attached(timeout=SLOW)
            await expect(page.locator("#one figure")).to_contain_text("threshold 5 s")
            await expect(page.locator('#one .plot .dot[data-status="unhealthy"]').first).to_be_attached()


async def test_a_page_without_an_answer_says_from_when_it_is(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path, changes=[(("sinks", "dashboard", "refresh"), "1s")]) as server:
        async with opened(server.url("/runs"), excused="ERR_FAILED", timezone_id="Asia/Tokyo") as page:
            await is_live(page)
            as_of = page.locator("#now time")
            said, utc = await as_of.inner_text(), await as_of.get_attribute("title")
            assert utc and utc.endswith(" UTC") and said.split()[-1][:2] != utc.split()[1][:2], "it is local time"
            blocked = True

            async def gate(route: Route) -> None:
                await (route.abort() if blocked else route.continue_())

            await page.route("**/api/monitoring/**", gate)
            await page.reload()
            await expect(page.locator("#stale")).to_contain_text("The server does not answer", timeout=SLOW)
            blocked = False
            await is_live(page)
            await expect(page.locator("#stale")).to_be_hidden()


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


async def test_c141_without_a_stream_it_polls_and_returns_by_itself(opened: Opening, tmp_path: Path) -> None:
    changes = [(("sinks", "dashboard", "refresh"), "1s")]
    async with serving(tmp_path, changes=changes) as server:
        async with opened(server.url("/runs"), excused="ERR_FAILED") as page:
            await all_is_there_or_none(page)
            blocked = True

            async def gate(route: Route) -> None:
                await (route.abort() if blocked else route.continue_())

            await page.route("**/api/monitoring/events*", gate)
            await page.reload()
            await expect(page.locator("#live")).to_have_text("every 1 s", timeout=SLOW)
            await server.emit(slow("chat/5"))
            await expect(page.locator('#build [data-key="chat/5"]')).to_be_visible(timeout=SLOW)
            blocked = False
            await is_live(page)


async def all_is_there_or_none(page: Page) -> None:
    await is_live(page)
    await expect(page.locator("#dora table")).to_be_visible(timeout=SLOW)


async def test_text_of_events_is_text_on_every_view(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.emit(
            failed(EVIL[:60], reason=EVIL, service=EVIL, environment=EVIL, version=EVIL, labels={"kind": EVIL}),
            slow(EVIL[:60] + "2") | {"environment": EVIL},
            {"type": "deployment.finished", "service": EVIL, "version": EVIL, "outcome": "failure", "source": "/ci",
             "environment": "production", "reason": EVIL},
        )  # fmt: skip
        (alert, *_) = await server.until("alerts", len)
        await server.post(f"alerts/{alert['id']}/acknowledge", {"operator": EVIL, "notes": EVIL})
        for path in VIEWS:
            url = server.url(path) + (f"?state=acknowledged&id={alert['id']}" if path == "/alerts" else "")
            async with opened(url) as page:
                page.on("dialog", lambda dialog: pytest.fail(f"it said {dialog.message}"))
                await all_is_there(page, path)
                assert await page.locator("main img, main script").count() == 0
                if path == "/runs":
                    await expect(page.locator("#build")).to_contain_text(EVIL[:60], timeout=SLOW)


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
    async with serving(tmp_path) as server, opened(server.url("/"), color_scheme="light") as page:
        await is_live(page)
        ground = "getComputedStyle(document.body).backgroundColor"
        light = await page.evaluate(ground)
        button = page.locator("#theme")
        await button.click()
        assert await page.evaluate(ground) == light
        await button.click()
        dark = await page.evaluate(ground)
        assert dark != light
        await page.reload()
        assert await page.evaluate(ground) == dark
