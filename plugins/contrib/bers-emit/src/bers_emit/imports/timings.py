"""How long a package manager took in a command: told to write it down, in a place of its own."""

from __future__ import annotations

import atexit
import contextlib
import os
import tempfile
from abc import ABC, abstractmethod
from shutil import rmtree

from bers_emit.imports import events, npm, pip
from bers_emit.imports.documents import Document, Unreadable
from bers_emit.imports.leavings import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bers_emit.activities import Activity
    from bers_emit.imports.dependencies import Dependencies


class Timing(ABC):
    """Tells a tool by its environment to write to a folder, and reads what it wrote there."""

    option = ""

    def __init__(self, asked: bool) -> None:
        self._folder = ""

    def before(self, activity: Activity, environ: dict[str, str]) -> None:
        if activity.heard:
            self._folder = tempfile.mkdtemp(prefix="bers-")
            atexit.register(_remove_if_empty, self._folder)  # Where the command could not even start.
            self.prepare(self._folder, environ)

    def after(self, activity: Activity, code: int) -> None:
        if not self._folder:
            return
        try:
            found = self.read(self._folder)
            if found is None or not found.measures():
                say(self.option, "nothing was installed")
            else:
                type, fields = events.dependencies(found)
                activity.emit(type, subject=activity.subject, **fields)
        except Unreadable as exc:
            say(self.option, str(exc))
        if code == 0:  # Else the tool has told its user where its log is.
            rmtree(self._folder, ignore_errors=True)

    @abstractmethod
    def prepare(self, folder: str, environ: dict[str, str]) -> None:
        """Let the tool write to the folder, by what it is told in its environment."""

    @abstractmethod
    def read(self, folder: str) -> Dependencies | None:
        """What the tool wrote there; nothing where it did not run."""


class NpmTiming(Timing):
    """``--npm-timing``: of each npm that the command runs, one inside the other included."""

    option = "--npm-timing"

    def prepare(self, folder: str, environ: dict[str, str]) -> None:
        environ.update(npm_config_timing="true", npm_config_logs_dir=folder)

    def read(self, folder: str) -> Dependencies | None:
        whole = None
        for name in sorted(os.listdir(folder)):
            if name.endswith("-timing.json"):
                found = npm.read(Document(os.path.join(folder, name)))
                if whole is None:
                    whole = found
                else:
                    whole.merge(found)
        return whole


class PipTiming(Timing):
    """``--pip-timing``: of the one pip that the command runs."""

    option = "--pip-timing"

    def prepare(self, folder: str, environ: dict[str, str]) -> None:
        environ["PIP_LOG"] = os.path.join(folder, "pip.log")

    def read(self, folder: str) -> Dependencies | None:
        path = os.path.join(folder, "pip.log")
        return pip.read(Document(path)) if os.path.exists(path) else None


def _remove_if_empty(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(folder)
