"""The JSON Schema of the file says what the file may say, so that an editor finds faults while they are made."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from bers import plugins
from bers.config.located import parse
from bers.config.schema import file_schema
from tests.unit.test_config import CATALOGUE, broken

SHIPPED = Path(__file__).parents[2] / "pipelines.yaml"
SCHEMA = file_schema(plugins.load())
OURS = file_schema(CATALOGUE)

BEYOND = {
    # What no schema of one value can see: how things of the file belong together, or what they are named after.
    "a reserved key", "a type claimed twice", "one stage declared twice", "a sink nobody declared",
    "a source nobody declared", "a processor nobody declared", "a sink that is no source", "a sink named twice",
    "a pipeline that feeds itself", "a cycle of pipelines", "a cycle of two", "counted twice",
    "a sink under processors",
    "a config's own objection", "a rule's own objection", "a pattern that is none", "a pattern that may take for ever",
    "a pattern that looks at everything again and again",
    "a pattern that matches nothing", "a target without a unit", "a target in another unit",
    # References, which are looked up when the file is read.
    "an environment variable", "a file", "a reference to something else", "a file that is a folder",
    "a variable that is named nearly like one that is set", "a secret where a duration belongs",
    "a secret where a name of a stage belongs", "a variable that is no number",
    "checks that depend on what is not there", "checks that depend on each other",
    "a place to find out whether we are cut off that is none",
}  # fmt: skip


def values(text: str) -> Any:
    """The file's values, if it is YAML at all and has no fault of its own."""
    document = parse(text, "pipelines.yaml")
    return None if document.faults else document.value


def structural() -> list[Any]:
    cases = [(case.id, str(case.values[0]), str(case.values[1])) for case in broken()]
    return [
        pytest.param(text, id=title)
        for title, text, said in cases
        # A fault of YAML is found without a schema.
        if title not in BEYOND and "$: " not in said and values(text) is not None
    ]


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator.check_schema(OURS)


def test_the_shipped_file_is_valid() -> None:
    jsonschema.validate(yaml.safe_load(SHIPPED.read_text()), SCHEMA)


@pytest.mark.parametrize("text", structural())
def test_what_is_wrong_by_itself_is_wrong_by_the_schema(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values(text), OURS)


@pytest.mark.parametrize(
    "text",
    [
        "sources: {host: {every: 5m, room: 1.5 GiB, key: \"${env:KEY}\", share: \"${env:SHARE}\"}}",
        "sources: {mine: {use: build}, host: }",
        "sinks: {file: {rules: [{name: a, above: 3}], delivery: {required: true, queue: \"${env:QUEUE}\"}}}",
        "server: {control: \"${env:PORT:-3003}\"}\nlog: {level: \"${env:LEVEL}\"}\nmetrics: {speed: {target: 5ms}}",
        "sources:\npipelines: {a: {sources: [unmapped], sinks: [x]}}\nversion: 1",
    ],
)  # fmt: skip
def test_what_is_right_is_right_by_the_schema(text: str) -> None:
    jsonschema.validate(values(text), OURS)


def test_every_option_is_described_and_of_the_stage_that_is_used() -> None:
    host = SCHEMA["$defs"]["source.system-resources"]["properties"]["interval"]
    assert host["description"] and host["default"] == "1s"
    wrong = {"sources": {"host": {"use": "system-resources", "fallback": "production"}}}
    right = {"sources": {"host": {"use": "environment-resolver", "fallback": "production"}}}
    jsonschema.validate(right, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_the_check_of_a_stage_that_is_used_twice_may_be_changed() -> None:
    file = {"version": 1, "health": {"checks": {"notifications-second": {"interval": "10s"}}}}
    jsonschema.validate(file, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"version": 1, "health": {"checks": {"another-second": {"interval": "10s"}}}}, SCHEMA)
