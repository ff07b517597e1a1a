"""A notice as a message: text and HTML, a subject of one line, and ids by which mail programs make threads."""

from __future__ import annotations

from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from hashlib import blake2s
from html import escape
from typing import Any

import msgspec

from bers import Account, Notice, Template, one_line, redact, rfc3339
from bers_builtin.sinks.email.config import Mailbox

_LONGEST_SUBJECT = 200
_COLOURS = {"critical": "#b30000", "error": "#d64545", "warning": "#9a6700", "info": "#3b78c3"}
_OVER = "#2e8540"


def message(notice: Notice, channel: Mailbox, subject: Template, now: float) -> EmailMessage:
    """The message. What events say is text in it, and never a header or markup."""
    letter = EmailMessage(policy=SMTP)
    letter["From"] = channel.sender
    letter["To"] = ", ".join(channel.to)
    letter["Subject"] = _subject(notice, subject)
    letter["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    letter["Message-ID"] = message_id(notice.id, channel)
    if before := _before(notice, channel):
        letter["In-Reply-To"] = before[0]
        letter["References"] = " ".join(before)
    letter["Auto-Submitted"] = "auto-generated"  # No answering machine answers it.
    letter["X-Auto-Response-Suppress"] = "All"
    letter.set_content(notice.text + "\n")
    letter.add_alternative(_html(notice), subtype="html")
    return letter


def message_id(notice: str, channel: Mailbox) -> str:
    """The same for each attempt at a notice; nobody reads from it what it tells of."""
    digest = blake2s(f"{channel.name}\n{notice}".encode(), digest_size=16).hexdigest()
    return f"<{digest}@{channel.sender.rpartition('@')[2]}>"


def _before(notice: Notice, channel: Mailbox) -> list[str]:
    """The messages that were the first to tell of the same alerts."""
    ids = dict.fromkeys(message_id(id, channel) for id in notice.threads.values() if id != notice.id)
    return list(ids)[:20]


def _subject(notice: Notice, template: Template) -> str:
    events: list[Any] = [
        {"environment": None, "service": None, "subject": "", "data": {}, "labels": {}}
        | redact(msgspec.to_builtins(event))
        | {"time": rfc3339(event.time)}
        for event in notice.events
    ]
    told = {"id": notice.id, "channel": notice.channel, "group": dict(notice.group or {})}
    text = template.render(headline=notice.headline, event=events[0], events=events, notice=told)
    return one_line(text)[:_LONGEST_SUBJECT]


def _html(notice: Notice) -> str:
    parts = "".join(_part(account) for account in notice.accounts)
    return f'<!doctype html><html><body style="font-family:sans-serif;font-size:14px">{parts}</body></html>\n'


def _part(account: Account) -> str:
    colour = _OVER if account.is_over else _COLOURS.get(account.severity, "#555555")
    rows = "".join(
        f'<tr><td style="padding:2px 12px 2px 0;color:#555555">{escape(name)}</td><td>{escape(text)}</td></tr>'
        for name, text in account.facts
    )
    return (
        f'<h3 style="margin:16px 0 4px;color:{colour}">{escape(account.headline)}</h3>'
        f'<p style="margin:0 0 8px">{escape(account.message)}</p><table style="border-spacing:0">{rows}</table>'
    )
