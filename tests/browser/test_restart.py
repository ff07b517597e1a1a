"""The page while its server is killed and stopped: it comes back by itself, and shows what happened meanwhile."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

from anyio import to_thread
from playwright.async_api import expect

from tests.acceptance.conftest import Operator
from tests.browser.conftest import Opening
from tests.browser.looking import SLOW, is_live, slow
from tests.integration.processes import configure, free_ports, started

DRAWN = """
canvas => {
  // The columns of the picture in which the line is: what else is drawn there has other colours.
  const line = getComputedStyle(document.querySelector('.key [data-colour="1"]'), "::before").backgroundColor;
  const [red, green, blue] = line.match(/\\d+/g).map(Number);
  const { data, width, height } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const far = at => Math.abs(data[at] - red) + Math.abs(data[at + 1] - green) + Math.abs(data[at + 2] - blue);
  const is = (x, y) => far(4 * (y * width + x)) < 40 && data[4 * (y * width + x) + 3] > 100;
  return [...Array(width).keys()].filter(x => [...Array(height).keys()].some(y => is(x, y)));
}
"""


def is_measured(server: Operator) -> None:
    """Wait until there is a piece of a line: without one before and behind it nobody sees a gap."""
    path = "metrics/system_memory_usage?period=5m"
    before = server.data(path)["count"]
    server.until(path, lambda data: data["count"] > before + 1)


async def test_after_a_kill_and_a_stop_the_page_is_live_again_and_nothing_is_missed_or_twice(
    opened: Opening, tmp_path: Path
) -> None:
    # The page asks again after three times as long at most, and a test has no time.
    configure(tmp_path, {"refresh: 5s": "refresh: 1s"}, ports=free_ports())
    with ExitStack() as stack:
        server = await to_thread.run_sync(stack.enter_context, started(tmp_path))
        server.emit(slow("chat/before"))
        async with opened(server.url("/"), excused="Failed to load resource") as page:
            await is_live(page)
            await page.evaluate("window.isSame = true")
            shown = page.locator("#build tr[data-key]")
            await expect(shown).to_have_count(1, timeout=SLOW)
            for count, how in enumerate((signal.SIGKILL, signal.SIGTERM), 2):
                await to_thread.run_sync(is_measured, server)
                server.process.send_signal(how)
                await to_thread.run_sync(server.process.wait)
                died = time.time() * 1000
                await expect(page.locator("#live")).to_have_text("offline", timeout=SLOW)
                await expect(page.locator("#stale")).to_contain_text("The server does not answer")
                # A line is interrupted where three values are missing, of which there is one in a second.
                await page.wait_for_function("died => Date.now() > died + 4000", arg=died)
                server = await to_thread.run_sync(stack.enter_context, started(tmp_path))
                server.emit(slow(f"chat/{how.name}"))  # The page may be back by now, or not yet.
                await is_live(page)
                await expect(page.locator("#stale")).to_be_hidden()
                await expect(page.locator(f'#build [data-key="chat/{how.name}"]')).to_have_count(1, timeout=SLOW)
                await expect(shown).to_have_count(count)
            server.emit(slow("chat/after"))
            await expect(page.locator('#build [data-key="chat/after"]')).to_have_count(1, timeout=SLOW)
            await to_thread.run_sync(is_measured, server)
            told = page.locator("#availability-strip rect title")
            await expect(told.filter(has_text="away for")).to_have_count(2, timeout=SLOW)
            assert await page.evaluate("window.isSame === true"), "it was not reloaded"
            await page.goto(server.url("/metric/system_memory_usage?range=5m"))
            await expect(page.locator("#numbers tbody tr").first).to_be_visible(timeout=SLOW)
            columns = await page.locator("#chart canvas").evaluate(DRAWN)
            gaps = [after - before for before, after in pairwise(columns) if after - before > 3]
            found = await to_thread.run_sync(server.data, "metrics/system_memory_usage?period=5m&by=&fields=count")
            missing = [
                after - before for (before, _), (after, _) in pairwise(found["overall"]) if after - before > 2500
            ]
            # A machine that has much else to do may have missed more than was missed while there was no server.
            assert len(gaps) == len(missing) >= 2, (columns, found)
