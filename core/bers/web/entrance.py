"""Where events come in over HTTP: what a request needs at each door, who is greeted there, and what it is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

from bers.access.gate import Errand, Gate
from bers.errors import Refused
from bers.operations import Caller
from bers.supervisor import Supervisor
from bers.web import guests, handshake
from bers.web.doors import INGEST, Door, doors, welcome
from bers.web.envelope import not_allowed, success
from bers.web.event_schema import EVENT
from bers.web.ingest import Ingest
from bers.web.strangers import Strangers


class Entrance:
    """All doors of one node: that for events, and one for each format that a plugin offers."""

    def __init__(self, node: Supervisor, gate: Gate) -> None:
        self._node = node
        self._gate = gate
        self._doors: Mapping[str, Door] = doors((spec for _, spec in node.plan.catalogue.all()), node.running)
        """Where formats of plugins are taken, by path."""
        self._script = guests.script()
        self._open(node)
        node.listeners.append(self._open)

    def _open(self, node: Supervisor) -> None:
        """Hold to the node's settings, as they are from now on."""
        settings = node.plan.settings.intake
        strangers = Strangers(node.clock, self._gate.settings.rate, int(settings.memory))
        self._ingest = Ingest(
            node.intake, settings, node.clock, node.memory, node.pace, node.redactor, node.plan.metrics, strangers
        )

    @property
    def doors(self) -> Sequence[Door]:
        """Those of plugins."""
        return [*self._doors.values()]

    def leads(self, path: str) -> bool:
        """Whether there is a door."""
        return path == INGEST or path in self._doors

    def errand(self, path: str, method: str) -> Errand:
        """What a request to a door needs. Nobody is counted here: the intake says how many events there may be."""
        door = self._doors.get(path)
        if door is None:
            return Errand("ingest", counted=False, pages=True)
        return Errand("ingest", public=method == "POST" and door.proves, counted=False)

    def greeting(self, request: Request) -> Response | None:
        """The answer to a sender who asks whether events are expected here at all, before there are any."""
        if not handshake.is_asked(request.method, request.headers):
            return None
        return handshake.answer(request.headers, self._node.plan.settings.intake.events_per_second)

    def script(self, request: Request) -> Response:
        """What pages hand their events in with. Raise Refused where it was not built."""
        if self._script is None:
            raise Refused(
                "not_found",
                "the script for pages is not built",
                hint="run `make setup`, or install a wheel, which has it",
            )
        return guests.handed_out(request, self._script)

    async def answer(self, request: Request, path: str, method: str, caller: Caller) -> Response:
        """Take what is handed in, or tell what may be."""
        if method == "POST":
            return await self._ingest.answer(request, self._gate.account(caller), self._doors.get(path))
        if method == "GET":
            return success(welcome(path, self.doors, self._node.plan.settings.intake, EVENT))
        return not_allowed(["GET", "POST"])


async def ask_first(request: Request, path: str, source: str, gate: Gate) -> Response | None:
    """The answer to a browser that asks what a page of a guest may do here; it is given before there is a node."""
    if path != INGEST or not guests.asks_first(request):
        return None
    await gate.admit(request, source, Errand("ingest", public=True, counted=False, pages=True))
    return guests.permission()


def way_back(send: Send, request: Request, path: str, gate: Gate) -> Send:
    """The way of an answer, which a page of a guest may read where it hands in events."""
    return guests.readable(send, gate.guest(request)) if path == INGEST else send
