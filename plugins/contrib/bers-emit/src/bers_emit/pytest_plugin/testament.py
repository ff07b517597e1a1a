"""The testament: what is told of a session whose process dies, with the tests that it was at."""

from __future__ import annotations

import json
import time

from bers_emit import event
from bers_emit.pytest_plugin.tally import LONGEST_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Callable

    from bers_emit.activities import Activity
    from bers_emit.pytest_plugin.last_words import LastWords
    from bers_emit.redaction import Redaction

RUNNING = 3
"""How many of the tests that run are named."""
_TEXT: Callable[[object], str] = json.JSONEncoder().encode


class Testament:
    """Written anew whenever a test begins: of 5,000 tests that do nothing, each microsecond in here is 0.1 %."""

    def __init__(self, words: LastWords, run: Activity, suite: str, source: str, redact: Redaction) -> None:
        self._words = words
        self._redact = redact
        self._harmless: frozenset[str] = frozenset()
        self._second = (0, "")
        fields: dict[str, object] = {"subject": run.subject, "chain": run.chain, "outcome": "error"}
        fields["labels"] = {"suite": suite}
        told = json.loads(event.encode("testsuiterun.lost", f"{words.name}-0", source, fields, redact))
        del told["time"]
        words.begin(_TEXT(told)[:-1].encode(), self._rest(_TEXT("no test had begun"), ""))

    def expect(self, tests: Iterable[str]) -> None:
        """Names that may come: to look for secrets in all of them at once is cheaper than in one after the other."""
        names = frozenset(name for name in tests if len(name) <= LONGEST_NAME)
        together = "\n".join(names)
        if self._redact(together) == together:
            self._harmless = names

    def running(self, latest: str, tests: Collection[str]) -> None:
        """A test begins: these are the last words from now on. ``tests`` are all that run, the latest among them."""
        if len(tests) > 1 or latest not in self._harmless:
            latest = self._redact(", ".join(name[:LONGEST_NAME] for name in list(tests)[-RUNNING:]))
        text = _TEXT(latest)
        self._words.say(self._rest(text, f',"data":{{"test":{text}}}'))

    def _rest(self, text: str, data: str) -> bytes:
        now = int(time.time())
        if now != self._second[0]:  # For a second the same text: a session has thousands of tests.
            self._second = now, str(event.timestamp(now))
        return f',"time":"{self._second[1]}","reason":"the process died; last: {text[1:]}{data}}}'.encode()
