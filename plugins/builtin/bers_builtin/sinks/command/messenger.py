"""How a command is run: in a group of its own that ends with its time, told by its input, judged by its exit code."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from bers import ConfigError, Context, Messenger, Notice, NotTaken, Taken, as_cloudevent, run_program
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
            code, out, err, _ = await run_program(
                channel.command,
                environment=environment | variables(notice),
                directory=channel.directory or None,
                told=self.document(notice),
                last=True,
            )
        except OSError as exc:  # Somebody may install it yet.
            fault = exc.strerror or str(exc)
            raise NotTaken(f"{channel.command[0]} cannot be started: {fault}", again=True) from exc
        said = b"\n".join(piece for piece in (err[-_LONGEST:], out[-_LONGEST:]) if piece)
        text = said.decode(errors="replace").strip()
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
