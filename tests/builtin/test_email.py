"""The sink `email`, against a real mail server on loopback."""

import asyncio
import email
import re
import socket
import ssl
import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from bers import Caller, ConfigError, Context, Database, Notice, Secret
from bers.notifications import desk
from bers.notifications.desk import ListDeliveries, NameChannel
from bers.notifications.ledger import Delivery
from bers.notifications.notifier import Notifier
from bers.schemas import decode
from bers.testing import check_spec, step
from bers_builtin.sinks.email import EMAIL
from bers_builtin.sinks.email.config import Mailbox
from bers_builtin.sinks.email.smtp import Line, deliver
from tests.builtin.test_webhooks import alert, write
from tests.unit.certificates import made, needs_openssl

PASSWORD = "correct-horse-battery"


class Mail:
    """What a mail server was handed; it answers what it is told to, and takes everything after that."""

    def __init__(self, *answers: str) -> None:
        self.port = 0
        self.answers = list(answers)
        self.refused: dict[str, str] = {}
        self.taken: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.encrypted: list[bool] = []
        self.logins: list[bytes] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.answers and self.answers[0] != "hang":
            return self.answers.pop(0)
        if self.answers:
            self.answers.pop(0)
            await asyncio.sleep(30)
        self.encrypted.append(session.ssl is not None)
        self.taken.append(email.message_from_bytes(envelope.content, policy=default))
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 taken"

    def let_in(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append(data.login)
        return AuthResult(success=data.password == PASSWORD.encode(), handled=False)

    def header(self, name: str) -> list[str | None]:
        return [message[name] for message in self.taken]


@asynccontextmanager
async def mailing(*answers: str, tls: ssl.SSLContext | None = None, implicit: bool = False) -> AsyncGenerator[Mail]:
    mail, connections = Mail(*answers), list[SMTP]()

    def connected() -> SMTP:
        options: dict[str, Any] = {"auth_required": True, "auth_require_tls": not implicit} if tls else {}
        options |= {} if implicit or not tls else {"tls_context": tls, "require_starttls": True}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # That it asks for a password where it did not encrypt: others did.
            connections.append(SMTP(mail, hostname="mail.example", authenticator=mail.let_in, **options))
        return connections[-1]

    loop = asyncio.get_running_loop()
    server = await loop.create_server(connected, "127.0.0.1", 0, ssl=tls if implicit else None)
    mail.port = server.sockets[0].getsockname()[1]
    try:
        with anyio.fail_after(20):
            yield mail
    finally:
        server.close()
        for one in connections:
            if isinstance(one.transport, asyncio.Transport):
                one.transport.abort()
        await asyncio.sleep(0.01)


def box(mail: Mail, **more: Any) -> dict[str, Any]:
    return {
        "name": "team",
        "host": "127.0.0.1",
        "port": mail.port,
        "encryption": "none",
        "allow_internal": True,
        "sender": "bers@example.org",
        "to": ["ada@example.org", "ben@example.org"],
        "retries": {"initial": "10ms", "max": "50ms"},
        **more,
    }


@asynccontextmanager
async def telling(folder: Path, *channels: dict[str, Any]) -> AsyncGenerator[Notifier[Any]]:
    state = Database(folder / "state.db")
    try:
        context = Context("email", data_dir=folder, state=state)
        async with step(EMAIL, context=context, channels=channels).open() as stage:
            assert isinstance(stage, Notifier)
            await stage.position("notify", 0, begin=0)
            yield stage
    finally:
        state.close()


async def finished(stage: Notifier[Any]) -> list[Delivery]:
    while True:
        found = (await desk.list_deliveries(stage, ListDeliveries(), Caller()))[::-1]
        if all(one.status != "waiting" for one in found):
            return found
        await anyio.sleep(0.01)


async def test_the_spec_keeps_its_promises() -> None:
    await check_spec(EMAIL)


async def test_an_alert_is_an_e_mail_as_text_and_as_html(tmp_path: Path) -> None:
    async with mailing() as mail, telling(tmp_path, box(mail)) as stage:
        event = msgspec.structs.replace(
            alert(1, title="Slow <b>build</b>", message="9 s > 5 s & more", value=9000, unit="ms"),
            environment="production",
        )
        await write(stage, event)
        (delivery,) = await finished(stage)
        assert (delivery.status, delivery.last_status) == ("delivered", 250)
    (message,) = mail.taken
    assert mail.recipients == [["ada@example.org", "ben@example.org"]]
    assert message["Subject"] == "[production] FIRING error: Slow <b>build</b>"
    assert (message["From"], message["To"]) == ("bers@example.org", "ada@example.org, ben@example.org")
    assert message["Auto-Submitted"] == "auto-generated"
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain and html
    assert "9 s > 5 s & more" in plain.get_content()
    assert "Environment: production" in plain.get_content()
    assert "Slow &lt;b&gt;build&lt;/b&gt;" in html.get_content()
    assert "9 s &gt; 5 s &amp; more" in html.get_content()
    assert "<b>build" not in html.get_content()


async def test_resolved_lands_under_firing_and_the_next_alert_does_not(tmp_path: Path) -> None:
    async with mailing() as mail, telling(tmp_path, box(mail)) as stage:
        await write(stage, alert(1), alert(2, "acknowledged"), alert(3, "resolved"))
        await finished(stage)
        await write(stage, alert(4, subject="a-2"))
        await finished(stage)
    ids = mail.header("Message-ID")
    assert len(set(ids)) == 4
    assert mail.header("In-Reply-To") == [None, ids[0], ids[0], None]
    assert mail.header("References") == [None, ids[0], ids[0], None]


async def test_a_message_keeps_its_id_through_failures(tmp_path: Path) -> None:
    async with mailing("451 busy, come again") as mail:
        async with telling(tmp_path, box(mail)) as stage:
            await write(stage, alert(1))
            (delivery,) = await finished(stage)
            assert (delivery.status, delivery.attempts) == ("delivered", 2)
            messenger = stage.senders["team"].messenger
            assert f"Message-ID: {mail.taken[0]['Message-ID']}" in messenger.preview(
                Notice(delivery.id, "team", [alert(1)])
            )


async def test_what_a_server_refuses_for_good_is_given_up_with_its_words(tmp_path: Path) -> None:
    async with mailing("554 5.7.1 we take no monitoring here") as mail, telling(tmp_path, box(mail)) as stage:
        await write(stage, alert(1))
        (delivery,) = await finished(stage)
        assert (delivery.status, delivery.attempts, delivery.last_status) == ("failed", 1, 554)
        assert delivery.last_error == "answered 554: 5.7.1 we take no monitoring here"


async def test_of_two_recipients_one_may_be_unknown_and_the_other_is_told_once(tmp_path: Path) -> None:
    async with mailing() as mail, telling(tmp_path, box(mail)) as stage:
        mail.refused = {"ben@example.org": "550 no such user"}
        await write(stage, alert(1))
        (delivery,) = await finished(stage)
        assert delivery.status == "delivered"
        assert mail.recipients == [["ada@example.org"]]
        report = await desk.test_channel(stage, NameChannel("team"), Caller())
        assert report.taken and "550 no such user" in report.answer
        assert "Subject: [development] TEST info: This is a test of channel team" in report.sent


async def test_nobody_who_is_known_means_later_where_one_may_be(tmp_path: Path) -> None:
    async with mailing() as mail, telling(tmp_path, box(mail, retries={"initial": "10ms", "attempts": 2})) as stage:
        mail.refused = {"ada@example.org": "450 greylisted", "ben@example.org": "550 no such user"}
        await write(stage, alert(1))
        (delivery,) = await finished(stage)
        assert (delivery.status, delivery.attempts, delivery.last_status) == ("failed", 2, 450)


async def test_a_server_that_hangs_is_left_after_its_time(tmp_path: Path) -> None:
    async with mailing("hang") as mail, telling(tmp_path, box(mail, timeout="200ms")) as stage:
        await write(stage, alert(1))
        (delivery,) = await finished(stage)
        assert (delivery.status, delivery.attempts) == ("delivered", 2)


def context_of(folder: Path) -> tuple[ssl.SSLContext, str]:
    pair = made(folder, "mail")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.certificate, pair.key)
    return tls, str(pair.certificate)


@needs_openssl
@pytest.mark.parametrize("encryption", ["starttls", "tls"])
async def test_the_connection_is_encrypted_and_we_say_who_we_are(encryption: str, tmp_path: Path) -> None:
    tls, authority = context_of(tmp_path)
    login = {"username": "bers", "password": Secret(PASSWORD), "authority": authority, "encryption": encryption}
    async with mailing(tls=tls, implicit=encryption == "tls") as mail, telling(tmp_path, box(mail, **login)) as stage:
        await write(stage, alert(1))
        (delivery,) = await finished(stage)
        assert delivery.status == "delivered", delivery.last_error
        assert mail.logins == [b"bers"]
        assert mail.encrypted == [encryption == "starttls"]  # The other is encrypted below the server's notice.


@needs_openssl
@pytest.mark.parametrize("encryption", ["starttls", "tls"])
async def test_a_server_whose_certificate_is_not_believed_learns_nothing(encryption: str, tmp_path: Path) -> None:
    tls, _ = context_of(tmp_path)
    login = {"username": "bers", "password": Secret(PASSWORD), "encryption": encryption, "retries": {"attempts": 1}}
    async with mailing(tls=tls, implicit=encryption == "tls") as mail, telling(tmp_path, box(mail, **login)) as stage:
        await write(stage, alert(1))
        (delivery,) = await finished(stage)
        assert delivery.status == "failed" and "certificate verify failed" in delivery.last_error
        assert (mail.logins, mail.taken) == ([], [])


@needs_openssl
async def test_a_wrong_password_is_said_without_saying_it(tmp_path: Path) -> None:
    tls, authority = context_of(tmp_path)
    wrong = Secret("hunter2-hunter2")
    login = {"username": "bers", "password": wrong, "authority": authority, "encryption": "starttls"}
    async with mailing(tls=tls) as mail:
        async with telling(tmp_path, box(mail, **login, retries={"attempts": 2, "initial": "10ms"})) as stage:
            await write(stage, alert(1))
            (delivery,) = await finished(stage)
            assert (delivery.status, delivery.attempts, delivery.last_status) == ("failed", 2, 535)
            assert "hunter2" not in delivery.last_error
            assert "hunter2" not in repr(stage.config)


@pytest.mark.parametrize(
    "evil", ["x\r\nBcc: evil@example.org", "x\nBcc: evil@example.org", "x\r\n\r\nanother body", "x\0y\x0bz\u2028w"]
)
async def test_nothing_of_an_event_becomes_a_header(evil: str, tmp_path: Path) -> None:
    async with mailing() as mail, telling(tmp_path, box(mail)) as stage:
        await write(stage, alert(1, title=evil, severity=evil))
        (delivery,) = await finished(stage)
        assert delivery.status == "delivered", delivery.last_error
    (message,) = mail.taken
    assert message["Bcc"] is None
    assert mail.recipients == [["ada@example.org", "ben@example.org"]]
    assert str(message["Subject"]).isprintable()


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"to": ["ada@example.org\r\nBcc: x@example.org"]}, "to\\[0\\]: .* is no address"),
        ({"to": ["Ada <ada@example.org>"]}, "to\\[0\\]: .* is no address"),
        ({"sender": "nobody"}, "sender: 'nobody' is no address"),
        ({"encryption": "none", "allow_internal": False}, "encryption: 'none' can be read on the way"),
        ({"encryption": "none", "username": "x"}, "username: a password must not travel unencrypted"),
    ],
)
def test_what_cannot_be_an_e_mail_is_refused_as_the_file_is_read(wrong: dict[str, Any], fault: str) -> None:
    options = {**box(Mail()), "port": 25, **wrong}
    with pytest.raises((msgspec.ValidationError, ValueError), match=fault):
        step(EMAIL, channels=[options])


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"host": "10.0.0.1"}, r"channels\[0\].host: .* is an internal address; set allow_internal"),
        ({"host": "169.254.169.254", "allow_internal": True}, r"host: .* keep their credentials"),
        ({"host": "mail.example.org", "subject": "{{ event."}, r"subject: .* cannot be read"),
        ({"host": "mail.example.org", "authority": "/nowhere.pem"}, r"authority: '/nowhere.pem' is no file"),
    ],
)
async def test_where_an_e_mail_must_not_go_is_said_at_the_start(options: dict[str, Any], fault: str) -> None:
    named = {"name": "team", "sender": "bers@example.org", "to": ["ada@example.org"], **options}
    with pytest.raises(ConfigError) as refusal:
        async with step(EMAIL, channels=[named]).open():
            pass
    assert re.search(fault, str(refusal.value).replace("channel 'team': ", "")), refusal.value


async def test_a_server_that_says_nothing_is_no_connection_that_was_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mail = Mail()
        mail.port = silent.getsockname()[1]
        channel = msgspec.convert(box(mail, timeout="100ms"), Mailbox, dec_hook=decode)
        line = Line()
        with pytest.raises(TimeoutError):
            await anyio.to_thread.run_sync(deliver, EmailMessage(), channel, ["127.0.0.1"], line)
        line.close()


async def test_a_server_that_drips_keeps_no_thread_when_the_time_is_over(tmp_path: Path) -> None:
    over = anyio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while not reader.at_eof():
                writer.write(b"220-patience\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        over.set()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    mail = Mail()
    mail.port = server.sockets[0].getsockname()[1]
    busy = anyio.to_thread.current_default_thread_limiter()
    async with telling(tmp_path, box(mail, timeout="200ms", retries={"attempts": 1})) as stage:
        await write(stage, alert(1))
        (delivery,) = await finished(stage)
        assert (delivery.status, delivery.last_error) == ("failed", "no answer within 0.2 s")
        with anyio.fail_after(30):
            while busy.borrowed_tokens:
                await anyio.sleep(0.02)
            await over.wait()
    server.close()
