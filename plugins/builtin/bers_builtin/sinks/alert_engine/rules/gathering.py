"""Every fault of the rules in one go, rather than the first."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from bers import ConfigError


@contextmanager
def gathered() -> Generator[Gathering]:
    """Let several things be tried, and raise one ConfigError with all that was wrong with them."""
    gathering = Gathering()
    yield gathering
    if gathering.errors:
        raise ConfigError([fault for error in gathering.errors for fault in error.faults])


class Gathering:
    """What was wrong so far."""

    def __init__(self) -> None:
        self.errors: list[ConfigError] = []

    @contextmanager
    def trying(self) -> Generator[None]:
        """Note a ConfigError, and go on with what comes next."""
        try:
            yield
        except ConfigError as error:
            self.errors.append(error)
