"""What pipelines.yaml says about who may ask."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta

from bers.access.addresses import networks
from bers.redaction import Secret
from bers.stages import Config
from bers.units import Interval

_ORIGIN = re.compile(r"https?://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:]+\])(?::[0-9]{1,5})?")
_HOST = re.compile(r"[\w-]+(?:\.[\w-]+)*")


class SessionSettings(Config, frozen=True):
    """How long somebody stays logged in."""

    lasts: Annotated[Interval, Meta(description="Time from a login to its end, whatever is done meanwhile.")] = (
        Interval("12h")
    )


class RateSettings(Config, frozen=True):
    """How many requests one key may make, or one address where nobody is asked for a key.

    Events that are handed in are not counted, nor are streams; nor are reads of health from this machine itself.
    """

    enabled: Annotated[bool, Meta(description="Whether there is a limit at all.")] = True
    per_second: Annotated[float, Meta(gt=0, description="Requests a second that may go on for ever.")] = 20.0
    burst: Annotated[int, Meta(ge=1, description="Requests that may come at once after a rest.")] = 60


class AccessSettings(Config, frozen=True):
    """Who may ask this node."""

    enabled: Annotated[
        bool,
        Meta(description="Whether a key or a session is asked for. `BERS_MONITORING_AUTH_ENABLED` says it, too."),
    ] = False
    key: Annotated[
        Secret | None,
        Meta(
            description="A key with every scope, beside those of `bers keys`, as in `${file:PATH}`. "
            "`BERS_MONITORING_API_KEY` says it, too."
        ),
    ] = None
    allowed: Annotated[
        list[str],
        Meta(
            description="Networks that may ask, as in `10.0.0.0/8` or `2001:db8::/32`; everybody where there is none. "
            "`BERS_MONITORING_ALLOWED_IPS` says it, too, with commas between."
        ),
    ] = []
    allow_loopback: Annotated[
        bool,
        Meta(
            description="Whether this machine itself may ask though `allowed` does not name it. "
            "`BERS_MONITORING_ALLOW_LOOPBACK` says it, too."
        ),
    ] = True
    trusted_proxies: Annotated[
        list[str],
        Meta(
            description="Networks of proxies that set `X-Forwarded-For` or `Forwarded`. From others they mean nothing."
        ),
    ] = []
    hosts: Annotated[
        list[str],
        Meta(
            description="Names by which browsers reach this node, beside `localhost`, addresses and `server.host`. "
            "Others are refused where there are any here, and wherever nobody is asked for a key."
        ),
    ] = []
    origins: Annotated[
        list[str],
        Meta(
            description="Sites whose pages may hand in events, as in `https://app.example`; of others only pages of "
            "this node may."
        ),
    ] = []
    session: Annotated[SessionSettings, Meta(description="Logins of people.")] = SessionSettings()
    rate: Annotated[RateSettings, Meta(description="How many requests one caller may make.")] = RateSettings()

    def __post_init__(self) -> None:
        networks(self.allowed, "allowed")
        networks(self.trusted_proxies, "trusted_proxies")
        for n, name in enumerate(self.hosts):
            if not _HOST.fullmatch(name):
                raise ValueError(f"hosts[{n}]: {name!r} is no name of a host; write it without scheme, port and path")
        for n, origin in enumerate(self.origins):
            if not _ORIGIN.fullmatch(origin):
                hint = "write scheme, host in lower case, and port where it is not the usual one: https://app.example"
                raise ValueError(f"origins[{n}]: {origin!r} is no origin; {hint}")
        if self.key is not None and not usable(self.key.reveal()):
            raise ValueError("key: it is empty, or has other characters than visible ASCII; write another")


class TlsSettings(Config, frozen=True):
    """The certificate of the three listeners."""

    certificate: Annotated[
        str, Meta(min_length=1, description="The file with the certificate and those that lead to its root, in PEM.")
    ]
    key: Annotated[str, Meta(min_length=1, description="The file with its private key, in PEM, without a passphrase.")]
    minimum: Annotated[Literal["1.2", "1.3"], Meta(description="The oldest version of TLS that is spoken.")] = "1.2"


def usable(key: str) -> bool:
    """Whether text can be sent as a key in a header."""
    return bool(key) and key.isascii() and key.isprintable() and " " not in key
