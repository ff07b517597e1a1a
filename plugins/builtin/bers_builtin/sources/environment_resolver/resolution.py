"""The configuration that holds in an environment: layers merged, each value with where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from bers_builtin.sources.environment_resolver.config import EnvironmentResolverConfig
from bers_builtin.sources.environment_resolver.detection import read_document
from bers_builtin.sources.environment_resolver.dotenv import parse_env
from bers_builtin.sources.environment_resolver.files import ProjectFolder, Unreadable
from bers_builtin.sources.environment_resolver.layers import env_files
from bers_builtin.sources.environment_resolver.validation import Fault, validate

PROCESS = "process"
"""Where a value comes from that no file gave: the process's own environment."""


class Value(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What may be known of a variable."""

    origin: str
    """The file it comes from, or `process`."""
    length: int
    sha256: str
    """The first eight digits: enough to see that two values differ."""
    value: str | None = None
    """The value itself, for variables that may be shown."""
    overrides: Sequence[str] = ()
    """Weaker places that set it too."""


class Resolution(msgspec.Struct, frozen=True):
    """One resolved configuration. It holds no value that may not be shown."""

    environment: str | None
    files: Sequence[str]
    """The files there are, strongest first, the configuration file before all."""
    values: Mapping[str, Value]
    faults: Sequence[Fault]
    unread: Sequence[str] = ()
    """Files that are there and could not be read: what they set is not known."""

    @property
    def set_by_files(self) -> Sequence[str]:
        """The variables that a file sets. What the process sets alone holds in every environment."""
        return [name for name, value in self.values.items() if value.origin != PROCESS or value.overrides]

    @property
    def valid(self) -> bool:
        return not self.errors

    @property
    def errors(self) -> Sequence[Fault]:
        return [fault for fault in self.faults if fault.severity == "error"]


def candidate_files(config: EnvironmentResolverConfig, environment: str | None) -> Sequence[str]:
    """Every file that a resolution depends on, whether it is there or not."""
    named = [config.config_file, *env_files(config.dialect, environment)]
    return [*named, config.schema] if config.schema else named


def resolve(
    config: EnvironmentResolverConfig, folder: ProjectFolder, environ: Mapping[str, str], environment: str | None
) -> Resolution:
    """Read the layers, merge them, validate what comes out. The process's variables beat every file."""
    faults: list[Fault] = []
    files: list[str] = []
    unread: list[str] = []
    document: dict[str, Any] | None = None
    try:
        document = read_document(config, folder)
        if document is not None:
            files.append(config.config_file)
    except Unreadable as exc:
        faults.append(_unreadable(config.config_file, exc))
    layers: list[tuple[str, Mapping[str, str]]] = []
    for name in env_files(config.dialect, environment):
        try:
            content = folder.read(name)
        except Unreadable as exc:
            faults.append(_unreadable(name, exc))
            if not exc.harmless:
                unread.append(name)
            continue
        if content is not None:
            text = content.decode(errors="replace")
            if "\ufffd" in text:
                faults.append(Fault("warning", name, "it is not UTF-8 throughout; what is not was replaced"))
            parsed = parse_env(text)
            faults += [Fault("warning", f"{name}:{line}", message) for line, message in parsed.faults]
            files.append(name)
            layers.append((name, parsed.values))
    known = {key for _, values in layers for key in values}
    known |= {name for name in config.required if not name.startswith("/")}
    process = {key: environ[key] for key in known if key in environ}
    merged: dict[str, tuple[str, list[str]]] = {}
    for origin, values in [(PROCESS, process), *layers]:
        for key, value in values.items():
            merged.setdefault(key, (value, []))[1].append(origin)
    faults += validate(config, folder, environment, document, {key: value for key, (value, _) in merged.items()})
    shown = {
        key: _value(value, origins, reveal=key in config.reveal) for key, (value, origins) in sorted(merged.items())
    }
    return Resolution(environment, files, shown, faults, unread)


def _value(value: str, origins: Sequence[str], *, reveal: bool) -> Value:
    digest = sha256(value.encode(errors="surrogateescape")).hexdigest()[:8]
    return Value(origins[0], len(value), digest, value if reveal else None, tuple(origins[1:]))


def _unreadable(name: str, why: Unreadable) -> Fault:
    return Fault("warning" if why.harmless else "error", name, str(why))
