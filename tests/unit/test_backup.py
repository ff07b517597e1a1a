"""Backups: what is in one, what is found out about one that was changed, and what a restore does and refuses."""

from __future__ import annotations

import gzip
import io
import os
import sqlite3
import stat
import tarfile
import threading
from collections.abc import Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import anyio
import msgspec
import pytest

from bers import Database, Event, lock
from bers.access import keys, sessions
from bers.backup import manifest
from bers.backup.create import Wanted, create, default_name
from bers.backup.manifest import Damaged, Manifest, NotABackup
from bers.backup.restore import restore
from bers.backup.verify import verify
from bers.checksums import connect
from bers.errors import BersError
from bers.frames import Frame
from bers.journal import Journal
from bers.testing import VirtualClock
from tests.unit.full_disk import no_file_beyond

CLOCK = VirtualClock()


def frame(start: int, count: int) -> Frame:
    events = [Event(f"e-{n}", "/ci", "build.finished", 1000.0 + n, received=2000.0 + n) for n in range(count)]
    return Frame(start, start + count, msgspec.msgpack.encode(events))


async def write_journal(folder: Path) -> None:
    journal = Journal(folder, segment_bytes=1)
    for n in range(2):
        journal.add(frame(n * 3, 3))
        await journal.sync()
    journal.close()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """What a node leaves behind: two files of a journal, a database with positions, a key, and files of others."""
    folder = tmp_path / ".bers"
    anyio.run(write_journal, folder / "journal")
    state = Database(folder / "state.db")
    state.run_now(lambda connection: connection.execute("INSERT INTO positions VALUES ('store', 'metrics', 0, 5)"))
    key, _ = keys.make("ci", ["ingest"], now=0.0)
    session, _ = sessions.make(key, now=0.0, lasts=1e9)
    state.run_now(lambda connection: keys.store(connection, key))
    state.run_now(lambda connection: sessions.store(connection, session))
    state.close()
    (folder / "redaction.key").write_bytes(bytes(32))
    (folder / "theirs").mkdir()
    (folder / "theirs" / "notes.txt").write_text("of a plugin")
    (folder / "bers.pid").write_text("1\n")
    (folder / "link").symlink_to("/etc/passwd")
    return folder


def positions_of(path: Path) -> tuple[int, bytearray]:
    """Where the first copy of the positions begins in a file, and all that is in it."""
    with closing(connect(path)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'positions'").fetchone()
    return (page - 1) * 4096, bytearray(path.read_bytes())


def made(data_dir: Path, name: str = "backup.tar", config: Path | None = None, logs: Path | None = None) -> Path:
    create(Wanted(data_dir, config, "test", logs), data_dir.parent / name, CLOCK)
    return data_dir.parent / name


@pytest.mark.parametrize("name", ["backup.tar", "backup.tar.gz", "backup.tgz", "backup.tar.zst"])
def test_a_backup_is_restored_as_it_was(name: str, data_dir: Path, tmp_path: Path) -> None:
    backup = made(data_dir, name)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    report = verify(backup)
    assert report.ok and not report.remarks
    done = restore(backup, tmp_path / "again", CLOCK)
    again = done.data_dir
    assert done.aside is None
    for one in ("journal/00000000000000000000.log", "journal/00000000000000000003.log", "redaction.key",
                "theirs/notes.txt"):  # fmt: skip
        assert (again / one).read_bytes() == (data_dir / one).read_bytes()
        assert stat.S_IMODE((again / one).stat().st_mode) == 0o600
    assert sorted(path.name for path in again.iterdir()) == ["journal", "redaction.key", "state.db", "theirs"]
    with closing(sqlite3.connect(again / "state.db")) as connection:
        assert connection.execute("SELECT position FROM positions").fetchall() == [(5,)]
        assert len(keys.stored(connection)) == 1


def test_the_manifest_says_what_is_in_it_and_what_is_not(data_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "pipelines.yaml"
    config.write_text("sinks: {webhooks: {secret: '${file:/run/secrets/hook}'}}\n")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "monitoring.log").write_text("{}\n")
    (data_dir / "reserve").write_bytes(bytes(8 << 20))  # Bytes that are only there to be given up.
    said = verify(made(data_dir, config=config)).manifest
    assert said.environment == "test" and said.config == str(config) and not said.running
    assert said.journal == manifest.Span(0, 6, 2002.0)
    assert [tuple(msgspec.structs.astuple(held)) for held in said.positions] == [("state.db", "store", "metrics", 5)]
    assert [(one.name, one.kind) for one in said.members] == [
        ("data/state.db", "database"),
        ("data/journal/00000000000000000000.log", "journal"),
        ("data/journal/00000000000000000003.log", "journal"),
        ("data/redaction.key", "file"),
        ("data/theirs/notes.txt", "file"),
        ("configuration/pipelines.yaml", "configuration"),
    ]
    left = {one.name: one.why for one in said.left_out}
    assert left.keys() == {"link", "/run/secrets/hook", "logs"}
    with_logs = verify(made(data_dir, "logs.tar", logs=tmp_path / "logs")).manifest
    assert [one.name for one in with_logs.members if one.kind == "log"] == ["logs/monitoring.log"]


def test_nobody_is_logged_in_in_a_backup_and_not_a_byte_of_a_session_is_there(data_dir: Path) -> None:
    with closing(sqlite3.connect(data_dir / "state.db")) as connection:
        ((hash,),) = connection.execute("SELECT hash FROM sessions").fetchall()
    assert hash in (data_dir / "state.db").read_bytes()
    assert hash not in made(data_dir).read_bytes()


def test_plain_tar_can_read_one(data_dir: Path, tmp_path: Path) -> None:
    with tarfile.open(made(data_dir, "backup.tar.gz")) as members:
        assert members.getnames()[0] == "data/state.db"
        assert members.getnames()[-2:] == ["manifest.json", "manifest.sha256"]


def test_an_append_that_is_under_way_is_left_out(data_dir: Path, tmp_path: Path) -> None:
    last = data_dir / "journal/00000000000000000003.log"
    whole = last.read_bytes()
    last.write_bytes(whole + whole[:40])
    report = verify(made(data_dir))
    assert report.ok and report.manifest.journal == manifest.Span(0, 6, 2002.0)
    assert (
        restore(tmp_path / "backup.tar", tmp_path / "again", CLOCK).data_dir / "journal" / last.name
    ).read_bytes() == whole


def test_every_byte_that_is_changed_is_found(data_dir: Path, tmp_path: Path) -> None:
    backup = made(data_dir)
    good, said = backup.read_bytes(), verify(backup).manifest
    bad, unharmed = tmp_path / "bad.tar", 0
    places = range(0, len(good) - 1024, 211)
    for at in places:
        changed = bytearray(good)
        changed[at] ^= 0x41
        bad.write_bytes(changed)
        try:
            report = verify(bad)
        except BersError:
            continue
        if report.ok:  # The padding behind a member means nothing.
            assert good[at] == 0 and report.manifest == said
            unharmed += 1
    assert unharmed < len(places) / 8


@pytest.mark.parametrize("name", ["backup.tar", "backup.tar.gz", "backup.tar.zst"])
def test_a_backup_that_was_cut_off_is_none(name: str, data_dir: Path, tmp_path: Path) -> None:
    whole = made(data_dir, name).read_bytes()
    for share in (0.0, 0.1, 0.5, 0.9, 0.95):
        (tmp_path / "cut").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(NotABackup):
            verify(tmp_path / "cut")
        with pytest.raises(NotABackup):
            restore(tmp_path / "cut", tmp_path / "again", CLOCK)
    assert not (tmp_path / "again").exists() and not list(tmp_path.glob("again*"))


def test_what_was_damaged_before_is_kept_and_said_and_restored_only_when_told(data_dir: Path, tmp_path: Path) -> None:
    first = data_dir / "journal/00000000000000000000.log"
    broken = bytearray(first.read_bytes())
    broken[40] ^= 1
    first.write_bytes(broken)
    backup = made(data_dir)
    report = verify(backup)
    assert not report.ok and not report.changed
    assert report.damaged == [f"{first.name}: bytes 0 to {len(broken)} are damaged; events from 0 to 3 are lost"]
    assert report.manifest.notes == [
        f"{first.name}: bytes 0 to {len(broken)} are damaged; events after position 0 are lost"
    ]
    with pytest.raises(Damaged, match=r"is not restored:\n0+\.log: bytes 0 to"):
        restore(backup, tmp_path / "again", CLOCK)
    assert restore(backup, tmp_path / "again", CLOCK, damaged_too=True).data_dir.is_dir()


def test_a_database_that_is_damaged_is_told_of(data_dir: Path) -> None:
    Database(data_dir / "other.db").run_now(
        lambda connection: connection.execute("CREATE TABLE things AS SELECT 1 AS n")
    )
    (data_dir / "junk.db").write_bytes(b"this was a database once" * 1000)
    said = create(Wanted(data_dir), data_dir.parent / "backup.tar", CLOCK)
    assert "it cannot be read as a database" in {one.name: one.why for one in said.left_out}["junk.db"]
    assert {one.name: one.kind for one in said.members}["data/junk.db"] == "file"


def test_a_backup_tells_positions_by_the_copy_that_is_as_it_was_written(data_dir: Path) -> None:
    place, content = positions_of(data_dir / "state.db")
    content[content.index(b"storemetrics", place) + len(b"storemetrics")] ^= 64
    (data_dir / "state.db").write_bytes(content)
    said = create(Wanted(data_dir), data_dir.parent / "backup.tar", CLOCK)
    assert [held.position for held in said.positions] == [5]
    assert said.notes == ["state.db: 1 rows of table positions are not as they were written"]


def test_a_database_whose_positions_cannot_be_read_is_kept_as_it_is(data_dir: Path) -> None:
    place, content = positions_of(data_dir / "state.db")
    content[place] = 0xFF
    (data_dir / "state.db").write_bytes(content)
    said = create(Wanted(data_dir), data_dir.parent / "backup.tar", CLOCK)
    assert said.positions == [] and "data/state.db" in {one.name for one in said.members}
    assert any("state.db: " in note for note in said.notes)


def test_a_restore_moves_aside_and_deletes_nothing(data_dir: Path, tmp_path: Path) -> None:
    backup = made(data_dir)
    with pytest.raises(BersError, match="is not empty; `--force` moves what is there aside"):
        restore(backup, data_dir, CLOCK)
    (data_dir / "mine").write_text("mine")
    done = restore(backup, data_dir, CLOCK, force=True)
    assert done.aside and (done.aside / "mine").read_text() == "mine" and not (data_dir / "mine").exists()
    again = restore(backup, data_dir, CLOCK, force=True)
    assert again.aside and again.aside != done.aside


def test_a_restore_is_refused_while_a_node_runs(data_dir: Path) -> None:
    backup = made(data_dir)
    with lock.hold(data_dir), pytest.raises(BersError, match=f"is in use by process {os.getpid()}; stop it"):
        restore(backup, data_dir, CLOCK, force=True)


def test_a_restore_to_a_mount_point_is_refused_with_the_remedy(data_dir: Path) -> None:
    with pytest.raises(BersError, match="/proc is a mount point; restore to a folder within it"):
        restore(made(data_dir), Path("/proc"), CLOCK, force=True)


def test_a_configuration_is_put_in_place_when_told_and_keeps_the_other(data_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "pipelines.yaml"
    config.write_text("version: 1\n")
    backup = made(data_dir, config=config)
    config.write_text("version: 1 # another\n")
    assert restore(backup, tmp_path / "one", CLOCK).config is None and "another" in config.read_text()
    done = restore(backup, tmp_path / "two", CLOCK, config=config)
    assert done.config == config and config.read_text() == "version: 1\n"
    assert done.config_aside and "another" in done.config_aside.read_text()


def test_only_those_who_could_read_before_can_read_what_was_restored(data_dir: Path, tmp_path: Path) -> None:
    config, before = tmp_path / "pipelines.yaml", os.umask(0o022)
    try:
        (data_dir / "a").mkdir()  # It comes first, so that its folder is made for it.
        sqlite3.connect(data_dir / "a" / "a.db").close()
        config.write_text("version: 1\n")
        backup = made(data_dir, config=config)
        for text, mode in (("version: 2\n", 0o640), ("", 0o600)):
            config.write_text(text)
            config.chmod(mode)
            if not text:
                config.unlink()
            done = restore(backup, tmp_path / f"again-{mode}", CLOCK, config=config)
            assert stat.S_IMODE(config.stat().st_mode) == mode and config.read_text() == "version: 1\n"
            folders = [done.data_dir, *(one for one in done.data_dir.rglob("*") if one.is_dir())]
            assert {stat.S_IMODE(one.stat().st_mode) for one in folders} == {0o700}
        (tmp_path / "shared").mkdir(mode=0o750)
        restore(backup, tmp_path / "shared", CLOCK)
        assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o750
    finally:
        os.umask(before)


@pytest.mark.parametrize("occupied", [True, False])
def test_a_link_leads_where_it_led_after_a_restore(occupied: bool, data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "disk" / "data").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "data")
    if occupied:
        (tmp_path / "link" / "mine").touch()
    done = restore(made(data_dir), tmp_path / "link", CLOCK, force=True)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "disk" / "data" / "state.db").exists()
    assert done.aside is None or done.aside.parent == tmp_path / "disk"


def test_a_configuration_that_cannot_be_put_in_place_is_said_beside_the_data_that_is(
    data_dir: Path, tmp_path: Path
) -> None:
    config = tmp_path / "pipelines.yaml"
    config.write_text("version: 1\n")
    backup = made(data_dir, config=config)
    (tmp_path / "file").touch()
    with pytest.raises(BersError, match=r"the data is in place in .*, and the configuration is as it was"):
        restore(backup, tmp_path / "again", CLOCK, config=tmp_path / "file" / "pipelines.yaml")
    assert (tmp_path / "again" / "state.db").exists()


def evil(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for info, body in members:
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return file.getvalue()


def named(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def sealed(body: bytes | None = None) -> list[tuple[tarfile.TarInfo, bytes]]:
    """A manifest that names nothing, or another, with its checksum."""
    body = body or manifest.encode(Manifest(1, "1", "", "", "", "", False, [], None, [], [], []))
    checksum = f"{sha256(body).hexdigest()}  {manifest.NAME}\n".encode()
    return [(named(manifest.NAME), body), (named(manifest.SEAL), checksum)]


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([(named("/etc/passwd"), b"")], "leads out of the folder"),
        ([(named("data/../../x"), b"")], "leads out of the folder"),
        ([(named("data//x"), b"")], "leads out of the folder"),
        ([(named("data\\x"), b"")], "leads out of the folder"),
        ([(named("data/link", tarfile.SYMTYPE, "/etc"), b"")], "is no plain file"),
        ([(named("data/link", tarfile.LNKTYPE, "/etc/passwd"), b"")], "is no plain file"),
        ([(named("data/pipe", tarfile.FIFOTYPE), b"")], "is no plain file"),
        ([(named("data/null", tarfile.CHRTYPE), b"")], "is no plain file"),
        ([(named("data", tarfile.DIRTYPE), b"")], "is no plain file"),
        ([(named("data/" + "x" * 200), b"")], "is no plain file"),
        ([(named("data/x"), b"1"), (named("data/x"), b"2")], "is in it twice"),
        ([(named("data"), b"1"), (named("data/x"), b"2")], "'data' is a file and a folder in it"),
        ([(named("data/x/y"), b"1"), (named("data/x"), b"2")], "'x' is a file and a folder in it"),
        ([*sealed(), (named("data/x"), b"1")], "follows its manifest.json"),
        ([sealed()[0], *sealed()], "its manifest.json is not what it was"),
        ([sealed()[1], sealed()[0]], "its manifest.json is not what it was"),
        ([sealed()[0]], "ends before its manifest.json"),
        (sealed(b'{"format": 2}'), "its format is 2, and this bers reads 1"),
        (sealed(b"{"), "cannot be understood"),
        ([(named("data/x"), b"1")], "ends before its manifest.json"),
    ],
)  # fmt: skip
def test_an_archive_that_means_harm_is_refused_and_writes_nothing(
    members: Sequence[tuple[tarfile.TarInfo, bytes]], why: str, tmp_path: Path
) -> None:
    (tmp_path / "evil.tar").write_bytes(evil(*members))
    with pytest.raises(NotABackup, match=why):
        restore(tmp_path / "evil.tar", tmp_path / "again", CLOCK)
    assert [path.name for path in tmp_path.iterdir()] == ["evil.tar"]


@pytest.mark.parametrize(
    ("name", "why"),
    [("data/x", "its manifest does not know of it"), ("elsewhere/x", "elsewhere/x has no place in a backup")],
)
def test_what_no_manifest_names_is_not_restored(name: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "evil.tar").write_bytes(evil((named(name), b"1"), *sealed()))
    with pytest.raises(Damaged, match=why):
        restore(tmp_path / "evil.tar", tmp_path / "again", CLOCK)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    head = named("data/x")
    head.size = 1 << 50
    (tmp_path / "bomb.tar.gz").write_bytes(gzip.compress(head.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)))
    with pytest.raises(BersError, match="there is no room for data/x with its 1125899906842624 bytes"):
        verify(tmp_path / "bomb.tar.gz")


def test_a_backup_is_not_written_over_and_needs_a_name_that_tells_how(data_dir: Path, tmp_path: Path) -> None:
    made(data_dir)
    with pytest.raises(BersError, match="is there already, and is not written over"):
        made(data_dir)
    with pytest.raises(BersError, match=r"let it end in \.tar, \.tar\.gz, \.tgz, \.tar\.zst"):
        made(data_dir, "backup.zip")
    assert default_name(CLOCK).parent == Path("backups") and default_name(CLOCK).name.endswith(".tar.gz")


def test_a_disk_that_is_full_leaves_nothing_half(data_dir: Path, tmp_path: Path) -> None:
    (data_dir / "large").write_bytes(os.urandom(400_000))
    before = sorted(path.name for path in tmp_path.iterdir())
    with no_file_beyond(200_000), pytest.raises(BersError, match="nothing of the backup was left there"):
        made(data_dir)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_what_a_killed_process_left_half_is_swept_away(data_dir: Path, tmp_path: Path) -> None:
    for name in (".making-abc", "again.restoring-abc"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "backup.tar").write_bytes(b"half")
    restore(made(data_dir), tmp_path / "again", CLOCK)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".bers", "again", "backup.tar"]


def test_a_backup_that_could_fill_the_disk_is_refused_before(data_dir: Path, tmp_path: Path) -> None:
    with (data_dir / "sparse").open("wb") as file:
        file.truncate(1 << 43)
    with pytest.raises(BersError, match="are free; name a file on another disk"):
        made(data_dir)
    assert not (tmp_path / "backup.tar").exists()


def test_a_database_that_is_never_free_is_named(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bers.backup.snapshot.PATIENCE", 0.3)
    Database(data_dir / "other.db").run_now(lambda connection: None)
    with closing(sqlite3.connect(data_dir / "state.db", isolation_level=None)) as busy:
        busy.execute("BEGIN IMMEDIATE")
        with pytest.raises(BersError, match=r"state\.db is in use for more than 0\.3 s"):
            create(Wanted(data_dir), data_dir.parent / "backup.tar", CLOCK)
        with closing(sqlite3.connect(data_dir / "other.db", isolation_level=None, timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")  # Nobody holds that one.


def test_a_backup_waits_for_a_transaction_and_shows_what_came_of_it(data_dir: Path) -> None:
    release = threading.Timer(0.3, lambda: busy.execute("COMMIT"))
    with closing(connect(data_dir / "state.db", isolation_level=None, check_same_thread=False)) as busy:
        busy.execute("BEGIN IMMEDIATE")
        busy.execute("UPDATE positions SET position = 4")
        release.start()
        said = create(Wanted(data_dir), data_dir.parent / "backup.tar", CLOCK)
        release.join()
        assert [held.position for held in said.positions] == [4]
        busy.execute("UPDATE positions SET position = 5")  # Nobody holds it any more.
