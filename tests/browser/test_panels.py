"""A plugin's own panel on a view of the dashboard, in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.async_api import expect

from bers import Config, Context, Nothing, Operation, Panel, SinkSpec, Stage, format_value
from bers.operations import Caller
from bers.testing.server import serving
from tests.browser.conftest import Opening
from tests.browser.test_dashboard import EVIL, SLOW, is_live

TALLY = b"""
export function panel(place, { ask, formatted, h, renew }) {
  globalThis.formatted = formatted;
  return async () => {
    const { total, last } = await ask("tally-of-test");
    renew(place, h("p", { class: "tally" }, `${formatted(total)} builds, the last was ${last}`));
  };
}
"""
BROKEN = b"export function panel() { return () => { throw new Error('it is broken'); }; }"


class TallyConfig(Config, frozen=True):
    """Count what comes by."""


class Tally(Stage[TallyConfig]):
    def __init__(self, config: TallyConfig, context: Context) -> None:
        super().__init__(config, context)
        self.total, self.last = 0, ""

    async def write(self, batch: object) -> None:
        for event in getattr(batch, "events", ()):
            if event.type == "build.finished":
                self.total, self.last = self.total + 1, event.subject

    async def show(self, ask: Nothing, caller: Caller) -> dict[str, object]:
        return {"total": self.total, "last": self.last}


SPEC = SinkSpec(
    "tally-of-test", TallyConfig, Tally,
    operations=[Operation("GET", "tally-of-test", Tally.show, Nothing, dict[str, object], "What was counted.")],
    panels=[
        Panel("tally", "runs", "Counted", lambda: TALLY),
        Panel("broken", "runs", "Broken", lambda: BROKEN),
        Panel("elsewhere", "alerts", "Elsewhere", lambda: TALLY),
    ],
)  # fmt: skip
CHANGES: list[tuple[tuple[str, ...], Any]] = [
    (("sinks", "tally-of-test"), {}),
    (("pipelines", "live", "sinks"), ["sse", "dashboard", "tally-of-test"]),
]


async def test_a_panel_of_a_plugin_stands_on_its_view_and_is_drawn_anew(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path, specs=[("sink", SPEC)], changes=CHANGES) as server:
        await server.emit({"type": "build.finished", "source": "/ci", "subject": EVIL[:60], "outcome": "success"})
        await server.until("tally-of-test", lambda found: found["total"] == 1)
        async with opened(server.url("/runs"), excused="the panel /assets/panels/broken failed") as page:
            await is_live(page)
            panel = page.locator('[data-panel="/assets/panels/tally"]')
            await expect(panel.locator("h2")).to_have_text("Counted")
            await expect(panel.locator(".tally")).to_have_text(f"1 builds, the last was {EVIL[:60]}", timeout=SLOW)
            await server.emit({"type": "build.finished", "source": "/ci", "subject": "chat/2", "outcome": "success"})
            await expect(panel.locator(".tally")).to_have_text("2 builds, the last was chat/2", timeout=SLOW)
            for unit in ("ms", "By", "By/s", "%", "{test}", ""):
                values = [
                    sign * digit * 10.0**power
                    for sign in (1, -1)
                    for digit in (1, 9.994, 3.7)
                    for power in range(-3, 15)
                ]
                written = await page.evaluate("([all, unit]) => all.map(one => formatted(one, unit))", [values, unit])
                assert written == [format_value(value, unit) for value in values], unit
            broken = page.locator('[data-panel="/assets/panels/broken"]')
            await expect(broken).to_contain_text("It could not be drawn: Error: it is broken", timeout=SLOW)
            await expect(page.locator("#dora table")).to_be_visible(timeout=SLOW)
            assert await page.locator("[data-panel]").count() == 2


async def test_without_the_stage_there_is_no_panel_and_no_module(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path, specs=[("sink", SPEC)]) as server:
        assert await server.data("panels") == []
        assert (await server.get("/assets/panels/tally")).status_code == 404
        async with opened(server.url("/runs")) as page:
            await is_live(page)
            assert await page.locator("[data-panel]").count() == 0
