"""Last words: an event that is sent only if this process dies before it takes it back.

It lies in a spool file of its own. Nobody sends from the file of a process that lives; of one that has died, whoever
emits next sends what is there, as it does with all that dead processes leave.
"""

from __future__ import annotations

import os
import weakref

from bers_emit.spool import CAREFULLY, Spool, new_name

_BYTES = 4096
"""Words of any length take this: what ends a line comes last, and blanks before it."""


class LastWords:
    """A place on the disk for one event. Raises OSError where the disk refuses."""

    def __init__(self, folder: str) -> None:
        self.name = new_name()
        self._spool = Spool.create(folder, self.name)
        self.path = self._spool.path
        self._fd = os.open(self._spool.path, os.O_WRONLY | CAREFULLY)
        self._start = os.fstat(self._fd).st_size
        self._room = self._said = 0
        _all.add(self)

    def begin(self, head: bytes, rest: bytes) -> None:
        """Say the first words: ``head``, which stays, and ``rest``, which later words replace."""
        self._room = _BYTES - 1 - len(head)
        if self._fd >= 0 and len(rest) <= self._room:
            os.pwrite(self._fd, (head + rest).ljust(_BYTES - 1) + b"\n", self._start)
            self._start += len(head)
            self._said = len(rest)

    def say(self, rest: bytes) -> None:
        """Replace the rest of what was said, in one write; words that are too long are not taken."""
        length = len(rest)
        if self._said and length <= self._room and self._fd >= 0:
            os.pwrite(self._fd, rest if length >= self._said else rest.ljust(self._said), self._start)
            self._said = length

    def take_back(self) -> None:
        """All is well: there is nothing to send."""
        if self._fd >= 0:
            self._spool.remove()
            self._let_go()

    def after_fork(self) -> None:
        """In a child: the file is the parent's, and so is its lock, which would outlive the parent in our hands."""
        if self._fd >= 0:
            self._spool.abandon()
            self._let_go()

    def _let_go(self) -> None:
        os.close(self._fd)
        self._fd = -1


_all: weakref.WeakSet[LastWords] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for words in list(_all):
        words.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
