"""A real browser, for tests and for what measures; where there is none, tests are skipped, and say so."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, async_playwright

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip
"""What a browser must not do by itself while we look."""

MISSING = "there is no Chromium here; `make test-browser-setup` installs it, or CHROMIUM names it"


def program() -> str | None:
    """Where the browser is; None if there is none."""
    return shutil.which(os.environ.get("CHROMIUM", "chromium"))


@asynccontextmanager
async def browsing() -> AsyncGenerator[Browser]:
    """A browser that runs until it is left."""
    async with async_playwright() as playwright:
        async with await playwright.chromium.launch(executable_path=program(), args=list(FLAGS)) as browser:
            yield browser


@pytest.fixture
async def browser() -> AsyncGenerator[Browser]:
    if program() is None:
        pytest.skip(MISSING)
    async with browsing() as browser:
        yield browser
