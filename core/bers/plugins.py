"""Find plugins and index the stages they offer; one that is broken costs nothing but itself."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Literal, TypeAlias

import pluggy

from bers import hookspecs
from bers.catalog import Catalog
from bers.checks import NODE_CHECKS
from bers.errors import ConfigError, PluginError, unknown
from bers.operations import AnyOperation, Operation
from bers.stages import AnySpec, StageSpec

Kind: TypeAlias = Literal["source", "processor", "sink"]

HOOKS: Mapping[Kind, str] = {"source": "bers_sources", "processor": "bers_processors", "sink": "bers_sinks"}

BUILTIN_PLUGINS = (
    "bers_builtin.sources.build",
    "bers_builtin.sources.validation",
    "bers_builtin.sources.deployment",
    "bers_builtin.sources.environment_resolver",
    "bers_builtin.sources.providers",
    "bers_builtin.sources.system_resources",
    "bers_builtin.sources.self_monitoring",
    "bers_builtin.sources.heartbeats",
    "bers_builtin.sources.github",
    "bers_builtin.sources.gitlab",
    "bers_builtin.sources.otlp",
    "bers_builtin.sources.spool",
    "bers_builtin.processors.aggregation",
    "bers_builtin.processors.sampling",
    "bers_builtin.processors.retention",
    "bers_builtin.sinks.rest_store",
    "bers_builtin.sinks.alert_engine",
    "bers_builtin.sinks.sse",
    "bers_builtin.sinks.command",
    "bers_builtin.sinks.email",
    "bers_builtin.sinks.webhooks",
    "bers_builtin.sinks.heartbeat",
    "bers_builtin.dashboard",
)


@dataclass(frozen=True)
class Catalogue:
    """Every stage type that pipelines.yaml may name."""

    specs: Mapping[Kind, Mapping[str, AnySpec]]
    failed: Mapping[str, Exception] = field(default_factory=dict[str, Exception])
    """Plugins that are installed and cannot be used, and why."""

    def find(self, kind: Kind, name: str, *, path: str) -> AnySpec:
        try:
            return self.specs[kind][name]
        except KeyError:
            message = unknown(kind, name, self.specs[kind])
            for plugin, error in self.failed.items():
                message += f"; plugin {plugin!r} could not be loaded: {error}"
            raise ConfigError(message, path=path) from None

    def all(self) -> list[tuple[Kind, AnySpec]]:
        """Every spec with its kind; one that is a sink and a source is named as both."""
        return [(kind, spec) for kind, specs in self.specs.items() for spec in specs.values()]

    def metrics(self) -> Catalog:
        """Every metric that any spec declares."""
        return Catalog(metric for _, spec in self.all() for metric in spec.metrics)

    def checks(self) -> set[str]:
        """The name of every check that there may be: those of any spec, and those of a node itself."""
        return {check.name for _, spec in self.all() for check in spec.checks} | NODE_CHECKS

    def with_specs(self, offers: Iterable[tuple[Kind, AnySpec]]) -> Catalogue:
        """The same with more; raise PluginError where these cannot stand beside those that are there."""
        specs: dict[Kind, dict[str, AnySpec]] = {kind: dict(self.specs.get(kind, {})) for kind in HOOKS}
        for kind, spec in offers:
            if spec.name in specs[kind]:
                raise PluginError(f"there is a {kind} named {spec.name!r} already; choose another name")
            specs[kind][spec.name] = spec
        more = Catalogue({kind: dict(sorted(named.items())) for kind, named in specs.items()}, self.failed)
        more.metrics()
        _check_paths(more)
        return more


def load(*, installed: bool = True) -> Catalogue:
    """Collect what the builtin plugins and, unless told otherwise, the installed ones offer."""
    catalogue = Catalogue({})
    for name in BUILTIN_PLUGINS:
        catalogue = catalogue.with_specs(_offers(name, importlib.import_module(name)))
    failed: dict[str, Exception] = {}
    for point in entry_points(group="bers") if installed else ():
        try:
            catalogue = catalogue.with_specs(_offers(point.name, point.load()))
        except Exception as error:
            failed[point.name] = error
    return Catalogue(catalogue.specs, failed)


def _offers(name: str, plugin: object) -> Sequence[tuple[Kind, AnySpec]]:
    """What one plugin offers, through pluggy; raise PluginError where it is not what a plugin may offer."""
    manager = pluggy.PluginManager("bers")
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, name)
    manager.check_pending()
    offers: list[tuple[Kind, AnySpec]] = [
        (kind, spec) for kind, hook in HOOKS.items() for spec in _specs(manager, hook)
    ]
    if not offers:
        raise PluginError(
            f"it offers no stage; is `@hookimpl` or `return` missing at one of {', '.join(HOOKS.values())}?"
        )
    return offers


def _specs(manager: pluggy.PluginManager, hook: str) -> Iterable[AnySpec]:
    answers: list[Any] = getattr(manager.hook, hook)()
    for answer in answers:
        if not isinstance(answer, (list, tuple)):
            raise PluginError(f"{hook} returned {type(answer).__name__}; return a list of specs")
        for spec in answer:  # pyright: ignore[reportUnknownVariableType]
            if not isinstance(spec, StageSpec):
                raise PluginError(f"{hook} returned a list with a {type(spec).__name__} in it; return specs alone")  # pyright: ignore[reportUnknownArgumentType]
            yield spec


def _check_paths(catalogue: Catalogue) -> None:
    """Refuse two specs that answer one path, or have panels of one name."""
    owners: dict[tuple[str, str], str] = {}
    for _, spec in catalogue.all():
        for route in [*map(_route, spec.operations), *(("POST", format.path) for format in spec.formats)]:
            owner = owners.setdefault(route, spec.name)
            if owner != spec.name:
                raise PluginError(f"{owner!r} and {spec.name!r} both answer {' '.join(route)}")
        for panel in spec.panels:
            owner = owners.setdefault(("panel", panel.name), spec.name)
            if owner != spec.name:
                raise PluginError(f"{owner!r} and {spec.name!r} both have a panel {panel.name!r}")


def _route(operation: AnyOperation) -> tuple[str, str]:
    return operation.method if isinstance(operation, Operation) else "GET", operation.path
