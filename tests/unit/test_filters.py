"""A filter says which records are wanted, in words that cannot do anything else."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bers.filters import MAX_FILTER, Filter, FilterError
from bers.records import Event, Vcs, Window

EVENT = Event(
    "e-1",
    "/ci",
    "build.finished",
    5.0,
    outcome="failure",
    duration_ms=1500.0,
    service="shop api",
    vcs=Vcs(ref="refs/heads/main"),
    measures={"build_performance": 1500.0},
    labels={"branch": "main-2", "k8s.pod": "p-1", "api_key": "abcdef", "retries": "3"},
    data={"step": {"name": "link", "ok": True, "token": "ghp_" + "a" * 30}, "password": {"inner": "hidden"}},
)
WINDOW = Window.of(("build_performance", (("branch", "main"),), 0.0, 1.0), 1500.0, 0.5, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "outcome=failure",
        "outcome == failure AND duration_ms>1000 and duration_ms <= 1500",
        "duration_ms=1500.0",
        "labels.branch~^main and labels.branch!~^release",
        "service='shop api'",
        'service = "shop api" and reason=',
        "reason!=oom",
        "labels.k8s.pod=p-1",
        "labels.retries>=3",
        "measures.build_performance<2e3",
        "vcs.ref~/main$",
        "data.step.name=link and data.step.ok=true",
        r"service~'shop\\sapi'",
    ],
)
def test_what_holds_of_the_event(text: str) -> None:
    assert Filter(text).holds(EVENT)


@pytest.mark.parametrize(
    "text",
    [
        "outcome=success",
        "outcome=failure and duration_ms>1500",
        "labels.other~.",
        "labels.branch>1",
        "measures.other<1",
        "data.step.name.more=link",
        "run.id=1",
        "metric=build_performance",
    ],
)
def test_what_does_not_hold_of_the_event(text: str) -> None:
    assert not Filter(text).holds(EVENT)


def test_windows_are_filtered_by_what_they_have() -> None:
    assert Filter("metric=build_performance and labels.branch=main and max>1000 and count=1").holds(WINDOW)
    assert not Filter("outcome=failure").holds(WINDOW)


@pytest.mark.parametrize(
    "text",
    ["labels.api_key~^a", "labels.api_key=abcdef", "data.step.token~ghp", "data.password.inner=hidden"],
)
def test_a_secret_cannot_be_guessed(text: str) -> None:
    assert not Filter(text).holds(EVENT)
    field = text.partition("~")[0].partition("=")[0]
    assert Filter(f"{field}=***").holds(EVENT) and Filter(f"{field}!~^a").holds(EVENT)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("outcom=failure", "did you mean 'outcome'"),
        ("outcome", "no condition"),
        ("outcome=failure or type=x", "'or' follows a condition"),
        ("not outcome=failure", "'not' is not known"),
        ("(outcome=failure)", "is not known"),
        ("outcome=failure and", "condition is missing"),
        ("outcome=failure and ", "condition is missing"),
        ("service=shop api", "'api' follows a condition; join conditions with `and`"),
        ("labels=x", "labels.NAME"),
        ("vcs.reff=x", "did you mean 'ref'"),
        ("id.x=1", "write id alone"),
        ("duration_ms>1s", "'1s' is no number"),
        ("duration_ms>nan", "'nan' is no number"),
        ("type~(", "not closed"),
        ("service='shop", "no condition"),
        ("id=" + "x" * MAX_FILTER, "1000 characters"),
        ("__class__=x", "unknown field '__class__'"),
        ("sketch=x", "unknown field 'sketch'"),
    ],
)
def test_what_is_wrong_is_said_with_the_remedy(text: str, says: str) -> None:
    with pytest.raises(FilterError) as raised:
        Filter(text)
    assert says in str(raised.value)


_PIECES = [
    "outcome",
    "labels.",
    "labels.a",
    "data.x.y",
    "=",
    "!=",
    "~",
    ">",
    "<=",
    " ",
    " and ",
    "'",
    '"',
    "\\",
    "1",
    "^(a|b)*$",
]


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(_PIECES), max_size=12).map("".join)))
def test_whatever_is_written_is_a_filter_or_an_error_of_ours(text: str) -> None:
    records: Sequence[Event | Window] = (EVENT, WINDOW)
    try:
        wanted = Filter(text)
    except FilterError:
        return
    assert all(wanted.holds(record) in (True, False) for record in records)


VALUES = st.sampled_from(["failure", "***", "2", "2.0", "true", "", "café", "a b", "[1]", "None"])


@given(VALUES, VALUES, st.sampled_from(["outcome", "labels.x", "vcs.ref", "weight", "data.x", "measures.x"]))
def test_what_is_wanted_has_the_texts_of_its_conditions_in_its_bytes(value: str, wanted: str, field: str) -> None:
    """However it is masked, or compared as a number."""
    event = Event(
        "e-1", "/ci", "build.finished", 5.0, weight=2, vcs=Vcs(ref=value), labels={"x": value, "token": value},
        measures={"x": 2.0}, data={"x": [1] if value == "[1]" else value},
    )  # fmt: skip
    for conditions in (f'{field}="{wanted}"', f'labels.token="{wanted}" and {field}!="{wanted}"'):
        one = Filter(conditions)
        body = msgspec.msgpack.encode(event)
        assert not one.holds(event) or all(msgspec.msgpack.encode(text) in body for text in one.texts)
    assert Filter("outcome=failure and labels.x='a b' and weight>1 and vcs.ref~main").texts == ["failure", "a b"]
