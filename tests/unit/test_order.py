"""Tests that take long come first, and each test comes once."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.order import LONG, LONG_TOGETHER, dealt

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class One:
    nodeid: str


@pytest.mark.parametrize("name", [*LONG, *LONG_TOGETHER])
def test_what_is_named_is_there(name: str) -> None:
    assert (ROOT / name).exists()


def test_every_worker_begins_with_its_part_of_what_takes_long() -> None:
    short = [One(f"tests/unit/test_a.py::test_{n}") for n in range(14)]
    long = [One(f"{LONG[0]}::test_{n}") for n in range(3)]
    together = [One(f"{LONG_TOGETHER[0]}test_a.py::test_{n}") for n in range(3)]
    order = dealt([*short, *together, *long], 4)
    assert [order[0], order[5], order[10], order[15:18]] == [*long, together]
    assert sorted(order, key=str) == sorted([*short, *together, *long], key=str)


def test_what_takes_long_may_be_all_there_is() -> None:
    tests = [One(f"{LONG_TOGETHER[0]}test_a.py::test_{n}") for n in range(5)]
    assert dealt(tests, 4) == tests
