"""The reference below docs/reference/, written out of the code: ``python -m tests.docs.generate``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.docs.writers import cli, events, hooks, metrics, pipelines, rest, stages

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"


def pages() -> Mapping[str, str]:
    """Every page of the reference, by its path below docs/reference/."""
    return {
        **stages.pages(),
        "pipelines.md": pipelines.page(),
        "cli.md": cli.page(),
        "rest.md": rest.page(),
        "metrics.md": metrics.page(),
        "events.md": events.page(),
        "hooks.md": hooks.page(),
    }


def main() -> None:
    """Write what has changed, and remove what is not a page any more."""
    wanted = {REFERENCE / path: text for path, text in pages().items()}
    for path in set(REFERENCE.rglob("*.md")) - set(wanted):
        path.unlink()
        print(f"removed {path.relative_to(ROOT)}")
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
