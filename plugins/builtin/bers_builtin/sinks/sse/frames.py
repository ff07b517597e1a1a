"""What goes over the stream: one frame, encoded once for all who get it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any, Literal, TypeAlias

import msgspec

from bers import Event, as_cdevent, as_cloudevent, redact

Format: TypeAlias = Literal["named", "message", "cdevents"]

_ALARMS = ("alert.", "silence.", "health.", "incident.", "stage.")
_RUNS = ("build.", "testsuiterun.", "validation.", "deployment.", "service.")
_FIGURES = (".measured", ".progress")

_KINDS = {"build": "build", "testsuiterun": "validation", "validation": "validation", "deployment": "deployment"}
_PREDICATE = re.compile(r"[a-z][a-z0-9-]{0,63}")

OTHER = 2
"""The rank of what is not urgent."""


def rank(type: str) -> int:
    """How urgent events of a type are: 0 for alarms, 1 for the steps of runs, 2 for figures and all else.

    What is urgent is told soon, and when there is too much it is told one by one for longest.
    """
    if type.startswith(_ALARMS):
        return 0
    return 1 if type.startswith(_RUNS) and not type.endswith(_FIGURES) else OTHER


class Frame:
    """One message. ``position`` says that whoever has read it has seen everything up to there."""

    def __init__(
        self, position: int, name: str, content: Event | Mapping[str, Any], *, type: str = "", slot: str = ""
    ) -> None:
        """An event's frame may leave its ``name`` empty: it is found when somebody asks.

        ``type`` is what filters know it by. ``slot`` names a state: of those that wait for a client, only the newest of
        a slot is sent.
        """
        self.position = position
        self._name = name
        self.type = type or name
        self.slot = slot
        self.content = content

    def at(self, position: int) -> Frame:
        """The same, told at another place."""
        return Frame(position, self._name, self.content, type=self.type, slot=self.slot)

    @cached_property
    def name(self) -> str:
        """What listeners know it by."""
        return frame_name(self.content) if not self._name and isinstance(self.content, Event) else self._name

    @cached_property
    def named(self) -> bytes:
        """The frame for clients that listen to names."""
        return self._named(self.unnamed)

    @cached_property
    def as_cdevent(self) -> bytes:
        """The frame for clients that listen to names and read CDEvents; what is no event is told as ever."""
        if not isinstance(self.content, Event):
            return self.named
        return self._named(self._frame(as_cdevent(self.content)))

    @cached_property
    def unnamed(self) -> bytes:
        """The frame for clients that know ``onmessage`` alone; the ``type`` in its data tells what it is."""
        content = self.content
        return self._frame(
            as_cloudevent(content) if isinstance(content, Event) else redact({"type": self.name, **content})
        )

    def _named(self, frame: bytes) -> bytes:
        return b"event: %s\n%s" % (self.name.encode(), frame)

    def _frame(self, document: Mapping[str, Any]) -> bytes:
        retry = b"retry: 2000\n" if self.name == "connected" else b""
        return b"%sid: %d\ndata: %s\n\n" % (retry, self.position, msgspec.json.encode(document))


ENCODED: Mapping[Format, Callable[[Frame], bytes]] = {
    "named": attrgetter("named"),
    "message": attrgetter("unnamed"),
    "cdevents": attrgetter("as_cdevent"),
}


class Portion:
    """Frames that are told together, joined once for everybody who is told them in one format."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self._joined: dict[Format, bytes] = {}

    def joined(self, format: Format) -> bytes:
        """All of them, one after the other."""
        joined = self._joined.get(format)
        if joined is None:
            joined = self._joined[format] = b"".join(map(ENCODED[format], self.frames))
        return joined


def event_frame(event: Event, position: int) -> Frame:
    """The frame that tells of an event."""
    return Frame(position, "", event, type=event.type)


def frame_name(event: Event) -> str:
    """What listeners know an event by: the seed's ``build-completed``, ``alert_firing``; else plainly ``event``."""
    kind, _, predicate = event.type.partition(".")
    if not _PREDICATE.fullmatch(predicate):
        return "event"
    if event.type == "health.checked":
        return "health_status"
    if kind in ("alert", "silence"):
        return f"{kind}_{predicate.replace('-', '_')}"
    if kind not in _KINDS:
        return "event"
    if predicate == "finished":
        if event.outcome == "skip":
            return "event"
        predicate = "completed" if event.outcome in ("success", None) else "failed"
    elif predicate == "lost":
        predicate = "failed"
    return f"{_KINDS[kind]}-{predicate}"
