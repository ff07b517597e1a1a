"""The order of the tests: what takes longest comes first, so that nobody waits for it alone at the end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Protocol, TypeVar

LONG = (
    "tests/faults/test_kill_alerts.py",
    "tests/faults/test_emitter_kills.py",
    "tests/fuzz/test_openapi.py",
    "tests/faults/test_power.py",
    "tests/faults/test_kill.py",
    "tests/faults/test_kill_poisoned.py",
    "tests/faults/test_health_kills.py",
    "tests/faults/test_backup.py",
    "tests/faults/test_disk.py",
    "tests/faults/test_law.py",
    "tests/faults/test_overload.py",
    "tests/faults/test_reload.py",
    "tests/faults/test_clocks_alerts_real.py",
)
"""Files whose tests take ten seconds and more each, by how long; each is dealt out by itself."""

LONG_TOGETHER = (
    "tests/browser/",
    "tests/faults/test_damage.py",
    "tests/acceptance/test_rules_in_real_time.py",
    "tests/docs/test_tutorial.py",
    "plugins/contrib/bers-emit/tests/test_pytest_counts.py",
)
"""Files and folders that take as long as a whole; the tests of a file share a server, or what is dear to make."""


class Named(Protocol):
    """A test, as far as its place goes."""

    @property
    def nodeid(self) -> str: ...


Test = TypeVar("Test", bound=Named)


def dealt(items: Sequence[Test], workers: int) -> list[Test]:
    """What takes long is dealt out to all workers, of which each begins with an equal share of the list."""
    long = sorted((item for item in items if _place(item) is not None), key=lambda item: (_place(item), _file(item)))
    hands: list[list[Test]] = [[] for _ in range(workers)]
    together = groupby(long, key=lambda item: item.nodeid if _file(item) in LONG else _file(item))
    for number, (_, tests) in enumerate(together):
        hands[number % workers] += tests
    rest = [item for item in items if _place(item) is None]
    order: list[Test] = []
    for number, hand in enumerate(hands):
        # As pytest-xdist shares out: as many as are left, by as many workers as are left.
        share = (len(items) - len(order)) // (workers - number)
        room = max(0, share - len(hand))
        order += [*hand, *rest[:room]]
        rest = rest[room:]
    return order


def _place(item: Named) -> int | None:
    return next((place for place, name in enumerate((*LONG, *LONG_TOGETHER)) if item.nodeid.startswith(name)), None)


def _file(item: Named) -> str:
    return item.nodeid.partition("::")[0]
