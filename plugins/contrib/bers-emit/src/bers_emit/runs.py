"""Runs a command as a build, a test suite, a deployment or a task, and reports what became of it."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys

from bers_emit import redaction
from bers_emit.activities import Activity
from bers_emit.emitter import process_emitter
from bers_emit.parts import VARIABLES, Around, Parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import Any, Protocol

    from typing_extensions import Self

    from bers_emit.emitter import Emitter

    class Companion(Protocol):
        """Goes along with a command, to report what that leaves behind. What it raises changes nothing."""

        def before(self, activity: Activity, environ: dict[str, str]) -> None:
            """The command is about to start, with this environment."""

        def after(self, activity: Activity, code: int) -> None:
            """It has ended with that exit code; what is measured or set now is part of the finished event."""


def _known(*names: str) -> tuple[signal.Signals, ...]:
    """Those of these signals that this system has."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


_STOPPING = _known("SIGTERM", "SIGHUP", "SIGQUIT")
_FORWARDED = (*_STOPPING, *_known("SIGUSR1", "SIGUSR2"))
# Python ignores these for itself; a child that inherited that would never stop at a closed pipe.
_RESTORED = _known("SIGPIPE", "SIGXFSZ")
_POSIX = hasattr(os, "posix_spawnp") and hasattr(os, "wait4")


def run(
    argv: Sequence[str],
    *,
    kind: str = "task",
    name: str | None = None,
    emitter: Emitter | None = None,
    capture_args: bool = False,
    companions: Sequence[Companion] = (),
    **fields: object,
) -> int:
    """Run a command with our own standard streams; return its exit code as a shell tells it: 126, 127, 128 + signal.

    ``kind`` is build, test, deploy or task. Only the name of the executable is reported, unless ``capture_args``.
    """
    with Signals() as signals:
        return run_with(
            signals,
            argv,
            kind=kind,
            name=name,
            emitter=emitter,
            capture_args=capture_args,
            companions=companions,
            **fields,
        )


class Signals:
    """While entered: signals that ask us to stop reach the child, and we stay until it ends."""

    def __init__(self) -> None:
        self.child = 0
        self.received: list[signal.Signals] = []
        self._pending: list[int] = []
        self._before: dict[signal.Signals, Any] = {}
        self._news: tuple[int, int] | None = None
        """A pipe that has something to read when a signal has come; none outside the main thread."""
        self._woken = -1
        self._interrupts = _POSIX and not _at_terminal()
        """Whether an interrupt is ours to pass on: a terminal interrupts its whole group, so also the child."""

    def __enter__(self) -> Self:
        if not _POSIX:
            return self
        for number in (*_FORWARDED, signal.SIGINT):
            if signal.getsignal(number) != signal.SIG_IGN:  # Ignored by who started us (nohup): then for the child too.
                try:
                    self._before[number] = signal.signal(number, self._receive)
                except ValueError:  # Not the main thread: signals are its matter.
                    return self
        # Where it was ignored, the system would forget the child's exit code.
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _notice)
        self._news = os.pipe()
        for end in self._news:
            os.set_blocking(end, False)
        self._woken = signal.set_wakeup_fd(self._news[1], warn_on_full_buffer=False)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._news:
            signal.set_wakeup_fd(self._woken)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        for end in self._news or ():
            os.close(end)
        self._news = None

    def wait(self, child: int) -> tuple[int, Any]:
        """Wait for the child; its status and what it used.

        A signal that comes just before a call that blocks does not end that call, and its handler would run only when
        the child is done. So we block where a signal always leaves something to read.
        """
        if self._news is None:
            return os.wait4(child, 0)[1:]
        while True:
            ended, status, usage = os.wait4(child, os.WNOHANG)
            if ended:
                return status, usage
            select.select(self._news[:1], (), ())
            with contextlib.suppress(BlockingIOError):
                os.read(self._news[0], 512)

    def attach(self, child: int) -> None:
        """From now on signals go to this process, first those that came before it."""
        self.child = child
        for number in self._pending:
            self._send(number)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received.append(signal.Signals(number))
        if number != signal.SIGINT or self._interrupts:
            if self.child:
                self._send(number)
            else:
                self._pending.append(number)

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # It has just ended.
            os.kill(self.child, number)


def run_with(
    signals: Signals,
    argv: Sequence[str],
    *,
    kind: str = "task",
    name: str | None = None,
    emitter: Emitter | None = None,
    capture_args: bool = False,
    companions: Sequence[Companion] = (),
    **fields: object,
) -> int:
    """Like :func:`run`, for a caller who holds the signals longer than the child lives."""
    command = os.path.basename(argv[0])
    data: dict[str, object] = {"command": command}
    if capture_args:
        data["args"] = redaction.arguments(argv[1:])
    sending = emitter or process_emitter()
    around = Around.of(kind, sending.url if sending else "", os.environ)
    if around and around.name and name not in (None, around.name):  # Who names a run of his own wants one.
        around = None
    activity = Activity(kind, name or command, {"data": data, **fields}, emitter, around)
    activity.start()
    environ = activity.environ()
    # One without a name knows us by ours, and so we have to know what is inside.
    parts = None if around and around.name else _parts(activity, sending, environ)
    for companion in companions:
        with contextlib.suppress(Exception):
            companion.before(activity, environ)
    activity.set_off()
    try:
        ended = _run_to_its_end(signals, argv, environ)
    except (OSError, ValueError) as exc:
        code, fault = _not_started(exc)
        print(f"bers-emit: {argv[0]!r}: {fault}", file=sys.stderr)
        if parts:
            parts.take()
        activity.measure("exit_code", code)
        activity.finish("failure", fault)
        return code
    activity.stop()
    code, killed, usage = ended
    activity.measure("exit_code", code)
    if usage:
        activity.measure("cpu_user_ms", usage.ru_utime * 1000)
        activity.measure("cpu_system_ms", usage.ru_stime * 1000)
        activity.measure("max_rss_bytes", usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
    for companion in companions:
        with contextlib.suppress(Exception):
            companion.after(activity, code)
    outcome, reason = _outcome(code, killed, signals.received)
    if parts:
        with contextlib.suppress(Exception):  # Whatever they have written, the command has ended as it has.
            wrong = [said for said in activity.take(parts.take()) if said != reason]
            if outcome == "failure" and wrong:
                reason = f"{reason}: {'; '.join(wrong)}"
    activity.finish(outcome, reason)
    return code


def _parts(activity: Activity, emitter: Emitter | None, environ: dict[str, str]) -> Parts | None:
    """Where those that report inside of the command tell what they found; None where they send it themselves."""
    variable = VARIABLES.get(activity.kind)
    if variable is None or emitter is None or not emitter.url:
        return None
    environ.pop(variable, None)  # That of a run around us, which has another name.
    head = {"subject": activity.subject, "name": activity.name, "chain": activity.chain, "url": emitter.url}
    try:
        parts = Parts(emitter.folder, head)
    except OSError:
        return None
    environ[variable] = parts.path
    return parts


def _run_to_its_end(signals: Signals, argv: Sequence[str], environ: dict[str, str]) -> tuple[int, int, Any]:
    """The exit code of the command, the signal that killed it or 0, and what it used, where the system says that."""
    if not _POSIX:
        from bers_emit.plain_child import run_plainly

        code, interrupted = run_plainly(argv, environ)
        if interrupted:
            signals.received.append(signal.SIGINT)
        return code, 0, None
    child = _spawn(argv, environ)
    signals.attach(child)
    status, usage = signals.wait(child)
    signals.child = 0
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status), os.WTERMSIG(status), usage
    return os.WEXITSTATUS(status), 0, usage


def _spawn(argv: Sequence[str], environ: dict[str, str]) -> int:
    """Start the command as a shell would; its process id."""
    try:
        # With posix_spawn the child cannot see a half-prepared state, and subprocess costs 10 ms of import.
        return os.posix_spawnp(argv[0], list(argv), environ, setsigdef=_RESTORED)
    except OSError as exc:
        if exc.errno != errno.ENOEXEC or not _is_text(argv[0]):
            raise
    # A script without a first line that names its interpreter: shells run it themselves.
    return os.posix_spawn("/bin/sh", ["sh", *argv], environ, setsigdef=_RESTORED)


def _is_text(path: str) -> bool:
    """Whether it may be a script: like shells, we look for a zero byte in the first line or so."""
    try:
        with open(path, "rb") as file:
            return b"\0" not in file.read(128)
    except OSError:  # It was found on the PATH, not here: nothing that we would know how to run.
        return False


def _at_terminal() -> bool:
    """Whether we are in the foreground of a terminal."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _notice(number: int, frame: FrameType | None) -> None:
    """A signal without a handler wakes nobody."""


def _not_started(exc: OSError | ValueError) -> tuple[int, str]:
    if isinstance(exc, OSError) and exc.errno in (errno.ENOENT, errno.ENOTDIR):
        return 127, "command not found"
    return 126, (exc.strerror if isinstance(exc, OSError) else None) or str(exc)


def _outcome(code: int, killed: int, received: Sequence[signal.Signals]) -> tuple[str, str | None]:
    stopped = [number for number in received if number in _STOPPING]
    if signal.SIGINT in received and code:  # A program that lives on after Ctrl-C used it for something else.
        stopped.append(signal.SIGINT)
    if stopped:
        return "cancel", f"stopped by {stopped[0].name}"
    if killed:
        return "failure", f"killed by {_name(killed)}"
    return ("failure", f"exit code {code}") if code else ("success", None)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # A real-time signal has none.
        return f"signal {number}"
