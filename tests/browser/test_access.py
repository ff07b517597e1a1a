"""The page for everybody: with the keyboard alone, by day and by night, on any screen, and read out."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Error, Page, Request, expect

from bers.testing.server import serving
from tests.acceptance.test_access import bers, guarded
from tests.browser.conftest import Opening
from tests.browser.looking import (
    AXE,
    SLOW,
    VIEWS,
    all_is_there,
    drawn,
    failed,
    focused,
    is_live,
    says_axe,
    slow,
    tab_to,
)
from tests.integration.processes import configure

WIDTHS = (320, 360, 640, 768, 1280, 2560, 3840)
"""A phone, a phone at twice its size, half of a desk's screen, which is one at twice its size, and so on to a wall."""

FITS = "width => document.documentElement.scrollWidth <= width"

AT_ONCE = """() => {
    const keys = document.querySelector("#keys");
    keys.close();
    document.activeElement.blur();
    keys.showModal();
    document.querySelector("#letters").focus();
    keys.close();
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "?", bubbles: true }));
    return keys.open;
}"""
WITHIN = "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
"""Whether nothing behind an open dialog has the focus."""

MOVES = """
() => {
  document.body.style.animation = "1s to-and-fro";
  const { animationName } = getComputedStyle(document.body);
  document.body.style.animation = "";
  return animationName;
}
"""
"""What moves where something, which may be a plugin's panel, wants to."""


async def is_whole(page: Page, what: str) -> None:
    """By day, by night, and in the system's own colours nothing keeps anybody out; nothing is wider than its screen."""
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 900})
        try:  # Charts take their new size in the next frame.
            await page.wait_for_function(FITS, arg=width, timeout=SLOW)
        except Error as late:
            wide = await page.evaluate("document.documentElement.scrollWidth")
            raise AssertionError(f"{what} is {wide} wide on {width}") from late
    await page.set_viewport_size({"width": 1280, "height": 900})
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        await says_axe(page, f"{what}, {scheme}")
    await page.emulate_media(forced_colors="active", color_scheme="light")
    await says_axe(page, f"{what}, in forced colours")
    await page.emulate_media(forced_colors="none")


@pytest.mark.skipif(not AXE.exists(), reason="`make setup` has installed no npm packages, so axe is not there")
async def test_every_view_is_whole_for_everybody_also_where_nothing_was_told_yet(
    opened: Opening, tmp_path: Path
) -> None:
    async with serving(tmp_path) as server:
        async with opened(server.url("/")) as page:
            await all_is_there(page, "/")
            await is_whole(page, "a server that nobody told anything")
            await page.keyboard.press("?")
            await expect(page.locator("#keys")).to_be_visible()
            await is_whole(page, "the list of keys")
        async with opened(server.url("/nowhere"), excused="404 (Not Found)") as page:
            await expect(page.locator(".wrong")).to_have_text("Nothing is answered at /nowhere on this port.")
            await is_whole(page, "an address that is none")
        await server.emit(slow(), failed())
        (alert, *_) = await server.until("alerts?rule=Build Failed", len)
        for path in VIEWS:
            url = server.url(path) + (f"?id={alert['id']}" if path == "/alerts" else "")
            async with opened(url) as page:
                await all_is_there(page, path)
                if path == "/alerts":
                    await page.locator("#one").get_by_role("button", name="Silence").click()
                    await says_axe(page, "a question")
                    await page.keyboard.press("Escape")
                await is_whole(page, path)
                await page.emulate_media(reduced_motion="reduce")
                assert await page.evaluate(MOVES) == "none", path
                heading = await page.locator("body > nav [aria-current]").inner_text()
                assert f" · {heading} · " in await page.title()
                loud = await page.locator("[aria-live=assertive], [role=log], main [aria-live]").count()
                assert loud == 0, "what changes every second is not read out"
            reply = await server.get(path, headers={"Accept": "text/html"})
            keeps_the_policy(reply.headers["content-security-policy"], reply.text)
        reply = await server.get("/metric/none", headers={"Accept": "text/html"})
        assert reply.status_code == 404 and "unknown metric" in reply.text.lower()
        keeps_the_policy(reply.headers["content-security-policy"], reply.text)


def keeps_the_policy(policy: str, html: str) -> None:
    """Everything comes from here, and nothing that could do anything stands in the page."""
    assert policy.startswith("default-src 'self';") and "unsafe" not in policy and "data:" not in policy
    assert not [one for one in ("<style", " style=", "javascript:", " onload=", " onclick=") if one in html]
    assert html.count("<script") == html.count('<script src="/assets/')


async def test_an_alert_is_acknowledged_silenced_and_resolved_with_the_keyboard_alone(
    opened: Opening, tmp_path: Path
) -> None:
    async with serving(tmp_path) as server:
        await server.emit(failed())
        (alert,) = await server.until("alerts?rule=Build Failed", len)
        async with opened(server.url("/")) as page:
            gone: list[str] = []

            def note(request: Request) -> None:
                if request.is_navigation_request():
                    gone.append(request.url)

            page.on("request", note)
            await all_is_there(page, "/")
            await page.keyboard.press("Tab")
            assert await focused(page) == "Skip to the figures"
            await expect(page.locator(".skip")).to_be_in_viewport()
            await page.keyboard.press("Enter")
            await page.keyboard.press("Tab")
            assert await page.evaluate("document.querySelector('main').contains(document.activeElement)")
            await page.keyboard.press("?")
            await expect(page.locator("#keys")).to_contain_text("Pipelines")
            for _ in range(4):
                await page.keyboard.press("a")  # It is said there, and not done there.
                await page.keyboard.press("Tab")
                assert await page.evaluate(WITHIN), "nothing behind it can be reached"
            assert not gone and page.url == server.url("/#main")
            await page.keyboard.press("Escape")
            await page.keyboard.press("a")
            await page.wait_for_url("**/alerts")
            await all_is_there(page, "/alerts")
            await tab_to(page, alert["title"])
            outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid", "one sees where one is"
            await page.keyboard.press("Enter")
            await expect(page.locator("#one h2")).to_contain_text("Build Failed", timeout=SLOW)
            await expect(page.locator("#one")).to_be_focused()
            await tab_to(page, "Acknowledge")
            await page.keyboard.press("Enter")
            await page.keyboard.type("ada")
            await page.keyboard.press("Tab")
            await page.keyboard.type("looking")
            await page.keyboard.press("Enter")
            await expect(page.locator("dialog .said")).to_contain_text("acknowledged", timeout=SLOW)
            assert await focused(page) == "Done"
            await expect(page.locator("#one")).to_contain_text("Acknowledged by ada", timeout=SLOW)
            async with page.expect_response("**/alerts/rules/*", timeout=SLOW):  # It is asked for anew, and drawn.
                await page.keyboard.press("Escape")
            (known,) = await server.until("alerts?status=acknowledged", len)
            assert (known["acknowledgment"]["operator"], known["acknowledgment"]["notes"]) == ("ada", "looking")
            await drawn(page)
            inside = "document.querySelector('#one').contains(document.activeElement)"
            assert await page.evaluate(inside), "the button is gone, and one is where it was"
            await tab_to(page, "Silence")
            await page.keyboard.press("Enter")
            await tab_within(page, "comment")
            await page.keyboard.type("we know")
            await page.keyboard.press("Enter")
            await expect(page.locator("dialog .said")).to_contain_text("Silenced for", timeout=SLOW)
            await page.keyboard.press("Enter")
            await expect(page.locator("dialog[open]")).to_have_count(0)
            assert await focused(page) == "Silence", "one is where one came from"
            (silence,) = await server.data("silences")
            assert (silence["createdBy"], silence["comment"]) == ("ada", "we know")
            await tab_to(page, "Resolve")
            await page.keyboard.press("Enter")
            await expect(page.locator("dialog input[name=operator]")).to_have_value("ada")
            await page.keyboard.press("Enter")
            await expect(page.locator("dialog .said")).to_contain_text("resolved", timeout=SLOW)
            await page.keyboard.press("Escape")
            assert await server.data("alerts?rule=Build Failed") == []
            await page.keyboard.press("?")
            await page.locator("#letters").press("Space")
            assert await page.evaluate(AT_ONCE), "who is quick is heard before a frame is drawn"
            await page.keyboard.press("Escape")
            gone.clear()
            await page.keyboard.press("o")
            await page.keyboard.press("?")
            await expect(page.locator("#keys")).to_be_visible()
            assert not gone and page.url.split("?")[0].endswith("/alerts"), (
                "whoever speaks to the machine goes nowhere by chance"
            )


async def tab_within(page: Page, name: str) -> None:
    for _ in range(10):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.name") == name:
            return
    raise AssertionError(f"there is no field {name!r}")


async def test_a23_whoever_logs_in_is_led_to_the_view_that_was_asked_for(opened: Opening, tmp_path: Path) -> None:
    configure(tmp_path)
    reader = bers(tmp_path, "keys", "create", "reader", "--scope", "read").stdout.strip()
    with guarded(tmp_path, "{enabled: true, rate: {per_second: 10000, burst: 10000}}") as server:
        wanted = server.url("/metric/build_performance?range=24h&before=1")
        async with opened(wanted, excused="401 (Unauthorized)") as page:
            await expect(page.locator("#key")).to_be_focused()
            await is_whole(page, "the login")
            reply = await page.request.get(wanted, headers={"Accept": "text/html"})
            keeps_the_policy(reply.headers["content-security-policy"], await reply.text())
            await page.keyboard.type("wrong")
            await page.keyboard.press("Enter")
            await expect(page.locator(".wrong")).to_contain_text("not known", timeout=SLOW)
            await page.keyboard.type(reader)
            await page.keyboard.press("Enter")
            await is_live(page)
            assert page.url == wanted
            await expect(page.locator('[data-range="24h"]')).to_have_attribute("aria-pressed", "true", timeout=SLOW)
            await page.get_by_role("link", name="reader").click()
            await page.get_by_role("button", name="Log out").click()
            await expect(page.locator("#key")).to_be_visible(timeout=SLOW)
            for elsewhere in (
                "//example.org/",
                "/\\example.org",
                "https://example.org/",
                "/a b",
                "javascript:alert(1)",
            ):
                form: dict[str, str | float | bool] = {"key": reader, "to": elsewhere}
                own = {"Origin": server.url("").split("/api")[0]}
                reply = await page.request.post(server.url("/login"), form=form, headers=own, max_redirects=0)
                assert (reply.status, reply.headers["location"]) == (303, "/"), elsewhere
