"""Tables and texts in Markdown, the same way on every page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from bers import schemas

NOTICE = "<!-- Written by `make docs` out of the code; what is changed here is lost. -->"


def page(title: str, *parts: str) -> str:
    """A whole page: its parts stand apart by one empty line; empty parts are left out."""
    return "\n\n".join([f"# {title}", NOTICE, *(part.strip("\n") for part in parts if part.strip())]) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; nothing at all where there are no rows."""
    lines = [_row([_cell(cell) for cell in row]) for row in rows]
    return "\n".join([_row(heads), _row(["---"] * len(heads)), *lines]) if lines else ""


def code(value: object) -> str:
    """A value as it is written, in the type of code; nothing where there is none."""
    return f"`{value}`" if value not in (None, "") else ""


def prose(text: str) -> str:
    """A docstring as Markdown, in one line: double backquotes and roles are Python's, and our numbers are our own."""
    text = re.sub(r" \(contract [A-Z0-9, ]+\)", "", " ".join(text.split()))
    return re.sub(r":\w+:`[~.]?([^`<]+)`", r"`\1`", text).replace("``", "`")


def first_line(text: str | None) -> str:
    return prose((text or "").strip().partition("\n")[0])


def first_paragraph(text: str | None) -> str:
    return prose((text or "").strip().partition("\n\n")[0])


def option_rows(config: type[msgspec.Struct], prefix: str = "") -> list[list[str]]:
    """Every option of a config with type, default and meaning; those of the structs inside follow their owner."""
    rows: list[list[str]] = []
    inside = nested(config)
    for option in schemas.options(config):
        name = prefix + option.name
        found = inside.get(option.name)
        default = "required" if option.default is schemas.REQUIRED else _default(option.default, found)
        rows.append([code(name), option.type, default, option.description])
        if found:
            struct, suffix = found
            rows += option_rows(struct, f"{name}{suffix}.")
    return rows


def nested(config: type[msgspec.Struct]) -> dict[str, tuple[type[msgspec.Struct], str]]:
    """The fields of a struct that hold structs, and how their members are addressed: ``[]`` in lists, ``.NAME`` in
    maps.
    """
    info = msgspec.inspect.type_info(config)
    assert isinstance(info, msgspec.inspect.StructType)
    return {field.encode_name: found for field in info.fields if (found := _struct_in(field.type))}


def _struct_in(type: msgspec.inspect.Type) -> tuple[type[msgspec.Struct], str] | None:
    match type:
        case msgspec.inspect.Metadata(type=inner):
            return _struct_in(inner)
        case msgspec.inspect.StructType(cls=cls):
            return cls, ""
        case msgspec.inspect.ListType(item_type=inner) | msgspec.inspect.VarTupleType(item_type=inner):
            found = _struct_in(inner)
            return (found[0], f"[]{found[1]}") if found else None
        case msgspec.inspect.DictType(value_type=inner):
            found = _struct_in(inner)
            return (found[0], f".NAME{found[1]}") if found else None
        case msgspec.inspect.UnionType(types=types):
            return next((found for one in types if (found := _struct_in(one))), None)
        case _:
            return None


def _default(value: Any, struct: object) -> str:
    if struct and value and isinstance(value, dict):
        return "as below"
    if value is None:
        return "none"
    if value == "":
        return "empty"
    return code(value if isinstance(value, str) else json.dumps(value))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
