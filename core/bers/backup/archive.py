"""The file of a backup: a plain tar, compressed as its name says, that appears whole or not at all."""

from __future__ import annotations

import fcntl
import gzip
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from tarfile import AREGTYPE, BLOCKSIZE, GNU_FORMAT, REGTYPE, HeaderError, TarInfo
from typing import IO, Any

import zstandard

from bers import disk
from bers.backup.manifest import NAME, SEAL, Manifest, Member, NotABackup, decode, encode
from bers.errors import BersError

PIECE = 1 << 20
MAX_NAME = 99
"""Bytes of a member's name; longer ones take a second header, of a kind that is not read."""
MAX_MANIFEST = 16 << 20
SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.zst")
LEVEL = 1
"""Of gzip: most of what there is was compressed before."""
RESERVE = 16 << 20
"""Bytes of a disk that are left to others."""
_MAKING = ".making-"


class Writer:
    """Adds members to a backup that is being made."""

    def __init__(self, file: IO[bytes], folder: Path, now: float) -> None:
        self._file = file
        self.folder = folder
        """A place on the same disk for what has to be copied first; gone afterwards."""
        self._now = now
        self.members: list[Member] = []

    def add(self, name: str, kind: Any, source: IO[bytes], size: int) -> Member:
        """Add so many bytes of a file; raise BersError where it has fewer, or a name that is too long."""
        self._begin(name, size)
        digest, left = sha256(), size
        while left:
            piece = source.read(min(PIECE, left))
            if not piece:
                raise BersError(f"{name} became shorter while it was read; make the backup again")
            digest.update(piece)
            self._file.write(piece)
            left -= len(piece)
        self._pad(size)
        member = Member(name, kind, size, digest.hexdigest())
        self.members.append(member)
        return member

    def seal(self, manifest: Manifest) -> None:
        """Add the manifest, its checksum, and the end."""
        body = encode(manifest)
        for name, content in ((NAME, body), (SEAL, _seal(body))):
            self._begin(name, len(content))
            self._file.write(content)
            self._pad(len(content))
        self._file.write(bytes(2 * BLOCKSIZE))

    def _begin(self, name: str, size: int) -> None:
        if len(name.encode()) > MAX_NAME:
            raise BersError(f"{name}: a name of more than {MAX_NAME} bytes has no place in a backup; rename it")
        head = TarInfo(name)
        head.size, head.mode, head.mtime = size, 0o600, int(self._now)
        self._file.write(head.tobuf(GNU_FORMAT, "utf-8", "strict"))

    def _pad(self, size: int) -> None:
        self._file.write(bytes(-size % BLOCKSIZE))


@contextmanager
def writing(target: Path, now: float) -> Generator[Writer]:
    """Make a file that is there, on disk, when the block is left, and of which nothing is there when it fails."""
    if not target.name.endswith(SUFFIXES):
        raise BersError(f"{target}: how to write it is told by its name; let it end in {', '.join(SUFFIXES)}")
    if target.exists():
        raise BersError(f"{target} is there already, and is not written over; choose another name")
    with workplace(target.parent, _MAKING) as folder:
        partial = folder / target.name
        with partial.open("xb") as raw:
            partial.chmod(0o600)
            with _compressing(raw, target.name) as file:
                yield Writer(file, folder, now)
            raw.flush()
            os.fsync(raw.fileno())
        partial.rename(target)
        disk.sync(target.parent)


@contextmanager
def workplace(parent: Path, prefix: str) -> Generator[Path]:
    """A folder of our own, on the disk of another; it is gone afterwards, and so is what a killed process left there.

    Raise BersError where there can be none.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for left in parent.glob(f"{prefix}*"):
            _sweep(left)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    except OSError as exc:
        raise BersError(f"{parent}: {exc.strerror}; choose a folder that this user may write to") from exc
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _sweep(left: Path) -> None:
    """Remove a workplace that nobody holds."""
    with suppress(OSError):
        lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left)
        finally:
            os.close(lock)


def unpack(path: Path, folder: Path, tell: Callable[[str], None] = lambda _: None) -> tuple[Manifest, list[Member]]:
    """Write every member below a folder, and return what the backup says of itself with what was found.

    Nothing is written outside the folder, nothing but plain files, and nothing that the disk has no room for. Raise
    NotABackup where this is none, or not a whole one.
    """
    found: dict[str, Member] = {}
    manifest: bytes | None = None
    sealed = False
    try:
        for name, size, pieces in _members(path):
            if name in (NAME, SEAL):
                if size > MAX_MANIFEST:
                    raise NotABackup(f"{path}: its {name} has {size} bytes, and {MAX_MANIFEST} at most are read")
                content = b"".join(pieces)
                if name == NAME and manifest is None:
                    manifest = content
                    continue
                sealed = name == SEAL and manifest is not None and not sealed and content == _seal(manifest)
                if not sealed:
                    raise NotABackup(f"{path}: its {NAME} is not what it was; take another backup")
                continue
            if manifest is not None:
                raise NotABackup(f"{path}: {name!r} follows its {NAME}, which is the last of a backup")
            if name in found:
                raise NotABackup(f"{path}: {name!r} is in it twice")
            tell(f"{name}, {size} bytes")
            found[name] = _unpack_one(name, size, pieces, folder, path)
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as exc:
        raise NotABackup(
            f"{path}: it cannot be decompressed: {exc}; it is no backup, or was cut off or changed"
        ) from exc
    if manifest is None or not sealed:
        raise NotABackup(f"{path} ends before its {NAME}: it is no backup, or was cut off")
    return decode(manifest), list(found.values())


def _unpack_one(name: str, size: int, pieces: Iterator[bytes], folder: Path, path: Path) -> Member:
    """Write one member below a folder, to a file that was not there."""
    if size > disk.room(folder).free - RESERVE:
        raise BersError(f"{folder}: there is no room for {name} with its {size} bytes; make room on that disk")
    digest, target = sha256(), folder / name
    _make_folders_for(target, folder, path)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return Member(name, "file", size, digest.hexdigest())


def _make_folders_for(target: Path, folder: Path, path: Path) -> None:
    """Make the folders of a file, each for nobody but us; raise NotABackup where one is a file, or it is one."""
    parents = [one for one in reversed(target.parents) if one.is_relative_to(folder)]
    for parent in parents:
        try:
            parent.mkdir(mode=0o700, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as exc:
            raise NotABackup(f"{path}: {parent.name!r} is a file and a folder in it; take another backup") from exc
    if target.is_dir():
        raise NotABackup(f"{path}: {target.name!r} is a file and a folder in it; take another backup")


def _seal(manifest: bytes) -> bytes:
    """The checksum of a manifest, as `sha256sum -c` reads it."""
    return f"{sha256(manifest).hexdigest()}  {NAME}\n".encode()


def sync_folders(folder: Path) -> None:
    """Make the names in a folder, and in all below it, durable."""
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        disk.sync(path)


def _members(path: Path) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """Names and sizes, each with its bytes, which have to be read before the next comes."""
    with path.open("rb") as raw, _decompressing(raw) as file:
        while True:
            block = _exactly(file, BLOCKSIZE, path)
            if not block.strip(b"\0"):
                while file.read(PIECE):  # To its end: the checksum of what is compressed stands there.
                    pass
                return
            try:
                head = TarInfo.frombuf(block, "utf-8", "strict")  # This header alone: no other can speak for it.
            except (HeaderError, UnicodeDecodeError) as exc:
                raise NotABackup(f"{path}: it is no tar: {exc}; it is no backup, or was changed") from exc
            if head.type not in (REGTYPE, AREGTYPE) or head.size < 0:
                raise NotABackup(f"{path}: {head.name!r} is no plain file, and a backup has nothing else")
            if not _is_harmless(head.name):
                raise NotABackup(
                    f"{path}: {head.name!r} leads out of the folder; whoever made this was no `bers backup`"
                )
            yield head.name, head.size, _pieces(file, head.size, path)
            _exactly(file, -head.size % BLOCKSIZE, path)


def _is_harmless(name: str) -> bool:
    parts = name.split("/")
    return "\\" not in name and name.isprintable() and all(part not in ("", ".", "..") for part in parts)


def _pieces(file: IO[bytes], size: int, path: Path) -> Iterator[bytes]:
    while size:
        piece = _exactly(file, min(PIECE, size), path)
        size -= len(piece)
        yield piece


def _exactly(file: IO[bytes], size: int, path: Path) -> bytes:
    data = b""
    while len(data) < size:
        more = file.read(size - len(data))
        if not more:
            raise NotABackup(f"{path} ends before its {NAME}: it is no backup, or was cut off")
        data += more
    return data


@contextmanager
def _compressing(raw: IO[bytes], name: str) -> Generator[IO[bytes]]:
    if name.endswith(("gz", ".tgz")):
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=LEVEL, mtime=0) as file:
            yield file  # type: ignore[misc]
    elif name.endswith(".zst"):
        with zstandard.ZstdCompressor(3, write_checksum=True).stream_writer(raw, closefd=False) as file:
            yield file
    else:
        yield raw


@contextmanager
def _decompressing(raw: IO[bytes]) -> Generator[IO[bytes]]:
    magic = raw.read(4)
    raw.seek(0)
    if magic[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=raw) as file:
            yield file  # type: ignore[misc]
    elif magic == b"\x28\xb5\x2f\xfd":
        # Beyond that window somebody wants our memory.
        with zstandard.ZstdDecompressor(max_window_size=8 << 20).stream_reader(raw, closefd=False) as file:
            yield file
    else:
        yield raw
