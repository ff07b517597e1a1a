"""Whether a deployment may go: what the last validations of its service said, for a step that asks before it goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta, Struct

from bers import Event, Refused, Table

SUFFIX = "-validation"
KEPT = 50
"""Validations of one service in one environment that are remembered, the newest of each version."""

_KEY = "gate.validated"
_USUAL = "staging"
"""Where a validation was that does not say where."""


class AskGate(Struct, frozen=True, rename={"wanted": "for", "max_age": "maxAge"}):
    """Which deployment asks, and what it wants to have been validated."""

    environment: Annotated[str, Meta(min_length=1, max_length=200, description="Where it is about to be deployed.")]
    wanted: Annotated[
        str, Meta(pattern=f"^.+{SUFFIX}$", description="What has to have succeeded: the validation of an environment.")
    ] = f"staging{SUFFIX}"
    service: Annotated[str, Meta(max_length=1024, description="Of this service; of any where it is not said.")] = ""
    version: Annotated[str, Meta(max_length=1024, description="Of this version; of the last one validated.")] = ""
    max_age: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="How old it may be, in seconds; as old as it is where that is not said."),
    ] = None


class GateState(Struct, frozen=True, rename={"wanted": "for", "validated_at": "validatedAt"}):
    """Whether it may go. It is ``waiting`` where nothing of what is asked for was validated yet."""

    environment: str
    wanted: str
    open: bool
    state: Literal["open", "closed", "waiting"]
    reason: str
    service: str | None = None
    version: str | None = None
    outcome: str | None = None
    validated_at: int | None = None
    """In milliseconds since 1970."""


class _Validation(NamedTuple):
    service: str
    version: str
    outcome: str
    time: float
    reason: str


def remember(event: Event, table: Table) -> None:
    """Keep the outcome of a validation; it is not forgotten as runs are, because a gate may be asked weeks later."""
    if event.outcome is None:
        return
    place, service = event.environment or _USUAL, event.service or ""
    key = f"{place}\t{service}\t{_KEY}"
    version = event.version or ""
    at = min(event.time, event.received or event.time)  # One from the future would stand for ever.
    told = _Validation(service, version, event.outcome, at, event.reason or "")
    before = table.get(key)
    known = {one.version: one for one in (_read(service, before) if before else ())}
    if version not in known or known[version].time <= at:
        known[version] = told
    newest = sorted(known.values(), key=lambda one: one.time, reverse=True)[:KEPT]
    rows = [[one.version, one.outcome, one.time, one.reason[:200]] for one in newest]
    table.discard(key)  # To the end of the table: what came first is forgotten first.
    table.put(key, Event("", "", "", newest[0].time, service=service, data={"recent": rows}))


def answer(ask: AskGate, table: Table, now: float) -> GateState:
    """Whether that deployment may go, by the newest validation of what it asks for."""
    place = ask.wanted.removesuffix(SUFFIX)
    if place == ask.environment:
        raise Refused(
            "invalid",
            f"for: {ask.wanted!r} would be the validation of what is not deployed yet",
            hint="ask for that of the environment before it",
        )
    found = [
        one
        for one in _validations(place, table)
        if ask.service in ("", one.service)
        and ask.version in ("", one.version)
        and (ask.max_age is None or now - one.time <= ask.max_age)
    ]
    what = " ".join(filter(None, (ask.service, ask.version))) or "anything"
    if not found:
        age = "" if ask.max_age is None else f" in the last {ask.max_age:g} s"
        return GateState(ask.environment, ask.wanted, False, "waiting", f"no validation of {what} on {place}{age}")
    last = max(found, key=lambda one: one.time)
    passed = last.outcome == "success"
    named = " ".join(filter(None, (last.service, last.version))) or "it"
    said = f": {last.reason}" if last.reason and not passed else ""
    return GateState(
        ask.environment,
        ask.wanted,
        passed,
        "open" if passed else "closed",
        f"the validation of {named} on {place} ended with {last.outcome}{said}",
        last.service or None,
        last.version or None,
        last.outcome,
        round(last.time * 1000),
    )


def _validations(place: str, table: Table) -> Iterator[_Validation]:
    for key in list(table.keys()):
        if key.endswith(f"\t{_KEY}") and key.startswith(f"{place}\t") and (event := table.get(key)):
            yield from _read(event.service or "", event)


def _read(service: str, event: Event) -> Iterator[_Validation]:
    rows: Any = event.data["recent"]
    for version, outcome, time, reason in rows:
        yield _Validation(service, version, outcome, time, reason)
