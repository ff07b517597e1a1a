"""The view of operations in a browser: what is done is asked before, told after, and written into the audit."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Page, expect

from bers.testing.server import serving
from tests.acceptance.test_access import bers, guarded
from tests.browser.conftest import Opening
from tests.browser.test_dashboard import SLOW, is_live
from tests.integration.processes import configure, started
from tests.integration.test_dead_letters import PIPELINES, Moods, build, specs


async def does(page: Page, verb: str, *said: str, place: str = "main") -> None:
    """Press a button, agree, and read what came of it and what the audit has."""
    await page.locator(place).get_by_role("button", name=verb, exact=True).first.click()
    dialog = page.locator("dialog[open]")
    await dialog.get_by_role("button", name=verb, exact=True).click()
    for text in said:
        await expect(dialog).to_contain_text(text, timeout=SLOW)
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)


async def test_caches_collector_and_breakers_are_asked_for_answered_and_audited(
    opened: Opening, tmp_path: Path
) -> None:
    async with serving(tmp_path) as server, opened(server.url("/")) as page:
        await is_live(page)
        await page.keyboard.press("h")
        await page.wait_for_url("**/operations")
        await is_live(page)
        await does(page, "Clear the resolver's cache", "1 forgotten; generation 1", "Audit 1: anonymous", "done.")
        await does(page, "Clear the cache of metrics", "pages dropped", "Audit 2: anonymous")
        await does(page, "Restart the collector", "host", "Audit 3: anonymous")
        await does(page, "Reset all breakers", "None was open.", "Audit 4: anonymous")
        await expect(page.locator("#audit")).to_contain_text("POST metrics/restart", timeout=SLOW)
        await page.get_by_role("button", name="Verify").click()
        await expect(page.locator("#proof")).to_have_text("All 4 rows are as they were written.", timeout=SLOW)


async def test_what_is_not_agreed_to_is_not_done(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server, opened(server.url("/operations")) as page:
        await is_live(page)
        await page.get_by_role("button", name="Restart the collector").click()
        await page.get_by_role("button", name="Cancel").click()
        await expect(page.locator("dialog[open]")).to_have_count(0)
        assert await server.data("audit") == []


async def test_a_dead_letter_is_replayed_and_another_is_deleted(opened: Opening, tmp_path: Path) -> None:
    moods = Moods()
    moods.rejected = {"b-2"}
    text = PIPELINES.format(folder=tmp_path).replace("pipelines:\n", "  sse: {}\n  dashboard: {}\npipelines:\n")
    text += "  live: {sources: [build], sinks: [sse, dashboard]}\n"
    async with serving(tmp_path, text, specs=specs(moods)) as server:
        await server.emit(build("b-1"), build("b-2"))
        await server.until("dead-letters", lambda found: len(found) == 2)
        async with opened(server.url("/operations"), excused="503 (Service Unavailable)") as page:
            await is_live(page)
            row = page.locator("#letters tr[data-key]")
            await expect(row.filter(has_text="keep/careful")).to_contain_text("b-2 is too odd", timeout=SLOW)
            moods.rejected = set()
            careful = await row.filter(has_text="keep/careful").get_attribute("data-key")
            await does(page, "Replay", "1 delivered, 0 left", "Audit 1", place=f'#letters [data-key="{careful}"]')
            picky = await row.filter(has_text="tell/picky").get_attribute("data-key")
            await does(page, "Delete", "1 forgotten", "Audit 2", place=f'#letters [data-key="{picky}"]')
            await expect(page.locator("#letters")).to_have_text("Everything was delivered.", timeout=SLOW)
            assert await server.data("dead-letters") == []


async def test_a_channel_that_fails_shows_its_deliveries_and_takes_a_test(opened: Opening, tmp_path: Path) -> None:
    channel = {"name": "chat", "url": "http://127.0.0.1:9/hook", "allow_internal": True,
               "retries": {"attempts": 2, "initial": "10ms"}}  # fmt: skip
    async with serving(tmp_path, changes=[(("sinks", "webhooks", "channels"), [channel])]) as server:
        await server.emit({"type": "build.finished", "source": "/ci", "subject": "b-1", "outcome": "failure"})
        await server.until("webhooks/deliveries?status=failed", len)
        async with opened(server.url("/operations")) as page:
            await is_live(page)
            await expect(page.locator("#channels tbody")).to_contain_text("chat webhooks", timeout=SLOW)
            await does(page, "Test", "It was not taken", "Audit 1", place="#channels")
            await expect(page.locator("#deliveries tbody")).to_contain_text("alert.firing", timeout=SLOW)
            await does(page, "Retry", "It is sent again.", "Audit 2", place="#deliveries")
            await does(page, "Reset", "wait for it.", "Audit 3", place="#channels")


async def test_a_configuration_that_is_wrong_is_shown_with_its_place(opened: Opening, tmp_path: Path) -> None:
    file = configure(tmp_path)
    with started(tmp_path) as server:
        async with opened(server.url("/operations"), excused="422 (Unprocessable") as page:
            await is_live(page)
            right = file.read_text()
            file.write_text(right.replace("interval: 1s", "interval: 1parsec"))
            await does(page, "Reload", "1parsec", "Audit 1: anonymous from 127.0.0.1, invalid.")
            await expect(page.locator("#configuration .faults")).to_contain_text("sources.host.interval", timeout=SLOW)
            await expect(page.locator("#configuration .faults code")).to_contain_text(
                "pipelines.yaml:11:", timeout=SLOW
            )
            file.write_text(right.replace("interval: 1s", "interval: 2s"))
            await does(page, "Reload", "Generation 2 is in place.", "Audit 2: anonymous")
            await expect(page.locator("#configuration .faults")).to_have_count(0)


async def test_who_may_only_look_is_shown_no_button_and_no_audit(opened: Opening, tmp_path: Path) -> None:
    configure(tmp_path)
    reader = bers(tmp_path, "keys", "create", "reader", "--scope", "read").stdout.strip()
    with guarded(tmp_path, "{enabled: true, rate: {per_second: 10000, burst: 10000}}") as server:
        url = server.url("").removesuffix("api/monitoring/") + "operations"
        async with opened(url, extra_http_headers={"Authorization": f"Bearer {reader}"}) as page:
            await is_live(page)
            await expect(page.locator("#checks tbody .strip").first).to_be_visible(timeout=SLOW)
            assert await page.locator("main button").count() == 0
            await expect(page.locator("#audit")).to_have_text("A key with the scope admin sees who changed what.")
