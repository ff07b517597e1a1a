"""How long it takes to reach a service: a TCP connection to each target, at a steady pace."""

from functools import partial
from typing import Annotated

import anyio
from bers import Config, Emit, Interval, Metric, SourceSpec, Stage, hookimpl
from msgspec import Meta


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
            async with anyio.create_task_group() as group:
                for target in self.config.targets:
                    group.start_soon(self._connect, target, emit)
            await self.context.clock.sleep(self.config.interval)

    async def _connect(self, target: str, emit: Emit) -> None:
        host, _, port = target.rpartition(":")
        event = partial(self.context.event, "connect.measured", labels={"target": target})
        began = anyio.current_time()
        try:
            with anyio.fail_after(self.config.timeout):
                await (await anyio.connect_tcp(host.strip("[]"), int(port))).aclose()
            measured = event(outcome="success", measures={"connect_time": (anyio.current_time() - began) * 1000})
        except OSError as exc:
            measured = event(outcome="timeout" if isinstance(exc, TimeoutError) else "failure", reason=str(exc) or None)
        await emit([measured])


TIME = Metric("connect_time", "ms", "How long it takes to open a TCP connection.", labels=("target",))
CONNECT = SourceSpec("connect", ConnectConfig, Connect, claims=("connect.measured",), metrics=(TIME,))


@hookimpl
def bers_sources() -> list[SourceSpec[ConnectConfig]]:
    return [CONNECT]
