"""The view of operations in a browser: what is done is asked before, told after, and written into the audit."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Locator, Page, expect

from bers.testing.server import Server, serving
from tests.acceptance.test_access import bers, guarded
from tests.browser.conftest import Opening
from tests.browser.looking import EVIL, SLOW, does, is_live
from tests.integration.processes import configure, started
from tests.integration.test_dead_letters import PIPELINES, Moods, build, specs


async def test_caches_collector_and_breakers_are_asked_for_answered_and_audited(
    opened: Opening, tmp_path: Path
) -> None:
    async with serving(tmp_path) as server, opened(server.url("/")) as page:
        await is_live(page)
        await page.keyboard.press("h")
        await page.wait_for_url("**/operations")
        await is_live(page)
        await expect(page.locator("#caches")).to_contain_text("resolved in")
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
        # What is agreed to after it is the first that was done.
        await does(page, "Clear the resolver's cache", "Audit 1: anonymous")
        assert len(await server.data("audit")) == 1


async def test_dead_letters_are_seen_into_and_replayed_one_by_one_some_or_all(opened: Opening, tmp_path: Path) -> None:
    moods = Moods()
    moods.rejected = {"b-2", "b-3", "b-4", "b-5"}
    text = PIPELINES.format(folder=tmp_path).replace("pipelines:\n", "  sse: {}\n  dashboard: {}\npipelines:\n")
    text += "  live: {sources: [build], sinks: [sse, dashboard]}\n"
    async with serving(tmp_path, text, specs=specs(moods)) as server:
        for id in ("b-2", "b-3", "b-4", "b-5"):
            await server.emit(build(id, data={"password": "hunter-22", "note": EVIL}))
            await server.until("dead-letters", lambda found: found and found[0]["records"] == 1)
        await server.until("dead-letters", lambda found: len(found) == 8)
        async with opened(server.url("/operations")) as page:
            await is_live(page)
            row = page.locator("#dead-letters tbody tr")
            await expect(row).to_have_count(8, timeout=SLOW)
            careful, picky = row.filter(has_text="keep/careful"), row.filter(has_text="tell/picky")
            key = await careful.filter(has_text="b-2 is too odd").get_attribute("data-key")
            place = f'#dead-letters [data-key="{key}"]'
            await page.locator(place).get_by_role("button", name="See").click()
            record = page.locator("#dead-letters .letter")
            await expect(record).to_contain_text("b-2", timeout=SLOW)
            await expect(record).to_contain_text(EVIL)
            assert "hunter-22" not in await record.inner_text()
            await page.locator(place).get_by_role("button", name="Hide").click()
            await expect(record).to_have_count(0)

            await does(page, "Replay", "0 delivered, 1 left: b-2 is too odd", "Audit 1", place=place)
            moods.rejected = set()
            await does(page, "Replay", "1 delivered, 0 left", "Audit 2", place=place)
            await does(page, "Delete", "1 forgotten", "Audit 3", place=f"{await letter(picky, 'b-2')}")
            chosen = [await letter(careful, "b-3"), await letter(picky, "b-4")]
            for one in chosen:
                await page.locator(one).get_by_role("checkbox").check()
            await does(
                page,
                "Replay 2 selected",
                "2 delivered, 0 left",
                "Audit 4",
                "Audit 5",
                place="#dead-letters",
                agree="Replay",
            )
            await expect(row).to_have_count(4, timeout=SLOW)
            await page.locator(await letter(picky, "b-3")).get_by_role("checkbox").check()
            await does(page, "Delete 1 selected", "1 forgotten", "Audit 6", place="#dead-letters", agree="Delete")
            await does(page, "Replay all", "3 delivered, 0 left", "Audit 7", place="#dead-letters")
            await expect(page.locator("#dead-letters")).to_have_text("Everything was delivered.", timeout=SLOW)
            assert await server.data("dead-letters") == []


async def letter(rows: Locator, what: str) -> str:
    return f'#dead-letters tr[data-key="{await rows.filter(has_text=what).get_attribute("data-key")}"]'


async def test_what_somebody_else_does_at_the_same_time_is_told_apart(opened: Opening, tmp_path: Path) -> None:
    moods = Moods()
    moods.rejected = {"b-2"}
    text = PIPELINES.format(folder=tmp_path).replace("pipelines:\n", "  sse: {}\n  dashboard: {}\npipelines:\n")
    text += "  live: {sources: [build], sinks: [sse, dashboard]}\n"
    async with serving(tmp_path, text, specs=specs(moods)) as server:
        await server.emit(build("b-2"))
        (*_, one) = await server.until("dead-letters", lambda found: len(found) == 2)
        place = f'#dead-letters tr[data-key="{one["id"]}"]'
        async with opened(server.url("/operations"), excused="404 (Not Found)") as page:
            await is_live(page)
            await page.locator(place).get_by_role("button", name="Replay").click()
            dialog = page.locator("dialog[open]")
            await expect(dialog).to_contain_text("1 records")
            assert (await server.client.request("DELETE", server.url(f"dead-letters/{one['id']}"))).status_code == 200
            await dialog.get_by_role("button", name="Replay", exact=True).click()
            # It is gone: that is said, with the row of this attempt and not with that of the other.
            await expect(dialog).to_contain_text("Audit 2: anonymous from 127.0.0.1, not found.", timeout=SLOW)
            assert "Audit 1" not in await dialog.inner_text()
            await page.keyboard.press("Escape")
            await expect(page.locator(place)).to_have_count(0, timeout=SLOW)
            await does(page, "Restart", "It is started anew.", "Audit 3", place=await at_pipelines(page, server))
            assert (await server.post("stages/build/restart", {})).status_code == 200


async def at_pipelines(page: Page, server: Server) -> str:
    await page.goto(server.url("/pipelines"))
    await is_live(page)
    return '#graph tr[data-key="source/build"]'


async def test_a_channel_that_fails_shows_its_deliveries_and_takes_a_test(opened: Opening, tmp_path: Path) -> None:
    channel = {"name": "chat", "url": "http://127.0.0.1:9/hook", "allow_internal": True,
               "retries": {"attempts": 2, "initial": "10ms"}}  # fmt: skip
    async with serving(tmp_path, changes=[(("sinks", "webhooks", "channels"), [channel])]) as server:
        await server.emit({"type": "build.finished", "source": "/ci", "subject": "b-1", "outcome": "failure"})
        await server.until("webhooks/deliveries?status=failed", len)
        async with opened(server.url("/operations")) as page:
            await is_live(page)
            await expect(page.locator("#channels tbody")).to_contain_text("chat webhooks", timeout=SLOW)
            await expect(page.locator("#channels .mark")).to_have_attribute("data-status", "healthy")  # It is `ready`.
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
        url = server.url("").removesuffix("api/monitoring/")
        async with opened(
            f"{url}operations", excused="401 (Unauthorized)"
        ) as page:  # Without a key there is the login, and behind it the view.
            await page.get_by_label("Key").fill(reader)
            await page.keyboard.press("Enter")
            await is_live(page)
            await page.goto(f"{url}operations")
            await is_live(page)
            await expect(page.locator("#checks tbody .strip").first).to_be_visible(timeout=SLOW)
            assert await page.locator("main button").count() == 0
            await expect(page.locator("#audit")).to_have_text("A key with the scope admin sees who changed what.")
            await page.goto(f"{url}pipelines")
            await expect(page.locator("#graph tbody tr").first).to_be_visible(timeout=SLOW)
            assert await page.get_by_role("button", name="Restart").count() == 0
            await page.locator('.place[data-key="bus"]').press("Enter")
            await expect(page.locator("#tapped li").first).to_be_visible(timeout=SLOW)
            await page.goto(f"{url}alerts?state=silences")
            await expect(page.locator("#list")).to_have_text("Nothing is silenced.", timeout=SLOW)
            assert await page.locator("#list button").count() == 0
