"""A whole node with its server: started, and stopped in order."""

from __future__ import annotations

import contextlib
import logging
import socket
import sqlite3
import ssl
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
import uvicorn

from bers import copies, disk, lock, memory, salvage
from bers.access import keys, posture
from bers.access.addresses import is_loopback
from bers.access.certificates import Certificates
from bers.access.gate import Gate
from bers.checksums import is_damage
from bers.clock import Clock, SystemClock
from bers.config import Plan
from bers.database import Database
from bers.errors import Unwritable
from bers.logs import Logs, files_of, writing
from bers.operations import Surface
from bers.supervisor import Supervisor
from bers.web.app import App
from bers.web.connections import Connections, limited
from bers.web.sockets import bind, ports
from bers.web.waiting import Waiting

AGAIN = 1.0
"""Seconds between two attempts to start, while the disk does not let a node."""

_log = logging.getLogger(__name__)


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
        waiting = Waiting(Path(plan.settings.data_dir), clock, plan.settings.environment)
        unfit: list[str] = []
        warnings = _owned(stack, plan, sockets.values(), clock, waiting, unfit, wait=wait, insecure=insecure)
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
                _tell(unfit)
                while warnings is None:
                    await _wait(app, waiting, plan)
                    warnings = _owned(stack, plan, sockets.values(), clock, waiting, unfit, wait=0.0, insecure=insecure)
                    _tell(unfit)
                now, again = _warned(plan, warnings), (lambda: _warned(reread(), warnings)) if reread else None
                addresses = [(host, port) for port in at.values()]
                make = partial(Supervisor, now, clock=clock, logs=logs, addresses=addresses, reread=again)
                async with AsyncExitStack() as inner:
                    while (supervisor := await _started(inner, make, waiting)) is None:
                        await _wait(app, waiting, plan)
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


def _owned(
    stack: ExitStack,
    plan: Plan,
    sockets: Iterable[socket.socket],
    clock: Clock,
    waiting: Waiting,
    unfit: list[str],
    *,
    wait: float,
    insecure: bool,
) -> list[str] | None:
    """Own the data directory, and see who may ask; None where its disk does not let us, which may change.

    Raise ConfigError where another process owns it, or a node must not start so.
    """
    with ExitStack() as held:
        try:
            held.enter_context(lock.hold(Path(plan.settings.data_dir), wait=wait))
            unfit += copies.put_right(Path(plan.settings.data_dir))
            warnings = _doors(plan, sockets, clock, insecure=insecure)
        except (Unwritable, OSError, sqlite3.OperationalError) as exc:
            if not (why := disk.disk_fault(exc)):
                raise
            waiting.reason = why
            return None
        stack.push(held.pop_all())
        return warnings


def _tell(unfit: list[str]) -> None:
    """Say once what of the data directory was put aside."""
    for said in unfit:
        _log.error("%s", said)
    unfit.clear()


async def _started(stack: AsyncExitStack, make: Callable[[], Supervisor], waiting: Waiting) -> Supervisor | None:
    """Start a node; None where its disk does not let it, which may change."""
    try:
        return await stack.enter_async_context(make())
    except Exception as exc:
        if not (why := disk.disk_fault(exc)):
            raise
        waiting.reason = why
        return None


async def _wait(app: App, waiting: Waiting, plan: Plan) -> None:
    """Say what the start waits for, give up what is kept aside for such times, and let some time pass."""
    folder = Path(plan.settings.data_dir)
    if not waiting.told:
        waiting.told = True
        _log.error("%s; it is tried again every second", waiting.why)
    app.wait(waiting)
    disk.Reserve(folder).give_up()
    waiting.room = await anyio.to_thread.run_sync(disk.room, folder, abandon_on_cancel=True)
    await anyio.sleep(AGAIN)


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


def _doors(plan: Plan, sockets: Iterable[socket.socket], clock: Clock, *, insecure: bool) -> list[str]:
    """What is to be known of who may ask; raise ConfigError where a node must not start so."""
    settings = plan.settings
    outside = [one.getsockname()[0] for one in sockets if not is_loopback(one.getsockname()[0])]
    made: list[keys.Key] = []
    if settings.access.enabled:
        database = Database(Path(settings.data_dir) / "state.db")
        try:
            made = _keys(database)
        finally:
            database.close()
    return posture.check(
        settings.access,
        made,
        lost=bool(salvage.asides(Path(settings.data_dir) / "state.db")),
        now=clock.time(),
        environment=settings.environment,
        outside=outside[0] if outside else "",
        tls=settings.server.tls is not None,
        insecure=insecure,
        origins=plan.origins,
    )


def _keys(database: Database) -> list[keys.Key]:
    """The keys that were made; twice where it turns out only now that their file is damaged."""
    try:
        return database.run_now(keys.stored)
    except sqlite3.DatabaseError as exc:
        if not is_damage(exc):
            raise
        return database.run_now(keys.stored)


def _warned(plan: Plan, warnings: Sequence[str]) -> Plan:
    return replace(plan, warnings=[*plan.warnings, *warnings])


def _shown(certificates: Certificates) -> Callable[[uvicorn.Config, Callable[[], ssl.SSLContext]], ssl.SSLContext]:
    return lambda _config, _default: certificates.context


def _url(scheme: str, host: str, port: int) -> str:
    """Where a client on this machine reaches a listener."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
    address = f"[{reachable}]" if ":" in reachable and not reachable.startswith("[") else reachable
    return f"{scheme}://{address}:{port}"
