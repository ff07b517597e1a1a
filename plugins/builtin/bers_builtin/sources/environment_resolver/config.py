"""What the environment resolver can be told."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from bers import Config, Interval

Dialect: TypeAlias = Literal["vite", "dotenv-flow", "next"]
Origin: TypeAlias = Literal["config_file", "env", "dotenv", "hostname", "build_context", "fallback"]
Rule: TypeAlias = Literal["https", "localhost", "placeholders", "environment"]


class HostnameRule(Config, frozen=True):
    """Which hosts belong to an environment."""

    match: Annotated[str, Meta(description="Regular expression that is searched for in the host name.")]
    environment: Annotated[str, Meta(description="Environment that such a host belongs to.")]

    def __post_init__(self) -> None:
        try:
            re.compile(self.match)
        except re.error as exc:
            raise ValueError(f"{self.match!r} is no regular expression: {exc}") from None


class EnvironmentResolverConfig(Config, frozen=True):
    """Detect the environment of a project directory, and resolve and validate its configuration."""

    root: Annotated[str, Meta(description="Project directory; files are read below it alone.")] = "."
    names: Annotated[
        tuple[str, ...],
        Meta(description="Variables that name the environment, the most trusted first."),
    ] = ("PICASSO_ENV", "BUILD_ENV", "NODE_ENV")
    aliases: Annotated[dict[str, str], Meta(description="Other words for environments.")] = field(
        default_factory=lambda: {"prod": "production", "dev": "development", "stage": "staging"}
    )
    allowed: Annotated[tuple[str, ...], Meta(description="Environments there are.", min_length=1)] = (
        "development",
        "staging",
        "production",
        "test",
    )
    config_file: Annotated[
        str, Meta(description="JSON file below the root whose key `environment` names the environment.")
    ] = "picasso.config.json"
    schema: Annotated[
        str,
        Meta(
            description=(
                "JSON Schema of the configuration file, as a path from the root; draft-07 if it does not say. "
                "Needs the extra `bers-monitoring[schema]`. Empty for none."
            )
        ),
    ] = ""
    dialect: Annotated[
        Dialect, Meta(description="Whose order of `.env` files holds; they disagree about `.env.local`.")
    ] = "vite"
    order: Annotated[tuple[Origin, ...], Meta(description="Where an answer is looked for, the most trusted first.")] = (
        "config_file",
        "env",
        "dotenv",
        "hostname",
        "build_context",
        "fallback",
    )
    hostname_rules: Annotated[
        tuple[HostnameRule, ...],
        Meta(description="Environments by host name; without a rule a host name says nothing."),
    ] = ()
    build_context: Annotated[
        tuple[str, ...],
        Meta(description="Variables in which CI and hosting systems name the environment they build for; unordered."),
    ] = ("CI_ENVIRONMENT_TIER", "CI_ENVIRONMENT_NAME", "VERCEL_ENV")
    fallback: Annotated[
        str | None,
        Meta(description="Environment where nothing names one; without it, finding none is a failure."),
    ] = None
    compare: Annotated[
        tuple[str, ...],
        Meta(
            description=(
                "Environments whose files are to set the same variables; each look compares each with each, by names "
                "and not by values. None are compared unless they are named here."
            )
        ),
    ] = ()
    interval: Annotated[Interval, Meta(description="Time between two detections.")] = Interval("30s")
    ttl: Annotated[Interval, Meta(description="How long a resolution may be used again, at most.")] = Interval("300s")
    timeout: Annotated[Interval, Meta(description="How long the file system may take to answer.")] = Interval("5s")
    required: Annotated[
        tuple[str, ...],
        Meta(description="What must be set: names of variables, or `/json/pointers` into the configuration file."),
    ] = ()
    rules: Annotated[
        tuple[Rule, ...],
        Meta(
            description=(
                "Rules that the configuration has to keep. In production: `https` (no http or ws addresses), "
                "`localhost` (none), `placeholders` (no secret left as `changeme`). Everywhere: `environment` "
                "(the file names the environment that was detected)."
            )
        ),
    ] = ("https", "localhost", "placeholders", "environment")
    reveal: Annotated[
        tuple[str, ...],
        Meta(description="Variables whose values may be shown; of all others only length and a hash are."),
    ] = ("PICASSO_ENV", "BUILD_ENV", "NODE_ENV")

    def __post_init__(self) -> None:
        for name in self.allowed:
            if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or name == "local":
                raise ValueError(f"allowed: {name!r} cannot name an environment; use lower case, and not 'local'")
        for index, rule in enumerate(self.hostname_rules):
            self._check(rule.environment, f"hostname_rules[{index}].environment")
        if self.fallback is not None:
            self._check(self.fallback, "fallback")
        for index, environment in enumerate(self.compare):
            self._check(environment, f"compare[{index}]")
        if len(self.compare) == 1 or len(set(self.compare)) < len(self.compare):
            raise ValueError("compare: name two environments or more, each once")

    def _check(self, environment: str, path: str) -> None:
        if environment not in self.allowed:
            raise ValueError(f"{path}: {environment!r} is not allowed; allowed: {', '.join(self.allowed)}")
