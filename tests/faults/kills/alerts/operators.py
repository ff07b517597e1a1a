"""People who answer alerts over REST, all at the same time; what they were told has to stay true."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from random import Random
from threading import Event as Flag
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

Alert: TypeAlias = Mapping[str, Any]
Action: TypeAlias = Literal["acknowledge", "resolve"]

RANKS = {"pending": 0, "active": 1, "suppressed": 1, "acknowledged": 2, "resolved": 3}
"""An alert only goes up, unless it is reopened, of which nobody has any here."""

SAID = {"acknowledge": "acknowledgment", "resolve": "resolution"}


class Line:
    """A connection to a node. Whatever ends it raises OSError or HTTPException."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)

    def get(self, path: str) -> Any:
        status, answer = self._ask("GET", path)
        assert status == 200, f"{path}: {answer}"
        return answer["data"]

    def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        return self._ask("POST", path, msgspec.json.encode(body))

    def close(self) -> None:
        self._connection.close()

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        self._connection.request(method, f"/api/monitoring/{path}", body, {"Content-Type": "application/json"})
        reply = self._connection.getresponse()
        answer = msgspec.json.decode(reply.read())
        if reply.status == 503:
            raise ConnectionAbortedError(f"{path}: {answer['error']['message']}")
        return reply.status, answer


class Promise(NamedTuple):
    """What an operator was answered."""

    action: Action
    alert: Alert


class Silence(NamedTuple):
    """What an operator was answered about a silence; its times in seconds since 1970."""

    id: str
    rule: str
    comment: str
    begins: float
    """When the answer was there."""
    ends: float


@dataclass
class Promises:
    """What anybody was answered, and what anybody saw."""

    made: list[Promise] = field(default_factory=list[Promise])
    seen: dict[str, tuple[Alert, float]] = field(default_factory=dict[str, tuple[Alert, float]])
    """The furthest that each alert was seen to have come, and when."""
    broken: list[str] = field(default_factory=list[str])
    """What was promised, and is not so."""
    silences: list[Silence] = field(default_factory=list[Silence])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def see(self, alert: Alert, asked: float) -> None:
        """Note an alert in an answer to what was asked at some time, and whether it went back."""
        with self.lock:
            before, when = self.seen.get(alert["id"], (alert, asked))
            if RANKS[alert["status"]] >= RANKS[before["status"]]:
                self.seen[alert["id"]] = alert, time.monotonic()
            elif when < asked:  # Else somebody has changed it since this answer was made.
                self.broken.append(f"alert {alert['id']} was {before['status']}, and is {alert['status']} again")

    def check(self, alerts: Mapping[str, Alert], silences: Mapping[str, Mapping[str, Any]]) -> None:
        """Compare with what a node knows now that nobody works with: all of its alerts, and all of its silences."""
        with self.lock:
            promised, seen = list(self.made), [alert for alert, _ in self.seen.values()]
        for action, then in promised:
            now, what = alerts.get(then["id"]), SAID[action]
            if now is None or now[what] != then[what]:
                is_now = now[what] if now else "unknown"
                self.broken.append(f"alert {then['id']}: {action} was answered with {then[what]}, and is {is_now}")
        for then in seen:
            if then["status"] == "pending":
                continue  # It may have come to nothing.
            if then["id"] not in alerts:
                self.broken.append(f"alert {then['id']} was {then['status']}, and is unknown")
        for silence in self.silences:
            known = silences.get(silence.id)
            if known is None or (known["comment"], known["ends"] / 1000) != (silence.comment, silence.ends):
                self.broken.append(f"{silence} was answered, and is {known}")
            elif known["state"] != "active" and time.time() < silence.ends - 0.1:
                self.broken.append(f"{silence} is {known['state']} before its end")
        looked = time.monotonic()
        for alert in alerts.values():
            self.see(alert, looked)


class Operator:
    """Looks at what there is, silences and acknowledges some, and resolves what nothing else does."""

    def __init__(self, number: int, rng: Random, promises: Promises, silenced: Sequence[str]) -> None:
        self._silenced = silenced
        self._name = f"operator-{number}"
        self._rng = rng
        self._promises = promises
        self._count = 0
        self._unanswered: list[tuple[Action, str]] = []
        """What was asked and not answered, because the node was killed: it is asked again."""

    def run(self, line: Line, over: Flag) -> None:
        """Work until the node is gone or it is over."""
        try:
            for action, id in list(self._unanswered):
                self._do(line, action, id)
            while not over.is_set():
                asked = time.monotonic()
                alerts = line.get("alerts?status=pending,active,acknowledged,suppressed&limit=10000")
                for alert in alerts:
                    self._promises.see(alert, asked)
                if self._rng.random() < 0.04:
                    self._silence(line)
                if alerts and (chosen := self._choose(alerts)):
                    self._do(line, *chosen)
                over.wait(self._rng.uniform(0.0, 0.1))
        except (OSError, HTTPException):
            pass
        finally:
            line.close()

    def resolve_all(self, line: Line) -> None:
        """End everything that only an operator ends."""
        for action, id in list(self._unanswered):
            self._do(line, action, id)
        for alert in line.get("alerts?status=active,acknowledged,suppressed&rule=Crash&limit=10000"):
            self._do(line, "resolve", alert["id"])

    def _choose(self, alerts: list[Alert]) -> tuple[Action, str] | None:
        alert = self._rng.choice(alerts)
        if alert["status"] == "pending":
            return None
        if alert["rule"] == "Crash" and self._rng.random() < 0.5:
            return "resolve", alert["id"]
        return ("acknowledge", alert["id"]) if self._rng.random() < 0.5 else None

    def _silence(self, line: Line) -> None:
        """Silence a rule for a moment. What was not answered may be silenced too: nobody relies on that."""
        self._count += 1
        rule, comment = self._rng.choice(self._silenced), f"silence {self._count} of {self._name}"
        ask = {"matchers": [f"rule={rule}"], "comment": comment, "duration": "1s", "operator": self._name}
        status, answer = line.post("silences", ask)
        with self._promises.lock:
            if status == 200:
                told = answer["data"]
                self._promises.silences.append(Silence(told["id"], rule, comment, time.time(), told["ends"] / 1000))
            else:
                self._promises.broken.append(f"a silence was answered with {status}: {answer}")

    def _do(self, line: Line, action: Action, id: str) -> None:
        self._count += 1
        if (action, id) not in self._unanswered:
            self._unanswered.append((action, id))
        notes, asked = f"{action} {self._count} of {self._name}", time.monotonic()
        status, answer = line.post(f"alerts/{id}/{action}", {"operator": self._name, "notes": notes})
        self._unanswered.remove((action, id))
        if status == 200:
            with self._promises.lock:
                self._promises.made.append(Promise(action, answer["data"]))
            self._promises.see(answer["data"], asked)
        elif status != 409:  # It has just ended.
            with self._promises.lock:
                self._promises.broken.append(f"{action} of {id} was answered with {status}: {answer}")
