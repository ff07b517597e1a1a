"""The sender: one thread that hands over what its process spooled, then what dead processes left."""

from __future__ import annotations

import json
import os
import threading
from time import monotonic

from bers_emit import dead_letters
from bers_emit import folder as spools
from bers_emit.delivery import Later, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Callable, Protocol

    from bers_emit.delivery import Delivery

    class Store(Protocol):
        """Where events wait, oldest first."""

        name: str
        refused: int

        @property
        def empty(self) -> bool: ...
        @property
        def crowded(self) -> bool: ...

        def batch(self) -> list[bytes]: ...
        def done(self) -> None: ...


_LINGER = 0.05  # Events that come together travel together.
_ADOPT_EVERY = 5.0
_PARTING = 0.1
_FIRST_RETRY, _LAST_RETRY = 0.5, 60.0


class Sender:
    """Sends in the background; tries again later, and ever later, while the server does not answer."""

    def __init__(
        self, delivery: Delivery, folder: str, stores: Callable[[], Sequence[Store]], lost: Callable[[int], None]
    ) -> None:
        """``stores`` names what the process itself has to send; ``lost`` hears of events that had to go."""
        self.error = self.refusal = ""
        self._delivery = delivery
        self._folder = folder
        self._stores = stores
        self._lost = lost
        self._changed = threading.Condition()
        self._once = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._news = False
        self._asked = self._answered = 0
        self._failures = 0
        self._held = False
        self._unreachable = False
        self._next = 0.0
        self._adopted = -_ADOPT_EVERY

    def wake(self) -> None:
        """There is something to send."""
        if not self._news:
            with self._changed:
                self._news = True
                self._start()
                self._changed.notify_all()

    def flush(self, seconds: float) -> None:
        """Try now; return when all is answered, when no more can be done now, or when the seconds are over."""
        end = monotonic() + seconds
        with self._changed:
            self._asked += 1
            mine = self._asked
            self._start()
            self._changed.notify_all()
            while not self._stopped and not self._finished(mine, end):
                left = end - monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)

    def stop(self) -> None:
        """Send no more. A request on its way is not waited for: its events keep their ids."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._delivery.abort()
        if self._thread is not None:
            self._thread.join(_PARTING)

    def _start(self) -> None:
        if self._once.acquire(blocking=False):  # In one step: a signal handler may emit in between any two.
            thread = threading.Thread(target=self._run, name="bers-emit", daemon=True)
            try:
                thread.start()
            except BaseException:
                self._once.release()
                raise
            self._thread = thread

    @property
    def started(self) -> bool:
        return self._thread is not None

    def _finished(self, mine: int, end: float) -> bool:
        if self._held and self._next > end:
            return True
        answered = self._answered >= mine
        return answered and (not self._failures or self._unreachable or self._next > end)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopped and not self._due():
                    self._changed.wait(self._patience())
                self._changed.wait_for(self._urgent, _LINGER)
                if self._stopped:
                    return
                asked, self._news = self._asked, False
            self._try()
            with self._changed:
                self._answered = asked
                self._changed.notify_all()

    def _urgent(self) -> bool:
        return self._stopped or self._asked > self._answered

    def _due(self) -> bool:
        if self._asked > self._answered and not self._held:
            return True
        waiting = self._news or self._failures or self._asked > self._answered
        return bool(waiting) and monotonic() >= self._next

    def _patience(self) -> float | None:
        idle = not (self._news or self._failures or self._asked > self._answered)
        return None if idle else max(0.0, self._next - monotonic())

    def _try(self) -> None:
        try:
            self._send_all()
        except Later as exc:
            self._failed(exc, exc.after)
            self._held, self._unreachable = exc.after is not None, False
        except Exception as exc:  # Nobody answers, or the disk fails: both may pass.
            self._failed(exc, None)
            self._held, self._unreachable = False, True
        else:
            self._failures, self._held, self._unreachable, self._next, self.error = 0, False, False, 0.0, ""
        finally:
            self._delivery.close()

    def _failed(self, exc: Exception, after: float | None) -> None:
        self.error = str(exc) if isinstance(exc, (Later, Unreachable)) else f"{type(exc).__name__}: {exc}"
        self._failures += 1
        if after is None:
            after = min(_FIRST_RETRY * 2.0 ** min(self._failures - 1, 10), _LAST_RETRY)
            after *= 0.8 + 0.4 * os.urandom(1)[0] / 255  # Those who failed together do not come back together.
        self._next = monotonic() + after

    def _send_all(self) -> None:
        self._send_own()
        if self._asked > self._answered or monotonic() - self._adopted >= _ADOPT_EVERY:
            self._adopted = monotonic()
            lost = spools.prune(self._folder)
            if lost:
                self._lost(lost)
            for orphan in spools.orphans(self._folder):
                try:
                    self._drain(orphan, check=True)
                finally:
                    orphan.close()
                self._send_own()

    def _send_own(self) -> None:
        for store in self._stores():
            self._drain(store)

    def _drain(self, store: Store, *, check: bool = False) -> None:
        while not self._stopped:
            lines = store.batch()
            if not lines:
                return
            bad = [(line, "not a JSON object") for line in lines if not _is_object(line)] if check else []
            spoilt = {line for line, _ in bad}
            good = [line for line in lines if line not in spoilt]
            refused = [(good[index], reason) for index, reason in self._delivery.post(good)] if good else []
            self._bury(store, refused + bad)
            store.done()
            if not store.empty and not store.crowded:
                with self._changed:  # Whoever emits all the time would wait for the interpreter, batch after batch.
                    self._changed.wait_for(self._urgent, _LINGER)

    def _bury(self, store: Store, refused: list[tuple[bytes, str]]) -> None:
        if refused:
            store.refused += len(refused)
            self.refusal = refused[0][1]
            try:
                dead_letters.bury(self._folder, store.name, refused)
            except OSError:
                self._lost(len(refused))


def _is_object(line: bytes) -> bool:
    """Whether the line is sound: a file that a crash of the machine has cut must not spoil a batch."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
