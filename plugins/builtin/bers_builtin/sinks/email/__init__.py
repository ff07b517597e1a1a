"""Tell others of alerts by e-mail: over an encrypted connection, in threads, with ids that stay the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bers import DurableSpec, hookimpl, notifier
from bers_builtin.sinks.email.config import EmailConfig, Mailbox
from bers_builtin.sinks.email.messenger import EmailMessenger

__all__ = ["EMAIL", "EmailConfig", "EmailMessenger", "Mailbox", "bers_sinks"]

EMAIL = notifier("email", EmailConfig, EmailMessenger)


@hookimpl
def bers_sinks() -> Iterable[DurableSpec[Any]]:
    return [EMAIL]
