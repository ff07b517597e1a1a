"""The reporter: what the hooks of pytest tell becomes a suite that starts, goes on and ends."""

from __future__ import annotations

import functools
import os
import threading
from collections import deque

import pytest

from bers_emit.activities import Activity
from bers_emit.emitter import Emitter
from bers_emit.parts import Around
from bers_emit.pytest_plugin.coverage_totals import covered
from bers_emit.pytest_plugin.last_words import LastWords
from bers_emit.pytest_plugin.tally import BAD, PHASES, Tally
from bers_emit.pytest_plugin.testament import RUNNING, Testament
from bers_emit.redaction import Redaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Callable, TypeVar, Union

    Report = Union[pytest.TestReport, pytest.CollectReport]
    Hook = TypeVar("Hook", bound=Callable[..., None])

PROGRESS_EVERY = 1.0
_LONGEST_REASON = 1000
_OUTCOMES = {
    "passed": "success",
    "xpassed": "success",
    "failed": "failure",
    "errored": "error",
    "skipped": "skip",
    "xfailed": "skip",
}
_WANTED = {"all": frozenset(_OUTCOMES), "failed": frozenset(BAD), "none": frozenset[str]()}


def guarded(hook: Hook) -> Hook:
    """Let no error of ours into the session. After the first one the reporter is silent, and says so at the end."""

    @functools.wraps(hook)
    def call(reporter: Reporter, *args: Any, **named: Any) -> None:
        if reporter.fault is None:
            try:
                hook(reporter, *args, **named)
            except Exception as exc:
                reporter.fault = exc

    return call  # type: ignore[return-value]  # pyright: ignore[reportReturnType]  # The same, but for errors.


class Reporter:
    """Reports one session. None of its hooks raises, waits for the network, or returns anything to pytest."""

    def __init__(self, config: pytest.Config, url: str, suite: str, cases: str) -> None:
        self.fault: BaseException | None = None
        self._config = config
        self._url = url
        self._suite = suite
        self._wanted = _WANTED[cases]
        self._reports: deque[Report] = deque()
        """What is not counted yet. To count is a thread's at a time."""
        self._counting = threading.Lock()
        self._tally = Tally(apart=getattr(config.option, "dist", "no") == "each")
        self._running: dict[str, None] = {}
        self._stopped = self._broken = ""
        self._selected: int | None = None
        self._session: pytest.Session | None = None
        self._emitter: Emitter | None = None
        self._run: Activity | None = None
        self._pid = os.getpid()
        self._redact = Redaction(os.environ)
        self._words: LastWords | None = None
        self._testament: Testament | None = None
        self._told: tuple[object, ...] = ()
        self._over = threading.Event()

    @pytest.hookimpl(tryfirst=True)
    @guarded
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        emitter = Emitter(self._url, os.environ.get("BERS_EMIT_TOKEN"))
        if not emitter.url:  # Switched off.
            return
        self._session = session
        self._emitter = emitter
        around = Around.of("test", emitter.url, os.environ)
        runner = {"runner": f"pytest {pytest.__version__}"}
        self._run = Activity("test", self._suite, {"data": runner}, emitter, around)
        self._suite = self._run.name
        self._run.start()
        try:
            self._words = LastWords(emitter.folder)
            self._testament = Testament(self._words, self._run, self._suite, emitter.source, self._redact)
            if around:
                around.keep(self._words.path)
        except OSError:  # Then a death of this process is known by its silence alone.
            self._words = self._testament = None
        threading.Thread(target=self._go_on, name="bers-emit-pytest", daemon=True).start()

    @guarded
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._selected = len(session.items)
        if self._testament:
            self._testament.expect(item.nodeid for item in session.items)

    @guarded
    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self._tally.deselected += len(items)

    @guarded
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.outcome != "passed":
            self._reports.append(report)
            self._count()

    # The next three run for each test: as short as can be, and their own guards.

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self.fault is None:
            try:
                self._running[nodeid] = None
                if self._testament:
                    self._testament.running(nodeid, self._running)
            except Exception as exc:
                self.fault = exc

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._running.pop(nodeid, None)  # Names are hashable: this cannot fail.

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self.fault is None:
            self._reports.append(report)
            if report.outcome != "passed" or "passed" in self._wanted:
                self._count()

    @guarded
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        if not isinstance(excinfo.value, pytest.Session.Interrupted):  # That is pytest's own word for much else.
            self._stopped = str(excinfo.value) or excinfo.typename

    @guarded
    def pytest_internalerror(self, excrepr: object, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self._broken = f"{excinfo.typename}: {excinfo.value}"

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        try:
            self._count()
            if self.fault is not None:
                line = f"reported in part, because of {type(self.fault).__name__}: {self.fault}"
            elif self._run is not None:
                line = f"reported to {self._redact(self._url)} as {self._run.subject}"
            else:
                return
            terminalreporter.write_line(f"bers: {line}"[:_LONGEST_REASON].replace("\n", " "))
        except Exception as exc:
            self.fault = exc

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config: pytest.Config) -> None:
        """End the report here, where the exit status is as it will be: others may still have changed it."""
        self._over.set()
        for part in (self._finish, self._take_back, self._close):
            self._attempt(part)

    def _attempt(self, part: Callable[[], None]) -> None:
        """Do what must not keep the rest from being done, unless this is a child that the session has forked."""
        try:
            if self._run is not None and os.getpid() == self._pid:
                part()
        except (Exception, KeyboardInterrupt) as exc:  # Somebody is in a hurry; the spool keeps the rest.
            self.fault = self.fault or exc

    def _finish(self) -> None:
        assert self._run is not None
        self._count()
        self._tally.finish()
        assert self._session is not None
        outcome, reason = self._outcome(int(self._session.exitstatus))
        measures: dict[str, float] = {}
        if self.fault is None:  # What is counted in part is not counted.
            measures.update(self._tally.measures(reruns=bool(getattr(self._config.option, "reruns", 0))))
            self._run.note(**self._tally.named)
        try:
            found = covered(self._config)
            measures.update(found.measures())
            if found.kinds:
                self._run.note(covered=found.data())
        except Exception as exc:  # The tests are told without it.
            self.fault = self.fault or exc
        for name, value in measures.items():
            self._run.measure(name, value)
        if self.fault is not None:
            self._run.set(data={"fault": f"{type(self.fault).__name__}: {self.fault}"})
        self._run.finish(outcome, reason)

    def _take_back(self) -> None:
        if self._words:
            self._words.take_back()

    def _close(self) -> None:
        if self._emitter:
            self._emitter.close()

    def _outcome(self, status: int) -> tuple[str, str | None]:
        """What an exit status of pytest means: `failure` is of the tests, `error` of what should have run them."""
        if status == pytest.ExitCode.OK:
            return "success", None
        bad = self._tally.bad
        failed = f"{bad} of {self._tally.total} tests did not pass" if bad else f"exit status {status}"
        if self._stopped:
            return "cancel", self._stopped
        if status == pytest.ExitCode.INTERRUPTED:  # By errors of collection, by --stepwise, or by a plugin.
            return ("failure", failed) if bad else ("cancel", "interrupted")
        if status == pytest.ExitCode.INTERNAL_ERROR:
            return "error", self._broken or "internal error of pytest"
        if status == pytest.ExitCode.USAGE_ERROR:
            return "error", "pytest was used wrongly"
        if status == pytest.ExitCode.NO_TESTS_COLLECTED:
            return "error", "no tests ran"
        return "failure", failed

    def _count(self) -> None:
        """Count what has come. Between two tests that takes several times as long as for many tests at once, so it is
        done each second, and at once where something is to be told."""
        if os.getpid() != self._pid:  # A child that was forked while another thread counted would wait for ever.
            return
        try:
            with self._counting:
                while self._reports and self.fault is None:
                    self._take(self._reports.popleft())
        except Exception as exc:
            self.fault = exc

    def _take(self, report: Report) -> None:
        status: str | None
        said: Report = report
        if isinstance(report, pytest.CollectReport):
            status = self._tally.collect(report)
        else:
            status, said = self._tally.add(report) or (None, report)
            if report.when not in PHASES:  # A worker died in it, and says no more.
                self._running.pop(report.nodeid, None)
        if status and status in self._wanted:
            self._tell(status, said)

    def _tell(self, status: str, report: Report) -> None:
        """Report one test by itself."""
        if self._run is None or self._emitter is None or os.getpid() != self._pid:
            return
        self._emitter.emit(
            "testcaserun.finished",
            subject=f"{self._run.subject}/{report.nodeid}",
            chain=self._run.chain,
            outcome=_OUTCOMES[status],
            reason=_why(report),
            duration_ms=getattr(report, "duration", 0.0) * 1000 or None,
            labels={"suite": self._suite},
            data={"test": report.nodeid, "run": self._run.subject, "status": status, "phase": report.when},
        )

    def _go_on(self) -> None:
        """Tell every second how far the session is, if that is news."""
        try:
            while not self._over.wait(PROGRESS_EVERY) and self.fault is None:
                self._tell_progress()
        except Exception as exc:
            self.fault = exc

    def _tell_progress(self) -> None:
        self._count()
        counts, running = dict(self._tally.counts), list(self._running)
        state = (tuple(counts.values()), running)
        if state == self._told or self._run is None or self._emitter is None:
            return
        self._told = state
        done = {f"progress.{status}": number for status, number in counts.items() if number}
        if self._selected:
            done["progress.selected"] = self._selected
        self._emitter.emit(
            "testsuiterun.progress",
            subject=self._run.subject,
            chain=self._run.chain,
            labels={"suite": self._suite},
            measures=done,
            data={"running": running[:RUNNING]},
        )


def _why(report: Report) -> str | None:
    """The message of what went wrong, without the traceback."""
    if report.outcome == "passed":
        return None
    found: Any = report.longrepr
    if isinstance(found, tuple):  # A skip: file, line, reason.
        return str(found[-1])[:_LONGEST_REASON]  # pyright: ignore[reportUnknownArgumentType]
    crash = getattr(found, "reprcrash", None)
    text = str(found) if crash is None else str(crash.message)
    return text[:_LONGEST_REASON] or None
