"""A message for Slack's incoming webhooks, and for Mattermost, Rocket.Chat and others that take the same."""

from __future__ import annotations

from typing import Any

from bers import Account, Notice

_COLOURS = {"critical": "#b30000", "error": "#d64545", "warning": "#e0a100", "info": "#3b78c3"}
_OVER = "#2e8540"
_BREAK = "\u200b"
_MOST = 20
"""Attachments of one message; Slack shows no more."""
_LONGEST = 2000


def message(notice: Notice) -> dict[str, Any]:
    """The message. Nothing of an event is markup, mentions anybody, or becomes a link."""
    left = len(notice.events) - _MOST
    more = f" (and {left} more)" if left > 0 else ""
    return {
        "text": plain(notice.headline) + more,
        "attachments": [_attachment(account) for account in notice.accounts[:_MOST]],
        "parse": "none",
        "mrkdwn": False,
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def plain(text: str) -> str:
    """A text that chats show as it is: what would begin a mention, a link or a command is broken up, invisibly."""
    for mark in ("@", "://", "](", "www."):
        text = text.replace(mark, mark[0] + _BREAK + mark[1:])
    for mark, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(mark, escaped)
    return text[:_LONGEST]


def _attachment(account: Account) -> dict[str, Any]:
    return {
        "fallback": plain(account.headline),
        "color": _OVER if account.is_over else _COLOURS.get(account.severity, "#777777"),
        "title": plain(account.headline),
        "text": plain(account.message),
        "fields": [
            {"title": plain(name), "value": plain(text), "short": len(text) <= 40} for name, text in account.facts
        ],
        "ts": int(account.event.time),
        "mrkdwn_in": [],
    }
