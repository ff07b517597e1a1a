"""The sockets of the listeners, bound before anything is started."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Mapping

import psutil

from bers.config.settings import ServerSettings
from bers.errors import ConfigError, Fault
from bers.operations import Surface

BACKLOG = 2048

UNSENT = 64 << 10
"""How many bytes the system keeps for a client that does not read; without a bound it may keep megabytes."""


def bind(settings: ServerSettings, *, wait: float = 0.0) -> dict[Surface, socket.socket]:
    """Bind the three ports, trying for ``wait`` seconds; raise ConfigError naming each port in use and its holder."""
    deadline = time.monotonic() + wait
    while True:
        bound, faults = _try(settings)
        if not faults:
            return bound
        for one in bound.values():
            one.close()
        if time.monotonic() >= deadline:
            raise ConfigError(faults)
        time.sleep(0.02)


def ports(sockets: Mapping[Surface, socket.socket]) -> dict[Surface, int]:
    """The port of each surface, as it turned out."""
    return {surface: one.getsockname()[1] for surface, one in sockets.items()}


def _try(settings: ServerSettings) -> tuple[dict[Surface, socket.socket], list[Fault]]:
    bound: dict[Surface, socket.socket] = {}
    faults: list[Fault] = []
    wanted: dict[Surface, int] = {"health": settings.health, "metrics": settings.metrics, "control": settings.control}
    for surface, port in wanted.items():
        try:
            bound[surface] = _bind(settings.host, port)
        except OSError as exc:
            reason = f"port {port} is in use{_holder(port)}" if exc.errno == errno.EADDRINUSE else str(exc)
            remedy = f"stop that, or set server.{surface} to another port"
            faults.append(Fault(f"server.{surface}", f"{reason}; {remedy}"))
    return bound, faults


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    one = socket.socket(family, kind, protocol)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections have it from their listener, where the system knows it.
        with contextlib.suppress(OSError, AttributeError):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
        one.bind(address)
        one.listen(BACKLOG)
    except OSError:
        one.close()
        raise
    return one


def _holder(port: int) -> str:
    """Who listens on a port, as far as this user may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:2] == (port,)
            if listens and connection.pid:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        pass
    return ""
