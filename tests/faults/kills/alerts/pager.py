"""A program that is run to tell of alerts: it notes what it is told, and cannot always take it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.faults.kills.alerts.receiver import Receipt

_PROGRAM = """
import os, sys, time, zlib
noted, good = sys.argv[1:]
sys.stdin.read()
env = os.environ
file = os.open(noted, os.O_RDWR | os.O_CREAT | os.O_APPEND)
chance = zlib.crc32(f"{env['BERS_ID']} {os.fstat(file).st_size}".encode()) % 10
code = 75 if chance < 3 and not os.path.exists(good) else 0
line = chr(9).join([env["BERS_ID"], env["BERS_TYPE"], env["BERS_ALERT"], str(code)])
os.write(file, line.encode() + b"\\n")  # At once, and whole, whoever else is writing.
if chance == 9 and not os.path.exists(good):
    time.sleep(60)  # It has taken it, and says nothing, until it is ended.
sys.exit(code)
"""


class Pager:
    """While it is good it takes everything. Else it fails now and then, or hangs."""

    def __init__(self, folder: Path) -> None:
        self._noted, self._good, self._program = folder / "paged", folder / "good", folder / "pager.py"
        self._program.write_text(_PROGRAM, encoding="utf-8")

    @property
    def command(self) -> Sequence[str]:
        return [sys.executable, "-I", "-S", *map(str, (self._program, self._noted, self._good))]

    @property
    def good(self) -> bool:
        return self._good.exists()

    @good.setter
    def good(self, good: bool) -> None:
        if good:
            self._good.touch()
        else:
            self._good.unlink(missing_ok=True)

    @property
    def receipts(self) -> list[Receipt]:
        """What it was told; one line may be the last of a process that was ended."""
        if not self._noted.exists():
            return []
        rows = [line.split("\t") for line in self._noted.read_text(encoding="utf-8").splitlines()]
        return [Receipt(id, f"{kind}\t{alert}".encode(), code == "0") for id, kind, alert, code in rows]
