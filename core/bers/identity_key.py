"""The key with which a node marks masked identities: a file of its data directory."""

from __future__ import annotations

import logging
import os
import secrets
import time
from pathlib import Path
from zlib import crc32

from bers.redaction import KEY_BYTES
from bers.salvage import aside_of, report_of

KEY_FILE = "redaction.key"

_log = logging.getLogger(__name__)


def identity_key(data_dir: Path) -> bytes:
    """The key with which a node marks identities, made when first asked for: what waited for its other half before a
    restart is to find it afterwards.
    """
    path = data_dir / KEY_FILE
    data_dir.mkdir(parents=True, exist_ok=True)
    if path.exists():
        written = path.read_bytes()
        key, sum = written[:KEY_BYTES], written[KEY_BYTES:]
        if len(key) == KEY_BYTES and sum in (b"", _sum(key)):  # Without a checksum it was written long ago.
            return key
        aside = aside_of(path, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
        path.replace(aside)
        what = (
            f"{path.name} was damaged, and is kept as {aside.name}: identities are marked with another key from now "
            f"on, and what waits for its other half from before does not find it"
        )
        _log.error("%s", what)
        report_of(aside).write_text(f"{what}\n", encoding="utf-8")
    key = secrets.token_bytes(KEY_BYTES)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(key + _sum(key))
        file.flush()
        os.fsync(file.fileno())
    return key


def known_key(data_dir: Path) -> bytes | None:
    """The key that is there, for whoever only looks; nothing where it is not there, or is damaged."""
    try:
        written = (data_dir / KEY_FILE).read_bytes()
    except OSError:
        return None
    key, sum = written[:KEY_BYTES], written[KEY_BYTES:]
    return key if len(key) == KEY_BYTES and sum in (b"", _sum(key)) else None


def _sum(key: bytes) -> bytes:
    return crc32(key).to_bytes(4, "big")
