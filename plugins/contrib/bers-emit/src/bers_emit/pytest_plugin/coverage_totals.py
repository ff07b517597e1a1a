"""What the tests of a session covered, out of pytest-cov's own result: lines and branches apart, never one for both."""

from __future__ import annotations

import json
import os
import tempfile

from bers_emit import shapes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import pytest


def covered(config: pytest.Config) -> dict[str, float]:
    """Measures of coverage in percent; none where pytest-cov is not there or has made no report."""
    plugin: Any = config.pluginmanager.get_plugin("_cov")
    if plugin is None or plugin.cov_total is None:
        return {}
    coverage: Any = plugin.cov_controller.cov
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "coverage.json")
        coverage.json_report(outfile=path, ignore_errors=True)
        with open(path, encoding="utf-8") as file:
            document: object = json.load(file)
    totals = shapes.pairs((shapes.pairs(document) or {}).get("totals")) or {}
    found: dict[str, float] = {}
    for kind, part, whole in (
        ("coverage.lines", "covered_lines", "num_statements"),
        ("coverage.branches", "covered_branches", "num_branches"),
    ):
        reached, of = totals.get(part), totals.get(whole)
        if isinstance(reached, int) and isinstance(of, int) and of > 0:
            found[kind] = 100 * reached / of
    return found
