"""Programs for Node that import the package, and what they leave in a spool."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Node:
    """Runs programs that import the package, in a folder of their own."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict[str, str])

    def command(self, program: str, *words: str) -> list[str]:
        """The command of a program that is given as its text; what it imports is found from its folder."""
        path = self.folder / f"program{len(list(self.folder.glob('program*')))}.mjs"
        path.write_text(program)
        return ["node", str(path), *words]

    def start(self, program: str, *words: str, **environ: str) -> subprocess.Popen[str]:
        """The caller ends it, or waits for its end."""
        return subprocess.Popen(
            self.command(program, *words),
            env={**os.environ, **self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )

    def run(self, program: str, *words: str, code: int = 0, **environ: str) -> str:
        """What the program prints; it has to end with that exit code."""
        with self.start(program, *words, **environ) as process:
            out, err = process.communicate(timeout=60)
        assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
        return out


def lines(folder: Path) -> list[Mapping[str, Any]]:
    """The events that wait in a spool folder."""
    return [json.loads(line) for path in sorted(folder.glob("*.ndjson")) for line in path.read_text().splitlines()[1:]]
