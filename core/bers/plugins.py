"""Find plugins and index the stages they offer."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Literal, TypeAlias

import click
import pluggy

from bers import hookspecs
from bers.catalog import Catalog
from bers.errors import ConfigError, PluginError, unknown
from bers.operations import AnyOperation
from bers.stages import AnySpec

Kind: TypeAlias = Literal["source", "processor", "sink"]

BUILTIN_PLUGINS = (
    "bers_builtin.sources.build",
    "bers_builtin.sources.validation",
    "bers_builtin.sources.deployment",
    "bers_builtin.sources.environment_resolver",
    "bers_builtin.sources.providers",
    "bers_builtin.sources.system_resources",
    "bers_builtin.processors.aggregation",
    "bers_builtin.processors.sampling",
    "bers_builtin.processors.retention",
    "bers_builtin.sinks.rest_store",
    "bers_builtin.sinks.alert_engine",
    "bers_builtin.sinks.sse",
    "bers_builtin.sinks.webhooks",
    "bers_builtin.dashboard",
)


@dataclass(frozen=True)
class Catalogue:
    """Every stage type that pipelines.yaml may name."""

    specs: Mapping[Kind, Mapping[str, AnySpec]]
    commands: Sequence[click.Command] = ()
    failed: Mapping[str, Exception] = field(default_factory=dict[str, Exception])

    def find(self, kind: Kind, name: str, *, path: str) -> AnySpec:
        try:
            return self.specs[kind][name]
        except KeyError:
            message = unknown(kind, name, self.specs[kind])
            for plugin, error in self.failed.items():
                message += f"; plugin {plugin!r} could not be loaded: {error}"
            raise ConfigError(message, path=path) from None

    def all(self) -> Sequence[tuple[Kind, AnySpec]]:
        """Every spec with its kind; one that is a sink and a source is named as both."""
        return [(kind, spec) for kind, specs in self.specs.items() for spec in specs.values()]

    def metrics(self) -> Catalog:
        """Every metric that any spec declares."""
        return Catalog(metric for _, spec in self.all() for metric in spec.metrics)


def load(*, installed: bool = True) -> Catalogue:
    """Collect what the builtin plugins and, unless told otherwise, the installed ones offer.

    A plugin that cannot be imported costs nothing until a pipeline asks for a stage we do not know.
    """
    manager = pluggy.PluginManager("bers")
    manager.add_hookspecs(hookspecs)
    for name in BUILTIN_PLUGINS:
        manager.register(importlib.import_module(name), name)
    failed: dict[str, Exception] = {}
    for point in entry_points(group="bers") if installed else ():
        try:
            manager.register(point.load(), point.name)
        except Exception as error:
            failed[point.name] = error
    manager.check_pending()
    hook = manager.hook
    catalogue = Catalogue(
        {
            "source": _index("source", hook.bers_sources()),
            "processor": _index("processor", hook.bers_processors()),
            "sink": _index("sink", hook.bers_sinks()),
        },
        [command for offer in hook.bers_commands() for command in offer],
        failed,
    )
    _check_paths(catalogue)
    catalogue.metrics()
    return catalogue


def _index(kind: Kind, offers: Iterable[Iterable[AnySpec]]) -> Mapping[str, AnySpec]:
    specs: dict[str, AnySpec] = {}
    for spec in (spec for offer in offers for spec in offer):
        if spec.name in specs:
            raise PluginError(f"two plugins offer a {kind} named {spec.name!r}")
        specs[spec.name] = spec
    return dict(sorted(specs.items()))


def _check_paths(catalogue: Catalogue) -> None:
    """Refuse two specs that answer one path."""
    owners: dict[tuple[str, str], str] = {}
    for _, spec in catalogue.all():
        for operation in spec.operations:
            owner = owners.setdefault(_route(operation), spec.name)
            if owner != spec.name:
                raise PluginError(f"{owner!r} and {spec.name!r} both answer {' '.join(_route(operation))}")


def _route(operation: AnyOperation | Any) -> tuple[str, str]:
    return getattr(operation, "method", "GET"), operation.path
