"""A whole node with its server: started, and stopped in order."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import uvicorn

from bers import lock
from bers.clock import Clock
from bers.config import Plan
from bers.logs import Logs, files_of, writing
from bers.operations import Surface
from bers.supervisor import Supervisor
from bers.web.app import App
from bers.web.connections import Connections, limited
from bers.web.sockets import bind, ports


@dataclass(frozen=True)
class Node:
    """A node that is up."""

    supervisor: Supervisor
    ports: Mapping[Surface, int]
    logs: Logs


class _Server(uvicorn.Server):
    """uvicorn without its hands on our signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def running(
    plan: Plan, *, clock: Clock | None = None, wait: float = 0.0, reread: Callable[[], Plan] | None = None
) -> AsyncGenerator[Node]:
    """Run a node until the block is left. It answers from the moment its ports are bound: 503 until it is up.

    ``wait`` is how many seconds another process may take to let go of the ports and the data directory. Raise
    ConfigError where it does not. ``reread`` reads the configuration again, for a reload.
    """
    host = plan.settings.server.host
    _make_folders()
    with ExitStack() as stack:
        sockets = bind(plan.settings.server, wait=wait)
        for one in sockets.values():
            stack.callback(one.close)
        stack.enter_context(lock.hold(Path(plan.settings.data_dir), wait=wait))
        logs = stack.enter_context(writing(plan.settings.log, files_of(plan), plan.redactor))
        at = ports(sockets)
        surfaces: dict[int, Surface] = {port: surface for surface, port in at.items()}
        app = App(surfaces)
        connections = Connections(plan.settings.server, surfaces)
        server = _Server(
            uvicorn.Config(
                app, lifespan="off", ws="none", log_config=None, access_log=False, server_header=False,
                proxy_headers=False, timeout_graceful_shutdown=2, backlog=2048,
                **limited(plan.settings.server, connections),
            )
        )  # fmt: skip
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, list(sockets.values()))
            try:
                addresses = [(host, port) for port in at.values()]
                async with Supervisor(plan, clock=clock, logs=logs, addresses=addresses, reread=reread) as supervisor:
                    app.serve(supervisor)
                    lock.announce(Path(plan.settings.data_dir), _url(host, at["control"]), plan.path)
                    try:
                        yield Node(supervisor, at, logs)
                    finally:
                        app.close()
            finally:
                app.close()
                server.should_exit = True


def _make_folders() -> None:
    """The runbook's weekly script copies the configuration to `backups/`."""
    with contextlib.suppress(OSError):  # A folder for the operator's copies is nothing to fail for.
        Path("backups").mkdir(exist_ok=True)


def _url(host: str, port: int) -> str:
    """Where a client on this machine reaches a listener."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
    return f"http://{f'[{reachable}]' if ':' in reachable and not reachable.startswith('[') else reachable}:{port}"
