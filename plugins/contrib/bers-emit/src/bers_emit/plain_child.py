"""A command where there are neither signals to pass on nor a way to see what it used (Windows): its exit code alone."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def run_plainly(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[int, bool]:
    """Run a command with our own standard streams; its exit code, and whether somebody interrupted us meanwhile.

    Raise OSError or ValueError where it cannot be started.
    """
    from subprocess import Popen

    interrupted = False
    with Popen(list(argv), env=dict(environ)) as child:
        while True:
            try:
                return child.wait(), interrupted
            except KeyboardInterrupt:  # noqa: PERF203  # The console has told the command as well: it is its to end.
                interrupted = True
