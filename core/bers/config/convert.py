"""Plain values as typed configs, with every fault in them rather than the first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from bers.config.located import Document, Steps, spell, steps_of
from bers.config.phrases import plainly
from bers.errors import unknown
from bers.plain import as_list, as_object
from bers.schemas import decode

T = TypeVar("T")

_AT = re.compile(r"(.*?)(?: - at `\$(.*)`)?", re.DOTALL)
_OWN_PATH = re.compile(r"([a-z_]\w*(?:\[\d+\]|\.\w+)*): (.+)", re.DOTALL)

MISSING = object()
"""What :func:`convert` returns when something was wrong."""


def convert(document: Document, value: Any, type: type[T], steps: Steps) -> T | Any:
    """Make a ``type`` of a value; note what is wrong with it in the document, and return MISSING then."""
    before = len(document.faults)
    result = _convert(document, value, type, steps)
    return MISSING if len(document.faults) > before else result


def _convert(document: Document, value: Any, type: Any, steps: Steps) -> Any:
    if steps and (said := [fault for fault in document.faults if fault.path == spell(steps)]):
        document.faults.append(said[0])  # Told once in the end; until then whoever holds it has to know of it.
        return None
    bare = _bare(type)
    origin, arguments = get_origin(bare), get_args(bare)
    fields, items = as_object(value), as_list(value)
    if origin in _UNIONS and (arm := _words(arguments, several=items is not None)) is not None:
        return _convert(document, value, arm, steps)
    if origin is Literal and value is not None and value not in arguments:
        document.faults.append(document.fault(steps, _no_choice(value, arguments)))
        return None
    if _is_struct(bare) and fields is not None and not bare.__struct_config__.tag:
        return _struct(document, fields, bare, steps)
    if _is_list(origin, arguments) and items is not None:
        _check_length(document, len(items), type, steps)
        made = [_convert(document, item, arguments[0], (*steps, n)) for n, item in enumerate(items)]
        return made if origin is list else tuple(made)
    if origin in (dict, Mapping, _MAPPING) and fields is not None:
        _check_length(document, len(fields), type, steps)
        for key in fields:
            _convert(document, key, arguments[0], (*steps, key))
        return {key: _convert(document, item, arguments[-1], (*steps, key)) for key, item in fields.items()}
    try:
        return msgspec.convert(value, type, strict=steps not in document.substituted, dec_hook=decode)
    except (msgspec.ValidationError, ValueError) as exc:
        message, at = _split(str(exc))
        document.faults.append(document.fault((*steps, *at), plainly(message)))
        return None


_STRUCT = type(msgspec.Struct)
_MAPPING = get_origin(Mapping[str, str])
_SEQUENCE = get_origin(Sequence[str])


def _bare(type: Any) -> Any:
    """The type without its annotations, and without `| None`."""
    while hasattr(type, "__metadata__"):
        type = get_args(type)[0]
    options = [one for one in get_args(type) if one is not NoneType] if get_origin(type) in _UNIONS else []
    return _bare(options[0]) if len(options) == 1 else type


def _words(options: Sequence[Any], *, several: bool) -> Any:
    """The one word, or the list of them, where that is all that is expected; nothing where it is something else."""
    lists = [one for one in options if _is_list(get_origin(_bare(one)), get_args(_bare(one)))]
    words = [one for one in options if get_origin(_bare(one)) is Literal]
    if (len(lists), len(words), len([one for one in options if one is not NoneType])) != (1, 1, 2):
        return None
    return lists[0] if several else words[0]


def _no_choice(value: Any, choices: tuple[Any, ...]) -> str:
    if str(value) in map(str, choices):
        remedy = "with quotes" if isinstance(choices[0], str) else "without quotes"
        return f"{str(value)!r} is of another type than is expected; write it {remedy}"
    return unknown("value", str(value), map(str, choices))


_UNIONS = (UnionType, Union)


def _is_list(origin: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether it is a list of any length, whose items are looked at one by one, so that all faults are found."""
    return origin in (list, Sequence, _SEQUENCE) or (origin is tuple and len(arguments) == 2 and arguments[1] is ...)


def _check_length(document: Document, length: int, type: Any, steps: Steps) -> None:
    while hasattr(type, "__metadata__"):
        for meta in type.__metadata__:
            least: int | None = getattr(meta, "min_length", None)
            most: int | None = getattr(meta, "max_length", None)
            if least is not None and length < least:
                document.faults.append(document.fault(steps, plainly(f"expected `array` of length >= {least}")))
            if most is not None and length > most:
                document.faults.append(document.fault(steps, plainly(f"expected `array` of length <= {most}")))
        type = get_args(type)[0]


def _is_struct(type: Any) -> bool:
    return isinstance(_bare(type), _STRUCT)


def _struct(document: Document, value: Mapping[str, Any], type: type[Any], steps: Steps) -> Any:
    fields = {field.encode_name: field for field in msgspec.structs.fields(type)}
    before = len(document.faults)
    for key in value:
        if key not in fields and type.__struct_config__.forbid_unknown_fields:
            document.faults.append(document.fault((*steps, key), unknown("key", key, fields)))
    converted: dict[str, Any] = {}
    for key, field in fields.items():
        if key in value:
            converted[field.name] = _convert(document, value[key], field.type, (*steps, key))
        elif field.required:
            document.faults.append(document.fault(steps, f"key {key!r} is missing; add it"))
    if len(document.faults) > before:
        return None
    try:
        return type(**converted)
    except ValueError as exc:
        own = _OWN_PATH.fullmatch(str(exc))
        inner, message = (steps_of(own[1]), own[2]) if own and _root(own[1]) in fields else ((), str(exc))
        document.faults.append(document.fault((*steps, *inner), message))
        return None


def _root(path: str) -> str:
    return re.split(r"[.\[]", path, maxsplit=1)[0]


def _split(text: str) -> tuple[str, Steps]:
    match = _AT.fullmatch(text)
    assert match
    message = match[1][:1].lower() + match[1][1:]
    return message, steps_of((match[2] or "").removeprefix("."))
