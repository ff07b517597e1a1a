"""The engine over events and virtual time, without a node: the very same rules and register, with nothing written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from anyio.lowlevel import checkpoint

from bers import Clock, Event, Metric
from bers_builtin.sinks.alert_engine.alerts import Alert, Transition
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.evaluator import Evaluator
from bers_builtin.sinks.alert_engine.life.register import Deed
from bers_builtin.sinks.alert_engine.suppression.silences import Kept, Silence
from bers_builtin.sinks.alert_engine.watches import Watch
from bers_builtin.sinks.alert_engine.written.ledger import Memory

_AGAIN = 0.001  # Seconds.


class VirtualTime(Clock):
    """A clock that stands where it was put."""

    def __init__(self, start: float) -> None:
        self._start = start
        self.now = 0.0
        """Seconds since the simulation began."""

    def time(self) -> float:
        return self._start + self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await checkpoint()  # Nobody waits here: time is where whoever simulates puts it.


class Happened(NamedTuple):
    """A step in the life of an alert, and when it was taken, in seconds since the simulation began."""

    at: float
    step: Transition


class Simulation:
    """An engine that is told what happens and what time it is. It begins with nothing remembered."""

    def __init__(self, config: AlertConfig, metrics: Mapping[str, Metric], *, start: float = 0.0) -> None:
        self.clock = VirtualTime(start)
        self.evaluator = Evaluator(config, metrics, self.clock)
        self.evaluator.restore(Memory(None, [], [], [], {}, []))
        self._silences = 0
        self.happened: list[Happened] = []
        """What was concluded, in order; whoever has read it may clear it."""

    @property
    def now(self) -> float:
        """Seconds since it began."""
        return self.clock.now

    async def go_on(self, until: float, may: Callable[[], Awaitable[bool]] | None = None) -> None:
        """Let time pass, and whatever happens by that alone, each thing at its time.

        After each of them it is asked whether it ``may`` go on; where it may not, time stops there.
        """
        clock, evaluator = self.clock, self.evaluator
        while (due := evaluator.due) is not None:
            # What is due already waits for as long as the engine waits at least.
            due = due if due > clock.now else clock.now + _AGAIN
            if due > until:
                break
            clock.now = due
            await evaluator.look_again()
            self._note()
            if may is not None and not await may():
                return
        self.clock.now = max(self.clock.now, until)

    async def read(self, events: Sequence[Event]) -> None:
        """Let events arrive now."""
        await self.evaluator.read(events)
        self._note()

    def measure(self, watch: Watch, event: Event, value: float) -> None:
        """Let one rule alone read a value."""
        self.evaluator.measure(watch, event, value)
        self._note()

    def acknowledge(self, alert: Alert, deed: Deed) -> None:
        """Let somebody take a living alert on."""
        self.evaluator.register.acknowledge(alert, deed, self.evaluator.moment)
        self._note()

    def resolve(self, alert: Alert, deed: Deed) -> None:
        """Let somebody end a living alert."""
        self.evaluator.forget(alert)
        self.evaluator.register.resolve(alert, deed, self.evaluator.moment)
        self._note()

    def silence(self, matchers: Sequence[str], seconds: float, deed: Deed) -> None:
        """Let somebody silence, for a while from now on, the alerts that all matchers mean."""
        register, moment = self.evaluator.register, self.evaluator.moment
        self._silences += 1
        silence = Silence(
            id=f"silence-{self._silences}",
            state="active",
            matchers=list(matchers),
            created_by=deed.operator,
            comment=deed.notes,
            created_at=moment.ms,
            starts=moment.ms,
            ends=moment.ms + int(seconds * 1000),
        )
        register.suppressions.silences.add(Kept(silence, moment.at, moment.at + seconds), moment)
        register.reconsider(moment)
        self._note()

    def alerts(self) -> list[Alert]:
        """Every alert that is alive now, pending ones included."""
        register = self.evaluator.register
        return [*register.live.values(), *register.pending_alerts(self.evaluator.moment)]

    def _note(self) -> None:
        """Take note of what followed, as the engine does when it has written it down."""
        self.happened += [Happened(self.clock.now, step) for step in self.evaluator.register.transitions]
        self.evaluator.written()
