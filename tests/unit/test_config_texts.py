"""Configs that somebody types elsewhere than in a file: read with every fault at its place, and written as usual."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from bers import ConfigError, Duration, as_yaml, from_yaml
from bers.errors import Fault


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    after: Duration
    who: str = "nobody"


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1)]
    every: Duration = Duration("5s")
    parts: tuple[Part, ...] = ()
    labels: dict[str, str] = {}
    for_: Duration = msgspec.field(default=Duration("0s"), name="for")


def wrong(text: str) -> list[tuple[str, str]]:
    """The place and the path of everything that is wrong with a text."""
    with pytest.raises(ConfigError) as caught:
        from_yaml(text, Plan, name="text")
    return [(one.place, one.path) for one in caught.value.faults]


def test_a_config_is_written_without_what_is_usual_and_read_as_it_was() -> None:
    plan = Plan(
        "mine", parts=(Part(Duration("90s"), "ada"), Part(Duration("2h"))), labels={"on": "yes"}, for_=Duration("1m")
    )
    text = as_yaml(plan)
    assert text == (
        "name: mine\nparts:\n- after: 90s\n  who: ada\n- after: 2h\nlabels:\n  'on': 'yes'\nfor: 1m\n"
    )  # fmt: skip
    assert from_yaml(text, Plan, name="text").value == plan


def test_one_entry_of_a_list_is_read_as_it_stands_in_a_file() -> None:
    assert from_yaml("  - name: mine\n    every: 1m\n", Plan, name="text").value == Plan("mine", Duration("1m"))
    assert wrong("- name: mine\n- name: yours\n") == [("text:2:3", "[1]")]
    assert wrong("[]") == [("text:1:1", "$")]
    assert wrong("7") == [("text:1:1", "$")]
    assert wrong("- 7") == [("text:1:3", "$")]


def test_every_fault_has_its_place_and_a_path_that_begins_at_the_config() -> None:
    text = "- name: ''\n  evry: 5s\n  parts: [{after: soon}]\n"
    assert sorted(wrong(text)) == [("text:1:3", "name"), ("text:2:3", "evry"), ("text:3:12", "parts[0].after")]


def test_references_are_not_told_what_they_stand_for() -> None:
    assert wrong("name: mine\nlabels: {home: '${env:HOME}', word: '${file:/etc/hostname}'}\n") == [
        ("text:2:10", "labels.home"),
        ("text:2:31", "labels.word"),
    ]


def test_faults_that_are_found_later_are_put_where_they_belong() -> None:
    text = from_yaml("- name: mine\n  every: 1m\n", Plan, name="text")
    later = ConfigError([Fault("plans[0].every", "too often"), Fault("plans", "too many")])
    found = text.located(later, below="plans[0]").faults
    assert [(one.place, one.path, one.message) for one in found] == [
        ("text:2:3", "every", "too often"),
        ("text:1:3", "$", "too many"),
    ]
