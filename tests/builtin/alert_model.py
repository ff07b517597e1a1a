"""What should become of one alert, in as few lines as it takes: the engine's life of alerts is compared with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

DEDUP, FLIPS, FLIP_WINDOW, STEADY, REPEAT = 20.5, 3, 40.5, 15.0, 30.0
STEPS = [(10.0, "secondary"), (25.0, "escalation")]


class Said(NamedTuple):
    """One step, as the log should tell it."""

    kind: str
    was: str | None
    status: str
    told: bool


@dataclass
class Model:
    """One rule and one set of labels. Every method is told the time."""

    lasting: float
    """How long it must be bad before it fires."""
    counts: bool
    """Whether each bad value is counted, or each time that it fires."""
    muted: bool = False
    bad_since: float | None = None
    status: str | None = None
    """Nothing while there is no alert."""
    number: int = 0
    """Which occurrence it is."""
    count: int = 0
    told: bool = False
    flapping: bool = False
    calm_since: float = 0.0
    calm_is_good: bool = False
    expires: float | None = None
    fired: float = 0.0
    unanswered: list[list[float]] = field(default_factory=list[list[float]])
    """When it waited for somebody: pairs of a beginning and an end; the last is open while its end is infinite."""
    step: int = 0
    ended: float | None = None
    flips: list[float] = field(default_factory=list[float])
    log: list[Said] = field(default_factory=list[Said])
    numbers: list[int] = field(default_factory=list[int])
    """Which occurrence each line of the log is about."""

    def bad(self, t: float) -> None:
        if self.status is None:
            self.bad_since = t if self.bad_since is None else self.bad_since
            if t - self.bad_since >= self.lasting - 1e-3:
                self._begin(t)
            return
        self.count += self.counts
        if self.flapping and self.calm_is_good:
            self.calm_since, self.calm_is_good = t, False
        self._settle(t)

    def good(self, t: float) -> None:
        self.bad_since = None
        if self.status is None:
            return
        if self.flapping:
            if not self.calm_is_good:
                self.calm_since, self.calm_is_good = t, True
        elif len([flip for flip in self.flips if flip > t - FLIP_WINDOW]) >= FLIPS:
            self.flapping, self.calm_since, self.calm_is_good = True, t, True
            self._say("flapping", self.status, self.told and self.status != "suppressed", t)
        else:
            self.flips.append(t)
            self._end(t)

    def acknowledge(self, t: float, lasting: float | None) -> None:
        if self.status in ("active", "suppressed"):
            self.expires = None if lasting is None else t + lasting
            self._say("acknowledged", "acknowledged", self.told, t)

    def unacknowledge(self, t: float) -> None:
        if self.status == "acknowledged":
            self._give_back(t)

    def resolve(self, t: float) -> None:
        if self.status is not None:
            self.bad_since, self.flips = None, []
            self._end(t)

    def mute(self, t: float, *, muted: bool) -> None:
        self.muted = muted
        if self.status is not None:
            self._settle(t)

    def change(self, t: float) -> None:
        """Its rule means something else now."""
        self.bad_since = None
        if self.status is not None:
            self.flips = []
            self._end(t)

    def pass_time(self, until: float, awake: float = 0.0) -> None:
        """Let everything happen that is due until then, each at its time, or when somebody was there to see it."""
        while (due := min(self._dues(), default=until + 1)) <= until:
            self._happen(max(due, awake))

    def _dues(self) -> list[float]:
        dues = [] if self.expires is None else [self.expires]
        dues += [self.calm_since + STEADY] if self.flapping else []
        if self._waits:
            waited, (since, _) = sum(end - begin for begin, end in self.unanswered[:-1]), self.unanswered[-1]
            dues += [self.fired + REPEAT, *(since + after - waited for after, _ in STEPS[self.step : self.step + 1])]
        return dues

    def _happen(self, t: float) -> None:
        if self.expires is not None and self.expires <= t:
            self._give_back(t)
        if self.flapping and self.calm_since + STEADY <= t:
            self.flapping, self.flips = False, []
            if self.calm_is_good:
                self._end(t)
            else:
                self.fired = t
                self._say("repeated", self.status, self.told and self.status == "active", t)
        if self._waits and self._dues()[-1] <= t and self.step < len(STEPS):
            self.step += 1
            self._say("escalated", "active", True, t)
        elif self._waits and self.fired + REPEAT <= t:
            self.fired = t
            self._say("repeated", "active", True, t)

    @property
    def _waits(self) -> bool:
        return self.status == "active" and self.told

    def _begin(self, t: float) -> None:
        again = self.ended is not None and t - self.ended <= DEDUP
        self.number += not again
        self.count = self.count + 1 if again else 1
        was = "resolved" if again else None
        if self.lasting:
            self.log.append(Said("pending", was, "pending", False))
            self.numbers.append(self.number)
            was = "pending"
        self.status, self.told, self.unanswered, self.step = was, False, [], 0
        self.flips.append(t)
        self._settle(t)

    def _settle(self, t: float) -> None:
        """Let it fire, or be suppressed, unless somebody has taken it on."""
        if self.status == "acknowledged":
            return
        if self.muted:
            if self.status != "suppressed":
                self._say("suppressed", "suppressed", True, t)
        elif not self.told:
            self.told, self.fired, self.unanswered, self.step = True, t, [], 0
            self._say("firing", "active", True, t)
        elif self.status == "suppressed":
            self._say("unsuppressed", "active", False, t)
            self.fired = t
            self._say("repeated", "active", True, t)

    def _give_back(self, t: float) -> None:
        self.expires, self.fired = None, t
        self._say("unacknowledged", "active", self.told, t)
        self._settle(t)

    def _end(self, t: float) -> None:
        self._say("resolved", "resolved", self.told, t)
        self.status, self.ended, self.flapping, self.expires = None, t, False, None

    def _say(self, kind: str, status: str | None, told: bool, t: float) -> None:
        assert status is not None
        self.log.append(Said(kind, self.status, status, told))
        self.numbers.append(self.number)
        self.status = status
        is_open = bool(self.unanswered) and self.unanswered[-1][1] == inf
        if self._waits and not is_open:
            self.unanswered.append([t, inf])
        elif not self._waits and is_open:
            self.unanswered[-1][1] = t
