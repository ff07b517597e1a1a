"""`bers start` and `bers dev`: the server."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio
import click
from anyio.abc import TaskGroup

from bers import collector, lock
from bers.cli.detaching import insecure_option, run_detached
from bers.cli.reading import CONFIG, config_option, path_of, read
from bers.config import Plan, load
from bers.config.located import Steps
from bers.errors import ConfigError, Refused, leaves
from bers.logs import to_terminal
from bers.operations import Caller
from bers.redaction import Redactor
from bers.watchdog import exit_after
from bers.web.server import Node, running

LAST_RESORT = 3.0
"""Seconds beyond `stop_within` after which a process that still has not ended is ended by force."""


@click.command()
@config_option
@click.option("--detach", is_flag=True, help="Return when the server is ready, and leave it running.")
@insecure_option
@click.option("--replace", is_flag=True, hidden=True)
def start(config: Path | None, detach: bool, insecure: bool, replace: bool) -> None:
    """Run the server, in the foreground or detached."""
    if detach:
        run_detached(config, insecure=insecure)
        return
    plan = read(config)
    wait = _take_over(plan) if replace else 0.0
    to_terminal(plan.settings.log.level, plan.redactor)
    _run(plan, config, wait=wait, insecure=insecure)


@click.command()
@config_option
def dev(config: Path | None) -> None:
    """Run the server for development: debug logs; what changes in the configuration or a plugin is taken at once."""
    changes: list[tuple[Steps, Any]] = [(("environment",), "development"), (("log", "level"), "debug")]
    plan = read(config, changes)
    to_terminal(plan.settings.log.level, plan.redactor)
    if _run(plan, config, changes, watch=True):
        os.execv(sys.executable, [sys.executable, "-m", "bers", *sys.argv[1:]])


def _run(
    plan: Plan,
    config: Path | None,
    changes: Sequence[tuple[Steps, Any]] = (),
    *,
    wait: float = 0.0,
    watch: bool = False,
    insecure: bool = False,
) -> bool:
    """Run until a signal says stop; True where a file has changed, and the process should start anew."""

    def reread() -> Plan:
        # A file that is gone for a moment does not mean the shipped one.
        return load(plan.path or path_of(config), plan.catalogue, changes=changes)

    sys.excepthook = partial(_say, plan.redactor)
    collector.settle()
    try:
        return anyio.run(_serve, plan, reread, wait, watch, insecure, backend_options={"use_uvloop": True})
    except* ConfigError as group:
        faults = [fault for error in leaves(group) if isinstance(error, ConfigError) for fault in error.faults]
        raise ConfigError(
            [dataclasses.replace(fault, message=plan.redactor.text(fault.message)) for fault in faults]
        ) from None


def _say(redactor: Redactor, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what ended the process as Python does, without what nobody may read."""
    sys.stderr.write(redactor.text("".join(traceback.format_exception(kind, error, trace))))


async def _serve(plan: Plan, reread: Callable[[], Plan], wait: float, watch: bool, insecure: bool) -> bool:
    # Before anything is started: a signal that comes meanwhile is heeded as soon as everything is there.
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with running(plan, wait=wait, reread=reread, insecure=insecure) as node:
            _greet(plan, node)
            changed = False
            async with anyio.create_task_group() as group:
                if watch:

                    async def look() -> None:
                        nonlocal changed
                        await _changed(node)
                        changed = True
                        group.cancel_scope.cancel()

                    group.start_soon(look)
                await _until_stop(node, signals, group)
                group.cancel_scope.cancel()
            # A plugin that does not heed its cancellation keeps the process from ending; not for ever.
            exit_after(plan.settings.stop_within + LAST_RESORT, 1, lambda: ", ".join(node.supervisor.at_work))
            return changed


async def _until_stop(node: Node, signals: AsyncIterator[signal.Signals], group: TaskGroup) -> None:
    """Wait for the signal that means stop; a hangup opens the log files anew, and reads the files again."""
    async for number in signals:
        if number == signal.SIGHUP:
            node.logs.reopen()
            _renew(node)
            group.start_soon(_reload, node, "signal")
        else:
            return


def _renew(node: Node) -> None:
    try:
        node.reload_certificates()
    except ConfigError as error:
        logging.getLogger("bers").error("the certificate stays as it was: %s", error)


async def _reload(node: Node, by: str) -> bool:
    """Put in place what the file says now; False where that could not be done, which the logs tell of."""
    try:
        attempt = await node.supervisor.reload(by=by)
    except Refused:
        return False  # The node is stopping.
    outcome = "done" if attempt.result == "ok" else "invalid"
    await node.supervisor.audit.record(Caller(by), "config/reload", outcome)
    return attempt.result == "ok"


async def _changed(node: Node) -> None:
    """Take every change of the configuration; return when only a new process can take one, and could start with it."""
    known = _stamps(node.supervisor.plan)
    while True:
        await anyio.sleep(0.3)
        plan = node.supervisor.plan
        now = _stamps(plan)
        differing = {file for file in {**known, **now} if known.get(file) != now.get(file)}
        known = now
        # What the server cannot change while it runs, or needs a plugin that was not there, a new process may take.
        if differing and (differing != {_file(plan)} or not await _reload(node, "dev")):
            # In a process of its own: in this one every plugin is imported already, as it was.
            check = [sys.executable, "-m", "bers", "check", *(["--config", str(plan.path)] if plan.path else [])]
            done = await anyio.run_process(check, check=False)
            if not done.returncode:
                return
            logging.getLogger("bers").error("the change is not taken:\n%s", done.stderr.decode().strip())


def _file(plan: Plan) -> str:
    return str(plan.path or CONFIG)


def _stamps(plan: Plan) -> dict[str, int]:
    """When the files were changed that make up the configuration and the plugins."""
    packages = {spec.config.__module__.partition(".")[0] for _, spec in plan.catalogue.all()}
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] in packages]
    files = {file for module in modules if (file := getattr(module, "__file__", None))}
    files.add(_file(plan))
    found: dict[str, int] = {}
    for file in files:
        try:
            found[file] = Path(file).stat().st_mtime_ns
        except OSError:
            found[file] = 0
    return found


def _take_over(plan: Plan) -> float:
    """Ask the server that runs to go; return how many seconds it may take."""
    pid = lock.holder(Path(plan.settings.data_dir))
    if pid is None:
        return 0.0
    os.kill(pid, signal.SIGTERM)
    return plan.settings.stop_within + 5.0


def _greet(plan: Plan, node: Node) -> None:
    """Say where the node answers; what cannot be said, because it goes to a file on a full disk, is no fault."""
    with suppress(OSError):
        _say_hello(plan, node)


def _say_hello(plan: Plan, node: Node) -> None:
    host = plan.settings.server.host
    for warning in node.supervisor.plan.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"bers: {plan.settings.environment}, {plan.name}")
    for surface, meaning in (("control", "everything"), ("health", "health reads"), ("metrics", "metrics reads")):
        click.echo(f"  {node.scheme}://{host}:{node.ports[surface]}  {meaning}")  # type: ignore[index]
