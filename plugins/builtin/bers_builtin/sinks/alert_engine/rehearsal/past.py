"""What is known of the past where the journal does not reach: the store's windows, and the records that it keeps."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from math import floor
from typing import Any, NamedTuple, TypeAlias

import msgspec
from anyio.lowlevel import checkpoint

from bers import Event, Refused
from bers_builtin.sinks.alert_engine.rules import several
from bers_builtin.sinks.alert_engine.watches import Watch

MOST = 200_000
"""How many windows and records are taken at most: they are sorted before they are read."""

_FIGURES: Sequence[str] = ("count", "sum", "average", "min", "max", "last", "p50", "p95", "p99")
_POINTS, _LINES, _PAGE = 40, 500, 1000
_SPLITS = 20
"""How often a span is halved until its windows fit into answers."""

_FIELDS = ("environment", "service")

Ask: TypeAlias = Callable[[str, str, Mapping[str, Any]], Awaitable[Any]]


class Told(NamedTuple):
    """Something of the past: an event, or a window of a metric with its figures, at its end."""

    at: float
    order: int
    event: Event
    metric: str = ""
    figures: Mapping[str, float] = {}


class Past:
    """Asks the store, as anybody would over REST."""

    def __init__(self, ask: Ask, has_time: Callable[[], bool]) -> None:
        """``ask`` is asked for whole answers, as long as there is time."""
        self._ask = ask
        self._has_time = has_time
        self.widths: set[int] = set()
        """How wide windows were, in milliseconds."""
        self.windows = self.records = 0
        self.lacks: list[str] = []
        """What of it could not be had, in whole sentences."""

    async def read(self, watches: Iterable[Watch], since: float, until: float) -> list[Told]:
        """Everything that the rules can be told of a time, in the order in which it came."""
        found: list[Told] = []
        chosen = list(watches)
        for metric in dict.fromkeys(watch.rule.metric for watch in chosen if watch.rule.metric):
            for start, end in _pieces(since, until):
                async for one in self._windows(metric, start, end):
                    found.append(one)
                    self.windows += 1
                    if len(found) >= MOST:
                        break
        for type in dict.fromkeys(type for watch in chosen for type in _types(watch)):
            async for event in self._records(type, since, until):
                found.append(Told(event.received or event.time, len(found), event))
                self.records += 1
                if len(found) >= MOST:
                    break
        if len(found) >= MOST:
            self._lack(f"There is more in it than the {MOST} windows and records that are taken: ask for less time.")
        return sorted(found, key=lambda one: one[:2])

    async def _windows(self, metric: str, since: float, until: float, split: int = 0) -> AsyncGenerator[Told]:
        """The windows of a metric, from the finest tier that reaches back so far."""
        asked = {"from": int(since * 1000), "to": int(until * 1000), "points": _POINTS, "limit": _LINES}
        await checkpoint()  # An answer that refuses takes no turn of its own.
        if not self._has_time():
            self._lack(f"There was not time enough to read all that was measured of {metric!r}: ask for less time.")
            return
        try:
            whole = await self._ask("GET", f"metrics/{metric}", {**asked, "fields": ",".join(_FIGURES)})
            answer = whole["data"]
        except Refused as exc:
            if exc.reason != "invalid" or split >= _SPLITS:
                self._lack(f"What was measured of {metric!r} is not known: {exc}.")
                return
            answer = None
        if answer is not None and not answer["series"]:
            return  # Nothing is found in parts of it either.
        if answer is None or (answer["stepMs"] > answer["widthMs"] and split < _SPLITS):
            middle = (since + until) / 2
            for start, end in ((since, middle), (middle, until)):
                async for one in self._windows(metric, start, end, split + 1):
                    yield one
            return
        if answer["seriesCount"] > len(answer["series"]):
            self._lack(f"Of {metric!r}, the {len(answer['series'])} series with most samples are looked at.")
        width = answer["stepMs"] / 1000
        for line in answer["series"]:
            for start, *values in line["points"]:
                begin = start / 1000
                if (
                    since <= begin and begin + width <= until
                ):  # What is cut by an edge is told on one side of it, or twice.
                    self.widths.add(answer["stepMs"])
                    figures: dict[str, float] = dict(zip(_FIGURES, values, strict=True))
                    yield self._window(metric, line["labels"], begin + width, figures)

    def _window(self, metric: str, labels: Mapping[str, str], at: float, figures: Mapping[str, float]) -> Told:
        event = Event(
            f"window-{self.windows}",
            "bers:store",
            "window",
            at,
            received=at,
            weight=max(1, round(figures["count"])),
            labels={name: value for name, value in labels.items() if name not in _FIELDS},
            environment=labels.get("environment") or None,
            service=labels.get("service") or None,
        )
        return Told(at, self.windows, event, metric, figures)

    async def _records(self, type: str, since: float, until: float) -> AsyncGenerator[Event]:
        """The events of a type whose details the store keeps."""
        after = ""
        while True:
            asked = {"type": type, "since": int(since * 1000), "limit": _PAGE, "after": after}
            await checkpoint()
            if not self._has_time():
                self._lack(f"There was not time enough to read all events of type {type!r}: ask for less time.")
                return
            try:
                answer = await self._ask("GET", "records", asked)
            except Refused as exc:
                self._lack(f"Which events of type {type!r} there were is not known: {exc}.")
                return
            records: Sequence[Mapping[str, Any]] = answer["data"]
            for record in records:
                event = msgspec.convert({**record, "time": record["timestamp"] / 1000}, Event)
                if since <= (event.received or event.time) < until:
                    yield event
            if not (after := answer["next"] or ""):
                return

    def _lack(self, sentence: str) -> None:
        if sentence not in self.lacks:
            self.lacks.append(sentence)


def _pieces(since: float, until: float) -> Iterator[tuple[float, float]]:
    """Parts of a time, the later the shorter: for each the store has windows as fine as it keeps them for that long.

    They end where the windows of all usual tiers do.
    """
    edges = [floor((until - back) / width) * width for back, width in ((86_400, 3600), (3600, 300), (300, 60))]
    inner = [edge for edge in edges if since < edge < until]
    yield from zip([since, *inner], [*inner, until], strict=True)


def _types(watch: Watch) -> Sequence[str]:
    clears = watch.rule.clears
    return [*watch.rule.events, *(several(clears.event) if clears else ())]
