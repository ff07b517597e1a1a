"""Builds some of this project's plugins at once, as a build that tells of its phases."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from bers_emit import build, flush, phase


async def main(uv: str, plugins: str, out: str, *names: str) -> None:
    async def wheel(name: str) -> None:
        async with phase(name):
            command = (uv, "build", "--wheel", "--out-dir", out, f"{plugins}/{name}")
            await (
                await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            ).wait()

    async with build("plugins") as made:
        await asyncio.gather(*map(wheel, names))
        async with phase("sizes"):
            made.measure("bundle.size", sum(file.stat().st_size for file in Path(out).glob("*.whl")), kind="raw")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
    flush(5)
