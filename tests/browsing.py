"""A real browser for tests; where there is none they are skipped, and say so."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncGenerator

import pytest
from playwright.async_api import Browser, async_playwright

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip
"""What a browser must not do by itself while we look."""


@pytest.fixture
async def browser() -> AsyncGenerator[Browser]:
    path = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if path is None:
        pytest.skip("there is no Chromium here; `make test-browser-setup` installs it, or CHROMIUM names it")
    async with async_playwright() as playwright:
        async with await playwright.chromium.launch(executable_path=path, args=list(FLAGS)) as browser:
            yield browser
