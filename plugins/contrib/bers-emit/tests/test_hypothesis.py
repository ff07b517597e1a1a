"""Whatever objects somebody hands in, nobody is ever disturbed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bers_emit import Activity, Emitter, build, phase
from bers_emit.context import Surroundings
from bers_emit.redaction import Redaction, arguments


class Odd:
    """Fails in the ways that it is told to."""

    def __init__(self, ways: frozenset[str]) -> None:
        self._ways = ways

    def _maybe(self, way: str, otherwise: Any) -> Any:
        if way in self._ways:
            raise RuntimeError(way)
        return otherwise

    def __str__(self) -> str:
        return str(self._maybe("str", "odd"))

    def __repr__(self) -> str:
        return str(self._maybe("repr", "Odd()"))

    def __float__(self) -> float:
        return float(self._maybe("float", 1.5))

    def __bool__(self) -> bool:
        return bool(self._maybe("bool", True))

    def __len__(self) -> int:
        return int(self._maybe("len", 3))

    def __iter__(self) -> Any:
        return self._maybe("iter", iter([1]))

    def __eq__(self, other: object) -> bool:
        return bool(self._maybe("eq", False))

    def __hash__(self) -> int:
        return id(self)


ODD = st.builds(Odd, st.frozensets(st.sampled_from(["str", "repr", "float", "bool", "len", "iter", "eq"])))
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.complex_numbers()
    | st.datetimes()
    | st.dates()
    | st.timedeltas()
    | st.decimals()
    | st.uuids()
    | ODD
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | ODD, inner)
        | st.sets(st.integers() | st.text())
    ),
    max_leaves=20,
)
KNOWN = st.sampled_from(
    ["id", "source", "subject", "outcome", "reason", "duration_ms", "measures", "labels", "vcs", "run", "time", "data"]
)
FIELDS = st.dictionaries(KNOWN | st.text(max_size=20), VALUES, max_size=6)
MANY = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(type=VALUES | st.text(min_size=1), fields=FIELDS)
def test_emit_never_raises_and_what_it_keeps_is_json(
    type: Any, fields: dict[str, Any], nobody: str, spool: Path
) -> None:
    fields.pop("self", None)
    emitter = Emitter(nobody, budget=0)
    try:
        kept = emitter.emit(type, **fields)
        assert kept in (True, False)
        if kept:
            [file] = spool.glob("*.ndjson")
            event = json.loads(file.read_bytes().splitlines()[-1])
            assert event["type"] == type
            assert {"id", "source", "time"} <= set(event)
    finally:
        emitter.close()
        for file in spool.glob("*.ndjson"):
            file.unlink()


@MANY
@given(kind=VALUES, name=VALUES, fields=FIELDS, measure=VALUES, value=VALUES, phased=VALUES)
def test_activities_never_raise(
    kind: Any, name: Any, fields: dict[str, Any], measure: Any, value: Any, phased: Any, receiver: Any
) -> None:
    emitter = Emitter("", budget=0)  # What is said is put together before anybody asks whether it is sent.
    with Activity(kind, name, fields, emitter) as activity:
        activity.measure(measure, value, phased)
        activity.set(**{key: value for key, value in fields.items() if key.isidentifier()})
        with phase(phased):
            activity.emit("a.b", data=value)
        assert activity.environ()
    with build(name, emitter=emitter):
        pass


@MANY
@given(
    environ=st.dictionaries(
        st.sampled_from(["GITHUB_ACTIONS", "GITHUB_EVENT_NAME", "CI_X", "TOKEN"]) | st.text(), st.text()
    )
)
def test_no_environment_is_too_odd(environ: dict[str, str]) -> None:
    fields: dict[str, object] = {}
    Surroundings(environ).complete(fields)
    assert isinstance(json.loads(json.dumps(fields)), dict)
    assert isinstance(Redaction(environ)("some text"), str)


def test_values_of_options_that_are_named_like_secrets_are_hidden() -> None:
    args = ["--token", "a", "--token", "--password", "b", "--api-key=c", "-v", "key", "--", "password", "d"]
    shown = ["--token", "***", "--token", "***", "b", "--api-key=***", "-v", "key", "--", "password", "d"]
    assert arguments(args) == shown
