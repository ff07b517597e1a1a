"""What is written below `logs/`: JSON lines, one file per concern, rotated by size."""

from __future__ import annotations

import logging
import logging.handlers
import queue
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from anyio import CancelScope, sleep, to_thread
from anyio.abc import TaskGroup

from bers import disk
from bers.bus import Bus
from bers.claims import Owners
from bers.config import Plan
from bers.config.settings import LogSettings
from bers.errors import ConfigError, Conflict
from bers.log_file import LogFile
from bers.plain import printable
from bers.records import Event
from bers.redaction import Redactor

_log = logging.getLogger(__name__)

RETRY_AFTER = 1.0
"""Seconds until events are told of again, after they could not be."""

MAIN = "monitoring"
"""The file of everything that has none of its own."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One log record as one JSON object, without what nobody may read."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _stamp(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": self._redactor.text(record.getMessage()),
        }
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        # What is no plain value becomes text before it is looked at, not behind our back.
        plain = msgspec.to_builtins(extra, enc_hook=str, str_keys=True)
        return msgspec.json.encode({**self._redactor.value(plain), **line}).decode()


def files_of(plan: Plan) -> dict[str, str]:
    """The log file of every stage, by key; an empty name means none."""
    return {key: stage.spec.log if not stage.source else "" for key, stage in plan.stages.emitting.items()}


class Logs:
    """The open log files of one node."""

    def __init__(self, settings: LogSettings, files: Mapping[str, str], redactor: Redactor | None = None) -> None:
        """``files`` has the name of the log file of every stage, by key; an empty name means none."""
        self._settings = settings
        self._files = files
        self._redactor = redactor or Redactor()
        self._handlers: dict[str, LogFile] = {}
        self._following: CancelScope | None = None

    def change(self, settings: LogSettings, files: Mapping[str, str]) -> None:
        """Write as these say from now on; the folder stays. Raise OSError where a file that is new cannot be made."""
        self._settings, self._files = settings, files
        for name in {MAIN, *files.values()} - {""}:
            if name not in self._handlers:
                self.handler(name).open()
            handler = self.handler(name)
            handler.maxBytes, handler.backupCount = settings.max_bytes, settings.keep
        logging.getLogger("bers").setLevel(settings.level.upper())

    def reopen(self) -> None:
        """Let go of the files, which somebody may have moved; each is made anew in its place."""
        for handler in self._handlers.values():
            handler.reopen()

    @property
    def fault(self) -> str:
        """Why some of the files cannot be written at present."""
        faults = {handler.fault for handler in list(self._handlers.values())} - {""}
        return "; ".join(sorted(faults))

    def handler(self, name: str) -> LogFile:
        """The handler of one file, made when first asked for."""
        if name not in self._handlers:
            path = Path(self._settings.folder) / f"{name}.log"
            handler = LogFile(path, self._settings.max_bytes, self._settings.keep)
            handler.setFormatter(JsonLines(self._redactor))
            self._handlers[name] = handler
        return self._handlers[name]

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record to the file of the stage it comes from, or to the main one."""
        stage = record.name.removeprefix("bers.stage.") if record.name.startswith("bers.stage.") else ""
        self.handler(self._files.get(stage) or MAIN).handle(record)

    def tell(self, events: Sequence[Event], owners: Owners) -> None:
        """Write one line for each event to the log of the source that owns it. Blocks: call it in a thread."""
        lines: dict[str, list[bytes]] = {}
        for event in events:
            owner = owners.of(event.type)
            if name := self._files.get(owner, MAIN):
                lines.setdefault(name, []).append(_encode(_line(self._redactor.named(event), owner)))
        for name, encoded in lines.items():
            joined = b"\n".join(encoded)
            if not self._redactor.is_clean(joined):  # Kept before its pattern was configured.
                joined = b"\n".join(map(self._redactor.encoded, encoded))
            self.handler(name).append(joined.decode() + "\n")

    async def follow(self, bus: Bus, owners: Callable[[], Owners]) -> None:
        """Read the bus as it goes on, and tell of each event; for ever, whatever happens: a log is worth no stop.

        ``owners`` says who owns the events at present.
        """
        _, at = await bus.span(0)
        while True:
            try:
                async with aclosing(bus.read(0, after=at)) as batches:
                    async for batch in batches:
                        at = batch.end
                        if batch.events:
                            await to_thread.run_sync(self.tell, batch.events, owners())
            except Conflict:
                oldest, _ = await bus.span(0)
                _log.warning("the logs lag: events from position %d to %d are not told of", at, oldest)
                at = max(at, oldest)
            except Exception as exc:
                _log.warning("events could not be written to the logs: %s", exc)
            await sleep(RETRY_AFTER)

    def follow_if(self, wanted: bool, bus: Bus, owners: Callable[[], Owners], tasks: TaskGroup) -> None:
        """Begin to :meth:`follow` in a task of its own, or end it, where that is not so already."""
        if wanted and self._following is None:
            self._following = CancelScope()
            tasks.start_soon(self._follow, self._following, bus, owners)
        elif not wanted and self._following is not None:
            self._following.cancel()
            self._following = None

    def close(self) -> None:
        for handler in self._handlers.values():
            handler.close()

    async def _follow(self, scope: CancelScope, bus: Bus, owners: Callable[[], Owners]) -> None:
        with scope:
            await self.follow(bus, owners)


class _Pass(logging.Handler):
    """Hands records on to the files, in the listener's thread."""

    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        self._logs.emit(record)


@contextmanager
def writing(settings: LogSettings, files: Mapping[str, str], redactor: Redactor | None = None) -> Generator[Logs]:
    """Send what is logged to the files, from a thread of its own, until the block is left.

    Raise ConfigError where there can be no files; where only the disk does not let us, they are made when it does.
    """
    logs = Logs(settings, files, redactor)
    try:
        for name in {MAIN, *files.values()} - {""}:
            try:
                logs.handler(name).open()  # Whoever follows a log wants it to be there before its first line.
            except OSError as exc:
                if not disk.disk_fault(exc):
                    raise
                logs.handler(name).failed(exc, 0)
    except OSError as exc:
        remedy = "let this user write there, or choose another folder"
        raise ConfigError(
            f"{settings.folder!r} cannot be written to: {exc.strerror}; {remedy}", path="log.folder"
        ) from exc
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(waiting)
    listener = logging.handlers.QueueListener(waiting, _Pass(logs))
    root = logging.getLogger("bers")
    before = root.level
    root.setLevel(settings.level.upper())
    root.addHandler(handler)
    listener.start()
    try:
        yield logs
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        listener.stop()
        logs.close()


class _Plain(logging.Formatter):
    """A line for people, without what nobody may read."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        return printable(self._redactor.text(super().format(record)), keep="\n")


def to_terminal(level: str, redactor: Redactor) -> None:
    """Say warnings and errors on stderr too, where a person started the server."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Plain(redactor))
    handler.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
    logging.getLogger("bers").addHandler(handler)


_encode = msgspec.json.Encoder(enc_hook=str).encode


def _line(event: Event, owner: str) -> dict[str, Any]:
    line: dict[str, Any] = {
        "time": _stamp(event.received or event.time),
        "level": "INFO",
        "logger": f"bers.event.{owner}",
        "message": " ".join(filter(None, (event.type, event.subject, event.outcome))),
        "type": event.type,
        "id": event.id,
        "source": event.source,
        "occurred": _stamp(event.time),
    }
    for name in (
        "subject",
        "environment",
        "outcome",
        "reason",
        "duration_ms",
        "service",
        "version",
        "measures",
        "labels",
    ):
        if value := getattr(event, name):
            line[name] = value
    return line


def _stamp(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return str(seconds)  # A clock of somebody else's, far from ours; the line is worth having all the same.
