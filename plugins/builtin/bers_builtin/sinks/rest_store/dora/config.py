"""What an operator can set about DORA's figures."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated

from msgspec import Meta

from bers import Config, Duration


class DoraConfig(Config, frozen=True):
    """Which deployments count, and which of them have failed."""

    production: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            description="The environments that count as production, in lower case; `prod-*` means all that begin so.",
        ),
    ] = ("production", "production-*", "production/*", "prod", "prod-*", "prod/*", "live")
    rollback_within: Annotated[
        Duration,
        Meta(description="How long after a deployment a rollback that names none is taken to be a rollback of it."),
    ] = Duration("24h")
    rework: Annotated[
        tuple[str, ...],
        Meta(description="The values of the label `kind` that mark a deployment as rework, which nobody had planned."),
    ] = ("hotfix", "rollback")
    incidents_are_told: Annotated[
        bool,
        Meta(
            description="Whether incidents would be told to this node. Without that, and without any record of one, "
            "the change fail rate is not known, rather than 0."
        ),
    ] = False

    def is_production(self, environment: str) -> bool:
        name = environment.lower()
        return any(fnmatchcase(name, pattern) for pattern in self.production)
