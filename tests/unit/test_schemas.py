"""A config is its own documentation: options, defaults and JSON Schema come out of one Struct."""

import re
from typing import Annotated, Any, Literal

import jsonschema
import msgspec
import pytest
from msgspec import Meta

from bers import Config, Duration, Interval, Percent, Quantity, Secret, Size, plugins
from bers.schemas import REQUIRED, decode, encode, json_schema, options
from bers.stages import AnySpec


class Rule(Config, frozen=True):
    """One rule."""

    above: Annotated[Quantity, Meta(description="The threshold.")]


class Everything(Config, frozen=True):
    """Have one option of every kind.

    And a second paragraph, which is not the summary.
    """

    name: Annotated[str, Meta(description="A text.", pattern="^[a-z]+$")]
    every: Annotated[Interval, Meta(description="An interval.")] = Interval("1s")
    wait: Annotated[Duration | None, Meta(description="A duration.")] = None
    room: Annotated[Size, Meta(description="A size.")] = Size("64MiB")
    share: Annotated[Percent, Meta(description="A share.")] = Percent("80%")
    key: Annotated[Secret | None, Meta(description="A secret.")] = None
    level: Annotated[Literal["low", "high"], Meta(description="A choice.")] = "low"
    count: Annotated[int, Meta(description="A number.", ge=1, lt=10)] = 3
    ratio: Annotated[float, Meta(description="A number.", gt=0, le=1)] = 0.5
    on: Annotated[bool, Meta(description="A switch.")] = True
    rules: Annotated[tuple[Rule, ...], Meta(description="Rules.")] = ()
    labels: Annotated[dict[str, str], Meta(description="Labels.")] = {}


def test_every_option_is_listed_as_it_would_be_written() -> None:
    assert [(one.name, one.type, one.default) for one in options(Everything)] == [
        ("name", "text", REQUIRED),
        ("every", "interval", "1s"),
        ("wait", "duration or nothing", None),
        ("room", "size", "64MiB"),
        ("share", "percent", "80%"),
        ("key", "secret text or nothing", None),
        ("level", "high | low", "low"),
        ("count", "whole number", 3),
        ("ratio", "number", 0.5),
        ("on", "true or false", True),
        ("rules", "list of Rule", []),
        ("labels", "map of text", {}),
    ]
    assert options(Everything)[1].description == "An interval."


def test_the_schema_accepts_what_the_config_accepts() -> None:
    schema = json_schema(Everything)
    jsonschema.Draft202012Validator.check_schema(schema)
    good: dict[str, Any] = {"name": "a", "every": "5m", "key": "x", "rules": [{"above": "5ms"}], "labels": {"a": "b"}}
    jsonschema.validate(good, schema)
    assert msgspec.convert(good, Everything, dec_hook=decode).every == Interval("5m")


BAD: list[dict[str, Any]] = [
    {},
    {"name": "A"},
    {"name": "a", "nmae": 1},
    {"name": "a", "every": 5},
    {"name": "a", "level": "middle"},
    {"name": "a", "count": 0},
    {"name": "a", "count": 10},
    {"name": "a", "ratio": 0},
    {"name": "a", "on": "yes"},
    {"name": "a", "rules": [{}]},
    {"name": "a", "labels": {"a": 1}},
]


@pytest.mark.parametrize("bad", BAD)
def test_the_schema_refuses_what_the_config_refuses(bad: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(bad, json_schema(Everything))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(bad, Everything, dec_hook=decode)


def test_the_schema_tells_defaults_descriptions_and_what_is_secret() -> None:
    schema = json_schema(Everything)
    assert schema["description"] == "Have one option of every kind."
    assert schema["required"] == ["name"]
    every = schema["properties"]["every"]
    assert re.search(every.pop("pattern"), "1.5s")
    assert every == {
        "type": "string",
        "description": "An interval.",
        "examples": ["1s"],
        "default": "1s",
    }
    assert {"type": "string", "writeOnly": True} in schema["properties"]["key"]["anyOf"]


def test_a_secret_is_read_from_text_alone_and_never_written() -> None:
    assert decode(Secret, "hunter2").reveal() == "hunter2"
    assert encode(Secret("hunter2")) == "***"
    with pytest.raises(ValueError) as info:
        decode(Secret, 5)
    assert str(info.value) == "expected text, as in ${env:NAME}"


SPECS = [spec for _, spec in plugins.load(installed=False).all()]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_builtin_config_has_a_valid_schema_and_defaults_that_fit_it(spec: AnySpec) -> None:
    schema = json_schema(spec.config)
    jsonschema.Draft202012Validator.check_schema(schema)
    defaults = {one.name: one.default for one in options(spec.config) if one.default not in (REQUIRED, None)}
    missing = {one.name for one in options(spec.config) if one.default is REQUIRED}
    if not missing:
        jsonschema.validate(defaults, schema)
        assert msgspec.convert(defaults, spec.config, dec_hook=decode) == spec.config()
