"""Values that stand elsewhere: ``${env:NAME}``, ``${env:NAME:-default}`` and ``${file:PATH}``, in parsed text only."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bers.config.located import Document, Steps
from bers.plain import as_list, as_object

_REFERENCE = re.compile(r"\$\{([a-z]+):([^}]*?)(?::-([^}]*))?\}")


def substitute(document: Document, environ: Mapping[str, str] | None = None) -> None:
    """Replace every reference in the document's text; what is missing is noted as a fault."""
    document.value = _walk(document, document.value, (), os.environ if environ is None else environ)


def _walk(document: Document, value: Any, steps: Steps, environ: Mapping[str, str]) -> Any:
    if (fields := as_object(value)) is not None:
        return {key: _walk(document, inner, (*steps, key), environ) for key, inner in fields.items()}
    if (items := as_list(value)) is not None:
        return [_walk(document, inner, (*steps, n), environ) for n, inner in enumerate(items)]
    if not isinstance(value, str) or "${" not in value:
        return value

    document.substituted.add(steps)

    def resolve(match: re.Match[str]) -> str:
        kind, name = match[1], match[2]
        default: str | None = match[3]
        if kind == "env":
            # As in a shell: the default serves for a variable that is empty, too.
            found = environ.get(name) if default is None else environ.get(name) or default
            if found is None:
                remedy = f"set it, or write ${{env:{name}:-default}}"
                document.faults.append(document.fault(steps, f"environment variable {name!r} is not set; {remedy}"))
            return found or ""
        if kind == "file":
            try:
                return Path(name).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as exc:
                document.faults.append(document.fault(steps, f"file {name!r} cannot be read: {exc}"))
                return ""
        document.faults.append(
            document.fault(steps, f"unknown reference ${{{kind}:…}}; known: ${{env:…}}, ${{file:…}}")
        )
        return ""

    return _REFERENCE.sub(resolve, value)
