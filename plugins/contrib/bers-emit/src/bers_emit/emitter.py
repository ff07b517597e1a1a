"""The emitter: takes events, keeps them before it sends them, and never fails or holds up its caller."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import threading
import weakref

from bers_emit import context, durations, event, folder
from bers_emit.delivery import Delivery
from bers_emit.redaction import Redaction
from bers_emit.ring import Ring
from bers_emit.sender import Sender
from bers_emit.spool import Full, Spool, new_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from typing_extensions import Self

    from bers_emit.sender import Store


class Emitter:
    """Hands events to one server.

    It is inert without a URL and where the environment says ``BERS_EMIT=off``: no file, no thread, and ``emit``
    returns False. No method raises.
    """

    dropped: int
    """How many events had to go: too large, no room, too old. A report follows the next event that finds room."""
    _name: str
    _ids: map[str]
    _ring: Ring
    _spool: Spool | None
    _sender: Sender
    _opened: threading.Lock
    _told: int
    _refused: int
    _error: str

    def __init__(
        self,
        url: str | None,
        token: str | None = None,
        spool: str | None = None,
        source: str | None = None,
        budget: float | None = None,
    ) -> None:
        """``spool`` is a folder; ``budget`` the seconds that closing may cost. Both default to the environment's."""
        off = os.environ.get("BERS_EMIT", "").lower() in ("off", "0", "false", "no")
        self.url = "" if off else (url or "").rstrip("/")
        self.folder = spool or folder.default(os.environ)
        self.source = source or context.source(os.environ)
        self.budget = _budget() if budget is None else budget
        self._token = token or ""
        self._redact = Redaction(os.environ, self._token)
        self._surroundings = context.Surroundings(os.environ if self.url else {})
        self._forget()
        _emitters.add(self)

    def emit(self, type: str, /, **fields: object) -> bool:
        """Keep an event and send it soon; False says that it was not kept. Costs microseconds, and never raises.

        Fields are those of the event: subject, environment, outcome, reason, duration_ms, service, version, artifact,
        measures, labels, vcs, run, chain, time, data, id. Others are kept with the event's data. In a CI system ``vcs``
        and ``run`` are filled in, as far as they are not given.
        """
        if not self.url or not isinstance(type, str) or not type:  # pyright: ignore[reportUnnecessaryIsInstance]
            return False
        before = self.dropped
        try:
            kept = self._keep(type, fields)
        except Exception:  # Whatever is wrong with an event, the caller's work goes on.
            self._lose(1)
            return False
        if kept and before > self._told and self.dropped == before:  # Else the report would push out the next event.
            self._tell_losses()
        return kept

    async def aemit(self, type: str, /, **fields: object) -> bool:
        """The same as :meth:`emit`, for those who look for an ``await``: there is nothing to wait for."""
        return self.emit(type, **fields)

    def shown(self, type: str, fields: dict[str, object]) -> str:
        """An event as it would be sent, redacted and completed, with an id that is not counted."""
        self._surroundings.complete(fields)
        return event.encode(type, f"{self._name}-0", self.source, fields, self._redact).decode().rstrip()

    def flush(self, deadline: float | None = None) -> bool:
        """Send now, for at most ``deadline`` seconds (default: the budget); True says that all of ours is answered."""
        if not self.url:
            return False
        try:
            self._sender.flush(self.budget if deadline is None else deadline)
        except Exception:  # No thread can be started while the interpreter ends: the spool has the events.
            return False
        return all(store.empty for store in self._stores())

    def close(self) -> bool:
        """Flush within the budget; what cannot be sent stays in the spool for whoever emits next."""
        atexit.unregister(self._at_exit)
        answered = self.flush() if self._spool is not None or self._sender.started else True
        self._sender.stop()
        with self._lock:
            if self._spool is not None:
                self._spool.close()
            self._refused, self._error = self.refused, self.error
            self._begin()
        return answered

    @property
    def refused(self) -> int:
        """How many of our events the server refused for good; they lie in the folder's ``dead``."""
        return self._refused + sum(store.refused for store in self._stores())

    @property
    def error(self) -> str:
        """Why nothing can be delivered, else why the server last refused something; empty when all goes well."""
        return self._sender.error or self._sender.refusal or self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _keep(self, type: str, fields: dict[str, object]) -> bool:
        if self._spool is None:
            self._open()
        id = next(self._ids)
        self._surroundings.complete(fields)
        line = event.encode(type, id, self.source, fields, self._redact)
        try:
            if self._spool is None:
                raise OSError("the disk refused the spool")
            self._spool.append(line)
        except Full:
            self._lose(1)
            return False
        except OSError:
            self._lose(self._ring.append(line))
        with contextlib.suppress(RuntimeError):  # As above: no threads any more, and the event is kept.
            self._sender.wake()
        return True

    def _open(self) -> None:
        with self._lock:
            # Once and in one step: a signal handler may emit while we are in here, and then memory takes its event.
            if self._opened.acquire(blocking=False):
                atexit.register(self._at_exit)
                with contextlib.suppress(OSError):
                    self._spool = Spool.create(self.folder, self._name)

    def _stores(self) -> Sequence[Store]:
        spool = self._spool
        return (self._ring,) if spool is None else (spool, self._ring)

    def _lose(self, count: int) -> None:
        if count:
            with self._lock:
                self.dropped += count

    def _tell_losses(self) -> None:
        lost, self._told = self.dropped - self._told, self.dropped
        self.emit("emitter.report", measures={"dropped": lost})

    def _at_exit(self) -> None:
        with contextlib.suppress(KeyboardInterrupt):  # Somebody is in a hurry; the spool keeps the rest.
            self.close()

    def _forget(self) -> None:
        """Have nothing of what a parent process had."""
        self._lock = threading.RLock()
        self.dropped = self._told = self._refused = 0
        self._error = ""
        self._begin()

    def _begin(self) -> None:
        """A name, numbers, a spool and a thread of its own; the last two when they are needed."""
        self._opened = threading.Lock()
        self._name = new_name()
        self._ids = map(f"{self._name}-%d".__mod__, itertools.count())  # One step for any number of threads.
        self._ring = Ring(self._name)
        self._spool = None
        self._sender = Sender(Delivery(self.url, self._token), self.folder, self._stores, self._lose)

    def _after_fork(self) -> None:
        spool = self._spool
        self._forget()
        if spool is not None:
            spool.abandon()


_emitters: weakref.WeakSet[Emitter] = weakref.WeakSet()
_process: dict[tuple[str, str, str], Emitter] = {}


def process_emitter() -> Emitter | None:
    """The emitter that BERS_EMIT_URL, BERS_EMIT_TOKEN and BERS_EMIT_SPOOL describe; None without a URL."""
    environ = os.environ
    url = environ.get("BERS_EMIT_URL")
    if not url:
        return None
    key = (url, environ.get("BERS_EMIT_TOKEN", ""), environ.get("BERS_EMIT_SPOOL", ""))
    emitter = _process.get(key)
    if emitter is None:
        emitter = _process.setdefault(key, Emitter(url, key[1]))
    return emitter


def emit(type: str, /, **fields: object) -> bool:
    """Keep an event and send it soon, to the server that the environment names: :meth:`Emitter.emit`."""
    try:
        emitter = process_emitter()
        return emitter is not None and emitter.emit(type, **fields)
    except Exception:
        return False


async def aemit(type: str, /, **fields: object) -> bool:
    """The same as :func:`emit`, for those who look for an ``await``: there is nothing to wait for."""
    return emit(type, **fields)


def flush(deadline: float | None = None) -> bool:
    """Send now what this process emitted, for at most ``deadline`` seconds (default: the budget); True says that the
    server has answered all of it. It is for what ends with ``os._exit``, or is frozen between two calls."""
    try:
        emitter = process_emitter()
        return emitter is not None and emitter.flush(deadline)
    except Exception:
        return False


def _budget() -> float:
    """Seconds that the end of a process may be held up."""
    text = os.environ.get("BERS_EMIT_BUDGET", "")
    for read in (float, durations.seconds):
        with contextlib.suppress(ValueError):
            return max(0.0, read(text))
    return 3.0 if context.in_ci(os.environ) else 1.0


def _after_fork_in_child() -> None:
    for emitter in list(_emitters):
        emitter._after_fork()  # pyright: ignore[reportPrivateUsage]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
