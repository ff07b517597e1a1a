"""The alerts view in a browser: lists that are filtered and paged, what people do, and rules edited and tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from bers.testing.server import serving
from bers_builtin.sinks.alert_engine.rehearsal.backtest import ALIKE
from tests.browser.conftest import Opening
from tests.browser.looking import AXE, EVIL, SLOW, TOLD_ALONE, failed, is_live, says_axe, slow

DEGRADED = "build-performance-degraded"
RULED = [
    (
        ("sinks", "alert-engine", "rules"),
        [
            {"name": "Job Failed", "event": "custom.job", "outcome": "failure", "group": ["subject"],
             "clears": {"event": "custom.job", "outcome": "success"}},
            {"name": "Never Comes", "metric": "build_performance", "above": "1s", "where": {"environment": "moon"}},
        ],
    ),
    (("sinks", "alert-engine", "rate_limiting"), {"max_alerts": 1000}),
    (("sinks", "alert-engine", "flapping"), {"enabled": False}),
]  # fmt: skip


def job(number: int, outcome: str) -> dict[str, Any]:
    return {"type": "job", "source": "/cron", "subject": f"job-{number:03}", "outcome": outcome}


async def asked(page: Page, **answers: str) -> None:
    """Answer the question that is open, and wait until it was done."""
    for name, text in answers.items():
        await page.fill(f"dialog[open] [name={name}]", text)
    await page.click("dialog[open] button.act")
    await expect(page.locator("dialog[open] button.act")).to_have_text("Done", timeout=SLOW)
    await page.keyboard.press("Escape")


async def test_a_rule_is_edited_and_tried_beside_what_it_did(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path, changes=RULED) as server:
        for n in range(4):
            await server.emit(slow(f"chat/{n}") | {"duration_ms": 6000 if n % 2 == 0 else 1000})
        await server.until("metrics/build_performance?period=1h", lambda found: found["count"] == 4)
        (alert, *_) = await server.until("alerts/history?rule=Build Performance Degraded", len)
        async with opened(server.url(f"/alerts?state=history&id={alert['id']}")) as page:
            await page.click("text=Its rule", timeout=SLOW)
            area = page.locator("#rule-text")
            server_text = str((await server.data(f"alerts/rules/{DEGRADED}"))["source"])
            assert "above: 5s" in server_text
            await expect(area).to_have_value(server_text, timeout=SLOW)
            await expect(page.locator("#rule [name=above]")).to_have_value("5s")

            await page.fill("#rule [name=above]", "500ms")
            await expect(area).to_have_value(server_text.replace("above: 5s", "above: 500ms"))
            await page.click('[data-over="1h"]')
            # In force it no longer fires, as edited it does: longer, once that is more than the two may differ by.
            await page.wait_for_function("began => Date.now() > began", arg=alert["timestamp"] + 3000 * ALIKE)
            await page.click("#rule button.act")
            counts = page.locator(".outcome table").first.locator("tbody tr")
            await expect(counts).to_have_count(3, timeout=SLOW)
            rows = [await row.locator("th, td").all_inner_texts() for row in await counts.all()]
            assert [row[:2] for row in rows] == [["As edited", "1"], ["As in force", "1"], ["What did fire", "1"]]
            assert [row[-1] for row in rows] == ["the end"] * 3
            await expect(page.locator(".outcome")).to_contain_text("Compared with what did fire: 1 longer.")
            await expect(page.locator(".outcome .lane .strip [data-status=unhealthy]").first).to_be_attached()
            await expect(page.locator(".outcome .measured canvas")).to_be_visible(timeout=SLOW)
            copied = await page.locator(".outcome textarea.copy").input_value()
            assert copied.splitlines()[0].startswith("# Tried on ")
            assert "- name: Build Performance Degraded\n" in copied and "\n  above: 500ms\n" in copied

            await page.go_back()
            await expect(page.locator("#one h2")).to_contain_text("Build Performance Degraded", timeout=SLOW)
            await page.go_forward()
            await expect(area).to_have_value(server_text.replace("above: 5s", "above: 500ms"), timeout=SLOW)


async def test_what_is_wrong_with_a_rule_is_told_at_its_place(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        async with opened(server.url("/alerts?state=rules&rule=new")) as page:
            area = page.locator("#rule-text")
            await expect(area).to_be_visible(timeout=SLOW)
            await area.fill(
                f"name: Mine\nmetric: build_performance\nseverity: loud\nannotations: {{step: '{EVIL}'}}\nfoo: 1\n"
            )
            await page.click("#rule button.act")
            faults = page.locator("#faults li")
            await expect(faults).to_have_count(2, timeout=SLOW)
            await expect(faults.nth(0)).to_contain_text("3:1severity: unknown value 'loud'")
            await expect(faults.nth(1)).to_contain_text("5:1foo: unknown key 'foo'")
            await expect(page.locator(".gutter [data-wrong]")).to_have_text(["3", "5"])
            await expect(area).to_have_attribute("aria-invalid", "true")
            await faults.nth(1).locator("button").focus()
            await page.keyboard.press("Enter")
            chosen = "(area => area.value.slice(area.selectionStart, area.selectionEnd))(document.activeElement)"
            assert await page.evaluate(chosen) == "foo:"
            await area.fill("name: Mine\nmetric: build_performance\nabove: 1s\n")
            await page.click("#rule button.act")
            await expect(page.locator(".outcome")).to_contain_text("compared with no rule in force", timeout=SLOW)
            await expect(faults).to_have_count(0)


async def test_rules_are_listed_with_their_state(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path, changes=RULED) as server:
        await server.emit(failed(), job(1, "failure"))
        await server.until("alerts", lambda found: len(found) >= 2)
        await server.post(
            "silences", {"matchers": ["rule=Job Failed"], "duration": "1h", "comment": "c", "operator": "o"}
        )
        await server.until("alerts?status=suppressed", len)
        async with opened(server.url("/alerts?state=rules")) as page:
            row = page.locator("#list tbody tr")
            state = {
                "build-failed": "firing", "job-failed": "silenced", "never-comes": "can never fire",
                "clock-was-set": "ok",
            }  # fmt: skip
            for id, word in state.items():
                await expect(row.and_(page.locator(f'[data-key="{id}"]'))).to_contain_text(word, timeout=SLOW)
            await expect(row.first.locator(".mark").first).to_have_text("firing")


async def test_the_history_is_filtered_and_paged_and_counted(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path, changes=[*RULED, TOLD_ALONE]) as server:
        await server.emit(*(job(n, "failure") for n in range(230)), failed())
        await server.until("alerts/stats", lambda found: found["total"] == 231)
        async with opened(server.url("/alerts?state=history&period=24h")) as page:
            rows = page.locator("#list tbody tr")
            await expect(rows).to_have_count(100, timeout=SLOW)
            await page.fill("#filter [name=rule]", "Job Failed")
            await page.press("#filter [name=rule]", "Enter")
            seen = set[str | None]()
            for many in (100, 100, 30):
                await expect(rows).to_have_count(many, timeout=SLOW)
                await expect(rows.first).to_contain_text("Job Failed")
                page_of = {await row.get_attribute("data-key") for row in await rows.all()}
                assert len(page_of) == many and not page_of & seen
                seen |= page_of
                if many == 100:
                    first = await rows.first.get_attribute("data-key")
                    await page.click("#more >> text=Older")
                    await expect(rows.first).not_to_have_attribute("data-key", first or "", timeout=SLOW)
            assert len(seen) == 230
            await expect(page.locator("#more >> text=Older")).to_have_count(0)
            await page.reload()
            await expect(rows).to_have_count(30, timeout=SLOW)
            await page.click("#more >> text=Newest")
            await expect(rows).to_have_count(100, timeout=SLOW)
            await page.fill("#filter [name=rule]", "")
            await page.press("#filter [name=rule]", "Enter")
            await page.select_option("#filter [name=severity]", "error")
            await expect(rows).to_have_count(1, timeout=SLOW)
            await expect(page).to_have_url(server.url("/alerts?state=history&severity=error&period=24h"))
            assert "format=csv" in (await page.get_attribute("#download", "href") or "")

            await page.click('[data-state="statistics"]')
            await expect(page.locator("#list .summary")).to_contain_text("231", timeout=SLOW)
            await page.click('#list >> text="Job Failed"')
            await expect(page).to_have_url(server.url("/alerts?state=history&period=24h&rule=Job+Failed"))


async def test_people_take_on_give_back_silence_and_end_silences_by_name(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path, changes=[*RULED, TOLD_ALONE]) as server:
        await server.emit(job(1, "failure"))
        (alert,) = await server.until("alerts", len)
        async with opened(server.url(f"/alerts?id={alert['id']}")) as page:
            await is_live(page)
            await expect(page.locator("#one figure .strip")).to_be_visible(timeout=SLOW)
            await page.click("#one >> text=Acknowledge", timeout=SLOW)
            await asked(page, operator="ada", notes="looking", expires="2h")
            await expect(page.locator("#one")).to_contain_text("Acknowledged by ada", timeout=SLOW)
            await page.click("#one >> text=Give back")
            await asked(page, notes="not mine")
            await server.until("alerts?status=active", len)
            log = await server.data(f"alerts/{alert['id']}/log")
            assert [one["kind"] for one in log][-2:] == ["acknowledged", "unacknowledged"]

            await page.click("#one >> text=Silence")
            await asked(page, duration="1h", comment="we know")
            await expect(page.locator("#one h2")).to_contain_text("suppressed by silence", timeout=SLOW)
            await page.click('[data-state="suppressed"]')
            await expect(page.locator("#list tbody tr")).to_contain_text("suppressed by silence", timeout=SLOW)
            await page.click('[data-state="silences"]')
            row = page.locator("#list tbody tr")
            await expect(row).to_contain_text("we know", timeout=SLOW)
            await row.locator("button").click()
            await asked(page, notes="over")
            await expect(row).to_contain_text("ended by ada", timeout=SLOW)
            await page.click("text=New silence")
            await asked(page, matchers='rule~^Job "labels.team=a b"', comment="both")
            made = (await server.data("silences"))[0]
            assert (made["matchers"], made["createdBy"]) == (["rule~^Job", "labels.team=a b"], "ada")


async def test_evaluations_are_drawn_as_they_were_measured(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.emit(slow("chat/1"), failed("chat/2"))
        found = await server.until("alerts", lambda alerts: [one for one in alerts if one["value"] is not None])
        (alert, *_) = [one for one in found if one["value"] is not None]
        async with opened(server.url(f"/alerts?id={alert['id']}")) as page:
            await expect(page.locator("#one .plot .threshold")).to_be_attached(timeout=SLOW)
            await expect(page.locator("#one figure")).to_contain_text("threshold 5 s")
            await expect(page.locator('#one .plot .dot[data-status="unhealthy"]').first).to_be_attached()


@pytest.mark.skipif(not AXE.exists(), reason="`make setup` has installed no npm packages, so axe is not there")
async def test_axe_finds_nothing_serious_where_alerts_are_listed_and_rules_tried(
    opened: Opening, tmp_path: Path
) -> None:
    async with serving(tmp_path) as server:
        await server.emit(slow(), failed())
        await server.until("alerts", len)
        for scheme, width in (("light", 1280), ("dark", 360)):
            for state, shown in (
                ("history", "#list tbody tr"), ("silences", "#list button"), ("statistics", "#list meter"),
                (f"rules&rule={DEGRADED}", "#rule-text"),
            ):  # fmt: skip
                look = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
                async with opened(server.url(f"/alerts?state={state}"), **look) as page:
                    await expect(page.locator(shown).first).to_be_visible(timeout=SLOW)
                    if "rules" in state:
                        await page.click("#rule button.act")
                        await expect(page.locator(".outcome table").first).to_be_visible(timeout=SLOW)
                    assert await page.evaluate("document.documentElement.scrollWidth") <= width
                    await says_axe(page, f"{state}, {scheme}")
