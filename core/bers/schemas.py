"""Configs as documentation: their options, with types, defaults and descriptions, and their JSON Schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from msgspec import inspect

from bers import units
from bers.plain import as_object
from bers.redaction import MASK, Secret


@dataclass(frozen=True)
class Option:
    """One key that a config understands."""

    name: str
    type: str
    default: Any
    """The default as it would be written; :data:`REQUIRED` where there is none."""
    description: str


def decode(type: type, value: Any) -> Any:
    """Make a secret or a value with a unit out of text; the ``dec_hook`` with which every config is converted."""
    if type is Secret:
        if isinstance(value, str):
            return value if isinstance(value, Secret) else Secret(value)
        raise ValueError("expected text, as in ${env:NAME}")
    return units.decode(type, value)


def encode(value: Any) -> Any:
    """Write one of our values as a person would; the ``enc_hook`` with which every answer is encoded."""
    return MASK if isinstance(value, Secret) else units.encode(value)


REQUIRED = object()
"""The default of an option that has none."""


def options(config: type[msgspec.Struct]) -> Sequence[Option]:
    """Every option of a config, in the order in which it declares them."""
    return [
        Option(field.encode_name, _phrase(_bare(field.type)), _default(field), _described(field.type))
        for field in _struct(config).fields
    ]


def default_of(field: inspect.Field | msgspec.structs.FieldInfo) -> Any:
    """What a field is where nothing is said; NODEFAULT where something has to be."""
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def json_schema(config: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a config, with our units as text, and every default and description."""
    return _schema(_struct(config))


def holds_config(type: Any, config: type[msgspec.Struct]) -> bool:
    """Whether a type is a config, or one among others."""
    bare = _bare(inspect.type_info(type))
    several = bare.types if isinstance(bare, inspect.UnionType) else (bare,)
    return any(isinstance(one, inspect.StructType) and issubclass(one.cls, config) for one in map(_bare, several))


def schema_of(type: Any) -> dict[str, Any]:
    """The JSON Schema of a type that holds configs, as :func:`json_schema` has it."""
    return _schema(inspect.type_info(type))


_SECRET = {"type": "string", "writeOnly": True}


def _struct(config: type[msgspec.Struct]) -> inspect.StructType:
    return cast("inspect.StructType", inspect.type_info(config))  # A Struct's info is a StructType.


def _bare(type: inspect.Type) -> inspect.Type:
    return type.type if isinstance(type, inspect.Metadata) else type


def _described(type: inspect.Type) -> str:
    extra: Any = getattr(type, "extra_json_schema", None)  # Only Metadata has it.
    return str((as_object(extra) or {}).get("description", ""))


def _default(field: inspect.Field) -> Any:
    if field.required:
        return REQUIRED
    return msgspec.json.decode(msgspec.json.encode(default_of(field), enc_hook=encode))  # A tuple is written as a list.


def _phrase(type: inspect.Type) -> str:
    match _bare(type):
        case inspect.CustomType(cls=cls):
            return "secret text" if cls is Secret else cls.__name__.lower()
        case inspect.StructType(cls=cls):
            return cls.__name__
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            return f"list of {_phrase(item)}"
        case inspect.DictType(value_type=value):
            return f"map of {_phrase(value)}"
        case inspect.UnionType(types=types):
            return " or ".join(_phrase(one) for one in types)
        case inspect.LiteralType(values=values):
            return " | ".join(map(str, values))
        case other:
            return {
                "str": "text",
                "bool": "true or false",
                "int": "whole number",
                "float": "number",
                "none": "nothing",
            }.get((name := other.__class__.__name__.removesuffix("Type").lower()), name)


def _schema(type: inspect.Type) -> dict[str, Any]:
    extra = {key: value for key, value in [("description", _described(type))] if value}
    match _bare(type):
        case inspect.CustomType(cls=cls):
            return (_SECRET if cls is Secret else units.schema(cls)) | extra
        case inspect.StructType() as struct:
            return _object(struct) | extra
        case (
            inspect.ListType(item_type=item, min_length=least, max_length=most)
            | inspect.VarTupleType(item_type=item, min_length=least, max_length=most)
        ):
            return {"type": "array", "items": _schema(item)} | _known(minItems=least, maxItems=most) | extra
        case inspect.DictType(value_type=value):
            return {"type": "object", "additionalProperties": _schema(value)} | extra
        case inspect.UnionType(types=types):
            return {"anyOf": [_schema(one) for one in types]} | extra
        case inspect.LiteralType(values=values):
            return {"enum": list(values)} | extra
        case inspect.NoneType():
            return {"type": "null"}
        case inspect.BoolType():
            return {"type": "boolean"} | extra
        case inspect.IntType(gt=gt, ge=ge, lt=lt, le=le):
            return {"type": "integer"} | _bounds(gt, ge, lt, le) | extra
        case inspect.FloatType(gt=gt, ge=ge, lt=lt, le=le):
            return {"type": "number"} | _bounds(gt, ge, lt, le) | extra
        case inspect.StrType(pattern=pattern, min_length=least, max_length=most):
            return {"type": "string"} | _known(pattern=pattern, minLength=least, maxLength=most) | extra
        case _:
            return extra


def _object(struct: inspect.StructType) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for field in struct.fields:
        default = _default(field)
        properties[field.encode_name] = _schema(field.type) | ({} if default is REQUIRED else {"default": default})
    required = [field.encode_name for field in struct.fields if field.required]
    summary = (struct.cls.__doc__ or "").partition("\n")[0]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "additionalProperties": not struct.forbid_unknown_fields,
    }
    if struct.tag_field:
        properties[struct.tag_field] = {"const": struct.tag}
    return schema | ({"description": summary} if summary else {}) | ({"required": required} if required else {})


def _bounds(gt: float | None, ge: float | None, lt: float | None, le: float | None) -> dict[str, Any]:
    return _known(exclusiveMinimum=gt, minimum=ge, exclusiveMaximum=lt, maximum=le)


def _known(**limits: Any) -> dict[str, Any]:
    return {name: value for name, value in limits.items() if value is not None}
