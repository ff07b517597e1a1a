"""How an e-mail is sent: one connection for each message, in a thread, to an address that was looked at first."""

from __future__ import annotations

import smtplib
import socket
import ssl
from email.message import EmailMessage
from pathlib import Path

from anyio import to_thread

from bers import ConfigError, Context, Messenger, Notice, NotTaken, Taken, Target, Template
from bers_builtin.sinks.email.config import Mailbox
from bers_builtin.sinks.email.writing import message


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
        addresses = await self._target.addresses()
        return await to_thread.run_sync(self._deliver, letter, addresses, abandon_on_cancel=True)

    def preview(self, notice: Notice) -> str:
        letter = self._letter(notice)
        headers = "\n".join(f"{name}: {letter[name]}" for name in ("From", "To", "Subject", "Message-ID"))
        return f"{headers}\n\n{notice.text}"

    def _letter(self, notice: Notice) -> EmailMessage:
        return message(notice, self.channel, self._subject, self.context.clock.time())

    def _deliver(self, letter: EmailMessage, addresses: list[str]) -> Taken:
        """In a thread: it waits for the network, and every wait has an end."""
        try:
            with self._connected(addresses) as server:
                if self.channel.username:
                    server.login(self.channel.username, self.channel.password.reveal())
                refused = server.send_message(letter)
        except smtplib.SMTPRecipientsRefused as exc:
            raise _refused(exc.recipients) from exc
        except smtplib.SMTPNotSupportedError as exc:
            raise NotTaken(f"the server cannot do what is asked of it: {exc}", again=True) from exc
        except smtplib.SMTPResponseException as exc:
            raise _no(exc.smtp_code, _text(exc.smtp_error)) from exc
        if refused:  # Others have it, and would get it again: who is left out is for the operator to see.
            names = "; ".join(f"{name}: {code} {_text(text)}" for name, (code, text) in refused.items())
            return Taken(250, f"but not for {names}")
        return Taken(250)

    def _connected(self, addresses: list[str]) -> smtplib.SMTP:
        channel = self.channel
        wrap = None if channel.encryption == "none" else ssl.create_default_context(cafile=channel.authority or None)
        server = _Server(channel.host, addresses, channel.timeout, wrap if channel.encryption == "tls" else None)
        try:
            code, text = server.connect(channel.host, channel.port)
            if code != 220:
                raise _no(code, _text(text))
            if channel.encryption == "starttls":
                server.starttls(context=wrap)
        except BaseException:
            server.close()
            raise
        return server


class _Server(smtplib.SMTP):
    """Connects to the addresses that were checked, and verifies the name all the same."""

    def __init__(self, host: str, addresses: list[str], timeout: float, wrap: ssl.SSLContext | None) -> None:
        super().__init__(timeout=timeout)
        self._host = host  # What a certificate has to name; the library uses it for STARTTLS.
        self._addresses = addresses
        self._wrap = wrap

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        for address in self._addresses:
            try:
                plain = socket.create_connection((address, port), timeout)
                break
            except OSError:
                if address == self._addresses[-1]:
                    raise
        else:
            raise OSError(f"{host} has no address")
        try:
            return self._wrap.wrap_socket(plain, server_hostname=host) if self._wrap else plain
        except BaseException:
            plain.close()
            raise


def _refused(recipients: dict[str, tuple[int, bytes]]) -> NotTaken:
    """What it means when nobody of those addressed was accepted: there is hope while one may be later."""
    told = "; ".join(f"{name}: {code} {_text(text)}" for name, (code, text) in recipients.items())
    codes = [code for code, _ in recipients.values()]
    return NotTaken(told, status=min(codes), again=any(code < 500 for code in codes))


def _no(code: int, text: str) -> NotTaken:
    """A reply in words; 4xx may pass, and so may a refusal to let us in, which an operator mends."""
    return NotTaken(f"answered {code}: {text}", status=code, again=code < 500 or code in (530, 534, 535, 538))


def _text(said: bytes | str) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said
