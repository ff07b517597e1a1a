"""Certificates of our own making, for tests of TLS."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="not installed here: openssl")


class Pair(NamedTuple):
    certificate: Path
    key: Path


def made(folder: Path, name: str) -> Pair:
    """A certificate for this machine that vouches for itself, and its key."""
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,DNS:bers.example.com",
         "-out", pair.certificate, "-keyout", pair.key],
        check=True, capture_output=True,
    )  # fmt: skip
    return pair


def with_passphrase(pair: Pair) -> Path:
    """The same key, in a file that asks for a passphrase."""
    path = pair.key.with_suffix(".locked")
    command: list[str | Path] = ["openssl", "ec", "-in", pair.key, "-aes256", "-passout", "pass:secret", "-out", path]
    subprocess.run(command, check=True, capture_output=True)
    return path
