"""Values that stand elsewhere: ``${env:NAME}``, ``${env:NAME:-default}`` and ``${file:PATH}``, in parsed text only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from bers.config.located import Document, Steps
from bers.plain import as_list, as_object
from bers.redaction import is_secret_name, is_secret_variable

_REFERENCE = re.compile(r"\$\{([a-z]+):([^}]*?)(?::-([^}]*))?\}")


def substitute(document: Document, environ: Mapping[str, str] | None = None) -> None:
    """Replace every reference in the document's text; what is missing is noted as a fault."""
    document.value = _walk(document, document.value, (), os.environ if environ is None else environ)


def refuse_references(document: Document) -> None:
    """Note every reference in the document's text as a fault, where nobody may ask what it stands for."""
    for steps, text in _texts(document.value, ()):
        if match := _REFERENCE.search(text):
            fault = f"${{{match[1]}:…}} is read in files alone; write the value that it stands for"
            document.faults.append(document.fault(steps, fault))


def _texts(value: Any, steps: Steps) -> Iterator[tuple[Steps, str]]:
    if (fields := as_object(value)) is not None:
        for key, inner in fields.items():
            yield from _texts(inner, (*steps, key))
    elif (items := as_list(value)) is not None:
        for n, inner in enumerate(items):
            yield from _texts(inner, (*steps, n))
    elif isinstance(value, str):
        yield steps, value


def names_secret(steps: Steps) -> bool:
    """Whether what stands at a path is a secret by the name of an option; the keys of stages are only names."""
    options = steps[2:] if steps[:1] in (("sources",), ("processors",), ("sinks",), ("pipelines",)) else steps
    return any(is_secret_name(str(step)) for step in options)


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
                close = get_close_matches(name, environ, 1, cutoff=0.8)
                guess = f"; did you mean {close[0]!r}? If not," if close else ";"
                document.faults.append(
                    document.fault(steps, f"environment variable {name!r} is not set{guess} {remedy}")
                )
            if found and (is_secret_variable(name) or names_secret(steps)):
                document.secrets.add(found)
            return found or ""
        if kind == "file":
            try:
                # Nobody puts into a file what everybody may read where it is used.
                content = Path(name).read_text(encoding="utf-8").strip()
                document.secrets.add(content)
                return content
            except OSError as exc:
                why = f"file {name!r} cannot be read: {exc.strerror}; name a file that this user may read"
                document.faults.append(document.fault(steps, why))
                return ""
            except UnicodeDecodeError:
                document.faults.append(document.fault(steps, f"file {name!r} is not UTF-8; save it as UTF-8"))
                return ""
        document.faults.append(
            document.fault(steps, f"unknown reference ${{{kind}:…}}; known: ${{env:…}}, ${{file:…}}")
        )
        return ""

    return _REFERENCE.sub(resolve, value)
