"""What a source remembers is bounded, and undone together with an append that fails."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bers import Event, Run, Table, Vcs


def event(name: str, received: float = 0.0) -> Event:
    return Event(name, "/ci", "build.started", 0.0, received=received)


def test_what_happened_since_a_mark_can_be_undone() -> None:
    table = Table()
    table.put("a", event("1"))
    mark = table.mark()
    table.put("a", event("2"))
    table.put("b", event("3"))
    table.discard("a")
    table.undo(mark)
    assert dict(table.items()) == {"a": event("1")}


def test_what_is_kept_cannot_be_undone() -> None:
    table = Table()
    table.put("a", event("1"))
    table.keep()
    table.discard("a")
    table.discard("never there")
    table.undo()
    assert table.get("a") == event("1")


def test_beyond_the_limit_the_first_is_forgotten_and_comes_back_when_undone() -> None:
    table = Table(limit=2)
    for name in "abc":
        table.put(name, event(name))
    assert list(table.keys()) == ["b", "c"]
    assert len(table) == 2
    table.undo()
    assert list(table.keys()) == []


def test_what_waited_too_long_is_forgotten_and_what_has_no_arrival_is_not() -> None:
    table = Table()
    for name, received in (("old", 10.0), ("new", 20.0), ("none", 0.0)):
        table.put(name, event(name, received))
    table.expire(15.0)
    assert list(table.keys()) == ["new", "none"]


def test_what_was_dumped_can_be_loaded() -> None:
    table, again = Table(), Table()
    table.put("a", event("1"))
    table.keep()
    again.put("b", event("2"))
    again.load(dict(zip(*table.dump(), strict=True)))
    again.undo()
    assert dict(again.items()) == {"a": event("1")}


def test_events_that_were_dumped_as_they_are_can_be_loaded() -> None:
    table = Table()
    table.load({"a": event("1", 2.0)})
    assert table.get("a") == event("1", 2.0)
    table.expire(3.0)
    assert not len(table)


def test_every_field_comes_back() -> None:
    table = Table()
    full = Event(
        "1", "/ci", "build.finished", 1.5, subject="b", environment="production", outcome="failure", reason="r",
        duration_ms=2.5, service="s", version="v", artifact="a", vcs=Vcs(revision="c"), run=Run(system="gitlab"),
        measures={"m": 1.0}, labels={"k": "v"}, weight=3, chain="c", traceparent="t", origin="o", data={"d": [1, "x"]},
        cause="0", received=4.5, seq=7,
    )  # fmt: skip
    for changed in (full, *(replace(event("1"), **{name: getattr(full, name)}) for name in Event.__struct_fields__)):
        table.put("k", changed)
        assert table.get("k") == changed


def test_beyond_its_bytes_the_first_are_forgotten() -> None:
    table = Table(max_bytes=10_000)
    for n in range(1000):
        table.put(f"key-{n}", event(str(n)))
    assert 9_000 < table.size <= 10_000
    assert table.get("key-999") == event("999") and table.get("key-0") is None
    for n in range(1000):
        table.discard(f"key-{n}")
    assert table.size == 0
    table.put("large", replace(event("1"), data={"text": "x" * 20_000}))
    assert table.get("large")


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.booleans())),
    st.lists(st.tuples(st.sampled_from("abcde"), st.booleans())),
)
def test_undoing_is_as_if_nothing_had_happened(before: list[tuple[str, bool]], after: list[tuple[str, bool]]) -> None:
    table = Table(limit=3)

    def apply(changes: list[tuple[str, bool]]) -> None:
        for n, (key, put) in enumerate(changes):
            table.put(key, event(str(n))) if put else table.discard(key)

    apply(before)
    table.keep()
    expected, size = dict(table.items()), table.size
    apply(after)
    table.undo()
    assert dict(table.items()) == expected
    assert table.size == size
