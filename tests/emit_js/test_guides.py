"""What the guides show for Node and for pages does what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser

from bers.testing.server import serving
from bers_emit.testing import Receiver
from tests.docs.test_pages import Block, blocks
from tests.emit_js.node import Node
from tests.emit_js.sites import Site, origin, serve

ROOT = Path(__file__).parents[2]
NODE = ROOT / "docs" / "how-to" / "emit" / "node.md"
PAGE = ROOT / "docs" / "how-to" / "emit" / "browser.md"
README = ROOT / "plugins" / "contrib" / "bers-emit-js" / "README.md"
SHOWN = "http://monitoring.example:3003"


def of(page: Path, *languages: str) -> list[Block]:
    return [block for block in blocks(page.read_text(encoding="utf-8")) if block.language in languages]


def programs() -> list[tuple[Path, Block]]:
    found = [(page, block) for page in (NODE, README) for block in of(page, "javascript")]
    return [(page, block) for page, block in found if "window" not in block.text]


@pytest.mark.parametrize(("page", "block"), programs(), ids=[f"{page.name}:{block.line}" for page, block in programs()])
def test_programs_emit(page: Path, block: Block, node: Node, receiver: Receiver, tmp_path: Path) -> None:
    text = block.text.replace(SHOWN, receiver.url).replace("/tmp/", f"{tmp_path}/")
    if "require(" in text:
        text = f"import {{ createRequire }} from 'node:module'; const require = createRequire(import.meta.url)\n{text}"
    shown = set(re.findall(r"emit\('([\w.-]+)'", text))
    node.run(text)
    assert shown
    assert {event["type"] for event in receiver.events} == shown


async def test_what_pages_paste_reports(browser: Browser, site: Site, tmp_path: Path) -> None:
    """The whole guide in one page: the bridge from the server, and each way to dispatch."""
    origins = [(("access", "origins"), [origin(site)])]
    async with serving(tmp_path, changes=origins) as server:
        url = server.url("/").rstrip("/")
        (bridge,) = of(PAGE, "html")
        later = [block.text.replace("@bers/emit/browser", f"{url}/emit.js") for block in of(PAGE, "javascript")]
        serve(site, bridge.text.replace(SHOWN, url), *(f'<script type="module">{text}</script>' for text in later))
        page = await browser.new_page()
        await page.goto(origin(site))
        await server.until("metrics/build_performance", lambda data: data["current"] == 930)
        await server.until("metrics/validation_success_rate", lambda data: data["current"] == 99.5)
        assert (await server.data("metrics/build_performance"))["count"] == 1


async def test_what_the_packages_page_shows_for_pages_reports(browser: Browser, site: Site, tmp_path: Path) -> None:
    (shown,) = [block.text for block in of(README, "javascript") if "window" in block.text]
    origins = [(("access", "origins"), [origin(site)])]
    async with serving(tmp_path, changes=origins) as server:
        url = server.url("/").rstrip("/")
        text = shown.replace(SHOWN, url).replace("@bers/emit/browser", f"{url}/emit.js")
        serve(site, f'<script type="module">{text}</script>')
        page = await browser.new_page()
        await page.goto(origin(site))
        told = await server.until("metrics/build_performance", lambda data: data["current"] == 930)
        assert told["count"] == 1
