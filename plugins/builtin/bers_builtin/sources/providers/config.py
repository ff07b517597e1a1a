"""What is probed, and how."""

from __future__ import annotations

import re
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, field

from bers import Config, Interval, Target, unknown

Kind: TypeAlias = Literal["command", "http", "python", "event"]

_ASKED_BY = {"command": "argv", "http": "url", "python": "callable"}


class Expect(Config, frozen=True):
    """What an HTTP provider has to answer."""

    status: Annotated[int, Meta(description="Status code.", ge=100, le=599)] = 200
    json: Annotated[dict[str, Any], Meta(description="Values in the JSON body, by JSON pointer: `{/ok: true}`.")] = (
        field(default_factory=dict[str, Any])
    )

    def __post_init__(self) -> None:
        for path in self.json:
            if path and not path.startswith("/"):
                raise ValueError(f"json: {path!r} is no JSON pointer; write '/{path}'")


class Probe(Config, frozen=True):
    """One provider, and how it is asked."""

    provider: Annotated[str, Meta(description="Name of the provider.", min_length=1, max_length=200)]
    kind: Annotated[
        Kind,
        Meta(
            description=(
                "`command` runs a program, `http` asks an address, `python` calls a function, `event` waits for "
                "`provider.initialized` events of others."
            )
        ),
    ]
    argv: Annotated[
        tuple[str, ...],
        Meta(
            description=(
                "Program and arguments, without a shell. If the last line it prints is JSON, `initialization_ms` in it "
                "is the figure and `ok: false` a failure; else the time it runs is the figure."
            )
        ),
    ] = ()
    url: Annotated[str, Meta(description="Address, http or https; redirections are not followed.")] = ""
    allow_internal: Annotated[
        bool,
        Meta(
            description="Whether the address may be loopback or in a private network, as those of providers are; "
            "never where clouds hand out a machine's credentials."
        ),
    ] = True
    callable: Annotated[str, Meta(description="Function, as `package.module:name`; it runs in a thread.")] = ""
    expect: Annotated[Expect, Meta(description="What an HTTP provider has to answer.")] = Expect()
    timeout: Annotated[Interval, Meta(description="How long a probe may take.")] = Interval("5s")
    max_age: Annotated[
        Interval, Meta(description="After how long the last event of an `event` provider says nothing any more.")
    ] = Interval("10m")
    depends_on: Annotated[
        tuple[str, ...],
        Meta(description="Providers that are probed before; if one is not healthy, this one is unknown."),
    ] = ()
    required: Annotated[
        bool, Meta(description="Whether provider-health is unhealthy without it; if not, it is degraded.")
    ] = True

    def __post_init__(self) -> None:
        for kind, option in _ASKED_BY.items():
            given = bool(getattr(self, option))
            if kind == self.kind and not given:
                raise ValueError(f"{option}: a probe of kind {kind!r} needs it")
            if kind != self.kind and given:
                raise ValueError(f"{option}: a probe of kind {self.kind!r} has no use for it; remove it")
        if self.url:
            self.target()
        if self.callable and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", self.callable):
            raise ValueError(f"callable: {self.callable!r} names no function; write 'package.module:name'")

    def target(self) -> Target:
        """Where an HTTP provider is. Raise ValueError where it must not be asked."""
        try:
            return Target(self.url, internal=self.allow_internal, plain=True, credentials=True)
        except ValueError as exc:
            raise ValueError(f"url: {exc}") from None


class ProvidersConfig(Config, frozen=True):
    """Probe how long providers take to initialise, in the order in which they depend on each other."""

    probes: Annotated[tuple[Probe, ...], Meta(description="The providers, and how each is asked.")] = ()
    interval: Annotated[Interval, Meta(description="Time between two rounds of probes.")] = Interval("60s")
    failures: Annotated[
        int, Meta(description="After how many failures in a row a provider is left alone for a while.", ge=1)
    ] = 3
    reset_after: Annotated[
        Interval, Meta(description="How long it is left alone at first; twice as long after each further failure.")
    ] = Interval("30s")
    longest_reset: Annotated[Interval, Meta(description="How long it is left alone at most.")] = Interval("10m")

    def __post_init__(self) -> None:
        names = [probe.provider for probe in self.probes]
        for index, probe in enumerate(self.probes):
            if probe.provider in names[:index]:
                raise ValueError(f"probes[{index}].provider: {probe.provider!r} is probed twice; rename one")
            for position, other in enumerate(probe.depends_on):
                if other not in names:
                    raise ValueError(f"probes[{index}].depends_on[{position}]: {unknown('provider', other, names)}")
        try:
            _sorted(self.probes)
        except CycleError as exc:
            # graphlib names each before those that need it.
            cycle = " -> ".join(reversed(exc.args[1]))
            first = names.index(exc.args[1][-1])
            raise ValueError(f"probes[{first}].depends_on: a cycle, {cycle}; remove one of them") from None

    def in_order(self) -> Sequence[Probe]:
        """The probes, each after those it depends on."""
        by_name = {probe.provider: probe for probe in self.probes}
        return [by_name[name] for name in _sorted(self.probes)]


def _sorted(probes: Sequence[Probe]) -> Sequence[str]:
    return list(TopologicalSorter({probe.provider: probe.depends_on for probe in probes}).static_order())
