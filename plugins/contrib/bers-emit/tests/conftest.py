"""No test sees the machine's own settings, and each has a spool of its own."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from bers_emit.testing import SURROUNDINGS, Receiver


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(SURROUNDINGS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BERS_EMIT_SPOOL", str(tmp_path / "spool"))


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Generator[Receiver, None, None]:
    with Receiver() as receiver:
        monkeypatch.setenv("BERS_EMIT_URL", receiver.url)
        yield receiver


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a server that is down."""
    with Receiver() as receiver:
        url = receiver.url
    monkeypatch.setenv("BERS_EMIT_URL", url)
    return url
