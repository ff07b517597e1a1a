"""How long it takes to reach a service: a TCP connection to each target, at a steady pace."""

from typing import Annotated

import anyio
from bers import Config, Emit, Event, Interval, Metric, Outcome, SourceSpec, Stage, hookimpl
from msgspec import Meta

TIME = Metric("connect_time", "ms", "How long it takes to open a TCP connection.", labels=("target",))


class ConnectConfig(Config, frozen=True):
    """Measure how long it takes to open a TCP connection to each target."""

    targets: Annotated[list[str], Meta(min_length=1, description="Whom to connect to, each as `host:port`.")]
    interval: Annotated[Interval, Meta(description="The pause between two rounds.")] = Interval("10s")
    timeout: Annotated[Interval, Meta(description="How long a connection may take.")] = Interval("5s")

    def __post_init__(self) -> None:
        for n, (host, _, port) in enumerate(target.rpartition(":") for target in self.targets):
            if not (host and port.isdecimal() and int(port) < 65536):
                raise ValueError(f"targets[{n}]: {self.targets[n]!r} is not host:port; write it as in 'localhost:5432'")


class Connect(Stage[ConnectConfig]):
    async def run(self, emit: Emit) -> None:
        while True:
            await emit([await self._connect(target) for target in self.config.targets])
            await self.context.clock.sleep(self.config.interval)

    async def _connect(self, target: str) -> Event:
        host, _, port = target.rpartition(":")
        began, labels = anyio.current_time(), {"target": target}
        try:
            with anyio.fail_after(self.config.timeout):
                await (await anyio.connect_tcp(host.strip("[]"), int(port))).aclose()
        except OSError as exc:
            outcome: Outcome = "timeout" if isinstance(exc, TimeoutError) else "failure"
            return self.context.event("connect.measured", labels=labels, outcome=outcome, reason=str(exc) or None)
        took = {TIME.name: (anyio.current_time() - began) * 1000}
        return self.context.event("connect.measured", labels=labels, outcome="success", measures=took)


CONNECT = SourceSpec("connect", ConnectConfig, Connect, claims=("connect.measured",), metrics=(TIME,))


@hookimpl
def bers_sources() -> list[SourceSpec[ConnectConfig]]:
    return [CONNECT]
