"""Pages in a real browser: what they dispatch becomes a metric of a server that is another origin."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import anyio
from playwright.async_api import Browser, Page

from bers.access import keys
from bers.access.credentials import FRESH
from bers.testing.server import Server, serving
from tests.emit_js.sites import Site, origin, serve

NAMES = [
    f"{what}-{how}" for what in ("build", "validation", "deployment") for how in ("started", "completed", "failed")
]
"""What tools that build, validate and deploy in a page dispatch."""

PAGE = """<script type="module">
  import {{ bridge, dispatch }} from '{server}/emit.js'
  window.told = bridge(window, {{ url: '{server}', key: '{key}' }})
  window.tell = dispatch
</script>"""


async def opened(browser: Browser, site: Site, server: Server, key: str = "") -> Page:
    """A page of the site with a bridge to the server."""
    html = PAGE.format(server=server.url("/").rstrip("/"), key=key)
    serve(site, html)
    page = await browser.new_page()
    await page.goto(origin(site))
    await page.wait_for_function("window.told")
    return page


async def waits(page: Page) -> int:
    found: int = await page.evaluate("window.told.waiting")
    return found


def open_to(site: Site) -> list[tuple[tuple[str, ...], Any]]:
    return [(("access", "origins"), [origin(site)])]


async def test_a_browsers_event_on_a_page_of_another_origin_is_a_metric(
    browser: Browser, site: Site, tmp_path: Path
) -> None:
    async with serving(tmp_path, changes=open_to(site)) as server:
        page = await opened(browser, site, server)
        await page.evaluate(
            "window.dispatchEvent(new CustomEvent('build-completed', {detail: {duration: 930, environment: 'staging',"
            " phases: {bundle: 410}, correlationId: 'B7'}}))"
        )
        told = await server.until("metrics/build_performance", lambda data: data["current"] == 930)
        assert told["count"] == 1


async def test_each_of_the_nine_events_arrives_under_its_name(browser: Browser, site: Site, tmp_path: Path) -> None:
    async with serving(tmp_path, changes=open_to(site)) as server:
        page = await opened(browser, site, server)
        heard: set[str] = set()
        async with server.events() as frames:
            await page.evaluate("names => names.forEach((name, n) => tell(name, {correlationId: `C${n}`}))", NAMES)
            with anyio.fail_after(10):
                async for frame in frames:
                    heard.add(frame.event)
                    if heard >= set(NAMES):
                        break


async def test_a_key_that_may_only_hand_in_events_is_enough(browser: Browser, site: Site, tmp_path: Path) -> None:
    changes = [*open_to(site), (("access", "enabled"), True), (("access", "key"), "a-key-for-operators")]
    async with serving(tmp_path, changes=changes, headers={"X-API-Key": "a-key-for-operators"}) as server:
        key, text = keys.make("page", ["ingest"], now=server.node.supervisor.clock.time())
        await server.node.supervisor.state.run(partial(keys.store, key=key))
        await anyio.sleep(FRESH)
        page = await opened(browser, site, server, text)
        await page.evaluate("window.tell('build-completed', {duration: 931})")
        await server.until("metrics/build_performance", lambda data: data["current"] == 931)
        # The page can write, and read nothing: neither with its key, nor with the browser's help.
        for path in ("alerts", "metrics/current"):
            read = "([url, key]) => fetch(url, {headers: {'x-api-key': key}}).then(() => 'read', () => 'kept from it')"
            assert await page.evaluate(read, [server.url(path), text]) == "kept from it"


async def test_a_page_of_a_site_that_is_not_named_is_refused_by_the_browser(
    browser: Browser, site: Site, tmp_path: Path
) -> None:
    async with serving(tmp_path, changes=[(("access", "origins"), ["https://app.example"])]) as server:
        page = await opened(browser, site, server)
        await page.evaluate("window.tell('build-completed', {duration: 930})")
        assert await page.evaluate("window.told.flush()") is False
        assert (await server.data("metrics/build_performance"))["current"] is None


async def test_what_a_page_could_not_send_is_sent_by_the_next(browser: Browser, site: Site, tmp_path: Path) -> None:
    async with serving(tmp_path, changes=open_to(site)) as server:
        page = await opened(browser, site, server)
        await page.context.set_offline(True)
        await page.evaluate("for (let n = 0; n < 150; n++) window.tell('build-completed', {duration: n + 1})")
        assert await page.evaluate("window.told.flush()") is False
        assert await waits(page) == 100  # It is a ring: the oldest went.
        await page.context.set_offline(False)
        await page.reload()
        await page.wait_for_function("window.told && window.told.waiting === 0")
        data = await server.until("metrics/build_performance", lambda data: data["current"] == 150)
        assert await page.evaluate("localStorage.length") == 0
        assert data["current"] == 150


async def test_it_comes_back_by_itself_when_the_network_does(browser: Browser, site: Site, tmp_path: Path) -> None:
    async with serving(tmp_path, changes=open_to(site)) as server:
        page = await opened(browser, site, server)
        await page.context.set_offline(True)
        await page.evaluate("window.tell('build-completed', {duration: 932})")
        assert await page.evaluate("window.told.flush()") is False
        await page.context.set_offline(False)
        await server.until("metrics/build_performance", lambda data: data["current"] == 932)


async def test_what_is_dispatched_as_the_page_goes_arrives(browser: Browser, site: Site, tmp_path: Path) -> None:
    async with serving(tmp_path, changes=open_to(site)) as server:
        page = await opened(browser, site, server)
        await page.evaluate(
            "addEventListener('pagehide', () => window.tell('build-completed', {duration: 933}), {capture: true})"
        )
        await page.goto("about:blank")
        told = await server.until("metrics/build_performance", lambda data: data["current"] == 933)
        assert told["count"] == 1


async def test_more_than_a_browser_lets_outlive_a_page_is_sent_all_the_same(
    browser: Browser, site: Site, tmp_path: Path
) -> None:
    async with serving(tmp_path, changes=open_to(site)) as server:
        page = await opened(browser, site, server)
        await page.evaluate(
            "for (let n = 0; n < 20; n++) window.tell('build-completed', {duration: n + 1, text: 'x'.repeat(20_000)});"
            "window.tell('build-completed', {duration: 99, texts: Array(4).fill('x'.repeat(40_000))})"
        )
        assert await page.evaluate("window.told.flush()") is True
        await server.until("metrics/build_performance", lambda data: data["current"] == 99)
        assert await page.evaluate("window.told.dropped") == 0


async def test_a_browser_whose_requests_do_not_outlive_a_page_sends_a_beacon(
    browser: Browser, site: Site, tmp_path: Path
) -> None:
    async with serving(tmp_path, changes=open_to(site)) as server:
        page = await opened(browser, site, server)
        await page.evaluate("delete Request.prototype.keepalive")
        await page.evaluate(
            "addEventListener('pagehide', () => window.tell('build-completed', {duration: 934}), {capture: true})"
        )
        await page.goto("about:blank")
        told = await server.until("metrics/build_performance", lambda data: data["current"] == 934)
        assert told["count"] == 1
