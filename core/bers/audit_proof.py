"""Whether the chain of the audit is as it was written: row by row, with the first that is not named."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from bers import audit_chain
from bers.audit_chain import Head, Row, Signer, spans

Kind: TypeAlias = Literal["damaged", "changed", "missing", "unlinked", "unsealed", "end"]

_MOST = 100  # Faults and notes that are told one by one.

_REMEDIES: dict[Kind, str] = {
    "damaged": "Look at the disk; compare with a backup. When the file is opened next, the row is set aside.",
    "changed": "Somebody wrote to state.db: find out who could, and compare with a backup.",
    "missing": "Somebody deleted rows: find out who could write to state.db, and compare with a backup.",
    "unlinked": "Somebody wrote to state.db: find out who could, and compare with a backup.",
    "unsealed": "Somebody without this node's key wrote to state.db: find out who could, and compare with a backup.",
    "end": "Rows at the end may be missing or changed: compare with a backup, and with what was noted elsewhere.",
}


class Fault(msgspec.Struct, frozen=True):
    """One place at which the chain is broken."""

    row: int
    """The number of the row, or of the first that is missing."""
    kind: Kind
    fault: str
    remedy: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.fault}. {self.remedy}"


class Report(msgspec.Struct, rename="camel", frozen=True):
    """What became of the chain, and what there is of it."""

    sound: bool
    rows: int
    first: int | None
    last: int | None
    hash: str
    """The hash of the last row: noted elsewhere with its number, it proves later that nothing before it was changed."""
    sealed: int
    """How many rows have a seal of the key that was at hand."""
    faults: list[Fault]
    """The first hundred, in their order."""
    notes: list[str]
    """What is no fault, and has to be known: gaps that were marked, rows that were pruned, keys that are gone."""


class Proof:
    """Looks at rows in their order; :meth:`report` says what came of it."""

    def __init__(self, signer: Signer | None, anchor: tuple[int, str] | None = None) -> None:
        """Without a signer no seal is looked at. ``anchor`` is the number and the hash of a row, as noted elsewhere."""
        self._signer = signer
        self._anchor = anchor
        self._anchored: bool | None = None
        self._faults: list[Fault] = []
        self._rows = self._sealed = 0
        self._first: Row | None = None
        self._last: Row | None = None
        self._began_sealed = False
        self._holes: list[tuple[int, int, str]] = []
        """Numbers that no row has, and the hash that the last of them had."""
        self._marked: list[tuple[int, int, int, str]] = []
        """Ranges that the chain says are missing: where it says so, from, to, and the hash of the last, where known."""
        self._notes: list[str] = []
        self._strangers: dict[str, list[int]] = {}
        """Keys that are not here, with the first and last row that they sealed."""

    @property
    def position(self) -> int:
        """The number of the row that was looked at last."""
        return self._last.seq if self._last else 0

    def read(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._rows += 1
            self._look(row)
            self._first, self._last = self._first or row, row

    def report(self, head: Head | None) -> Report:
        """Compare the end with where the chain was said to end, and the holes with what the chain says of them."""
        self._look_at_end(head)
        for one, two, hash in self._holes:
            if (since := self._unmarked(one, two, hash)) <= two:
                what = f"row {since} is" if since == two else f"rows {since} to {two} are"
                self._blame(since, "missing", f"{what} missing, and nothing says why")
        if self._anchor and self._anchored is None:
            self._look_for_anchor(self._anchor)
        for name, (one, two) in self._strangers.items():
            self._notes.append(
                f"rows {one} to {two} are sealed with a key that is not here ({name}), and not proved by it"
            )
        last = self._last
        self._faults.sort(key=lambda one: one.row)
        return Report(
            not self._faults,
            self._rows,
            self._first.seq if self._first else None,
            last.seq if last else None,
            last.hash if last else "",
            self._sealed,
            self._faults[:_MOST],
            self._notes[:_MOST],
        )

    def _look(self, row: Row) -> None:
        self._look_at_content(row)
        before = self._last.seq if self._last else 0
        if row.seq > before + 1:
            self._holes.append((before + 1, row.seq - 1, row.previous))
        elif row.previous != (self._last.hash if self._last else ""):
            fault = f"it does not follow row {before}: that was written anew, or another stood in its place"
            self._blame(row.seq, "unlinked", fault)
        sealed = self._look_at_seal(row)
        if self._anchor and row.seq == self._anchor[0]:
            self._anchored = row.hash == self._anchor[1]
            if not self._anchored:
                self._blame(row.seq, "changed", "it has not the hash that was noted elsewhere")
        if row.is_of_the_chain and sealed:
            self._listen(row)

    def _look_at_content(self, row: Row) -> None:
        whole, right = row.is_whole, row.digest == row.hash
        if not whole and not right:
            self._blame(row.seq, "damaged", "it is not as it was written, and neither is its checksum: a disk does so")
        elif not right:
            self._blame(
                row.seq, "changed", "it says something else than when it was written, and its checksum was renewed"
            )
        elif not whole:
            self._blame(
                row.seq, "damaged", "what it says is as it was written, but its checksum or its seal is damaged"
            )

    def _look_at_seal(self, row: Row) -> bool:
        """Whether the row may speak for the chain: it has a seal, or a later one vouches for it."""
        signer = self._signer
        if signer is None or not signer.name:
            return True
        if row.signer == signer.name:
            self._began_sealed = True
            if row.seal == signer.seal(row.hash):
                self._sealed += 1
                return True
            if row.is_whole:  # Else it is damaged, which was said.
                self._blame(row.seq, "unsealed", "its seal was not made with this node's key")
            return False
        if row.signer:
            self._strangers.setdefault(row.signer, [row.seq, row.seq])[1] = row.seq
        if self._began_sealed and row.is_whole:
            self._blame(row.seq, "unsealed", "it has no seal of this node's key, and rows before it have")
        return not self._began_sealed

    def _listen(self, row: Row) -> None:
        """Take in what the chain says of itself."""
        match row.action:
            case audit_chain.PRUNED:
                self._marked += [(row.seq, one, two, row.notes) for one, two in spans(row.target)]
            case audit_chain.GAP:
                self._marked += [(row.seq, one, two, "") for one, two in spans(row.target)]
                missing = f"missing: {_ranges(row.target)}" if row.target else "rows may be missing"
                self._notes.append(f"row {row.seq}: {missing}: {row.outcome}")
            case audit_chain.BROKEN:
                self._blame(row.seq, "end", f"when it was written, {row.outcome}")
            case audit_chain.MOVED:
                self._notes.append(f"row {row.seq}: {_ranges(row.target)} came from before: {row.outcome}")
            case _:
                self._notes.append(f"row {row.seq}: {row.outcome}")

    def _unmarked(self, one: int, two: int, hash: str) -> int:
        """The first of the missing rows of which no row that came later says why; beyond the last where all are told.

        What says that rows were pruned knows the hash of the last of them, which the row behind it has to name.
        """
        at = one
        for said, low, high, last in sorted(self._marked, key=lambda mark: mark[1]):
            if said > two and low <= at <= high and (not last or high < two or (high, last) == (two, hash)):
                at = high + 1
        return at

    def _look_at_end(self, head: Head | None) -> None:
        last = self._last
        if head is None:
            if last:
                self._blame(last.seq, "end", "where the chain ends is not written down any more")
            return
        signer = self._signer
        if signer and head.signer == signer.name and not signer.knows(head):
            self._blame(head.seq, "end", "what says that the chain ends with it was changed")
        elif signer and signer.name and head.signer != signer.name:
            self._blame(head.seq, "end", "what says that the chain ends with it has no seal of this node's key")
        elif last is None or head.seq > last.seq:
            self._blame(
                (last.seq if last else 0) + 1,
                "missing",
                f"the chain ends with row {head.seq}, and it is missing from here",
            )
        elif head.seq < last.seq:
            self._blame(head.seq + 1, "unlinked", f"the chain ends with row {head.seq}, and this was put behind it")
        elif head.hash != last.hash:
            self._blame(last.seq, "changed", "it is not the row that the chain was said to end with")

    def _look_for_anchor(self, anchor: tuple[int, str]) -> None:
        seq, hash = anchor
        if any(high == seq and of == hash for _, _, high, of in self._marked):
            return
        pruned = max((high for _, _, high, of in self._marked if of), default=0)
        if seq <= pruned:
            self._notes.append(f"row {seq}, which was noted elsewhere, is older than the audit is kept")
        else:
            self._blame(seq, "missing", "it was noted elsewhere, and is not there")

    def _blame(self, row: int, kind: Kind, fault: str) -> None:
        self._faults.append(Fault(row, kind, fault, _REMEDIES[kind]))


def _ranges(target: str) -> str:
    return ", ".join(f"row {one}" if one == two else f"rows {one} to {two}" for one, two in spans(target))
