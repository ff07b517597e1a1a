"""Patterns match what Python's own would, and in a time that nobody can make long."""

import re
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bers.patterns import MAX_PATTERN, Pattern, PatternError

_ATOMS = [
    "a",
    "b",
    "-",
    ".",
    r"\d",
    r"\W",
    "[ab]",
    "[^a-c]",
    r"[\d_-]",
    r"\.",
    "^",
    "$",
    "(a|b)",
    "(?:ab)",
    "((a*|b)+)",
]


@given(
    st.lists(st.tuples(st.sampled_from(_ATOMS), st.sampled_from(["", "*", "+", "?"])), max_size=6),
    st.lists(st.lists(st.sampled_from("ab-_.1"), max_size=8).map("".join), min_size=1, max_size=5),
)
def test_a_pattern_finds_what_python_finds(parts: list[tuple[str, str]], texts: list[str]) -> None:
    text = "".join(atom + (how if atom not in "^$" else "") for atom, how in parts)
    ours, theirs = Pattern(text), re.compile(text.replace("$", r"\Z"), re.DOTALL)
    assert [ours.search(one) for one in texts] == [theirs.search(one) is not None for one in texts]


@given(st.text(alphabet="ab^$.*+?()[]{}|\\-dwsx", max_size=20), st.text(max_size=20))
def test_whatever_is_written_is_a_pattern_or_an_error_of_ours(text: str, value: str) -> None:
    try:
        pattern = Pattern(text)
    except PatternError:
        return
    assert pattern.search(value) in (True, False)


def test_what_makes_others_take_for_ever_takes_milliseconds() -> None:
    pattern = Pattern("^(a*)*(a|aa)+.*.*.*b$")
    began = perf_counter()
    assert not pattern.search("a" * 1000)
    assert perf_counter() - began < 0.5


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a**", "repeat"),
        ("*a", "nothing stands before"),
        ("(a", "not closed"),
        ("a)", "closes nothing"),
        ("[a", "not closed"),
        ("[]", "nothing in it"),
        ("[z-a]", "wrong way round"),
        ("a{2}", "counts"),
        ("(?=a)", r"\(\?:"),
        (r"\b", "not known"),
        ("\\", "backslash"),
        ("a" * (MAX_PATTERN + 1), "100 characters"),
    ],
)
def test_what_is_not_understood_is_said(text: str, why: str) -> None:
    with pytest.raises(PatternError, match=why):
        Pattern(text)
