"""A plugin's own panel on a view of the dashboard, in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from playwright.async_api import expect

from bers import Config, Context, Nothing, Operation, Panel, PluginError, SinkSpec, Stage, format_value
from bers.operations import Caller
from bers.testing.server import serving
from tests.browser.conftest import Opening
from tests.browser.looking import EVIL, SLOW, does, is_live

TALLY = b"""
export function panel(place, { ask, formatted, h, renew }) {
  globalThis.formatted = formatted;
  return async () => {
    const { total, last } = await ask("tally-of-test");
    renew(place, h("p", { class: "tally" }, `${formatted(total)} builds, the last was ${last}`));
  };
}
"""
HEARS = b"""
export function panel(place, { on, button, buttons, h, link, mark, may, moment, plot, renew, span, table }) {
  const heard = [];
  on((event) => {
    if (!event.type.startsWith("io.bers.build.")) return;
    if (event.subject === "chat/13") throw new Error("it is an unlucky one");
    heard.push({ at: Date.parse(event.time), ...event });
    draw();
  });
  const row = ({ at, data, id, subject }) => ({
    cells: [link(`/runs?id=${encodeURIComponent(subject)}`, subject), moment(at), mark(data.outcome, "healthy")],
    data: { key: id },
  });
  const dot = ({ at, subject }) => ({ at, value: 1, status: "healthy", says: subject });
  const forget = {
    title: "Count from the start", says: "What was counted is forgotten.", verb: "Forget",
    path: "tally-of-test/forget", told: (answer) => `${answer.total} forgotten`,
  };
  const draw = () => renew(
    place,
    heard.length ? table("Heard", ["Build", "#When", "How"], heard.map(row)) : h("p", {}, `Nothing for ${span(0)}`),
    heard.length ? plot("Builds", [{ name: "all", dots: heard.map(dot) }], "") : "",
    buttons(may("admin") ? button(forget) : null),
  );
  return draw;
}
"""
HEEDS = """
(place, text) => {
  globalThis.heeded = new Promise(resolve => {
    const look = () => place.textContent.includes(text) && resolve();
    new MutationObserver(look).observe(place, { childList: true, subtree: true, characterData: true });
  });
}
"""
"""Notices a text that stands in a place for a moment only: the panel is drawn anew soon, or at once."""

MUTE = b"export const nothing = 1;"
UNREAD = b"export function panel( {"
LOST = b"export function panel() { return () => new Promise(() => {}); }"
INLINE = b"""
export function panel(place) {
  return () => { place.innerHTML = "<p class=inline>markup</p><img src=x onerror=\\"document.title='taken'\\">"; };
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

    async def forget(self, ask: Nothing, caller: Caller) -> dict[str, object]:
        told, self.total = {"total": self.total}, 0
        return dict(told)

    async def show(self, ask: Nothing, caller: Caller) -> dict[str, object]:
        return {"total": self.total, "last": self.last}


SPEC = SinkSpec(
    "tally-of-test", TallyConfig, Tally,
    operations=[
        Operation("GET", "tally-of-test", Tally.show, Nothing, dict[str, object], "What was counted."),
        Operation(
            "POST", "tally-of-test/forget", Tally.forget, Nothing, dict[str, object], "Count anew.", scope="admin"
        ),
    ],
    panels=[
        Panel("tally", "runs", "Counted", lambda: TALLY),
        Panel("broken", "runs", "Broken", lambda: BROKEN),
        Panel("hears", "pipelines", "Heard", lambda: HEARS),
        Panel("mute", "pipelines", "Mute", lambda: MUTE),
        Panel("unread", "pipelines", "Unread", lambda: UNREAD),
        Panel("lost", "pipelines", "Lost", lambda: LOST),
        Panel("inline", "pipelines", "Inline", lambda: INLINE),
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


async def test_a_panel_hears_draws_and_acts_and_faulty_ones_cost_the_view_nothing(
    opened: Opening, tmp_path: Path
) -> None:
    def build(subject: str) -> dict[str, str]:
        return {"type": "build.finished", "source": "/ci", "subject": subject, "outcome": "success"}

    async with serving(tmp_path, specs=[("sink", SPEC)], changes=CHANGES) as server:
        excused = ("the panel /assets/panels", "Content Security Policy", "404 (Not Found)")
        async with opened(server.url("/pipelines"), excused=excused) as page:
            await is_live(page)
            at = '[data-panel="/assets/panels/{}"]'.format
            hears = page.locator(at("hears"))
            await expect(hears).to_contain_text("Nothing for 0 s", timeout=SLOW)
            await server.emit(build("chat/1"), build("chat/12"))
            await expect(hears.locator("tbody tr")).to_have_count(2, timeout=SLOW)
            await expect(hears.locator("svg.plot")).to_be_visible()
            await does(page, "Forget", "2 forgotten", "Audit 1: anonymous", place=at("hears"))
            await expect(page.locator(at("mute"))).to_contain_text("its module exports no function `panel`")
            await expect(page.locator(at("unread"))).to_contain_text("It could not be drawn: SyntaxError")
            await expect(page.locator(at("lost"))).to_contain_text("it has been drawing for 10 s", timeout=SLOW)
            await expect(page.locator(at("inline"))).to_contain_text("markup")
            await hears.evaluate(HEEDS, "it is an unlucky one")
            await server.emit(build("chat/13"))
            with anyio.fail_after(SLOW / 1000):
                await page.evaluate("globalThis.heeded")
            await expect(hears.locator("tbody tr")).to_have_count(2, timeout=SLOW)  # And is drawn again.
            await expect(page.locator("#graph tbody tr").first).to_be_visible()
            assert await page.title() != "taken", "what is not allowed in a page is not in a panel"


def test_a_panel_for_a_view_that_is_none_is_refused_when_it_is_made() -> None:
    with pytest.raises(PluginError, match="did you mean 'pipelines'"):
        Panel("tally", "pipeline", "Counted", lambda: TALLY)


async def test_without_the_stage_there_is_no_panel_and_no_module(opened: Opening, tmp_path: Path) -> None:
    async with serving(tmp_path, specs=[("sink", SPEC)]) as server:
        assert await server.data("panels") == []
        assert (await server.get("/assets/panels/tally")).status_code == 404
        async with opened(server.url("/runs")) as page:
            await is_live(page)
            assert await page.locator("[data-panel]").count() == 0
