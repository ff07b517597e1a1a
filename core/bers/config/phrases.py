"""What the decoder says of a value, as an operator reads it: what was expected, what is there, and what to write."""

from __future__ import annotations

import re

_TYPES = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "keys with values",
    "null": "nothing",
}
_REMEDIES = {
    "str": "put it in quotes",
    "int": "write digits alone, without quotes",
    "float": "write digits alone, without quotes",
    "bool": "write true or false, without quotes",
    "array": "write it in brackets, as in [a, b]",
    "object": "write it in braces, as in {key: value}",
}
_BOUNDS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}

_WRONG_TYPE = re.compile(r"expected `([a-z| ]+)`, got `([a-z]+)`")
_OUT_OF_RANGE = re.compile(r"expected `(?:int|float)` ([<>]=?) (\S+)")
_LENGTH = re.compile(r"expected `(str|array|object)` of length ([<>]=) (\d+)")
_FORM = re.compile(r"expected `str` matching regex (.*)")


def plainly(message: str) -> str:
    """A message of the decoder's in words; any other as it is."""
    if match := _WRONG_TYPE.fullmatch(message):
        wanted = [one for one in match[1].split(" | ") if one != "null"]
        expected = " or ".join(_TYPES.get(one, one) for one in wanted)
        return f"expected {expected}, found {_TYPES.get(match[2], match[2])}; {_remedy(wanted, match[2])}"
    if match := _OUT_OF_RANGE.fullmatch(message):
        return f"is out of range; write {_BOUNDS[match[1]]} {match[2].removesuffix('.0')}"
    if match := _LENGTH.fullmatch(message):
        unit = "character" if match[1] == "str" else "entry"
        many = {"character": "characters", "entry": "entries"}[unit]
        if match[2] == ">=" and match[3] == "1":
            return f"is empty; write at least one {unit}"
        return f"has too {'few' if match[2] == '>=' else 'many'} {many}; write {_BOUNDS[match[2]]} {match[3]}"
    if match := _FORM.fullmatch(message):
        return f"does not have the right form; write it so that it matches {match[1]}"
    return message


def _remedy(wanted: list[str], found: str) -> str:
    if found == "null":
        return "write it behind the colon, or remove the key"
    if wanted == ["int"] and found == "float":
        return "write it without a fraction"
    if wanted == ["str"] and found in ("array", "object"):
        return "write one text"
    return _REMEDIES.get(wanted[0], "see the reference")
