"""Every builtin source that runs by itself passes the kit that those of others pass."""

from collections.abc import Mapping
from typing import Any

import pytest

from bers import Context, SourceSpec
from bers.plugins import load
from bers.testing import check_source

CATALOGUE = load(installed=False)
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "build": {}, "deployment": {}, "system-resources": {"interval": "20ms"},
    "environment-resolver": {"interval": "20ms", "fallback": "production"},
}  # fmt: skip
"""Sources that tell something without anybody's doing; the others have their own tests of it."""


async def nothing(_: object) -> None:
    """Nobody has to do anything for it."""


@pytest.mark.parametrize("name", OPTIONS)
async def test_a_source_that_runs_by_itself_keeps_its_promises(name: str) -> None:
    spec = CATALOGUE.specs["source"][name]
    assert isinstance(spec, SourceSpec)
    metrics = CATALOGUE.metrics()
    events = await check_source(spec, nothing, context=Context(name, metrics=metrics), **OPTIONS[name])
    assert events
