"""A mail server, as SMTP talks to it: the connection, and what its replies mean."""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from contextlib import suppress
from email.message import EmailMessage

from bers import NotTaken, Taken
from bers_builtin.sinks.email.config import Mailbox


class Line:
    """A connection that somebody else may end, whatever a thread waits for in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._closed = False

    def hold(self, connected: socket.socket) -> None:
        """End this one with the line; raise OSError where that is over."""
        with self._lock:
            if self._closed:
                raise OSError("it took too long")
            self._sockets.append(connected.dup())  # What is wrapped for TLS is another object, of the same connection.

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for one in self._sockets:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()


def deliver(letter: EmailMessage, channel: Mailbox, addresses: list[str], line: Line) -> Taken:
    """Hand a message to the mail server, from a thread: it waits for the network, and every wait has an end."""
    try:
        with _connected(channel, addresses, line) as server:
            if channel.username:
                server.login(channel.username, channel.password.reveal())
            refused = server.send_message(letter)
    except smtplib.SMTPRecipientsRefused as exc:
        raise _refused(exc.recipients) from exc
    except smtplib.SMTPNotSupportedError as exc:
        raise NotTaken(f"the server cannot do what is asked of it: {exc}", again=True) from exc
    except smtplib.SMTPResponseException as exc:
        raise _no(exc.smtp_code, _text(exc.smtp_error)) from exc
    except smtplib.SMTPServerDisconnected as exc:
        if isinstance(exc.__context__, TimeoutError):  # So the library tells of a server that says nothing.
            raise TimeoutError from exc
        raise
    if refused:  # Others have it, and would get it again: who is left out is for the operator to see.
        names = "; ".join(f"{name}: {code} {_text(text)}" for name, (code, text) in refused.items())
        return Taken(250, f"but not for {names}")
    return Taken(250)


def _connected(channel: Mailbox, addresses: list[str], line: Line) -> smtplib.SMTP:
    wrap = None if channel.encryption == "none" else ssl.create_default_context(cafile=channel.authority or None)
    server = _Server(channel.host, addresses, channel.timeout, wrap if channel.encryption == "tls" else None, line)
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

    def __init__(
        self, host: str, addresses: list[str], timeout: float, wrap: ssl.SSLContext | None, line: Line
    ) -> None:
        super().__init__(timeout=timeout)
        self._host = host  # What a certificate has to name; the library uses it for STARTTLS.
        self._addresses = addresses
        self._wrap = wrap
        self._line = line

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
            self._line.hold(plain)
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
