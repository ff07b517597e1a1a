"""Whether a node may start as it is configured: closed, or open where nobody else can reach it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bers.access.keys import Key
from bers.access.settings import AccessSettings
from bers.errors import ConfigError, Fault

SHORT = 16
"""Characters that a key should have that somebody chose."""

_SHUT = (
    "access.enabled: the keys were lost with a damaged file, so nobody gets in; see what is kept as "
    "state.db.damaged-*, and make a key with `bers keys create NAME --scope admin`"
)


def check(
    settings: AccessSettings,
    keys: Sequence[Key],
    *,
    now: float,
    environment: str,
    outside: str,
    tls: bool,
    lost: bool = False,
    insecure: bool = False,
    origins: Mapping[str, str] | None = None,
) -> list[str]:
    """Return what an operator should know of the doors; raise ConfigError where they would be open to strangers.

    ``lost`` says that there may have been keys, in a file that was damaged: then nobody gets in, and the node starts.

    ``outside`` is the address that others can reach this node at, or empty; ``origins`` tells which settings came
    from where, by their paths.
    """
    said = origins or {}
    shut = settings.enabled and settings.key is None and lost and not any(key.live(now) for key in keys)
    production = environment.strip().lower() == "production"
    if settings.enabled and settings.key is None and not lost and not any(key.live(now) for key in keys):
        remedy = "make one with `bers keys create NAME --scope admin`, or set BERS_MONITORING_API_KEY"
        message = f"a key is asked for, and there is none that could be used; {remedy}"
        raise ConfigError([Fault("access.enabled", message, said.get("access.enabled", ""))])
    if not settings.enabled and production and outside and not insecure:
        remedy = "switch access.enabled on and make a key, listen on 127.0.0.1, or start with --insecure"
        message = f"others can reach {outside}, and in production nobody is asked for a key; {remedy}"
        raise ConfigError([Fault("server.host", message)])
    return [*_open(settings, production, outside), *_weak(settings, outside, tls), *([_SHUT] if shut else [])]


def _open(settings: AccessSettings, production: bool, outside: str) -> list[str]:
    if settings.enabled:
        return []
    found: list[str] = []
    if outside:
        found.append(f"access.enabled: nobody is asked for a key, and others can reach {outside}; switch it on")
    elif production:
        found.append("access.enabled: nobody is asked for a key; whoever uses this machine may do everything")
    if settings.key is not None:
        found.append("access.key: there is a key, and nobody is asked for it; switch access.enabled on")
    return found


def _weak(settings: AccessSettings, outside: str, tls: bool) -> list[str]:
    found: list[str] = []
    if settings.enabled and settings.key is not None and len(settings.key.reveal()) < SHORT:
        found.append(f"access.key: it has less than {SHORT} characters, which can be guessed; `bers keys` makes others")
    if settings.enabled and outside and not tls and not settings.trusted_proxies:
        found.append("server.tls: keys come over the network in the clear; set it, or put a proxy in front that does")
    return found
