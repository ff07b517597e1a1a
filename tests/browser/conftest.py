"""A page of a real server in a real browser, which must neither complain nor ask anybody else."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from playwright.async_api import Browser, ConsoleMessage, Dialog, Page, Request, expect

from tests.browser.looking import SLOW
from tests.browsing import browser

__all__ = ["browser"]

# What is expected of a page is waited for; five seconds, which is what it is else, are little where much else is done.
expect.set_options(timeout=SLOW)

Opening = Callable[..., AbstractAsyncContextManager[Page]]


@pytest.fixture
def opened(browser: Browser) -> Opening:
    """Opens a page; when it is left, nothing may have been complained of, and nobody else have been asked."""

    @asynccontextmanager
    async def open(url: str, *, excused: str | tuple[str, ...] = (), **options: object) -> AsyncGenerator[Page]:
        excuses = (excused,) if isinstance(excused, str) else excused
        context = await browser.new_context(**options)  # type: ignore[arg-type]
        page = await context.new_page()
        complaints: list[str] = []
        asked: list[str] = []

        def note(message: ConsoleMessage) -> None:
            told = f"{message.text} {message.location['url']}"
            if message.type in ("error", "warning") and not any(one in told for one in excuses):
                complaints.append(told)

        context.on("console", note)

        async def refuse(dialog: Dialog) -> None:
            complaints.append(f"the page asked: {dialog.message}")
            await dialog.dismiss()

        context.on("dialog", refuse)
        context.on("weberror", lambda fault: complaints.append(str(fault.error)))

        def ask(request: Request) -> None:
            asked.append(request.url)

        context.on("request", ask)
        await page.goto(url)
        try:
            yield page
        finally:
            await context.close()
        origin = "/".join(url.split("/")[:3])
        assert not complaints
        assert not [one for one in asked if not one.startswith(f"{origin}/")]

    return open
