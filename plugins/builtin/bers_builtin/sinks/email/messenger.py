"""How an e-mail is sent: one connection for each message, in a thread, to an address that was looked at first."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread

from bers import ConfigError, Context, Messenger, Notice, NotTaken, Taken, Target, Template
from bers_builtin.sinks.email.config import Mailbox

if TYPE_CHECKING:
    from email.message import EmailMessage


class EmailMessenger(Messenger[Mailbox]):
    """Sends the notices of one channel by SMTP."""

    def __init__(self, channel: Mailbox, context: Context) -> None:
        super().__init__(channel, context)
        host = f"[{channel.host}]" if ":" in channel.host else channel.host
        try:
            self._target = Target(
                f"https://{host}:{channel.port}/", context.own_addresses, internal=channel.allow_internal
            )
        except ValueError as exc:
            raise ConfigError(str(exc), path="host") from exc
        try:
            self._subject = Template(channel.subject)
        except ValueError as exc:
            raise ConfigError(str(exc), path="subject") from exc
        if channel.authority and not Path(channel.authority).is_file():
            raise ConfigError(f"{channel.authority!r} is no file; name one in PEM", path="authority")

    async def send(self, notice: Notice) -> Taken:
        try:
            letter = self._letter(notice)
        except ValueError as exc:  # The template is the operator's, who may mend it before the last attempt.
            raise NotTaken(f"no message can be made of it: {exc}", again=True) from exc
        from bers_builtin.sinks.email.smtp import Line, deliver  # Not imported for nothing: it is needed by a channel.

        addresses = await self._target.addresses()
        with closing(Line()) as line:  # Where our time is over, the thread's is: a server may go on for ever.
            return await to_thread.run_sync(deliver, letter, self.channel, addresses, line, abandon_on_cancel=True)

    def preview(self, notice: Notice) -> str:
        letter = self._letter(notice)
        headers = "\n".join(f"{name}: {letter[name]}" for name in ("From", "To", "Subject", "Message-ID"))
        return f"{headers}\n\n{notice.text}"

    def _letter(self, notice: Notice) -> EmailMessage:
        from bers_builtin.sinks.email.writing import message

        return message(notice, self.channel, self._subject, self.context.clock.time())
