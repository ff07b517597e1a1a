"""A stage as pipelines.yaml would have it, for a test to open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from bers import schemas
from bers.pipeline import Step
from bers.stages import AnySpec, Context


def step(spec: AnySpec, *, context: Context | None = None, **options: object) -> Step[Any]:
    """Validate the options as pipelines.yaml would be, and make a step of them, named as the context says."""
    config = msgspec.convert(options, spec.config, dec_hook=schemas.decode)
    context = context or Context(spec.name)
    if not context.metrics and spec.metrics:
        context = replace(context, metrics=type(context.metrics)(spec.metrics))
    return Step(context.stage_id, spec, config, context)
