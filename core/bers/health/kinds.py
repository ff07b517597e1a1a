"""What a check of one's own can look at: an address, a port, a program, a metric."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Literal

from msgspec import Meta

from bers.headers import header_faults
from bers.redaction import Secret
from bers.stages import Config
from bers.targets import Target
from bers.units import Duration, Interval, Quantity

Aggregate = Literal["last", "mean", "min", "max", "p50", "p95", "p99", "count"]


class HttpCheck(Config, frozen=True):
    """Asks an address, and looks at what it answers."""

    url: Annotated[
        Secret,
        Meta(description="Address, http or https, of which only the host is told; redirections are not followed."),
    ]
    method: Annotated[Literal["GET", "HEAD", "POST", "OPTIONS"], Meta(description="How it is asked.")] = "GET"
    headers: Annotated[Mapping[str, Secret], Meta(description="Headers to send, such as Authorization.")] = {}
    body: Annotated[Secret | None, Meta(description="What to send with POST.")] = None
    status: Annotated[
        tuple[Annotated[int, Meta(ge=100, le=599)], ...],
        Meta(description="The status codes that are right; 200 to 299, if not told."),
    ] = ()
    contains: Annotated[str, Meta(description="Text that the answer has to contain.")] = ""
    json: Annotated[
        dict[str, Any], Meta(description="Values in the JSON answer, by JSON pointer: `{/status: up, /db/ok: true}`.")
    ] = {}
    degraded_above: Annotated[Interval | None, Meta(description="Degraded where the answer takes longer.")] = None
    unhealthy_above: Annotated[Interval | None, Meta(description="Unhealthy where the answer takes longer.")] = None
    certificate: Annotated[
        Duration, Meta(description="Degraded where its certificate ends within so long; `0s` does not look.")
    ] = Duration("14d")
    authority: Annotated[
        str, Meta(description="File with certificates to be believed, in PEM, beside those of this machine.")
    ] = ""
    allow_internal: Annotated[
        bool,
        Meta(
            description="Whether the address may be loopback or in a private network; never where clouds hand out a "
            "machine's credentials."
        ),
    ] = True

    def __post_init__(self) -> None:
        self.target()
        for fault in header_faults(self.headers):
            raise ValueError(f"headers: {fault}")
        for pointer in self.json:
            if pointer and not pointer.startswith("/"):
                raise ValueError(f"json: {pointer!r} is no JSON pointer; write '/{pointer}'")
        if self.body is not None and self.method != "POST":
            raise ValueError("body: only POST sends one; remove it, or write method: POST")
        if self.method == "HEAD" and (self.contains or self.json):
            raise ValueError("method: the answer to HEAD has no body to look into; write GET")
        _check_order(self.degraded_above, self.unhealthy_above)

    def target(self) -> Target:
        """Where it goes. Raise ValueError where it must not go there."""
        try:
            return Target(self.url.reveal(), internal=self.allow_internal, plain=True, credentials=True)
        except ValueError as exc:
            raise ValueError(f"url: {exc}") from None

    @property
    def goes_outside(self) -> bool:
        return not _is_here(self.target().host)


class TcpCheck(Config, frozen=True):
    """Opens a connection, and closes it again."""

    address: Annotated[str, Meta(description="The place, as HOST:PORT.")]
    degraded_above: Annotated[Interval | None, Meta(description="Degraded where a connection takes longer.")] = None
    unhealthy_above: Annotated[Interval | None, Meta(description="Unhealthy where a connection takes longer.")] = None
    allow_internal: Annotated[
        bool,
        Meta(
            description="Whether the address may be loopback or in a private network; never where clouds hand out a "
            "machine's credentials."
        ),
    ] = True

    def __post_init__(self) -> None:
        self.target()
        _check_order(self.degraded_above, self.unhealthy_above)

    def target(self) -> Target:
        """Where it goes. Raise ValueError where it must not go there."""
        try:
            return place(self.address, internal=self.allow_internal)
        except ValueError as exc:
            raise ValueError(f"address: {exc}") from None

    @property
    def goes_outside(self) -> bool:
        return not _is_here(self.target().host)


class CommandCheck(Config, frozen=True):
    """Runs a program without a shell; its exit code says how the thing is, as plugins of Nagios do."""

    argv: Annotated[
        tuple[str, ...],
        Meta(min_length=1, description="Program and arguments. The first line that it prints is what the check tells."),
    ]
    env: Annotated[
        Mapping[str, Secret], Meta(description="Variables of its environment, beside those of the server.")
    ] = {}
    degraded: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=255)], ...], Meta(description="Exit codes that say degraded.")
    ] = (1,)
    unknown: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=255)], ...],
        Meta(description="Exit codes that say unknown. 0 is healthy, and every other one unhealthy."),
    ] = (3,)

    def __post_init__(self) -> None:
        if not self.argv[0]:
            raise ValueError("argv[0]: it names no program; write one")
        if both := sorted({*self.degraded} & {*self.unknown}):
            raise ValueError(f"unknown: {both[0]} says degraded already; remove it from one of them")


class MetricCheck(Config, frozen=True):
    """Compares what the store knows of a metric with thresholds, in the metric's unit."""

    name: Annotated[str, Meta(min_length=1, description="The metric.")]
    aggregate: Annotated[
        Aggregate, Meta(description="What of the samples in `window` is compared; `last` is the newest one of all.")
    ] = "mean"
    window: Annotated[Interval, Meta(description="How far back it looks.")] = Interval("5m")
    labels: Annotated[dict[str, str], Meta(description="Only series with these labels.")] = {}
    degraded_above: Annotated[Quantity | None, Meta(description="Degraded beyond this value, such as `100ms`.")] = None
    unhealthy_above: Annotated[Quantity | None, Meta(description="Unhealthy beyond this value.")] = None
    degraded_below: Annotated[Quantity | None, Meta(description="Degraded short of this value, such as `95%`.")] = None
    unhealthy_below: Annotated[Quantity | None, Meta(description="Unhealthy short of this value.")] = None
    no_data: Annotated[
        Literal["unknown", "healthy", "degraded", "unhealthy"],
        Meta(description="What it is where the window has no sample."),
    ] = "unknown"

    def __post_init__(self) -> None:
        for name, value in self.labels.items():
            if any(one in name + value for one in ",=|!") or not name:
                raise ValueError(f"labels: {name!r} cannot be asked for; a label has none of the characters , = | !")
        if not any(self.thresholds.values()):
            raise ValueError("degraded_above: nothing is compared; write one of degraded_above, unhealthy_above, "
                             "degraded_below, unhealthy_below")  # fmt: skip

    @property
    def thresholds(self) -> Mapping[str, Quantity | None]:
        """As they were written, by the options' names."""
        names = ("degraded_above", "unhealthy_above", "degraded_below", "unhealthy_below")
        return {name: getattr(self, name) for name in names}

    def unit(self, own: str) -> str:
        """The unit of what is compared, where the metric has this one."""
        return "1" if self.aggregate == "count" else own


def place(text: str, *, internal: bool = True) -> Target:
    """Read HOST:PORT. Raise ValueError where that is none, or one that must not be asked."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text[:80]!r} is no place; write HOST:PORT, as in db.internal:5432 or [::1]:53")
    if ":" in host and not host.startswith("["):
        raise ValueError(f"{text[:80]!r}: put an address of IPv6 in brackets, as in [{host}]:{port}")
    if any(one in host for one in "/?#@"):
        raise ValueError(f"{text[:80]!r} is no place; write HOST:PORT, without scheme and path")
    return Target(f"http://{text}/", internal=internal, plain=True)


def _is_here(host: str) -> bool:
    """Whether a host is this machine by its name, so that it is there though the network is not."""
    name = host.rstrip(".").lower()
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _check_order(degraded: Interval | None, unhealthy: Interval | None) -> None:
    if degraded and unhealthy and unhealthy <= degraded:
        raise ValueError("unhealthy_above: it is not more than degraded_above; raise it")
