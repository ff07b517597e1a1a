"""StatsD lines over UDP: counters, gauges, timers and sets, with the tags of DogStatsD."""

from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from math import isfinite
from typing import Annotated, Any, Self, TypeAlias

import anyio
import bers
import msgspec
from anyio.abc import SocketAttribute, UDPSocket
from msgspec import Meta

FIELDS = {"env": "environment", "environment": "environment", "service": "service"}
TIMES = {"ms": {"ms": 1.0, "s": 0.001}}
MAX_VALUE, MAX_TEXT = 1e18, 200
Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]  # A metric, and the tags that it is split by.


class StatsdConfig(bers.Config, frozen=True):
    """Take StatsD lines over UDP: counters, gauges, timers and sets, with DogStatsD's tags."""

    host: Annotated[str, Meta(description="Where to listen. Nobody is asked for a key, so take care.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="The port to listen on; 0 for any that is free.")] = 8125
    interval: Annotated[bers.Interval, Meta(description="How long values are gathered.")] = bers.Interval("1s")
    metrics: Annotated[
        dict[str, str],
        Meta(description="Which names are which metrics. Names of metrics, with `_` for each dot, need no mention."),
    ] = {}
    most: Annotated[int, Meta(gt=0, description="The most values in one interval; others are dropped.")] = 10_000


class Statsd(bers.Stage[StatsdConfig]):
    port = 0
    """Where it listens."""

    def __init__(self, config: StatsdConfig, context: bers.Context) -> None:
        super().__init__(config, context)
        self._seen = Counter[str]()
        self._sums = dict[Key, float]()
        self._gauges = dict[Key, float]()
        self._changed = set[Key]()
        self._sets = dict[Key, set[str]]()
        self._timers = list[tuple[Key, float, int]]()
        self._held = 0

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        host, port = self.config.host, self.config.port
        async with await anyio.create_udp_socket(local_host=host, local_port=port) as self._socket:
            self.port = self._socket.extra(SocketAttribute.local_port)
            yield self

    async def run(self, emit: bers.Emit) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._listen, self._socket)
            while True:
                await self.context.clock.sleep(self.config.interval)
                if events := list(self._flush()):
                    await emit(events)

    def tell(self) -> Mapping[str, Any]:
        return dict(self._seen)

    async def _listen(self, socket: UDPSocket) -> None:
        async for packet, _ in socket:
            for line in packet.decode(errors="replace").splitlines():
                try:
                    self._take(line)
                    self._seen["lines"] += 1
                except (ValueError, IndexError):
                    self._seen["malformed"] += 1

    def _take(self, line: str) -> None:
        """Add what one line says; raise ValueError where nobody understands it."""
        head, kind, *rest = line.split("|")
        name, *texts = head.split(":")
        metric = self.context.metrics.get(self.config.metrics.get(name) or name.replace(".", "_"))
        if metric is None:
            self._seen["unknown"] += 1
            return
        rate = float(next((one[1:] for one in rest if one.startswith("@")), "1"))
        if not 0 < rate <= 1 or not texts:
            raise ValueError(line)
        said = next((one[1:] for one in rest if one.startswith("#")), "")
        tags = {
            FIELDS.get(key, key): value[:MAX_TEXT] for key, _, value in (one.partition(":") for one in said.split(","))
        }
        key = (metric.name, tuple((one, tags[one]) for one in metric.labels if tags.get(one)))
        for text in texts:
            if self._held >= self.config.most:
                self._seen["dropped"] += 1
                continue
            if kind == "s":
                self._sets.setdefault(key, set()).add(text[:MAX_TEXT])
                self._held += 1
                continue
            value = float(text)
            if not isfinite(value) or abs(value) > MAX_VALUE * rate:
                raise ValueError(line)
            if kind == "c":
                self._held += key not in self._sums
                self._sums[key] = self._sums.get(key, 0.0) + value / rate
            elif kind == "g":
                self._held += key not in self._changed
                self._gauges[key] = value + (self._gauges.get(key, 0.0) if text[0] in "+-" else 0.0)
                self._changed.add(key)
            elif kind in ("ms", "h", "d"):
                self._held += 1
                scale = TIMES.get(kind, {}).get(metric.unit, 1.0)
                self._timers.append((key, value * scale, min(1_000_000, max(1, round(1 / rate)))))
            else:
                raise ValueError(line)

    def _flush(self) -> Iterator[bers.Event]:
        """What was gathered, as events; gauges are remembered, because what comes next may be a difference."""
        sums, sets, timers, changed = self._sums, self._sets, self._timers, self._changed
        self._sums, self._sets, self._timers, self._changed, self._held = {}, {}, [], set[Key](), 0
        found = [
            *((key, value, 1) for key, value in sums.items()),
            *((key, float(len(one)), 1) for key, one in sets.items()),
        ]
        for key, value, weight in [*found, *((key, self._gauges[key], 1) for key in changed), *timers]:
            tags = dict(key[1])
            event = self.context.event(
                "statsd.measured", measures={key[0]: value}, environment=tags.pop("environment", None),
                service=tags.pop("service", None), labels=tags,
            )  # fmt: skip
            yield msgspec.structs.replace(event, weight=weight)
        while len(self._gauges) > self.config.most:
            del self._gauges[next(iter(self._gauges))]


def verify(config: StatsdConfig, metrics: bers.Catalog) -> None:
    for name, metric in config.metrics.items():
        if metric not in metrics:
            raise bers.ConfigError(f"{name}: {bers.unknown('metric', metric, metrics)}", path="metrics")


@bers.hookimpl
def bers_sources() -> list[bers.SourceSpec[Any]]:
    return [bers.SourceSpec("statsd", StatsdConfig, Statsd, claims=("statsd.*",), verify=verify, alone=True, log="")]
