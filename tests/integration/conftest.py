"""What the tests with real processes share."""

from pathlib import Path

import pytest

from tests.integration.processes import environ


@pytest.fixture(autouse=True)
def away_from_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is emitted waits in a folder of the test, and nothing of our own environment is detected."""
    wanted = environ(tmp_path)
    for name in ("NODE_ENV", "PICASSO_ENV", "BUILD_ENV", "BERS_EMIT_URL", "BERS_PARENT", "BERS_CHAIN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BERS_EMIT_SPOOL", wanted["BERS_EMIT_SPOOL"])
