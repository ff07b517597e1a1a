"""pipelines.yaml: read, checked as a whole, and turned into a plan that can be run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from os.path import normpath
from pathlib import Path
from typing import Any

import msgspec

from bers.access.certificates import Certificates
from bers.catalog import UNIT, Catalog, Metric
from bers.checks import NODE_CHECKS, apart
from bers.claims import UNMAPPED, Owners
from bers.config.convert import MISSING, convert
from bers.config.environment import overlay
from bers.config.located import Document, Steps, parse, read, spell, steps_of
from bers.config.migration import OLD, VERSION
from bers.config.secret_values import redactor
from bers.config.settings import MetricSettings, RedactionSettings, Settings
from bers.config.substitution import substitute
from bers.config.wiring import Declared, PipelineSettings, Stages, check
from bers.delivery import Delivery
from bers.errors import ConfigError, Fault, PluginError, unknown
from bers.health.wiring import faults
from bers.plain import as_object
from bers.plugins import HOOKS, Catalogue, Kind
from bers.redaction import Redactor
from bers.stages import AnySpec
from bers.units import quantity

__all__ = ["Declared", "Delivery", "PipelineSettings", "Plan", "Settings", "Stages", "load", "shipped"]

_KINDS: tuple[tuple[str, Kind], ...] = (("sources", "source"), ("processors", "processor"), ("sinks", "sink"))
_RESERVED = ("use", "delivery", "primary")


@dataclass(frozen=True)
class Plan:
    """A configuration in which everything that can be checked without running it has been."""

    name: str
    path: Path | None
    settings: Settings
    catalogue: Catalogue
    metrics: Catalog
    stages: Stages
    pipelines: Mapping[str, PipelineSettings]
    warnings: Sequence[str]
    digest: str
    """Tells two configurations apart."""
    origins: Mapping[str, str] = field(default_factory=dict[str, str])
    """Where settings came from that are not the file's, by their paths."""
    places: Mapping[Steps, tuple[int, int]] = field(default_factory=dict[Steps, tuple[int, int]], repr=False)
    """Line and column of everything in the file."""
    hints: Sequence[tuple[Steps, str]] = ()
    """What stages say of their own options that is allowed and probably not meant; those on what was written down are
    warnings, too."""
    redactor: Redactor = field(default_factory=Redactor, repr=False, compare=False)
    """Masks what nobody may read."""

    def fault(self, steps: Steps, message: str) -> Fault:
        """Something that is wrong with it after all, located in its file."""
        return Document(self.name, None, dict(self.places)).fault(steps, message)

    @cached_property
    def owners(self) -> Owners:
        return Owners({key: stage.claims for key, stage in self.stages.emitting.items()})


def shipped() -> Document:
    """The configuration that comes with us, and serves where there is no other."""
    text = files("bers_builtin").joinpath("pipelines.yaml").read_text(encoding="utf-8")
    return parse(text, "pipelines.yaml (shipped)")


def load(
    path: Path | None,
    catalogue: Catalogue,
    *,
    changes: Iterable[tuple[Steps, Any]] = (),
    environ: Mapping[str, str] | None = None,
) -> Plan:
    """Read a file, or the shipped one where there is no path; apply ``changes``; raise ConfigError with every fault."""
    document = read(path) if path else shipped()
    for steps, value in changes:
        document.put(steps, value)
    return plan(document, catalogue, path=path, environ=environ)


def data_dir(path: Path | None) -> Path:
    """Where a file, or the shipped one, has everything kept, whatever else is wrong with it.

    Raise ConfigError where that cannot be read.
    """
    document = read(path) if path else shipped()
    substitute(document)
    faults = [fault for fault in document.faults if fault.path == "data_dir"]
    found = convert(document, document.value.get("data_dir", Settings().data_dir), str, ("data_dir",))
    if faults or not isinstance(found, str):
        raise ConfigError(faults or document.faults)
    return Path(found)


def control(path: Path) -> str | None:
    """Where a file lets everything be asked, for who wants to say that nobody answers there; None where it is silent.

    Raise ConfigError where it cannot be read.
    """
    document = read(path)
    substitute(document)
    server = as_object(document.value.get("server")) or {}
    host, port = server.get("host", "127.0.0.1"), server.get("control")
    if not isinstance(host, str) or not isinstance(port, int) or not port:
        return None
    reached = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{'https' if server.get('tls') else 'http'}://{reached}:{port}"


def plan(
    document: Document,
    catalogue: Catalogue,
    *,
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Plan:
    """Turn a document into a plan; raise ConfigError with every fault."""
    digest = hashlib.sha256(msgspec.json.encode(document.value, order="deterministic")).hexdigest()[:12]
    substitute(document, environ)
    origins = overlay(document, environ)
    tree: dict[str, Any] = document.value
    own = {field.encode_name for field in msgspec.structs.fields(Settings)}
    known = [*own, *(key for key, _ in _KINDS), "pipelines"]
    for key in tree:
        if key not in known:
            message = unknown("key", key, known)
            if key in OLD:
                message += "; the runbook names it so: `bers config migrate` writes it as this file has it"
            document.faults.append(document.fault((key,), message))
    _check_version(document)
    settings = convert(document, {key: tree[key] for key in tree if key in own}, Settings, ())
    kinds = {kind: _stages(document, catalogue, kind, word) for kind, word in _KINDS}
    stages = Stages(kinds["sources"], kinds["processors"], kinds["sinks"])
    pipelines = _pipelines(document)
    if isinstance(settings, Settings):
        metrics = _metrics(document, catalogue, settings)
        _check_health(document, catalogue, settings, kinds, metrics)
        _check_certificate(document, settings)
        for kind, declared in kinds.items():
            _verify(document, kind, declared.values(), metrics)
    else:
        metrics = catalogue.metrics()
    warnings = check(document, stages, pipelines)
    hints = [] if document.faults else list(_hints(kinds))
    masking = redactor(
        document,
        settings.redaction if isinstance(settings, Settings) else RedactionSettings(),
        [settings, *(stage.config for declared in kinds.values() for stage in declared.values())],
        environ,
    )
    if document.faults:
        faults = [replace(fault, message=masking.text(fault.message)) for fault in document.faults]
        raise ConfigError(_in_order(faults))
    return Plan(
        document.name,
        path,
        settings,
        catalogue,
        metrics,
        stages,
        pipelines,
        # What nobody wrote down, such as a rule that comes with us, is no reason for a warning.
        [*warnings, *(f"{spell(steps)}: {message}" for steps, message in hints if steps in document.places)],
        digest,
        origins,
        document.places,
        hints,
        masking,
    )


def _check_version(document: Document) -> None:
    version = document.value.get("version", VERSION)
    if isinstance(version, int) and not isinstance(version, bool) and version != VERSION:
        remedy = "run `bers config migrate`" if version < VERSION else "install the bers that the file was written for"
        message = f"version {version} is not understood: this bers reads version {VERSION}; {remedy}"
        document.faults.append(document.fault(("version",), message))


def _stages(document: Document, catalogue: Catalogue, kind: str, word: Kind) -> dict[str, Declared]:
    found: dict[str, Declared] = {}
    for key, value in _map(document, kind).items():
        steps = (kind, key)
        if key == UNMAPPED:
            document.faults.append(document.fault(steps, f"{UNMAPPED!r} is a reserved name; choose another"))
            continue
        options = as_object({} if value is None else value)
        if options is None:
            document.faults.append(
                document.fault(steps, "expected options, as in {key: value}; write {} where there are none")
            )
            continue
        declared = _stage(document, catalogue, word, steps, options)
        if declared:
            found[key] = declared
    return found


def _stage(
    document: Document, catalogue: Catalogue, word: Kind, steps: Steps, options: dict[str, Any]
) -> Declared | None:
    key = str(steps[-1])
    use = options.get("use", key)
    here = (*steps, "use") if "use" in options else steps
    if not isinstance(use, str):
        document.faults.append(document.fault(here, f"expected the name of a {word}; write one, or remove `use`"))
        return None
    try:
        spec = catalogue.find(word, use, path="")
    except ConfigError as exc:
        message = exc.faults[0].message
        others = [other for other in HOOKS if other != word and use in catalogue.specs.get(other, {})]
        hint = f"; it is a {others[0]}: declare it under `{others[0]}s:`" if others else ""
        document.faults.append(document.fault(here, message + hint))
        return None
    rest = {name: value for name, value in options.items() if name not in _RESERVED}
    config = convert(document, rest, spec.config, steps)
    delivery = convert(document, options.get("delivery", {}), Delivery, (*steps, "delivery"))
    primary = convert(document, options.get("primary", False), bool, (*steps, "primary"))
    if MISSING in (config, delivery, primary):
        return None
    return Declared(key, spec, config, delivery, primary, _as_source(catalogue, word, spec))


def _verify(document: Document, kind: str, stages: Iterable[Declared], metrics: Catalog) -> None:
    """Let every stage look at its config together with the metrics there are, and see that no two own one file."""
    owned = {"state.db": "the server itself"}
    for stage in stages:
        if option := stage.spec.owns:
            file = normpath(getattr(stage.config, option))
            if file in owned:
                message = f"{file!r} is the file of {owned[file]}; name another"
                document.faults.append(document.fault((kind, stage.key, option), message))
            owned.setdefault(file, repr(stage.key))
        if stage.spec.verify:
            try:
                stage.spec.verify(stage.config, metrics)
            except ConfigError as exc:
                for fault in exc.faults:
                    document.faults.append(document.fault((kind, stage.key, *steps_of(fault.path)), fault.message))


def _hints(kinds: Mapping[str, Mapping[str, Declared]]) -> Iterator[tuple[Steps, str]]:
    """What stages have to say about their options, knowing what is measured here."""
    everyone = [stage for declared in kinds.values() for stage in declared.values()]
    measured = {metric.name for stage in everyone for metric in stage.spec.metrics}
    for kind, declared in kinds.items():
        for stage in declared.values():
            for path, message in stage.spec.hint(stage.config, measured) if stage.spec.hint else ():
                yield (kind, stage.key, *steps_of(path)), message


def _as_source(catalogue: Catalogue, word: Kind, spec: AnySpec) -> AnySpec | None:
    return catalogue.specs["source"].get(spec.name) if word == "sink" else None


def _pipelines(document: Document) -> dict[str, PipelineSettings]:
    found = {
        name: convert(document, value, PipelineSettings, ("pipelines", name))
        for name, value in _map(document, "pipelines").items()
    }
    return {name: pipeline for name, pipeline in found.items() if isinstance(pipeline, PipelineSettings)}


def _map(document: Document, key: str) -> dict[str, Any]:
    value = document.value.get(key)
    found = as_object({} if value is None else value)
    if found is None:
        document.faults.append(
            document.fault((key,), "expected keys with options; write them one below the other, as in `build: {}`")
        )
    return found or {}


def _metrics(document: Document, catalogue: Catalogue, settings: Settings) -> Catalog:
    known = catalogue.metrics()
    metrics = _with_own(document, known, settings)
    targets: dict[str, float] = {}
    for name, setting in settings.metrics.items():
        if name not in metrics:
            if not setting.unit:
                message = f"{unknown('metric', name, metrics)}; with a `unit` it is one of your own"
                document.faults.append(document.fault(("metrics", name), message))
        elif setting.target is not None:
            try:
                targets[name] = quantity(setting.target, metrics[name].unit)
            except ValueError as exc:
                document.faults.append(document.fault(("metrics", name, "target"), str(exc)))
    return metrics.with_targets(targets)


def _with_own(document: Document, known: Catalog, settings: Settings) -> Catalog:
    """The metrics of the stages, and those that the file declares."""
    metrics = known
    for name, setting in settings.metrics.items():
        if not setting.unit:
            for option in ("description", "labels", "better"):
                if getattr(setting, option) != getattr(MetricSettings(), option):
                    message = "a metric of your own has a unit; add `unit`, or remove this"
                    document.faults.append(document.fault(("metrics", name, option), message))
        elif name in known:
            message = f"{name!r} is declared by a stage, in {known[name].unit}; choose another name, or remove `unit`"
            document.faults.append(document.fault(("metrics", name, "unit"), message))
        elif not UNIT.fullmatch(setting.unit):
            message = (
                f"{setting.unit!r} is no unit; write ms, s, By, By/s, %, 1, or a noun in braces such as {{request}}"
            )
            document.faults.append(document.fault(("metrics", name, "unit"), message))
        else:
            description = setting.description or "Declared in pipelines.yaml."
            metric = Metric(name, setting.unit, description, better=setting.better, labels=setting.labels)
            try:
                metrics = Catalog([*metrics.values(), metric])
            except PluginError as exc:
                document.faults.append(document.fault(("metrics", name), str(exc)))
    return metrics


def _check_health(
    document: Document,
    catalogue: Catalogue,
    settings: Settings,
    kinds: Mapping[str, Mapping[str, Declared]],
    metrics: Catalog,
) -> None:
    made: set[str] = set()
    for key, one in [pair for declared in kinds.values() for pair in declared.items()]:
        for offered in one.spec.checks:
            apart(offered.name, key, made)
    found = faults(settings.health, catalogue.checks() | made, made | NODE_CHECKS, metrics)
    document.faults += [document.fault(("health", *steps), message) for steps, message in found]


def _check_certificate(document: Document, settings: Settings) -> None:
    if settings.server.tls:
        try:
            Certificates(settings.server.tls)
        except ConfigError as exc:
            document.faults += [document.fault(steps_of(fault.path), fault.message) for fault in exc.faults]


def _in_order(faults: Sequence[Fault]) -> list[Fault]:
    """As they stand in the file, each once."""

    def place(fault: Fault) -> tuple[int, ...]:
        return tuple(int(part) for part in fault.place.split(":") if part.isdigit())

    return sorted(dict.fromkeys(faults), key=place)
