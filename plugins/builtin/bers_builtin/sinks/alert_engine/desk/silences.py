"""What operators ask of silences and maintenance windows, and say about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import uuid4

import msgspec
from msgspec import Meta

from bers import BersError, Caller, Redactor, Refused, format_duration, period
from bers_builtin.sinks.alert_engine.alerts import Moment
from bers_builtin.sinks.alert_engine.desk import asking
from bers_builtin.sinks.alert_engine.evaluator import Evaluator
from bers_builtin.sinks.alert_engine.slices import in_slices
from bers_builtin.sinks.alert_engine.suppression.maintenance import MaintenanceWindow
from bers_builtin.sinks.alert_engine.suppression.matching import Matcher, Matchers
from bers_builtin.sinks.alert_engine.suppression.silences import MOST, Did, Kept, Silence
from bers_builtin.sinks.alert_engine.written import silence_rows

if TYPE_CHECKING:
    from bers_builtin.sinks.alert_engine.engine import AlertEngine

_STATES = ("active", "pending", "expired")
_Time = Annotated[int, Meta(ge=0, le=1 << 50)]
_Operator = Annotated[str, Meta(max_length=200, description="Who says so; with a key, its principal if not told.")]


class AddSilence(msgspec.Struct, frozen=True):
    """What nobody is to be told of, for how long, and why."""

    matchers: Annotated[
        list[Matcher], Meta(min_length=1, max_length=20, description="Which alerts are meant; all of them must hold.")
    ]
    comment: Annotated[str, Meta(min_length=1, max_length=10_000, description="Why.")]
    duration: Annotated[str, Meta(description="How long it lasts: 30m, 2h, 1d. Either this or `ends` is given.")] = ""
    starts: Annotated[
        _Time | None, Meta(description="When it begins, in milliseconds since 1970; at once, if not told.")
    ] = None
    ends: Annotated[_Time | None, Meta(description="When it ends, in milliseconds since 1970.")] = None
    operator: _Operator = ""


class EndSilence(msgspec.Struct, frozen=True):
    """Which silence is to be over."""

    id: str
    operator: _Operator = ""
    notes: Annotated[str, Meta(max_length=10_000, description="Why.")] = ""


class ListSilences(msgspec.Struct, frozen=True):
    """Which silences to list."""

    state: Annotated[
        str,
        Meta(
            description="States, with commas between: active, pending, expired; the first two, if not told.",
            extra_json_schema={"pattern": "^(?: *(?:active|pending|expired) *(?:, *(?:active|pending|expired) *)*)?$"},
        ),
    ] = "active,pending"
    limit: Annotated[int, Meta(ge=1, le=10_000, description="How many to return at most; the newest come first.")] = (
        1000
    )


class AskMaintenance(msgspec.Struct, frozen=True):
    """How far to look ahead."""

    next: Annotated[int, Meta(ge=1, le=100, description="How many occurrences of each window to tell.")] = 3


class Interval(msgspec.Struct, frozen=True):
    """One time that a window is open, in milliseconds since 1970."""

    starts: int
    ends: int


class MaintenanceReport(msgspec.Struct, rename="camel", frozen=True):
    """A maintenance window, and when it is open. Times are in milliseconds since 1970."""

    name: str
    matchers: list[str]
    """All of them must hold; none means every alert."""
    time_zone: str
    schedule: str
    """When it comes, in words."""
    state: Literal["open", "closed"]
    closes: int | None
    """When it ends, where it is open."""
    next: list[Interval]
    """The next occurrences, with the one that is under way."""
    suppressing: int
    """How many living alerts it suppresses now."""


async def add(stage: AlertEngine, ask: AddSilence, caller: Caller) -> Silence:
    """Silence alerts for a while, from now on or later."""
    redactor = stage.context.redactor
    operator = asking.operator_of(ask.operator, caller, redactor)
    _assert_understood(ask.matchers, redactor)
    comment = redactor.text(ask.comment.strip())
    if not comment:
        raise Refused("invalid", "nobody said why", details=[("comment", "say why nobody is to be told")])
    async with stage.books.sound() as evaluator:
        silences = evaluator.register.suppressions.silences
        if len(silences.living) >= MOST:
            raise Refused("conflict", f"{MOST} silences live already", hint="end some, or wait until they expire")
        moment = evaluator.moment
        starts, ends = _times(ask, moment, stage.config.longest_silence)
        silence = Silence(
            id=uuid4().hex,
            state="pending" if starts > moment.wall else "active",
            matchers=list(ask.matchers),
            created_by=operator,
            comment=comment,
            created_at=moment.ms,
            starts=int(starts * 1000),
            ends=int(ends * 1000),
        )
        kept = Kept(silence, moment.at + starts - moment.wall, moment.at + ends - moment.wall)
        silences.add(kept, moment)
        silences.deeds.append(Did("create", silence, operator, caller.named, comment, caller.address))
        await in_slices(evaluator.register.reconsidering(moment))
        await stage.books.commit()
        stage.look_sooner()
        return msgspec.structs.replace(silence, suppressing=_suppressing(evaluator, "silence")[silence.id])


async def end(stage: AlertEngine, ask: EndSilence, caller: Caller) -> Silence:
    """Let a silence be over; what is still bad fires. Doing it again changes nothing."""
    redactor = stage.context.redactor
    operator = asking.operator_of(ask.operator, caller, redactor)
    async with stage.books.sound() as evaluator:
        silences, moment = evaluator.register.suppressions.silences, evaluator.moment
        kept = silences.living.get(ask.id)
        if kept is None:
            find = partial(silence_rows.find, stage=stage.context.stage_id, id=ask.id)
            if over := await stage.context.state.run(find):
                return over
            hint = "GET silences lists those there are"
            raise Refused("not_found", f"there is no silence {ask.id!r}", hint=hint, known=[*silences.living][:50])
        silence = silences.end(kept, moment, operator)
        notes = redactor.text(ask.notes.strip())
        silences.deeds.append(Did("end", silence, operator, caller.named, notes, caller.address))
        await in_slices(evaluator.register.reconsidering(moment))
        await stage.books.commit()
        stage.look_sooner()
        return silence


async def list_all(stage: AlertEngine, ask: ListSilences, caller: Caller) -> list[Silence]:
    """Silences, the newest first."""
    wanted = asking.choices("state", ask.state, _STATES) or {"active", "pending"}
    async with stage.books.sound() as evaluator:
        living = [kept.silence for kept in evaluator.register.suppressions.silences.living.values()]
        held = _suppressing(evaluator, "silence")
        found = [
            msgspec.structs.replace(one, suppressing=held[one.id]) for one in reversed(living) if one.state in wanted
        ]
    if "expired" in wanted and len(found) < ask.limit:
        rows = partial(silence_rows.expired, stage=stage.context.stage_id, limit=ask.limit - len(found))
        found += await stage.context.state.run(rows)
    return found[: ask.limit]


async def list_windows(stage: AlertEngine, ask: AskMaintenance, caller: Caller) -> list[MaintenanceReport]:
    """Every maintenance window, and when it is open next."""
    async with stage.books.sound() as evaluator:
        maintenance, moment = evaluator.register.suppressions.maintenance, evaluator.moment
        held = _suppressing(evaluator, "maintenance")
        closes = {window.name: maintenance.closes(window) for window in maintenance.windows}

    def reports() -> Generator[None, None, list[MaintenanceReport]]:
        found: list[MaintenanceReport] = []
        for window in maintenance.windows:
            following: list[Interval] = []
            for one in islice(window.occurrences(moment.wall), ask.next):
                following.append(Interval(int(one.starts * 1000), int(one.ends * 1000)))
                yield
            found.append(
                MaintenanceReport(
                    name=window.name,
                    matchers=list(window.matchers),
                    time_zone=window.time_zone,
                    schedule=_schedule(window),
                    state="closed" if closes[window.name] is None else "open",
                    closes=_ms(closes[window.name]),
                    next=following,
                    suppressing=held[window.name],
                )
            )
        return found

    return await in_slices(reports())


def _assert_understood(matchers: list[Matcher], redactor: Redactor) -> None:
    for number, text in enumerate(matchers):
        try:
            Matchers([text])
        except (ValueError, BersError) as exc:
            raise Refused(
                "invalid", "a matcher is not understood", details=[(f"matchers[{number}]", str(exc))]
            ) from exc
        if redactor.text(text) != text:
            remedy = "it holds what looks like a secret or an address, which no alert shows; name something else"
            raise Refused("invalid", "a matcher cannot match", details=[(f"matchers[{number}]", remedy)])


def _times(ask: AddSilence, moment: Moment, longest: float) -> tuple[float, float]:
    """When it begins and ends, in seconds since 1970."""
    if bool(ask.duration) == (ask.ends is not None):
        remedy = "say how long, as in 2h, or say when it `ends`, and not both"
        raise Refused("invalid", "nobody said how long", details=[("duration", remedy)])
    starts = max(moment.wall, ask.starts / 1000 if ask.starts is not None else 0.0)
    try:
        ends = starts + period(ask.duration) if ask.ends is None else ask.ends / 1000
    except ValueError as exc:
        raise Refused("invalid", "the duration is not understood", details=[("duration", str(exc))]) from exc
    field = "duration" if ask.ends is None else "ends"
    if ends <= starts:
        raise Refused("invalid", "it is over already", details=[(field, "let it end after it begins, and after now")])
    if ends - starts > longest or starts - moment.wall > longest:
        most = format_duration(longest)
        remedy = f"at most {most} are allowed, by `longest_silence`; for what comes again there is `maintenance`"
        raise Refused("invalid", "it lasts too long", details=[(field, remedy)])
    return starts, ends


def _suppressing(evaluator: Evaluator, reason: str) -> Counter[str]:
    """How many living alerts each silence, or each maintenance window, suppresses now."""
    return Counter(
        cause.id
        for alert in evaluator.register.live.values()
        if (cause := alert.suppressed_by) is not None and cause.reason == reason
    )


def _schedule(window: MaintenanceWindow) -> str:
    if window.starts:
        return f"once, {window.starts} to {window.ends}"
    return f"{', '.join(window.days) or 'every day'}, {window.from_} to {window.to}"


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)
