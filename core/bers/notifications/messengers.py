"""What a kind of channel has to bring: how one notice is sent, and what is said when it was not taken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Generic, NamedTuple, Self, TypeVar

from anyio import AsyncContextManagerMixin

from bers.notifications.channels import Channel
from bers.notifications.notices import Notice
from bers.stages import Context

Ch = TypeVar("Ch", bound=Channel)


class Taken(NamedTuple):
    """What a receiver said that took a notice."""

    status: int | None = None
    """The number that it answered with, if its protocol has such."""
    text: str = ""


class NotTaken(Exception):
    """A receiver did not take a notice. It is not tried again, unless ``again`` says that this makes sense."""

    def __init__(
        self, message: str, *, status: int | None = None, again: bool = False, wait: float = 0.0, gone: bool = False
    ) -> None:
        """``wait`` is for how many seconds the receiver wants to be left alone by this channel. ``gone`` says that
        there is nobody any more: the channel is disabled until somebody changes or resets it, and what is to be told
        waits."""
        super().__init__(message)
        self.status = status
        self.again = again or gone
        self.wait = wait
        self.gone = gone


class Messenger(ABC, AsyncContextManagerMixin, Generic[Ch]):
    """How one channel sends. Override ``__asynccontextmanager__`` to hold a connection."""

    def __init__(self, channel: Ch, context: Context) -> None:
        """Raise ConfigError, with a path inside the channel, for what cannot work; the network is not asked here."""
        self.channel = channel
        self.context = context

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        yield self

    @abstractmethod
    async def send(self, notice: Notice) -> Taken | None:
        """Send a notice; return when the receiver has taken it.

        Raise NotTaken where it said no. Whatever else is raised may pass, and the notice is sent again. It is
        cancelled after the channel's time-out. Errors need not be masked: the words of every Secret of the channel
        are taken out of them.
        """

    def preview(self, notice: Notice) -> str:
        """What :meth:`send` would send, for somebody who tests the channel."""
        return notice.text
