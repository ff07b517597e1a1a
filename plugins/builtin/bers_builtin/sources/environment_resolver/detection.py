"""Which environment a project is in: every candidate, the one that wins, and who disagrees."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

import msgspec

from bers_builtin.sources.environment_resolver.config import EnvironmentResolverConfig, Origin
from bers_builtin.sources.environment_resolver.dotenv import parse_env
from bers_builtin.sources.environment_resolver.files import ProjectFolder, Unreadable
from bers_builtin.sources.environment_resolver.layers import env_files

Confidence: TypeAlias = Literal["high", "medium", "low"]

LIBRARY_MODE = "NODE_ENV"
"""It says how libraries are to behave: a staging build is made with NODE_ENV=production."""

_SHOWN = re.compile(r"[A-Za-z][A-Za-z_-]{0,23}")


class Candidate(msgspec.Struct, frozen=True, rename="camel"):
    """One place that was asked, and what it said."""

    source: Origin
    name: str
    value: str
    """As it was found; masked where it does not look like the name of an environment."""
    environment: str | None
    accepted: bool
    why: str


class Detection(msgspec.Struct, frozen=True, rename="camel"):
    """The answer, and how it came about."""

    environment: str | None
    source: Origin | None
    confidence: Confidence | None
    candidates: Sequence[Candidate]
    conflicts: Sequence[str]
    """What speaks against the answer, or stands in its way."""

    @property
    def reason(self) -> str:
        """Why there is no answer, or why it is doubtful; empty where it is neither."""
        if self.conflicts:
            return "; ".join(self.conflicts)
        return "" if self.environment else "nothing names an environment, and no fallback is configured"


def detect(
    config: EnvironmentResolverConfig, folder: ProjectFolder, environ: Mapping[str, str], hostname: str
) -> Detection:
    """Ask every place in order. The first answer wins; among answers of equal rank that differ, none does."""
    asked: Mapping[Origin, Callable[[], Iterator[_Answer]]] = {
        "config_file": lambda: _config_file(config, folder),
        "env": lambda: _variables(config, environ),
        "dotenv": lambda: _dotenv(config, folder),
        "hostname": lambda: _hostname(config, hostname),
        "build_context": lambda: _build_context(config, environ),
        "fallback": lambda: _fallback(config),
    }
    candidates: list[Candidate] = []
    winner: Candidate | None = None
    conflicts: list[str] = []
    blocked = False
    for origin in config.order:
        rank: list[Candidate] = []
        for name, value, fault in asked[origin]():
            candidate = _judge(config, origin, name, value, fault)
            candidates.append(candidate)
            if candidate.accepted:
                rank.append(candidate)
            elif origin in ("config_file", "env", "dotenv"):  # Somebody meant to say something there.
                conflicts.append(f"{candidate.name}: {candidate.why}")
        if winner or blocked or not rank:
            continue
        if origin in ("hostname", "build_context") and len({one.environment for one in rank}) > 1:
            named = ", ".join(f"{_called(one)} says {one.environment}" for one in rank)
            conflicts.append(f"{origin} gives no single answer: {named}")
            blocked = True
        else:
            winner = rank[0]
    if winner:
        conflicts += [
            f"{_called(winner)} says {winner.environment}, but {_called(other)} says {other.environment}"
            for other in candidates
            if _contradicts(winner, other)
        ]
    return Detection(
        winner.environment if winner else None,
        winner.source if winner else None,
        _confidence(winner) if winner else None,
        candidates,
        conflicts,
    )


def read_document(config: EnvironmentResolverConfig, folder: ProjectFolder) -> dict[str, Any] | None:
    """The configuration file, None if there is none; raise Unreadable if it is no JSON object."""
    content = folder.read(config.config_file)
    if content is None:
        return None
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unreadable("it is not JSON") from None
    if not isinstance(document, dict):
        raise Unreadable("it is not a JSON object")
    return cast("dict[str, Any]", document)


_Answer: TypeAlias = tuple[str, str, str]
"""The name of the place, the value found there, and what is wrong with it."""


def _config_file(config: EnvironmentResolverConfig, folder: ProjectFolder) -> Iterator[_Answer]:
    try:
        document = read_document(config, folder)
    except Unreadable as exc:
        yield config.config_file, "", str(exc)
        return
    if document is None or "environment" not in document:
        return
    value = document["environment"]
    if isinstance(value, str):
        yield config.config_file, value, ""
    else:
        yield config.config_file, "", "its key 'environment' holds no text"


def _variables(config: EnvironmentResolverConfig, environ: Mapping[str, str]) -> Iterator[_Answer]:
    for name in config.names:
        if environ.get(name):
            yield name, environ[name], ""


def _dotenv(config: EnvironmentResolverConfig, folder: ProjectFolder) -> Iterator[_Answer]:
    found: dict[str, tuple[str, str]] = {}
    for file in env_files(config.dialect, None):
        try:
            content = folder.read(file)
        except Unreadable:
            continue  # Resolution reports it.
        for key, value in parse_env((content or b"").decode(errors="replace")).values.items():
            if value:
                found.setdefault(key, (file, value))
    for name in config.names:
        if name in found:
            file, value = found[name]
            yield f"{file}:{name}", value, ""


def _hostname(config: EnvironmentResolverConfig, hostname: str) -> Iterator[_Answer]:
    for rule in config.hostname_rules:
        if re.search(rule.match, hostname):
            yield rule.match, rule.environment, ""


def _build_context(config: EnvironmentResolverConfig, environ: Mapping[str, str]) -> Iterator[_Answer]:
    for name in config.build_context:
        if environ.get(name):
            yield name, environ[name], ""


def _fallback(config: EnvironmentResolverConfig) -> Iterator[_Answer]:
    if config.fallback is not None:
        yield "fallback", config.fallback, ""


def _judge(config: EnvironmentResolverConfig, origin: Origin, name: str, value: str, fault: str) -> Candidate:
    word = value.strip().lower()
    environment = config.aliases.get(word, word)
    shown = value if _SHOWN.fullmatch(value) else f"({len(value)} characters)" if value else ""
    if fault:
        return Candidate(origin, name, shown, None, False, fault)
    if environment not in config.allowed:
        why = f"{shown!r} is no environment; allowed: {', '.join(config.allowed)}"
        return Candidate(origin, name, shown, None, False, why)
    why = f"{word!r} is an alias" if environment != word else "as it stands"
    return Candidate(origin, name, shown, environment, True, why)


def _contradicts(winner: Candidate, other: Candidate) -> bool:
    if not other.accepted or other.source == "fallback" or other.environment == winner.environment:
        return False
    optimised = other.environment == "production" and winner.environment == "staging"
    return not (optimised and other.name.endswith(LIBRARY_MODE) and not winner.name.endswith(LIBRARY_MODE))


def _confidence(winner: Candidate) -> Confidence:
    if winner.source == "fallback":
        return "low"
    if winner.source == "config_file" or (winner.source == "env" and winner.name != LIBRARY_MODE):
        return "high"
    return "medium"


def _called(candidate: Candidate) -> str:
    return "the host name" if candidate.source == "hostname" else candidate.name
