"""The pages on build tools and test runners: what they show is pasted into a project, run, and reported."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from bers_emit.testing import Receiver
from tests.docs.generate import DOCS
from tests.docs.test_pages import blocks
from tests.emit_js.projects import APP, project

PACKAGE_JSON = json.dumps({"name": "pasted", "type": "module"})

SECTIONS: Mapping[str, tuple[str, Mapping[str, str], str, str]] = {
    "vite": ("vite.md", {**APP, "package.json": PACKAGE_JSON}, "build", "shop"),
    "webpack": ("webpack-and-esbuild.md", {**APP, "package.json": PACKAGE_JSON}, "build", "shop"),
    "esbuild": ("webpack-and-esbuild.md", {**APP, "package.json": PACKAGE_JSON}, "build", "shop"),
    "vitest": (
        "vitest-and-jest.md", {"a.test.js": "import { test } from 'vitest'\ntest('sells', () => {})"},
        "testsuiterun", "unit",
    ),
    "jest": (
        "vitest-and-jest.md", {"a.test.js": "test('sells', () => {})", "package.json": "{}"}, "testsuiterun", "unit",
    ),
}  # fmt: skip
"""Of each heading: its page, the project that it is pasted into, and the kind and the name of what is reported."""


@pytest.mark.parametrize("heading", SECTIONS)
def test_what_a_page_shows_reports_as_it_says(heading: str, built: Path, tmp_path: Path) -> None:
    page, files, kind, name = SECTIONS[heading]
    shown = [
        block for block in blocks(section((DOCS / "how-to" / "emit" / page).read_text(encoding="utf-8"), heading))
        if block.language in ("js", "sh")
    ]  # fmt: skip
    pasted = project(tmp_path, built, files)
    with Receiver() as receiver:
        for block in shown:
            if block.language == "js":
                head, _, text = block.text.partition("\n")
                assert head.startswith("// "), f"line {block.line}: its first line does not say which file it is"
                pasted.write({head.removeprefix("// "): text})
            else:
                # The package is installed already: from here, because no registry has it yet.
                lines = [line for line in block.text.splitlines() if not line.startswith("npm install")]
                script = "\n".join(lines).replace("http://monitoring.example:3003", receiver.url)
                done = pasted.run("sh", "-ec", script)
                assert done.code == 0, done.said
        events = [(one["type"], next(iter(one["labels"].values())), one.get("outcome")) for one in receiver.events]
    assert events == [(f"{kind}.started", name, None), (f"{kind}.finished", name, "success")]


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next of its depth or above."""
    found = re.search(rf"^(#+) {heading}$(.*?)(?=^#{{1,2}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no heading {heading}"
    return found[2]
