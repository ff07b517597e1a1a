"""What a command leaves behind, as part of what is told of it; only what it wrote itself."""

from __future__ import annotations

import contextlib
import glob
import os
import sys
from abc import ABC, abstractmethod

from bers_emit.imports import events
from bers_emit.imports.documents import Document, Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bers_emit.activities import Activity
    from bers_emit.imports.inside import SuiteInside

    Stamp = tuple[int, int, int]


class Leavings(ABC):
    """The files of some patterns that a command has written: those that were not there before, or not as they are."""

    option = ""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = patterns
        self._before: dict[str, Stamp] = {}

    def before(self, activity: Activity, environ: dict[str, str]) -> None:
        if activity.heard:
            self._before = dict(_stamps(self._fitting()))

    def after(self, activity: Activity, code: int) -> None:
        if not activity.heard:
            return
        now = dict(_stamps(self._fitting()))
        written = [path for path, stamp in now.items() if self._before.get(path) != stamp]
        if not written:
            say(self.option, f"the command wrote no file that fits {' '.join(self._patterns)}")
            return
        if len(written) > events.MAX_FILES:
            say(self.option, f"{len(written)} files are too many; at most {events.MAX_FILES}")
            return
        try:
            self.report(activity, written, len(now) - len(written))
        except Unreadable as exc:
            say(self.option, str(exc))
        except Exception as exc:  # Whatever is in a file, the command has ended as it has.
            say(self.option, f"{type(exc).__name__}: {exc}")

    @abstractmethod
    def report(self, activity: Activity, written: list[str], others: int) -> None:
        """Tell of these files; ``others`` fit as well, and were there before."""

    def _fitting(self) -> Iterable[str]:
        return (path for pattern in self._patterns for path in events.files(pattern))


class Tests(Leavings):
    """``--junit``: what the end of a test run tells; of another command, a test run that came of it.

    Of that, what reports inside of the command is a part, as it is of a test run: the tests are the same.
    """

    option = "--junit"

    def __init__(self, patterns: Sequence[str]) -> None:
        super().__init__(patterns)
        self._inside: SuiteInside | None = None

    def before(self, activity: Activity, environ: dict[str, str]) -> None:
        super().before(activity, environ)
        if activity.heard and activity.kind != "test":
            from bers_emit.imports.inside import SuiteInside

            self._inside = SuiteInside(activity, environ)

    def after(self, activity: Activity, code: int) -> None:
        super().after(activity, code)
        if self._inside:
            self._inside.tell()

    def report(self, activity: Activity, written: list[str], others: int) -> None:
        from bers_emit.imports import junit
        from bers_emit.imports.suites import Suite

        suite = Suite()
        suite.merge(junit.read(Document(path)) for path in written)
        if self._inside:
            self._inside.found = suite
        else:
            _add(activity, suite.measures())
            activity.note(**suite.data())


class Covered(Leavings):
    """``--coverage``: the same, of coverage."""

    option = "--coverage"

    def report(self, activity: Activity, written: list[str], others: int) -> None:
        from bers_emit.imports import coverage
        from bers_emit.imports.counted import Coverage

        found = Coverage()
        for path in written:
            found.merge(coverage.read(Document(path)))
        if activity.kind == "test":
            _add(activity, found.measures())
            activity.note(covered=found.data())
            return
        type, fields = events.coverage(found)
        activity.emit(type, subject=activity.subject, **fields)


class Bundles(Leavings):
    """``--bundle``: the files that a build delivers."""

    option = "--bundle"

    def report(self, activity: Activity, written: list[str], others: int) -> None:
        from bers_emit.imports.assets import Asset, Bundle
        from bers_emit.imports.pages import mark

        folder = os.path.commonpath([_folder(pattern) for pattern in self._patterns])
        bundle = Bundle()
        for path in written:
            bundle.add(Asset(os.path.relpath(path, folder).replace(os.sep, "/"), os.path.getsize(path)))
        if not bundle.assets:
            say(self.option, "the command wrote nothing but source maps")
            return
        mark(bundle, folder)
        trouble = bundle.compress(folder)
        if others:
            trouble = f"{others} more files fit and were there before; they are not counted: empty the folder first"
        if trouble:
            say(self.option, trouble)
        if activity.kind == "build":
            _add(activity, bundle.measures())
            activity.note(**bundle.data())
            return
        type, fields = events.bundle(bundle)
        activity.emit(type, subject=activity.subject, **fields)


def say(option: str, text: str) -> None:
    print(f"bers-emit: {option}: {text}", file=sys.stderr)


def _add(activity: Activity, measures: dict[str, float]) -> None:
    for name, value in measures.items():
        activity.measure(name, value)


def _stamps(paths: Iterable[str]) -> Iterable[tuple[str, Stamp]]:
    """What changes when a file is written, or another is put in its place."""
    for path in paths:
        with contextlib.suppress(OSError):
            found = os.stat(path)
            yield path, (found.st_mtime_ns, found.st_size, found.st_ino)


def _folder(pattern: str) -> str:
    """Where a pattern begins: what is found below it has the same name in every build, whatever else is there."""
    folder = pattern
    while glob.has_magic(folder):
        folder = os.path.dirname(folder)
    return os.path.abspath(folder if folder != pattern else os.path.dirname(pattern))
