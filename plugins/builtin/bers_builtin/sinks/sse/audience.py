"""Who listens to the same: clients with one filter, and what they are told when there is too much."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import TypeAlias

from bers import Refused
from bers_builtin.sinks.sse.allowance import Allowance
from bers_builtin.sinks.sse.client import Client
from bers_builtin.sinks.sse.frames import Frame, rank

PER_SECOND = 100
"""How many events are told one by one in a second; what is beyond is counted."""

ALWAYS = frozenset({"connected", "ping", "gap", "events"})

_PATTERN = re.compile(r"[a-z0-9][a-z0-9_.-]*\*?|\*")
_MOST_PATTERNS = 50


def filters(types: str) -> tuple[str, ...]:
    """The patterns of a comma-separated filter such as ``build.*,alert.*``. Raise Refused where one is none."""
    patterns = tuple(sorted({pattern.strip() for pattern in types.split(",") if pattern.strip()}))
    wrong = [pattern for pattern in patterns if not _PATTERN.fullmatch(pattern)]
    if wrong:
        raise Refused("bad_request", f"types: {wrong[0]!r} is not a type; write build.finished, or build.* for a kind")
    if len(patterns) > _MOST_PATTERNS:
        raise Refused("bad_request", f"types: {len(patterns)} patterns are too many; at most {_MOST_PATTERNS}")
    return patterns


_Kind: TypeAlias = tuple[str, str]
"""The type of a frame's event, and the frame's name: frames that have both in common are wanted together."""


class Sorted:
    """Frames that are about to be told, sorted once for all audiences: each of these asks of kinds, not of frames."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames

    @cached_property
    def kinds(self) -> Mapping[_Kind, Sequence[int]]:
        """Where the frames of each kind stand."""
        found: dict[_Kind, list[int]] = {}
        for at, frame in enumerate(self.frames):
            found.setdefault((frame.type, frame.name), []).append(at)
        return found

    def most_urgent(self, most: int, kinds: Collection[_Kind] | None) -> list[Frame]:
        """Of these kinds, or of all, so many; in order."""
        frames = self.frames
        wanted = (at for at in self._by_rank if kinds is None or (frames[at].type, frames[at].name) in kinds)
        return [frames[at] for at in sorted(islice(wanted, most))]

    @cached_property
    def _by_rank(self) -> Sequence[int]:
        return sorted(range(len(self.frames)), key=lambda at: rank(self.frames[at].type))


class Audience:
    """The clients that share a filter, and what they may still be told one by one."""

    def __init__(self, patterns: Sequence[str], now: float) -> None:
        self.clients: set[Client] = set()
        self._exact = frozenset(pattern for pattern in patterns if not pattern.endswith("*"))
        self._prefixes = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))
        self._everything = not patterns
        self._known: dict[str, bool] = {}
        self._allowance = Allowance(PER_SECOND, now)

    def wants(self, frame: Frame) -> bool:
        """Whether the filter lets a frame through, by the type of its event or by its own name."""
        return self._everything or self._wants_kind((frame.type, frame.name))

    def choose(self, frames: Sorted, uncounted: Mapping[str, int], end: int, now: float) -> list[Frame]:
        """What these clients are told of the frames, in order; what is beyond the budget becomes one count of types.

        ``uncounted`` has, by type, how many more there were of which nothing else is known any more.
        """
        left = self._allowance.left(now)
        # Whoever wants everything needs no names: they are dear where there are many frames.
        kinds = None if self._everything else [kind for kind in frames.kinds if self._wants_kind(kind)]
        places = range(len(frames.frames)) if kinds is None else [at for kind in kinds for at in frames.kinds[kind]]
        rest = self._counted(uncounted)
        if len(places) > left:
            chosen = frames.most_urgent(int(left), None if kinds is None else frozenset(kinds))
            rest.update(frames.frames[at].type for at in places)
            rest = rest - Counter(frame.type for frame in chosen)
        else:
            chosen = [frames.frames[at] for at in sorted(places)]
        self._allowance.spend(len(chosen))
        return [*chosen, _count(rest, end)] if rest else chosen

    def again(self, frames: Iterable[Frame]) -> list[Frame]:
        """What these clients are told of what everybody was told before, counts included."""
        if self._everything:
            return list(frames)
        chosen: list[Frame] = []
        for frame in frames:
            if isinstance(frame.content, Mapping):  # The count of what nobody was told one by one.
                if rest := self._counted(frame.content["counts"]):
                    chosen.append(_count(rest, frame.position))
            elif self.wants(frame):
                chosen.append(frame)
        return chosen

    def _counted(self, counts: Mapping[str, int]) -> Counter[str]:
        return Counter({type: count for type, count in counts.items() if self._everything or self._wants_name(type)})

    def _wants_kind(self, kind: _Kind) -> bool:
        type, name = kind
        return name in ALWAYS or self._wants_name(type) or self._wants_name(name)

    def _wants_name(self, name: str) -> bool:
        known = self._known.get(name)
        if known is None:
            if len(self._known) > 1000:  # Types come from outside.
                self._known.clear()
            known = self._known[name] = name in self._exact or name.startswith(self._prefixes)
        return known


def _count(rest: Counter[str], end: int) -> Frame:
    return Frame(end, "events", {"total": rest.total(), "counts": dict(rest.most_common(200))})
