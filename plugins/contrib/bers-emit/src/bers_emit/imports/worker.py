"""``python -m bers_emit.imports.worker KIND``: what one document on the standard input stands for, as JSON.

It is a process of its own, for who must not wait and cannot trust: whatever the document makes of it, it ends soon,
with little memory, and takes nobody with it. It knows no more options than ``bers-emit import`` does.
"""

from __future__ import annotations

import sys

from bers_emit.commands.imports import import_command

MEMORY = 256 << 20
"""Bytes of address space: more than what may be read can need, and less than a machine has."""

SECONDS = 10
"""Seconds of computing."""


def main(argv: list[str]) -> int:
    try:
        import resource
    except ImportError:  # Not on Windows.
        pass
    else:
        for limit, value in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_CORE, 0)):
            _, most = resource.getrlimit(limit)
            resource.setrlimit(limit, (value if most == resource.RLIM_INFINITY else min(value, most), most))
    try:
        return import_command([argv[0], "-", *argv[1:], "--dry-run", "--strict"])
    except MemoryError:
        print("bers-emit import: -: takes more memory than there is for it", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
