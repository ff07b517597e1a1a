"""What operators ask of a sink that tells, and do about it: look, test, try again, reset, give up."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct

from bers.errors import Refused, unknown
from bers.notifications.channels import PRIMARY
from bers.notifications.ledger import Delivery, Standing
from bers.notifications.notices import TEST, Notice
from bers.notifications.notifier import Notifier
from bers.notifications.outbox import webhook_id
from bers.notifications.sender import Sender
from bers.operations import AnyOperation, Caller, Nothing, Operation

PREVIEW = 4096
"""Characters of what a test sent that are shown."""

AnyNotifier: TypeAlias = Notifier[Any]


class ListDeliveries(Struct, rename="camel", frozen=True):
    """Which deliveries to list."""

    status: Annotated[
        Literal["", "waiting", "delivered", "failed"], Meta(description="Only those that are so; empty: all.")
    ] = ""
    channel: Annotated[str, Meta(description="Only those of this channel; empty: all.")] = ""
    limit: Annotated[int, Meta(ge=1, le=1000, description="How many at most, the newest first.")] = 100


class NameChannel(Struct, rename="camel", frozen=True):
    """A channel of this sink."""

    channel: Annotated[str, Meta(min_length=1, description="The name of the channel.")]


class RetryDeliveries(Struct, rename="camel", frozen=True):
    """What is to be sent again that was given up."""

    channel: Annotated[str, Meta(min_length=1, description="The name of the channel.")]
    id: Annotated[str, Meta(description="Only this one, by `id` or `sentAs`; empty: all that the channel failed.")] = ""


class Retried(Struct, rename="camel", frozen=True):
    """What is sent again."""

    retried: int
    too_late: list[str]
    """Those that are not: the channel was told more of the same alert since, and would take it for a new one."""


class GivenUp(Struct, rename="camel", frozen=True):
    """What is not sent any more."""

    given_up: int


class ChannelReport(Struct, rename="camel", frozen=True):
    """One channel, and how it does; times in milliseconds since 1970."""

    name: str
    configured: bool
    """False where something still waits for a channel that was taken out of the configuration."""
    contact: str
    state: Literal["ready", "failing", "disabled", "removed"]
    waiting: int
    given_up: int
    delivered_at: int | None
    failing_since: int | None
    disabled_since: int | None
    last_error: str


class TestReport(Struct, rename="camel", frozen=True):
    """What came of a test."""

    channel: str
    id: str
    """The id under which it was sent."""
    taken: bool
    status: int | None
    """The number that the receiver answered with."""
    answer: str
    """What the receiver said, or why it did not take it; masked and shortened."""
    duration_ms: float
    sent: str
    """What was sent; masked and shortened."""


async def list_deliveries(stage: AnyNotifier, ask: ListDeliveries, caller: Caller) -> list[Delivery]:
    """The newest deliveries of some kind."""
    standings = await stage.ledger.standing(list(stage.senders), 0.0) if ask.channel else []
    if ask.channel and ask.channel not in (known := [one.channel for one in standings]):
        raise Refused("not_found", unknown("channel", ask.channel, known), known=known)
    return await stage.ledger.newest(ask.status or None, ask.channel, ask.limit)


async def list_channels(stage: AnyNotifier, ask: Nothing, caller: Caller) -> list[ChannelReport]:
    """Every channel, in the order of the configuration."""
    contacts = {channel.name: channel.contact for channel in stage.config.channels}
    standings = await stage.ledger.standing(list(stage.senders), stage.context.clock.time())
    return [_report(one, contacts.get(one.channel)) for one in standings]


async def test_channel(stage: AnyNotifier, ask: NameChannel, caller: Caller) -> TestReport:
    """Send a test, once, past the outbox."""
    sender = _sender(stage, ask.channel)
    context = stage.context
    event = context.event(
        TEST,
        labels={"rule": "Test", "severity": "info"},
        data={
            "title": f"This is a test of channel {ask.channel}",
            "message": "Somebody asked whether notifications arrive here. Nothing is wrong.",
            "severity": "info",
        },
    )
    id = webhook_id(event)
    group: dict[str, str] | None = {} if sender.messenger.channel.group else None
    notice = Notice(id, ask.channel, [event], group)
    done = await sender.attempt(notice)
    try:
        sent = sender.masked(sender.messenger.preview(notice))[:PREVIEW]
    except Exception as exc:  # A template is the operator's; the attempt has said the same.
        sent = sender.masked(str(exc))[:PREVIEW]
    answer = done.taken.text if done.taken else done.error
    return TestReport(ask.channel, id, done.taken is not None, done.status, answer, round(done.ms, 1), sent)


async def retry_deliveries(stage: AnyNotifier, ask: RetryDeliveries, caller: Caller) -> Retried:
    """Send again what was given up."""
    sender = _sender(stage, ask.channel)
    retried, late = await stage.outbox.retry(ask.channel, ask.id)
    if ask.id and not retried and not late:
        raise Refused("not_found", f"channel {ask.channel!r} failed no delivery {ask.id!r}")
    if ask.id and late:
        hint = "tell whoever has to know by other means, or test the channel"
        raise Refused("conflict", f"{ask.id!r} comes too late: more of the same alert was told since", hint=hint)
    sender.wake()
    return Retried(retried, late)


async def reset_channel(stage: AnyNotifier, ask: NameChannel, caller: Caller) -> ChannelReport:
    """Enable a channel, and try again at once whatever waits for it."""
    await _sender(stage, ask.channel).enable()
    return next(one for one in await list_channels(stage, Nothing(), caller) if one.name == ask.channel)


async def give_up_deliveries(stage: AnyNotifier, ask: NameChannel, caller: Caller) -> GivenUp:
    """Give up what waits for a channel that is disabled, or not configured any more."""
    standings = {one.channel: one for one in await stage.ledger.standing(list(stage.senders), 0.0)}
    if ask.channel not in standings:
        raise Refused("not_found", unknown("channel", ask.channel, list(standings)), known=list(standings))
    if ask.channel in stage.senders and standings[ask.channel].disabled_since is None:
        hint = "take it out of the configuration first, where nobody is to be told there any more"
        raise Refused("conflict", f"channel {ask.channel!r} is at work", hint=hint)
    now = stage.context.clock.time()
    why = f"given up by {caller.principal}"
    return GivenUp(await stage.outbox.give_up(ask.channel, float("inf"), now, why))


def operations(name: str) -> list[AnyOperation]:
    """What a sink of this name answers."""
    return [
        Operation(
            "GET",
            f"{name}/deliveries",
            list_deliveries,
            ListDeliveries,
            list[Delivery],
            "List who was told of what, who is still to be told, and who could not be",
            refuses=("not_found",),
        ),
        Operation(
            "GET", f"{name}/channels", list_channels, Nothing, list[ChannelReport], "List the channels, and how they do"
        ),
        Operation(
            "POST",
            f"{name}/test",
            test_channel,
            NameChannel,
            TestReport,
            "Send a test to a channel, and say what came of it",
            scope="admin",
            refuses=("not_found",),
        ),
        Operation(
            "POST",
            f"{name}/deliveries/retry",
            retry_deliveries,
            RetryDeliveries,
            Retried,
            "Send again what was given up",
            scope="admin",
            refuses=("not_found", "conflict"),
        ),
        Operation(
            "POST",
            f"{name}/deliveries/give-up",
            give_up_deliveries,
            NameChannel,
            GivenUp,
            "Give up what waits for a channel that is disabled or removed",
            scope="admin",
            refuses=("not_found", "conflict"),
        ),
        Operation(
            "POST",
            f"{name}/channels/reset",
            reset_channel,
            NameChannel,
            ChannelReport,
            "Enable a channel again, and try at once whatever waits for it",
            scope="admin",
            refuses=("not_found",),
        ),
    ]


def _sender(stage: AnyNotifier, channel: str) -> Sender:
    if channel not in stage.senders:
        known = list(stage.senders)
        raise Refused("not_found", unknown("channel", channel, known), known=known)
    return stage.senders[channel]


def _report(one: Standing, contact: str | None) -> ChannelReport:
    if contact is None:
        state: Literal["ready", "failing", "disabled", "removed"] = "removed"
    elif one.disabled_since is not None:
        state = "disabled"
    else:
        state = "failing" if one.failing_since is not None else "ready"
    return ChannelReport(
        *(one.channel, contact is not None, contact or PRIMARY, state, one.waiting, one.given_up),
        *(_ms(one.delivered_at), _ms(one.failing_since), _ms(one.disabled_since), one.why or one.error),
    )


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)
