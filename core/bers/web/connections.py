"""What a client may cost before anybody has looked at its request: connections, time, and bytes of headers."""

from __future__ import annotations

import asyncio
import logging
import resource
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bers.config.settings import ServerSettings
from bers.operations import Surface
from bers.web.outlet import LINE

MAX_HEAD = 64 << 10
"""How many bytes may come in a row that are no body: headers, and what pieces of a body are wrapped in."""

MAX_PIPELINED = 16
"""How many requests of one connection may wait for the answers before theirs."""

SPARE_FILES = 128
"""How many descriptors databases, logs and the journal are left."""

LINGER = 1.0
"""Seconds in which a client that is turned away may read why."""

MAX_LINGERING = 64
"""How many are told why at a time; others are turned away without a word."""

_BUSY = b'{"success":false,"error":{"code":"unavailable","message":"this port has as many connections as it takes"}}'
_TURNED_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_BUSY), _BUSY)
)
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"

_log = logging.getLogger(__name__)


class Connections:
    """Counts the connections of each listener. None of them can use up what belongs to another."""

    def __init__(self, settings: ServerSettings, surfaces: Mapping[int, Surface]) -> None:
        """``surfaces`` tells what is answered on each port."""
        self.headers_within = float(settings.headers_within)
        most = min(settings.max_connections, _descriptors(settings.max_connections + SPARE_FILES) - SPARE_FILES)
        reading = max(1, most // 16)
        shares: dict[Surface, int] = {"health": reading, "metrics": reading, "control": max(1, most - 2 * reading)}
        self._most = {port: shares[surface] for port, surface in surfaces.items()}
        self._open = Counter[int]()
        self._told: set[int] = set()
        self.lingering = 0
        """How many are being told that there is no room for them."""
        self.turned_away = 0

    def open(self, port: int) -> bool:
        """Count one more; False where there is no room for it."""
        if self._open[port] >= self._most.get(port, 1 << 30):
            self.turned_away += 1
            if port not in self._told:  # Once: who floods us shall not flood the logs.
                self._told.add(port)
                _log.warning("port %d has its %d connections; more are answered with 503", port, self._most[port])
            return False
        self._open[port] += 1
        return True

    def close(self, port: int) -> None:
        self._open[port] -= 1

    def protocol(self) -> type[asyncio.Protocol]:
        """What uvicorn makes of each connection."""
        connections = self

        class Connection(_Connection):
            limits = connections

        return Connection


class _Connection(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, for clients that are slow, endless, or too many."""

    limits: Connections

    _counted = 0
    """The port that it is counted at."""
    _refused = False
    _without_body = 0
    _asked = 0
    """How many requests have come and are not answered."""
    _waited_for: asyncio.TimerHandle | None = None
    _leave: Callable[[], None] | None = None
    """What is called when the client of a stream is gone."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        port = int(transport.get_extra_info("sockname")[1])
        if not self.limits.open(port):
            self._turn_away(transport)
            return
        self._counted = port
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        if self._refused:
            return
        self.limits.close(self._counted)
        super().connection_lost(exc)
        if self._leave is not None:
            self._leave()

    def data_received(self, data: bytes) -> None:
        if self._refused:  # What it wants to say is read, so that it may read what we said.
            return
        self._without_body += len(data)
        super().data_received(data)
        if self._without_body > MAX_HEAD or len(self.pipeline) > MAX_PIPELINED:
            self._refuse_head()
        elif self._waited_for is None and not self._asked:
            self._expect_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope.setdefault("state", {})[LINE] = self

    def write_now(self, data: bytes) -> bool:
        """Write a piece of the answer that is being given; False where what was written before still waits."""
        if self.flow.write_paused:
            return False
        if not self.transport.is_closing():
            self.transport.write(data)
        return True

    def abort(self) -> None:
        """Close it, whatever waits to be written: somebody who does not read would keep it for ever."""
        self.transport.abort()

    def when_lost(self, leave: Callable[[], None]) -> None:
        """Call that when the client is gone before the answer has ended that is being given."""
        self._leave = leave
        if self.transport.is_closing():
            leave()

    def on_headers_complete(self) -> None:
        self._expect_nothing()
        self._without_body = 0
        self._asked += 1
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        self._asked -= 1
        self._leave = None
        super().on_response_complete()

    def on_body(self, body: bytes) -> None:
        self._without_body = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._without_body = 0
        super().on_message_complete()

    def shutdown(self) -> None:
        if not self._refused:
            super().shutdown()

    def _expect_headers(self) -> None:
        self._waited_for = self.loop.call_later(self.limits.headers_within, self._give_up)

    def _expect_nothing(self) -> None:
        if self._waited_for is not None:
            self._waited_for.cancel()
            self._waited_for = None

    def _give_up(self) -> None:
        self._waited_for = None
        if not self.transport.is_closing():
            self.transport.close()

    def _refuse_head(self) -> None:
        if self.transport.is_closing():
            return
        if not self._asked:
            self.transport.write(_HEAD_TOO_LARGE)
        self.transport.close()

    def _turn_away(self, transport: asyncio.Transport) -> None:
        self._refused = True
        self.transport = transport
        if self.limits.lingering >= MAX_LINGERING:
            transport.abort()
            return
        self.limits.lingering += 1
        transport.write(_TURNED_AWAY)
        if transport.can_write_eof():
            transport.write_eof()
        self.loop.call_later(LINGER, self._stop_lingering)

    def _stop_lingering(self) -> None:
        self.limits.lingering -= 1
        self.transport.close()


def _descriptors(wanted: int) -> int:
    """How many files this process may have open, raised to what is wanted as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def limited(settings: ServerSettings, connections: Connections) -> dict[str, Any]:
    """What uvicorn is configured with."""
    return {
        "http": connections.protocol(),
        "timeout_keep_alive": settings.idle_within,
        # It warns of each request that is none, and so anybody could fill the disk that has start.log, or a journal.
        "log_level": "error",
    }
