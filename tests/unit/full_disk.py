"""Real errors of real files, without a disk of our own."""

from __future__ import annotations

import resource
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def no_file_beyond(size: int) -> Generator[None]:
    """Let no file of this process grow beyond so many bytes: the system refuses to write there, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))  # Python ignores the signal that comes with it.
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
