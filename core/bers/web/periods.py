"""How far back somebody may ask: as text in a request, and as a description can say it."""

from __future__ import annotations

from typing import Any

WINDOW: dict[str, Any] = {
    "pattern": "^(?:[1-9][0-9]{4,8}(?:ms)?|[1-9][0-9]{1,5}s|[1-9][0-9]{0,4}m|[1-9][0-9]{0,2}h"
    "|(?:[1-9]|[1-8][0-9]|90)d|[1-9]w)$",
    "examples": ["24h", "30d", "604800000"],
}
"""Most periods from 10 s to 90 d, as a description can say it; all of them are taken."""
