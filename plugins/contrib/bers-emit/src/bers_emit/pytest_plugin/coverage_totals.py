"""What the tests of a session covered, out of pytest-cov's own result: lines and branches apart, never one for both."""

from __future__ import annotations

import json
import os
import tempfile

from bers_emit import shapes
from bers_emit.event import number
from bers_emit.imports.counted import Coverage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import pytest


def covered(config: pytest.Config) -> Coverage:
    """What is covered; nothing is known where pytest-cov is not there or has made no report."""
    found = Coverage()
    plugin: Any = config.pluginmanager.get_plugin("_cov")
    if plugin is None or plugin.cov_total is None:
        return found
    coverage: Any = plugin.cov_controller.cov
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "coverage.json")
        coverage.json_report(outfile=path, ignore_errors=True)
        with open(path, encoding="utf-8") as file:
            document: object = json.load(file)
    totals = shapes.pairs((shapes.pairs(document) or {}).get("totals")) or {}
    for kind, part, whole in (
        ("lines", "covered_lines", "num_statements"),
        ("branches", "covered_branches", "num_branches"),
    ):
        found.add(kind, number(totals.get(part)), number(totals.get(whole)))
    return found
