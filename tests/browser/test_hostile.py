"""Malicious text in every field of an event, on every view: it is shown as text, and does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from playwright.async_api import expect

from bers.testing.server import serving
from tests.browser.conftest import Opening
from tests.browser.looking import EVIL, SLOW, VIEWS, all_is_there, failed, slow

ADDRESS = "javascript:alert(3)//\"'><svg onload=alert(4)>"
TURNED = "\u202eexe.tset\u2066\u0000\u001b[31m"
"""What turns round the direction of everything behind it, and what terminals obey."""

LONG = EVIL + "w" * 4000
"""About as much as an event may say."""

SHOWN = """
() => {
  const texts = [document.title];
  for (const node of document.querySelectorAll("*")) {
    if (["SCRIPT", "STYLE"].includes(node.tagName)) continue;
    for (const child of node.childNodes) if (child.nodeType === Node.TEXT_NODE) texts.push(child.nodeValue);
    for (const name of ["title", "aria-label", "alt", "placeholder"]) texts.push(node.getAttribute(name) ?? "");
  }
  return texts.join("\\n");
}
"""

HANDLED = """
() => [...document.querySelectorAll("*")].flatMap(node => [...node.attributes])
  .filter(one => one.name.startsWith("on"))
  .map(one => one.ownerElement.outerHTML.slice(0, 200))
"""


def is_turned(alert: Mapping[str, str]) -> bool:
    return TURNED[:7] in alert["title"] + alert["message"]


async def test_text_of_events_is_text_on_every_view(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for said in (EVIL, ADDRESS, TURNED, LONG):
            short = said[:60]
            labels = {"kind": short, "url": ADDRESS, "branch": TURNED}
            await server.emit(
                failed(short, reason=said, service=short, environment=short, version=short, labels=labels),
                slow(short + "2", environment=short, reason=ADDRESS),
                {"type": "testsuiterun.finished", "source": short, "subject": short, "outcome": "failure",
                 "reason": said, "labels": labels},
                {"type": "deployment.finished", "service": short, "version": short, "outcome": "failure",
                 "source": "/ci", "environment": "production", "reason": said},
            )  # fmt: skip
        too_long = await server.post("ingest", [failed("w" * 10_000)])
        assert too_long.status_code == 422 and "subject: 10000 characters are too many" in too_long.text
        alerts: list[dict[str, str]] = await server.until("alerts", lambda found: any(map(is_turned, found)))
        alert = next(filter(is_turned, alerts))
        answer = {"operator": EVIL, "notes": ADDRESS + TURNED}
        assert (await server.post(f"alerts/{alert['id']}/acknowledge", answer)).status_code == 200
        silence = {"operator": EVIL, "comment": ADDRESS + TURNED, "matchers": ["rule=none"], "duration": "1h"}
        made = await server.post("silences", silence)
        assert made.status_code in (200, 201), made.text
        said_at = {
            "/": ("#build", EVIL[:60]),
            "/alerts": ("#list", EVIL[:60]),
            "/runs": ("#build", EVIL[:60]),
            f"/alerts?state=acknowledged&id={alert['id']}": ("#one", EVIL),
            "/alerts?state=silences": ("#list", EVIL),
        }
        for path in dict.fromkeys([*VIEWS, *said_at]):
            async with opened(server.url(path), viewport={"width": 360, "height": 800}) as page:
                await all_is_there(page, path.partition("?")[0])
                if path in said_at:
                    place, text = said_at[path]
                    await expect(page.locator(place)).to_contain_text(text, timeout=SLOW)
                assert await page.locator("main img, main script, svg svg, [onload]").count() == 0
                assert await page.evaluate(HANDLED) == []
                shown = await page.evaluate(SHOWN)
                assert not [one for one in shown if one in "\u202e\u2066\u0000\u001b"], path
                if path == "/runs":
                    await expect(page.locator("#build")).to_contain_text(ADDRESS, timeout=SLOW)
                for link in await page.locator("a[href], area[href], form[action]").evaluate_all(
                    "all => all.map(one => one.href ?? one.action)"
                ):
                    assert link.startswith(server.url("/")), link
                wide = await page.evaluate("document.documentElement.scrollWidth")
                assert wide <= 360, f"{path} is {wide} wide on 360"
        file = await server.get("records?type=build.*&format=csv")
        assert file.headers["content-disposition"].startswith('attachment; filename="')
        assert file.headers["x-content-type-options"] == "nosniff" and "text/csv" in file.headers["content-type"]
