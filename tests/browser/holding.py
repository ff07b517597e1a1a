"""What a page holds once everything that it can let go of is gone, asked from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from playwright.async_api import CDPSession, Page


@dataclass(frozen=True)
class Held:
    """What a page holds when everything that it can let go of is gone."""

    heap: int
    """Bytes of objects of its script."""
    nodes: int
    listeners: int
    heard: int
    """How many frames of the stream it has heard since it was opened."""
    busy: float
    """Seconds of a processor that its main thread has taken."""


class Look:
    """Looks at what a page holds, from outside."""

    def __init__(self, page: Page, session: CDPSession) -> None:
        self.page, self._session = page, session

    @classmethod
    async def at(cls, page: Page) -> Look:
        session = await page.context.new_cdp_session(page)
        await session.send("Performance.enable", {"timeDomain": "threadTicks"})  # pyright: ignore[reportUnknownMemberType]
        return cls(page, session)

    async def close(self) -> None:
        await self.page.context.close()

    async def __call__(self) -> Held:
        for _ in range(2):  # What the first lets go of may have held something itself.
            await self._session.send("HeapProfiler.collectGarbage")  # pyright: ignore[reportUnknownMemberType]
        told = cast("Any", await self._session.send("Performance.getMetrics"))  # pyright: ignore[reportUnknownMemberType]
        found: dict[str, float] = {one["name"]: one["value"] for one in told["metrics"]}
        heard = await self.page.evaluate("globalThis.framesHeard ?? 0")
        return Held(
            int(found["JSHeapUsedSize"]),
            int(found["Nodes"]),
            int(found["JSEventListeners"]),
            heard,
            round(found["TaskDuration"], 2),
        )
