"""The pytest plugin: fixtures that every test of a stage can ask for."""

import pytest

from bers.records import Batch
from bers.testing.clock import VirtualClock


@pytest.fixture
def collected() -> list[Batch]:
    """A list for :func:`bers.testing.collect` to fill."""
    return []


@pytest.fixture
def clock() -> VirtualClock:
    """Time that passes when the test says so."""
    return VirtualClock()
