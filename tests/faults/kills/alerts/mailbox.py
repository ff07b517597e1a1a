"""A mail server that is not always well: it has no room, hangs and hangs up, and keeps all it is sent."""

from __future__ import annotations

import asyncio
import email
import threading
from email.policy import default
from random import Random
from typing import Any

from aiosmtpd.smtp import SMTP

from tests.faults.kills.alerts.receiver import Receipt

HANG = 1.2
"""Seconds without an answer; more than the channel waits."""

_MOODS = (["well", "has no room", "hangs", "hangs up", "takes, and hangs up"], [12, 3, 1, 2, 2])


class Mailbox:
    """While it is good it takes everything. Else chance decides, for each message."""

    def __init__(self, rng: Random) -> None:
        self.receipts: list[Receipt] = []
        self.good = True
        self.port = 0
        self._rng = rng
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(ready),))
        self._thread.start()
        ready.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        connections: list[SMTP] = []

        def connected() -> SMTP:
            connections.append(SMTP(self, hostname="mail.example", loop=self._loop))
            return connections[-1]

        server = await self._loop.create_server(connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._over.wait()
        server.close()
        for one in connections:
            if isinstance(one.transport, asyncio.Transport):
                one.transport.abort()
        await asyncio.sleep(0.05)

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        mood = "well" if self.good else self._rng.choices(*_MOODS)[0]
        message = email.message_from_bytes(envelope.content, policy=default)
        if mood != "hangs up":
            body = f"{message['Subject']}\n{message['In-Reply-To'] or ''}".encode()
            self.receipts.append(Receipt(str(message["Message-ID"]), body, mood != "has no room"))
        if mood == "has no room":
            return "452 there is no room"
        if mood == "hangs":
            await asyncio.sleep(HANG)
        if mood != "well" and isinstance(server.transport, asyncio.Transport):
            server.transport.abort()
        return "250 taken"
