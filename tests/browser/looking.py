"""What the tests of the dashboard share: what they tell the server, and how they know that a page is whole."""

from __future__ import annotations

from pathlib import Path

import anyio
from playwright.async_api import Page, expect

from bers_builtin import dashboard

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

DRAWN_AT = """
subject => new Promise(resolve => {
  const look = () => document.querySelector(`#build [data-key="${subject}"]`) && resolve(Date.now());
  const all = { childList: true, subtree: true, attributes: true };
  new MutationObserver(look).observe(document.querySelector("#build"), all);
  look();
})
"""
"""When a run was drawn, in milliseconds since 1970."""

PAINTED = """
() => new Promise(resolve => {
  const found = list => list.getEntriesByName("first-contentful-paint")[0];
  new PerformanceObserver(list => found(list) && resolve(found(list).startTime))
    .observe({ type: "paint", buffered: true });
})
"""
"""When a text was on the screen first, in milliseconds from the beginning of the navigation; it waits for it."""

TOLD_ALONE: tuple[tuple[str, ...], list[str]] = (
    ("pipelines", "alerts", "sources"),
    ["unmapped", "build", "deployment"],
)
"""A change with which only what a test tells can fire an alert, and not what this machine has to do meanwhile."""

SLOW = 20_000
"""Milliseconds that a machine with much else to do may take."""


def failed(subject: str = "chat/1", **fields: object) -> dict[str, object]:
    return {"type": "build.finished", "source": "/ci", "subject": subject, "outcome": "failure", "duration_ms": 6100,
            "reason": "lint", **fields}  # fmt: skip


def slow(subject: str = "chat/2", **fields: object) -> dict[str, object]:
    return {"type": "build.finished", "source": "/ci", "subject": subject, "outcome": "success", "duration_ms": 40_000,
            "measures": {"build.phase.bundle": 30_000, "build.phase.minify": 9_000}, **fields}  # fmt: skip


async def is_live(page: Page) -> None:
    await expect(page.locator("#live")).to_have_text("live", timeout=SLOW)


async def all_is_there(page: Page, path: str) -> None:
    await is_live(page)
    await expect(page.locator(VIEWS[path]).first).to_be_visible(timeout=SLOW)


async def is_answered(page: Page) -> None:
    """Load a page that has no script until nothing is missing: it is sent without what takes more than two seconds."""
    with anyio.fail_after(3 * SLOW / 1000):
        while await page.locator(".missing", has_text="Not available: ").count():
            await page.reload()


async def drawn(page: Page) -> None:
    """Wait until what the page has heard of is on the screen."""
    await page.evaluate("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")


async def does(page: Page, verb: str, *said: str, place: str = "main", agree: str = "") -> None:
    """Press a button, agree, and read what came of it and what the audit has."""
    await page.locator(place).get_by_role("button", name=verb, exact=True).first.click()
    dialog = page.locator("dialog[open]")
    await dialog.get_by_role("button", name=agree or verb, exact=True).click()
    for text in said:
        await expect(dialog).to_contain_text(text, timeout=SLOW)
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)


async def says_axe(page: Page, what: str) -> None:
    """Assert that nothing keeps anybody out, as far as axe can see."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text(encoding="utf-8"))
    found = await page.evaluate("axe.run().then(({violations}) => violations)")
    serious = [
        (one["id"], node["html"][:200])
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
    assert not serious, what


async def tab_to(page: Page, text: str) -> None:
    """Press the tabulator until what has the focus is called so."""
    for _ in range(80):
        await page.keyboard.press("Tab")
        if await focused(page) == text:
            return
    raise AssertionError(f"nothing that is called {text!r} can be reached")


async def focused(page: Page) -> str:
    return str(await page.evaluate("document.activeElement.textContent.trim()"))
