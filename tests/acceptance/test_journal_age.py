"""What was handed in does not stay in the journal for longer than it is needed there, however quiet the node is."""

from pathlib import Path

from bers.inspection import events_of
from bers.segments import segment_files
from tests.integration.processes import configure, started, until

MARK = b"a-build-that-nobody-needs-any-more"


def content(path: Path) -> bytes:
    """What a file has that may be deleted at any moment."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def test_c157_a16_the_journal_of_a_quiet_node_forgets_by_age(tmp_path: Path) -> None:
    configure(tmp_path, more="intake: {snapshot_every: 200ms, journal: {max_age: 5s}}\n")
    journal = tmp_path / ".bers/journal"

    def is_there() -> bool:
        return any(MARK in content(path) for path in segment_files(journal))

    with started(tmp_path) as server:
        server.emit({"type": "build.finished", "id": "1x", "source": "/ci", "subject": MARK.decode()})
        assert is_there()
        until(lambda: not is_there())
        # Not by its size, and the file that is written to goes on: there are younger events.
        assert sum(len(content(path)) for path in segment_files(journal)) < 1 << 20
        server.emit({"type": "build.finished", "id": "2x", "source": "/ci"})
        assert any(event.id == "2x" for path in segment_files(journal) for _, event in events_of(path))
        repeated = server.post("ingest", {"type": "build.finished", "id": "1x", "source": "/ci"}).json()["data"]
        assert repeated["duplicates"] == 1, "that it was there is remembered all the same"
