"""A whole node with its server: started, and stopped in order."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
import uvicorn

from bers import lock, memory
from bers.access.certificates import Certificates
from bers.access.gate import Gate
from bers.clock import Clock, SystemClock
from bers.config import Plan
from bers.logs import Logs, files_of, writing
from bers.operations import Surface
from bers.supervisor import Supervisor
from bers.web.app import App
from bers.web.connections import Connections, limited
from bers.web.sockets import bind, ports
from bers.web.starting import AGAIN, Start


@dataclass(frozen=True)
class Node:
    """A node that is up."""

    supervisor: Supervisor
    ports: Mapping[Surface, int]
    logs: Logs
    gate: Gate
    certificates: Certificates | None = None

    @property
    def scheme(self) -> str:
        return "https" if self.certificates else "http"

    def reload_certificates(self) -> None:
        """Show what is in the files of `server.tls` now; raise ConfigError, and go on as before, if it is not fit."""
        if self.certificates:
            self.certificates.reload()


class _Server(uvicorn.Server):
    """uvicorn without its hands on our signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def running(
    plan: Plan,
    *,
    clock: Clock | None = None,
    wait: float = 0.0,
    reread: Callable[[], Plan] | None = None,
    insecure: bool = False,
) -> AsyncGenerator[Node]:
    """Run a node until the block is left. It answers from the moment its ports are bound: 503 until it is up.

    ``wait`` is how many seconds another process may take to let go of the ports and the data directory. Raise
    ConfigError where it does not, and where strangers could reach a node that asks nobody for a key; ``insecure``
    says that they may. ``reread`` reads the configuration again, for a reload.
    """
    host = plan.settings.server.host
    tls = plan.settings.server.tls
    certificates = Certificates(tls) if tls else None
    memory.settle()
    _make_folders()
    clock = clock or SystemClock()
    with ExitStack() as stack:
        sockets = bind(plan.settings.server, wait=wait)
        for one in sockets.values():
            stack.callback(one.close)
        start = Start(plan, [one.getsockname()[0] for one in sockets.values()], clock, insecure=insecure)
        start.try_to_own(stack, wait=wait)  # Before anything is written: another process may own what is there.
        logs = stack.enter_context(writing(plan.settings.log, files_of(plan), plan.redactor))
        at = ports(sockets)
        surfaces: dict[int, Surface] = {port: surface for surface, port in at.items()}
        gate = Gate(plan.settings.access, clock, host=host, tls=tls is not None)
        app = App(surfaces, gate)
        connections = Connections(plan.settings.server, surfaces)
        server = _Server(
            uvicorn.Config(
                app, lifespan="off", ws="none", log_config=None, access_log=False, server_header=False,
                proxy_headers=False, timeout_graceful_shutdown=2, backlog=2048,
                **limited(plan.settings.server, connections),
                ssl_context_factory=_shown(certificates) if certificates else None,
            )
        )  # fmt: skip
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, list(sockets.values()))
            try:
                warnings = await start.own(stack, app)
                now, again = _warned(plan, warnings), (lambda: _warned(reread(), warnings)) if reread else None
                addresses = [(host, port) for port in at.values()]
                make = partial(Supervisor, now, clock=clock, logs=logs, addresses=addresses, reread=again)
                async with AsyncExitStack() as inner:
                    supervisor = await start.run(inner, app, make)
                    app.serve(supervisor)
                    node = Node(supervisor, at, logs, gate, certificates)
                    group.start_soon(gate.run)
                    url = _url(node.scheme, host, at["control"])
                    announcing = anyio.CancelScope()
                    group.start_soon(_announce, announcing, Path(plan.settings.data_dir), url, plan.path)
                    try:
                        yield node
                    finally:
                        announcing.cancel()
                        app.close()
                        gate.close()
                        with anyio.CancelScope(shield=True):
                            await gate.save()
            finally:
                app.close()
                server.should_exit = True


async def _announce(scope: anyio.CancelScope, folder: Path, url: str, config: Path | None) -> None:
    """Let others find this node, as soon as the disk lets us write down where it is."""
    with scope:
        while True:
            try:
                lock.announce(folder, url, config)
                return
            except OSError:
                await anyio.sleep(AGAIN)


def _make_folders() -> None:
    """The runbook's weekly script copies the configuration to `backups/`."""
    with contextlib.suppress(OSError):  # A folder for the operator's copies is nothing to fail for.
        Path("backups").mkdir(exist_ok=True)


def _warned(plan: Plan, warnings: Sequence[str]) -> Plan:
    return replace(plan, warnings=[*plan.warnings, *warnings])


def _shown(certificates: Certificates) -> Callable[[uvicorn.Config, Callable[[], ssl.SSLContext]], ssl.SSLContext]:
    return lambda _config, _default: certificates.context


def _url(scheme: str, host: str, port: int) -> str:
    """Where a client on this machine reaches a listener."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
    address = f"[{reachable}]" if ":" in reachable and not reachable.startswith("[") else reachable
    return f"{scheme}://{address}:{port}"
