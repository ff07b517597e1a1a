"""The cap on disk: what is oldest goes first, from where most is, until the database is below it again."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection
from typing import Any, NamedTuple

from bers import format_duration, format_value, rfc3339
from bers_builtin.sinks._types import matches

from . import details, file, page_rows
from .config import RestStoreConfig
from .file import Held

logger = logging.getLogger("bers.rest_store")  # A node writes down what comes under this name alone.

ENOUGH = 0.95
"""Down to this share of the cap is deleted, so that it is not done anew with every sweep."""
AT_A_TIME = 20
"""How many rows are deleted before it is looked again where most is."""


_OPTIONS = {"details": "`events_keep`", "lasting": "`lasting_keep`"}
"""What says how long each kind is kept; tiers have theirs from the processor, or the store."""


class Evicted(NamedTuple):
    """What had to go before its time, of one kind."""

    bytes: int
    until: float
    """When all of it would have gone anyway."""


class Cap:
    """Watches what the database takes, by tier and for event details, and deletes above the cap."""

    def __init__(self, config: RestStoreConfig) -> None:
        self._config = config
        self._most = int(config.max_bytes)
        self.held: dict[str, Held] = {}
        """What there is of each kind, as of the last sweep: a tier by its width, ``details`` and ``lasting``."""
        self.evicted: dict[str, Evicted] = {}
        self.keeps: dict[str, float] = {}
        """How long each tier is kept in seconds, where longest, as the last sweep found its series."""
        self.used: int | None = None
        """What all of it took then; nothing before the first sweep."""
        self._warned = 0.0

    def look(self, connection: sqlite3.Connection) -> None:
        """Learn what there is of each kind."""
        self.used = file.used_bytes(connection)
        self.held = {f"{tier:g}s": held for tier, held in page_rows.held_by_tier(connection).items()}
        short, lasting = self._types(connection)
        self.held["details"] = details.held(connection, short)
        self.held["lasting"] = details.held(connection, lasting)

    def evict(self, connection: sqlite3.Connection) -> list[int]:
        """Delete some rows if there is too much; return the ids of those that were parts of pages, or [0]."""
        enough = int(file.used_bytes(connection) - self._most * ENOUGH)
        if not self._most or enough <= 0:
            return []
        kind = self._fullest()
        if kind is None:
            return []
        ids = [0]
        if kind in ("details", "lasting"):
            types = self._types(connection)[kind == "lasting"]
            size, until = details.delete_oldest(connection, types, AT_A_TIME)
        else:
            ids, size, until = page_rows.delete_oldest(connection, float(kind[:-1]), AT_A_TIME, enough)
        held = self.held[kind]
        self.held[kind] = Held(max(0, held.rows - AT_A_TIME), max(0, held.bytes - size - AT_A_TIME * file.ROW_BYTES))
        known = self.evicted.get(kind, Evicted(0, 0.0))
        self.evicted[kind] = Evicted(known.bytes + size, max(known.until, until))
        return ids

    def begin(self, connection: sqlite3.Connection) -> bool:
        """Whether there is too much."""
        self.look(connection)
        return bool(self._most) and (self.used or 0) > self._most

    def warn(self, now: float) -> None:
        """Say in the log what had to go, once a while."""
        cut = self.cut(now)
        if cut and now - self._warned >= 3600:
            self._warned = now
            logger.warning("the metrics database reached `max_bytes`: %s", "; ".join(cut))

    def cut(self, now: float) -> list[str]:
        """Of what less is kept than is configured, because of the cap."""
        return [
            f"{format_value(one.bytes, 'By')} of {_named(kind)} were deleted early, the last of which would have "
            f"stayed until {rfc3339(one.until)}"
            for kind, one in self.evicted.items()
            if one.until > now
        ]

    def remedy(self, now: float) -> str:
        """What an operator may do about it."""
        early = {_OPTIONS.get(kind, "`retention`") for kind, one in self.evicted.items() if one.until > now}
        return f"raise `max_bytes` ({self._config.max_bytes}), or shorten {' and '.join(sorted(early))}"

    def told(self) -> dict[str, Any]:
        """For health: each kind with its rows, bytes, oldest window, share of the cap, and what was evicted."""
        keeps = {f"{float(tier.width):g}s": float(tier.keep) for tier in self._config.tiers} | self.keeps
        keeps |= {"details": float(self._config.events_keep), "lasting": float(self._config.lasting_keep)}
        return {
            "usedBytes": self.used,
            "maxBytes": self._most or None,
            "kinds": {
                kind: {
                    "rows": held.rows,
                    "bytes": held.bytes,
                    "oldest": held.oldest,
                    "keep": keeps.get(kind),
                    "share": held.bytes / self._most if self._most else None,
                    "evictedBytes": self.evicted[kind].bytes if kind in self.evicted else 0,
                }
                for kind, held in self.held.items()
            },
        }

    def _fullest(self) -> str | None:
        """Of which kind most is; lasting records only where there is nothing else."""
        sizes = {kind: held.bytes for kind, held in self.held.items() if held.rows}
        lasting = sizes.pop("lasting", 0)
        if sizes:
            return max(sizes, key=lambda kind: sizes[kind])
        return "lasting" if lasting else None

    def _types(self, connection: sqlite3.Connection) -> tuple[Collection[str], Collection[str]]:
        """The types of events whose details are kept for long, behind those of all others."""
        types = details.types(connection)
        lasting = {type for type in types if any(matches(type, one) for one in self._config.lasting)}
        return set(types) - lasting, lasting


def _named(kind: str) -> str:
    named = {"details": "details of events", "lasting": "details of lasting events"}
    return named.get(kind) or f"windows of {format_duration(float(kind[:-1]))}"
