"""How a command is run: in a group of its own that ends with its time, told by its input, judged by its exit code."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE
from typing import cast

import anyio
import msgspec
from anyio.abc import ByteReceiveStream, ByteSendStream, Process

from bers import ConfigError, Context, Messenger, Notice, NotTaken, Taken, as_cloudevent
from bers_builtin.sinks.command.config import CommandChannel

TRY_AGAIN = 75
"""EX_TEMPFAIL of sysexits.h: the command did not do it, and may be able to later."""

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
_LONGEST = 4096
"""Characters of a variable, and bytes of what a command says that are kept."""


class CommandMessenger(Messenger[CommandChannel]):
    """Runs the command of one channel."""

    def __init__(self, channel: CommandChannel, context: Context) -> None:
        super().__init__(channel, context)
        if channel.directory and not Path(channel.directory).is_dir():
            raise ConfigError(f"{channel.directory!r} is no directory", path="directory")

    async def send(self, notice: Notice) -> Taken:
        channel = self.channel
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment |= {name: secret.reveal() for name, secret in channel.environment.items()}
        try:
            process = await anyio.open_process(
                list(channel.command),
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env=environment | variables(notice),
                cwd=channel.directory or None,
                start_new_session=True,
            )
        except OSError as exc:  # Somebody may install it yet.
            fault = exc.strerror or str(exc)
            raise NotTaken(f"{channel.command[0]} cannot be started: {fault}", again=True) from exc
        said: dict[str, bytes] = {"out": b"", "err": b""}
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_tell, process.stdin, self.document(notice))
                group.start_soon(_tail, process.stdout, said, "out")
                group.start_soon(_tail, process.stderr, said, "err")
                code = await process.wait()
                _kill(process)  # What it left running holds the pipes open.
        finally:
            if process.returncode is None:
                _kill(process)
            with anyio.CancelScope(shield=True):
                await process.aclose()
        text = b"\n".join(piece for piece in (said["err"], said["out"]) if piece).decode(errors="replace").strip()
        if code:
            ended = f"exit code {code}" if code > 0 else f"ended by signal {-code}"
            raise NotTaken(f"{ended}: {text}" if text else ended, status=code, again=code == TRY_AGAIN or code < 0)
        return Taken(0, text)

    def preview(self, notice: Notice) -> str:
        told = "".join(f"{name}={value}\n" for name, value in variables(notice).items())
        return f"{told}\n{self.document(notice).decode()}"

    def document(self, notice: Notice) -> bytes:
        """What the command reads: a CloudEvent, or a list of them where the channel has a group."""
        events = [as_cloudevent(event) for event in notice.events]
        return msgspec.json.encode(events if self.channel.group else events[0]) + b"\n"


def variables(notice: Notice) -> dict[str, str]:
    """What a script asks for most, so that it need not read JSON."""
    first = notice.accounts[0]
    told = {
        "BERS_ID": notice.id,
        "BERS_CHANNEL": notice.channel,
        "BERS_COUNT": str(len(notice.events)),
        "BERS_HEADLINE": notice.headline,
        "BERS_TYPE": first.event.type,
        "BERS_STATUS": "resolved" if notice.is_over else "firing",
        "BERS_ALERT": first.event.subject,
        "BERS_RULE": first.event.labels.get("rule", ""),
        "BERS_SEVERITY": first.severity,
        "BERS_ENVIRONMENT": first.event.environment or "",
        "BERS_TITLE": first.title,
        "BERS_MESSAGE": first.message,
    }
    return {name: value.replace("\0", "").encode(errors="replace").decode()[:_LONGEST] for name, value in told.items()}


async def _tell(stream: ByteSendStream | None, body: bytes) -> None:
    """Hand the command its input; one that does not read it has its reasons."""
    assert stream  # It is a pipe: see open_process above.
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        await stream.send(body)
        await stream.aclose()


async def _tail(stream: ByteReceiveStream | None, said: dict[str, bytes], name: str) -> None:
    async for chunk in cast("AsyncIterator[bytes]", stream):
        said[name] = (said[name] + chunk)[-_LONGEST:]


def _kill(process: Process) -> None:
    """End the command, and all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
