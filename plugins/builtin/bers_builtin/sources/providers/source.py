"""The source: probes every provider in turn, and remembers how each of them is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import msgspec
from anyio import CapacityLimiter, to_thread

from bers import Caller, Context, Emit, Event, Finding, Full, Nothing, Stage, Status, Table
from bers_builtin.sources._pace import Pace
from bers_builtin.sources.providers.breaker import Breaker, State
from bers_builtin.sources.providers.config import Kind, Probe, ProvidersConfig
from bers_builtin.sources.providers.probes import Result, ask, told

if TYPE_CHECKING:
    from httpx2 import AsyncClient

INITIALIZED = "provider.initialized"


class ProviderState(msgspec.Struct, frozen=True, rename="camel"):
    """How one provider is."""

    provider: str
    kind: Kind
    required: bool
    status: Status
    message: str
    depends_on: Sequence[str]
    initialization_ms: float | None
    """Of the last success, in milliseconds."""
    last_error: str | None
    """Of the last failure; null once it succeeded again."""
    probed_at: int | None
    """Milliseconds since 1970."""
    breaker: State
    next_attempt_in: float | None
    """Seconds until it is probed again, where its breaker is open."""


@dataclass
class _Provider:
    """What is known of a provider that we probe ourselves."""

    probe: Probe
    breaker: Breaker
    thread: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(1))
    result: Result | None = None
    at: float | None = None
    ms: float | None = None
    waits_for: str = ""
    """The dependency that is not healthy, so that this one was not probed."""


class Providers(Stage[ProvidersConfig]):
    def __init__(self, config: ProvidersConfig, context: Context) -> None:
        super().__init__(config, context)
        self._providers = {
            probe.provider: _Provider(
                probe,
                Breaker(
                    context.clock,
                    failures=config.failures,
                    reset_after=config.reset_after,
                    longest=config.longest_reset,
                ),
            )
            for probe in config.in_order()
        }
        self._pace = Pace(context.clock, config.interval)
        self._client: AsyncClient | None = None

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with AsyncExitStack() as stack:
            if any(probe.kind == "http" for probe in self.config.probes):
                # Reading the certificates of the machine takes tens of milliseconds.
                self._client = await stack.enter_async_context(await to_thread.run_sync(_client))
            yield self

    async def run(self, emit: Emit) -> None:
        while True:
            # One at a time: beside others, a probe would measure them too.
            for provider in self._providers.values():
                if event := await self._turn(provider):
                    try:
                        await emit([event])
                    except Full as exc:  # How the provider is, the check knows without it.
                        self.context.logger.warning("a probe of %s was not taken: %s", event.subject, exc)
            await self._pace.pause()

    def receive(self, event: Event, table: Table) -> Sequence[Event]:
        """Name the measures as the catalogue does, and remember the last event of each provider."""
        measures = {name.replace(".", "_"): value for name, value in event.measures.items()}
        labels = dict(event.labels)
        named = labels.get("provider") or event.data.get("provider") or event.subject
        if isinstance(named, str) and named:
            labels["provider"] = named
        if event.type == INITIALIZED:
            if event.outcome in ("success", "failure", "error", "timeout"):
                measures.setdefault("error_rate", 0.0 if event.outcome == "success" else 100.0)
            if event.duration_ms is not None and event.outcome in (None, "success"):
                measures.setdefault("provider_initialization_time", event.duration_ms)
        read = msgspec.structs.replace(event, measures=measures, labels=labels)
        if event.type == INITIALIZED and "provider" in labels:
            known = table.get(labels["provider"])
            if known is None or (known.time, known.source, known.id) <= (event.time, event.source, event.id):
                table.put(labels["provider"], read)
        return [read]

    def reset_breakers(self) -> int:
        """Close every breaker, and probe again at once; return how many were not closed."""
        reset = sum([provider.breaker.reset() for provider in self._providers.values()])
        self._pace.hurry()
        return reset

    async def list_providers(self, ask: Nothing, caller: Caller) -> list[ProviderState]:
        return self._states()

    async def check(self) -> Finding:
        states = self._states()
        details: Mapping[str, object] = {
            "configured": len(states),
            "providers": {
                state.provider: {
                    "status": state.status,
                    "message": state.message,
                    "required": state.required,
                    "breaker": state.breaker,
                    "lastError": state.last_error,
                    "initializationMs": state.initialization_ms,
                }
                for state in states
            },
        }
        if not states:
            return Finding("healthy", "no provider is configured", details)
        ill = [state for state in states if state.status == "unhealthy"]
        held = [state for state in states if state.status == "unknown" and self._providers[state.provider].waits_for]
        unknown = [state for state in states if state.status == "unknown" and state.required]
        if ill:
            status: Status = "unhealthy" if any(state.required for state in ill) else "degraded"
            message = "; ".join(f"{state.provider}: {state.message}" for state in ill)
            return Finding(
                status,
                message,
                details,
                "Start what is down; POST health/circuit-breakers/reset probes it again at once.",
            )
        if held:
            return Finding("degraded", "; ".join(f"{state.provider} is {state.message}" for state in held), details)
        if unknown:
            message = "; ".join(f"{state.provider}: {state.message}" for state in unknown)
            return Finding("unknown", message, details)
        return Finding(
            "healthy", f"{sum(state.status == 'healthy' for state in states)} providers are healthy", details
        )

    async def _turn(self, provider: _Provider) -> Event | None:
        probe = provider.probe
        if probe.kind == "event":
            return None
        if waits_for := next((name for name in probe.depends_on if not self._healthy(name)), ""):
            provider.waits_for = waits_for
            return None
        if not provider.breaker.allows():
            provider.waits_for = ""
            return None
        # It waits until it has answered: what it said before that is of another time.
        result = await ask(probe, self._client, provider.thread)
        result = result._replace(reason=told(result.reason, self.context.redactor))
        provider.result, provider.at, provider.waits_for = result, self.context.clock.time(), ""
        if result.outcome == "success":
            provider.ms = result.ms
            provider.breaker.succeeded()
        else:
            provider.breaker.failed()
        measures = {"error_rate": 0.0 if result.outcome == "success" else 100.0}
        if result.ms is not None:
            measures["provider_initialization_time"] = result.ms
        return self.context.event(
            INITIALIZED,
            subject=probe.provider,
            labels={"provider": probe.provider},
            outcome=result.outcome,
            reason=result.reason or None,
            duration_ms=result.ms,
            measures=measures,
            data={"kind": probe.kind, "required": probe.required, "breaker": provider.breaker.state},
        )

    def _healthy(self, name: str) -> bool:
        return self._state(self._providers[name]).status == "healthy"

    def _states(self) -> list[ProviderState]:
        return [self._state(self._providers[probe.provider]) for probe in self.config.probes]

    def _state(self, provider: _Provider) -> ProviderState:
        probe, breaker = provider.probe, provider.breaker
        status, message = self._status(provider)
        waiting = breaker.next_attempt
        event = self.context.table.get(probe.provider) if probe.kind == "event" else None
        at, ms, error = provider.at, provider.ms, None
        if event:
            at, ms = event.time, event.measures.get("provider_initialization_time")
            error = None if event.outcome in (None, "success") else self._said(event)
        elif provider.result and provider.result.outcome != "success":
            error = provider.result.reason
        return ProviderState(
            provider=probe.provider,
            kind=probe.kind,
            required=probe.required,
            status=status,
            message=message,
            depends_on=list(probe.depends_on),
            initialization_ms=ms,
            last_error=error,
            probed_at=None if at is None else round(at * 1000),
            breaker=breaker.state,
            next_attempt_in=None if waiting is None else max(0.0, waiting - self.context.clock.monotonic()),
        )

    def _status(self, provider: _Provider) -> tuple[Status, str]:
        probe = provider.probe
        if probe.kind == "event":
            return self._heard(probe)
        if provider.waits_for:
            return "unknown", f"unknown (dependency {provider.waits_for})"
        if provider.result is None:
            return "unknown", "not probed yet"
        if provider.result.outcome == "success":
            return "healthy", "initialised"
        return "unhealthy", provider.result.reason

    def _heard(self, probe: Probe) -> tuple[Status, str]:
        event = self.context.table.get(probe.provider)
        if event is None:
            return "unknown", "nothing was heard of it yet"
        if self.context.clock.settled() - event.time > probe.max_age:
            return "unknown", f"nothing was heard of it for {probe.max_age}"
        if event.outcome in (None, "success"):
            return "healthy", "initialised"
        return "unhealthy", self._said(event)

    def _said(self, event: Event) -> str:
        return told(event.reason or str(event.outcome), self.context.redactor)


def _client() -> AsyncClient:
    from ssl import create_default_context

    from httpx2 import AsyncClient

    return AsyncClient(verify=create_default_context(), trust_env=False, timeout=None)
