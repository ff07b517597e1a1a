"""Who changed what, and when: one row for every write that somebody asked for, chained so that changes show."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import msgspec

from bers import audit_chain, disk
from bers.audit_chain import Deed, Row, Signer
from bers.audit_proof import Proof, Report
from bers.checksums import UNREADABLE, as_text, connect
from bers.clock import Clock
from bers.database import Database
from bers.errors import BersError
from bers.operations import Caller
from bers.redaction import Redactor

T = TypeVar("T")

_AT_ONCE = 100
"""Rows that are looked at before others have their turn: a millisecond."""

_SLICE = 5000
"""Rows that one transaction deletes."""

_DAY = 86_400.0

_log = logging.getLogger(__name__)


class Entry(msgspec.Struct, rename="camel", frozen=True):
    """One write: its time in milliseconds since 1970, who asked, from where, for what, and how it ended."""

    id: int
    time: int
    principal: str
    address: str
    operator: str
    """On whose behalf, as whoever asked said."""
    action: str
    target: str
    notes: str
    outcome: str
    previous: str
    """The hash of the row before it."""
    hash: str
    signer: str
    """Which key made the seal."""
    seal: str


class Audit:
    """The rows, in the node's own database; only ever added to, until they are older than they are kept."""

    def __init__(
        self,
        state: Database,
        clock: Clock,
        redactor: Redactor | None = None,
        key: Callable[[], bytes] | None = None,
    ) -> None:
        """``key`` gives what seals rows, when the first is written; without it rows are chained, and not sealed."""
        self._redactor = redactor or Redactor()
        self._state = state
        self._clock = clock
        self._find_key = key

    async def record(
        self, caller: Caller, action: str, outcome: str, *, target: str = "", operator: str = "", notes: str = ""
    ) -> None:
        """Write one row; on a disk that does not let us, a line in the log says the same."""
        try:
            await self._state.run(self.row(caller, action, outcome, target=target, operator=operator, notes=notes))
        except Exception as exc:
            if not (why := disk.disk_fault(exc)):
                raise
            said = self._redactor.text(f"{caller.principal} from {caller.address or 'here'}: {action}: {outcome}")
            _log.warning("the audit trail cannot be written (%s): %s", why, said)

    def row(
        self,
        caller: Caller,
        action: str,
        outcome: str,
        *,
        target: str = "",
        operator: str = "",
        notes: str = "",
    ) -> Callable[[sqlite3.Connection], None]:
        """What writes one row, for a transaction: that of the deed itself, so that there is never one without it."""
        text = self._redactor.text
        deed = Deed(
            int(self._clock.time() * 1000), caller.named, caller.address, text(operator), text(action), text(target),
            text(notes), outcome,
        )  # fmt: skip
        return lambda connection: audit_chain.append(connection, deed, self._signer)

    async def entries(
        self, limit: int = 100, *, before: int | None = None, principal: str = "", target: str = ""
    ) -> Sequence[Entry]:
        """The newest rows, newest first; from before a row, where its number is told."""

        def work(connection: sqlite3.Connection) -> list[Entry]:
            self._prepare(connection)
            found = audit_chain.newest(connection, limit, before, principal, target)
            return [Entry(*row[:-1]) for row in found]

        return await self._state.run(work)

    async def prove(self, anchor: tuple[int, str] | None = None) -> Report:
        """Look at every row, a few at a time, while others work."""
        await self._state.run(self._prepare)
        proof = Proof(self._signer, anchor)

        def read(connection: sqlite3.Connection) -> tuple[Sequence[Row], audit_chain.Head | None]:
            # Where it ends is read with the last rows, or else more may have come in between.
            return audit_chain.rows(connection, proof.position, _AT_ONCE), audit_chain.head_of(connection)

        while True:
            rows, head = await self._state.run(read)
            proof.read(rows)
            if len(rows) < _AT_ONCE:
                return proof.report(head)

    async def begin(self) -> None:
        """Take in what is there from before there was a chain, and tell of what happened to it while nobody looked."""
        await self._carefully(self._prepare)

    async def run(self, keep: Callable[[], float]) -> None:
        """Every day, forget what is older than so many seconds, and say in the log where the chain ends."""
        while True:
            before = int((self._clock.settled() - keep()) * 1000)
            prune = partial(audit_chain.prune, before=before, now=self._now, most=_SLICE, signer=self._signer)
            while await self._carefully(prune) == _SLICE:
                pass
            head = await self._carefully(audit_chain.head_of)
            if head:  # A log that is kept elsewhere proves by it that nothing was cut off.
                _log.info("the audit ends with row %d, %s", head.seq, head.hash)
            await self._clock.sleep(_DAY)

    @property
    def _now(self) -> int:
        return int(self._clock.time() * 1000)

    @cached_property
    def _signer(self) -> Signer:
        return Signer(self._find_key() if self._find_key else b"")

    def _prepare(self, connection: sqlite3.Connection) -> None:
        audit_chain.prepare(connection, self._now, self._signer)

    async def _carefully(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Do what can wait where the disk does not let us write."""
        try:
            return await self._state.run(work)
        except Exception as exc:
            if not (why := disk.disk_fault(exc)):
                raise
            _log.warning("the audit trail cannot be written (%s)", why)
            return None


def prove_offline(path: Path, key: bytes | None, anchor: tuple[int, str] | None = None) -> Report:
    """Look at every row of a `state.db`, be a server at work on it or none; nothing is changed."""
    if not path.exists():
        raise BersError(f"{path}: there is no such file; name the configuration of the node with --config")
    proof = Proof(Signer(key) if key else None, anchor)
    try:
        with closing(connect(path, read_only=True, isolation_level=None)) as connection:
            connection.text_factory = as_text
            connection.execute("BEGIN")
            there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if audit_chain.TABLE not in there or audit_chain.HEAD_TABLE not in there:
                if "audit" in there:
                    raise BersError(f"{path}: its audit is from before there was a chain; start the node once")
                return proof.report(None)
            while found := audit_chain.rows(connection, proof.position, _AT_ONCE):
                proof.read(found)
            return proof.report(audit_chain.head_of(connection))
    except UNREADABLE as exc:
        raise BersError(f"{path} cannot be read: {exc}; look at the disk, or restore a backup") from exc


def anchor_of(text: str) -> tuple[int, str]:
    """What was noted of the end of the chain, as ``812:9f86d0...``; raise ValueError where it is no such thing."""
    number, _, hash = text.partition(":")
    if not number.isdecimal() or len(hash) != 64:
        raise ValueError(
            f"{text!r} is no end of the chain; give the number of a row, a colon and its hash: 812:9f86..."
        )
    return int(number), hash.lower()
