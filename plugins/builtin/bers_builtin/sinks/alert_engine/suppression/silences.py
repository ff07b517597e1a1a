"""Silences: what operators do not want to be told of for a while, and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta

from bers_builtin.sinks.alert_engine.alerts import Alert, Moment, Suppressed
from bers_builtin.sinks.alert_engine.suppression.matching import Matcher, Matchers, Meant

State: TypeAlias = Literal["pending", "active", "expired"]

MOST = 1000
"""How many silences may live at a time: each alert is held against all of them."""


class Silence(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """What nobody is to be told of for a while. Times are in milliseconds since 1970."""

    id: str
    state: State
    matchers: list[Matcher]
    """All of them must hold."""
    created_by: str
    comment: str
    created_at: int
    starts: int
    ends: int
    """By the engine's own clock: where the wall clock is set meanwhile, it lasts as long as it was to."""
    ended_by: str | None = None
    """Who ended it before its time."""
    ended_at: int | None = None
    suppressing: Annotated[int, Meta(description="How many living alerts it suppresses now.")] = 0


class Kept(msgspec.Struct, array_like=True, frozen=True):
    """A silence as it is written down: with its times by the engine's own clock."""

    silence: Silence
    starts_at: float
    ends_at: float


class Step(NamedTuple):
    """Something that happened to a silence, and is told."""

    kind: Literal["silence.created", "silence.expired"]
    time: float
    silence: Silence


class Did(NamedTuple):
    """What an operator did to one, for the audit."""

    action: Literal["create", "end"]
    silence: Silence
    operator: str
    principal: str
    notes: str
    address: str


class Silences:
    """Those that live, and what has to be written down about them."""

    def __init__(self) -> None:
        self.living: dict[str, Kept] = {}
        """Pending and active ones, by their id; oldest first."""
        self._meant = Meant[str]()
        self._due: float | None = None
        self._is_due_known = True
        self.changed: dict[str, Kept] = {}
        self.steps: list[Step] = []
        self.deeds: list[Did] = []

    @property
    def has_news(self) -> bool:
        return bool(self.changed or self.steps or self.deeds)

    def restore(self, saved: Iterable[Kept]) -> None:
        """Take up what was written down."""
        self.living = {kept.silence.id: kept for kept in saved}
        self._meant, self._is_due_known = Meant[str](), False
        for id, kept in self.living.items():
            self._meant.add(id, Matchers(kept.silence.matchers))

    def written(self) -> None:
        self.changed, self.steps, self.deeds = {}, [], []

    def add(self, kept: Kept, moment: Moment) -> None:
        self._meant.add(kept.silence.id, Matchers(kept.silence.matchers))
        self._keep(kept)
        self.steps.append(Step("silence.created", moment.wall, kept.silence))

    def end(self, kept: Kept, moment: Moment, operator: str | None) -> Silence:
        """Let one be over, by hand or because its time is."""
        silence = msgspec.structs.replace(kept.silence, state="expired", ended_by=operator, ended_at=moment.ms)
        self._keep(msgspec.structs.replace(kept, silence=silence))
        del self.living[silence.id]
        self._meant.remove(silence.id)
        self.steps.append(Step("silence.expired", moment.wall, silence))
        return silence

    def look(self, moment: Moment) -> bool:
        """Let begin and end what is due; True where anything was."""
        changed = False
        for kept in list(self.living.values()):
            if kept.ends_at <= moment.at:
                self.end(kept, moment, None)
                changed = True
            elif kept.silence.state == "pending" and kept.starts_at <= moment.at:
                silence = msgspec.structs.replace(kept.silence, state="active")
                self._keep(msgspec.structs.replace(kept, silence=silence))
                changed = True
        return changed

    def of(self, alert: Alert) -> Suppressed | None:
        """The silence that an alert falls under: of several, the one that ends last."""
        if not self.living:
            return None
        found = [kept for id in self._meant.of(alert) if (kept := self.living[id]).silence.state == "active"]
        if not found:
            return None
        longest = max(found, key=lambda kept: kept.ends_at).silence
        return Suppressed("silence", longest.id, longest.ends)

    def forget(self, alert: Alert) -> None:
        """Note that an alert is not alive any more."""
        self._meant.forget(alert)

    @property
    def due(self) -> float | None:
        """When one begins or ends next, on the engine's clock."""
        if not self._is_due_known:
            living, self._is_due_known = self.living.values(), True
            self._due = min(
                (kept.starts_at if kept.silence.state == "pending" else kept.ends_at for kept in living), default=None
            )
        return self._due

    def _keep(self, kept: Kept) -> None:
        self.living[kept.silence.id] = self.changed[kept.silence.id] = kept
        self._is_due_known = False
