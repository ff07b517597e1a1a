"""Writes that were refused, in the audit: the first of a kind at once, and how many came after it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from bers.audit import Audit
from bers.operations import Caller

MOST = 200
"""Kinds that are told apart within a minute; those beyond are counted together."""

LONGEST = 200
"""Characters of a path that are written down."""

_MANY = Caller(address="many addresses")

_log = logging.getLogger(__name__)


@dataclass
class _Kind:
    caller: Caller
    action: str
    more: int = 0


class Refusals:
    """Keeps somebody who is turned away a thousand times a second from filling the disk with that."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._kinds: dict[tuple[str, ...], _Kind] = {}

    async def record(self, caller: Caller, action: str, outcome: str) -> None:
        """Write down one refused write, or count it where the like was written down since :meth:`tell`."""
        action = action[:LONGEST]
        # Of whoever has no key, one row says enough; what somebody with a key wanted is told apart.
        key = (caller.address, outcome, *((caller.key, action) if caller.key else ()))
        if key not in self._kinds and len(self._kinds) >= MOST:
            key, caller = (_MANY.address, outcome), _MANY
        if known := self._kinds.get(key):
            known.more += 1
            return
        self._kinds[key] = _Kind(caller, action)
        await self._write(caller, action, outcome)

    async def tell(self) -> None:
        """Write down what was only counted, and begin anew; called every minute, and at the end."""
        kinds, self._kinds = self._kinds, {}
        for (_, outcome, *_), kind in kinds.items():
            if kind.more:
                like = f"like {kind.action}" if kind.caller.key else "writes"
                await self._write(kind.caller, f"{kind.more} more {like}", outcome)

    async def _write(self, caller: Caller, action: str, outcome: str) -> None:
        try:
            await self._audit.record(caller, action, outcome)
        except Exception as exc:  # It was refused, and stays so.
            _log.warning("a refused write could not be written down: %s", exc)
