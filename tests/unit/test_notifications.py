"""The outbox and its senders, over a channel that takes, refuses and fails as it is told to."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Annotated, Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Meta

from bers import Batch, Caller, Channel, Channels, Context, Database, Event, Messenger, Notice, NotTaken, Refused, Taken
from bers.notifications import desk
from bers.notifications.desk import ListDeliveries, NameChannel, RetryDeliveries
from bers.notifications.ledger import Delivery
from bers.notifications.notifier import Notifier
from bers.notifications.spec import notifier
from bers.operations import Nothing
from bers.testing import VirtualClock, check_spec, step

QUICK = {"initial": "5ms", "max": "20ms"}
YES = Taken(200)


class Place:
    """Somebody who is told: keeps what was sent, and answers what is next to be answered, or yes."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.sent: list[Notice] = []
        self.decide: Callable[[Notice], Exception | None] | None = None

    @property
    def told(self) -> list[tuple[str, ...]]:
        return [tuple(f"{event.subject} {event.type[6:]}" for event in notice.events) for notice in self.sent]

    @property
    def ids(self) -> list[str]:
        return [notice.id for notice in self.sent]

    async def take(self, notice: Notice) -> Taken:
        self.sent.append(notice)
        answer = self.decide(notice) if self.decide else (self.answers.pop(0) if self.answers else None)
        if answer:
            raise answer
        return YES


class Listed(Channels, frozen=True, kw_only=True):
    """Tell places of this test."""

    channels: Annotated[tuple[Channel, ...], Meta(description="The places.")] = ()


def spec(places: dict[str, Place]) -> Any:
    class Handing(Messenger[Channel]):
        async def send(self, notice: Notice) -> Taken:
            return await places.setdefault(self.channel.name, Place()).take(notice)

    return notifier("listed", Listed, Handing)


@asynccontextmanager
async def telling(
    folder: Path, place: Place | dict[str, Place], *channels: dict[str, Any], clock: Any = None, **options: Any
) -> AsyncGenerator[Notifier[Any]]:
    places = place if isinstance(place, dict) else {"team": place}
    state = Database(folder / "state.db")
    context = Context("listed", data_dir=folder, state=state, **({"clock": clock} if clock else {}))
    named = [{"name": "team", "retries": QUICK, **channel} for channel in channels or ({},)]
    try:
        with anyio.fail_after(20):
            async with step(spec(places), context=context, channels=named, **options).open() as stage:
                assert isinstance(stage, Notifier)
                await stage.position("notify", 0, begin=0)
                yield stage
    finally:
        state.close()


def alert(number: int, kind: str = "firing", subject: str = "a-1", rule: str = "Slow", **data: Any) -> Event:
    labels = {"rule": rule, "severity": data.pop("severity", "error")} | data.pop("labels", {})
    return Event(
        f"t-{number}", "bers:alert-engine", f"alert.{kind}", 1e9, subject=subject, labels=labels, data=data, seq=number
    )


async def write(stage: Notifier[Any], *events: Event) -> None:
    await stage.write(Batch(list(events), reader="notify", end=events[-1].seq))


async def listed(stage: Notifier[Any], **ask: Any) -> list[Delivery]:
    return (await desk.list_deliveries(stage, ListDeliveries(**ask), Caller()))[::-1]


async def finished(stage: Notifier[Any]) -> list[Delivery]:
    while any(one.status == "waiting" for one in await listed(stage)):
        await anyio.sleep(0.005)
    return await listed(stage)


async def reaches(good: Callable[[], bool]) -> None:
    while not good():
        await anyio.sleep(0.005)


async def test_the_spec_of_a_third_party_keeps_its_promises() -> None:
    await check_spec(spec({}))


# Who is told what, over time


async def test_an_alert_that_lasts_longer_than_deliveries_are_kept_is_told_to_be_over(tmp_path: Path) -> None:
    place = Place()
    strict = {"severities": ["critical"]}
    clock = VirtualClock()
    async with telling(tmp_path, place, strict, clock=clock, keep="1d") as stage:
        await write(stage, alert(1, severity="critical"))
        await finished(stage)
        await clock.suspend(30 * 86400)
        while await listed(stage):
            await clock.suspend(3600)
            await anyio.sleep(0.005)
        await write(stage, alert(2, "resolved", severity="info"))
        await finished(stage)
    assert place.told == [("a-1 firing",), ("a-1 resolved",)]


async def test_a_channel_that_was_added_later_is_not_told_the_end_of_what_it_never_heard_of(tmp_path: Path) -> None:
    places = {"team": Place(), "new": Place()}
    async with telling(tmp_path, places, {}) as stage:
        await write(stage, alert(1))
        await finished(stage)
    async with telling(tmp_path, places, {}, {"name": "new"}) as stage:
        await write(stage, alert(2, "resolved"), alert(3, subject="a-2"))
        await finished(stage)
    assert places["team"].told == [("a-1 firing",), ("a-1 resolved",), ("a-2 firing",)]
    assert places["new"].told == [("a-2 firing",)]


async def test_what_is_resolved_twice_is_told_once_and_again_after_it_fired_again(tmp_path: Path) -> None:
    place = Place()
    async with telling(tmp_path, place) as stage:
        await write(stage, alert(1), alert(2, "resolved"), alert(3, "resolved"), alert(4), alert(5, "resolved"))
        await finished(stage)
    assert [told for (told,) in place.told] == ["a-1 firing", "a-1 resolved", "a-1 firing", "a-1 resolved"]
    assert {notice.threads["a-1"] for notice in place.sent} == {"bers:alert-engine/t-1"}


async def test_a34_three_contacts_are_told_one_after_another_and_all_are_told_that_it_is_over(tmp_path: Path) -> None:
    places: dict[str, Place] = {}
    contacts = [
        {"name": "primary"},
        {"name": "secondary", "contact": "secondary"},
        {"name": "escalation", "contact": "escalation"},
    ]
    async with telling(tmp_path, places, *contacts) as stage:
        await write(
            stage,
            alert(1),
            alert(2, "escalated", labels={"contact": "secondary"}),
            alert(3, "acknowledged"),
            alert(4, "resolved"),
        )
        await finished(stage)
    everything = ["firing", "escalated", "acknowledged", "resolved"]
    assert [told for (told,) in places["primary"].told] == [f"a-1 {kind}" for kind in everything]
    assert [told for (told,) in places["secondary"].told] == [f"a-1 {kind}" for kind in everything[1:]]
    assert "escalation" not in places


async def test_a_channel_that_is_renamed_goes_on_with_what_it_was_told(tmp_path: Path) -> None:
    old, new = Place(None, OSError("down"), OSError("down")), Place()
    async with telling(tmp_path, old, {"severities": ["error"], "retries": {"initial": "1h"}}) as stage:
        await write(stage, alert(1))
        await finished(stage)
        await write(stage, alert(2, subject="a-2"))
        await reaches(lambda: len(old.sent) == 2)
    renamed = {"name": "pager", "formerly": "team", "severities": ["critical"]}
    async with telling(tmp_path, {"pager": new}, renamed) as stage:
        await desk.reset_channel(stage, NameChannel("pager"), Caller())
        await write(stage, alert(3, "resolved"), alert(4, "resolved", subject="a-2"))
        await finished(stage)
    assert sorted(told for (told,) in new.told) == ["a-1 resolved", "a-2 firing", "a-2 resolved"]


async def test_what_waits_for_a_channel_that_was_removed_is_seen_and_sent_when_it_comes_back(tmp_path: Path) -> None:
    place = Place(NotTaken("busy", status=503, again=True))
    async with telling(tmp_path, place, {"retries": {"initial": "1h"}}) as stage:
        await write(stage, alert(1))
        await reaches(lambda: len(place.sent) == 1)
        await write(stage, alert(2, subject="a-2", severity="info"))
        while (await listed(stage))[1].status != "delivered":
            await anyio.sleep(0.005)
    async with telling(tmp_path, {}, {"name": "another"}) as stage:
        await write(stage, alert(3, "resolved"), alert(4, "resolved", subject="a-2"))
        (_, gone) = await desk.list_channels(stage, Nothing(), Caller())
        assert (gone.name, gone.state, gone.waiting) == ("team", "removed", 3)
        finding = await stage.check()
        assert finding.status == "degraded"
        assert "3 deliveries wait for channel 'team', which is not configured any more" in finding.message
    async with telling(tmp_path, place) as stage:
        await desk.reset_channel(stage, NameChannel("team"), Caller())
        await finished(stage)
    assert sorted(place.told[2:]) == [("a-1 firing",), ("a-1 resolved",), ("a-2 resolved",)]


async def test_what_waits_for_a_channel_that_was_removed_is_given_up_by_hand_or_by_time(tmp_path: Path) -> None:
    clock = VirtualClock()
    place = Place(*[OSError("down")] * 2)
    async with telling(tmp_path, place, {"retries": {"initial": "1h", "max": "1h"}}, clock=clock) as stage:
        await write(stage, alert(1))
        await reaches(lambda: len(place.sent) == 1)
        with pytest.raises(Refused, match="is at work"):
            await desk.give_up_deliveries(stage, NameChannel("team"), Caller())
    async with telling(tmp_path, {}, {"name": "another"}, clock=clock, keep="1d") as stage:
        await clock.suspend(2 * 86400)
        while (await listed(stage))[0].status == "waiting":
            await clock.suspend(3600)
            await anyio.sleep(0.005)
        (delivery,) = await listed(stage)
        assert (delivery.status, delivery.last_error) == ("failed", "the channel is not configured any more")


async def test_what_came_after_what_was_given_up_is_sent_when_the_channel_comes_back(tmp_path: Path) -> None:
    clock = VirtualClock()
    place = Place(OSError("down"))
    async with telling(tmp_path, place, {"retries": {"initial": "1h", "max": "1h"}}, clock=clock) as stage:
        await write(stage, alert(1))
        await reaches(lambda: len(place.sent) == 1)
    async with telling(tmp_path, {}, {"name": "another"}, clock=clock, keep="2d") as stage:
        await clock.suspend(86400 * 1.5)
        await write(stage, alert(2, "resolved"))
        await clock.suspend(86400)
        while (await listed(stage))[0].status == "waiting":
            await clock.suspend(3600)
            await anyio.sleep(0.005)
        assert [one.status for one in await listed(stage)] == ["failed", "waiting"]
    async with telling(tmp_path, place, clock=clock) as stage:
        await finished(stage)
    assert place.told[1:] == [("a-1 resolved",)]


async def test_a_channel_that_is_reset_has_all_its_time_again(tmp_path: Path) -> None:
    clock = VirtualClock()
    place = Place(NotTaken("gone", status=410, gone=True), NotTaken("busy", status=503, again=True))
    async with telling(tmp_path, place, {"retries": {"initial": "1h", "max": "1h"}}, clock=clock) as stage:
        await write(stage, alert(1))
        while (await desk.list_channels(stage, Nothing(), Caller()))[0].state != "disabled":
            await anyio.sleep(0.005)
        await clock.suspend(4 * 86400)
        await desk.reset_channel(stage, NameChannel("team"), Caller())
        await reaches(lambda: len(place.sent) == 2)
        await anyio.sleep(0.2)
        (one,) = await listed(stage)
        assert one.status == "waiting"


# Order, and what comes of failures


async def test_an_end_that_follows_a_firing_that_was_given_up_is_told_because_it_may_have_arrived(
    tmp_path: Path,
) -> None:
    place = Place(NotTaken("answered 400", status=400))
    async with telling(tmp_path, place) as stage:
        await write(stage, alert(1), alert(2, "resolved"))
        deliveries = await finished(stage)
        assert [one.status for one in deliveries] == ["failed", "delivered"]
        with pytest.raises(Refused, match="comes too late"):
            await desk.retry_deliveries(stage, RetryDeliveries("team", deliveries[0].id), Caller())
        assert (await desk.retry_deliveries(stage, RetryDeliveries("team"), Caller())).too_late == [deliveries[0].id]
    assert place.told == [("a-1 firing",), ("a-1 resolved",)]


async def test_what_was_given_up_can_be_sent_again_under_the_same_id(tmp_path: Path) -> None:
    place = Place(NotTaken("answered 404", status=404))
    async with telling(tmp_path, place) as stage:
        await write(stage, alert(1))
        await finished(stage)
        retried = await desk.retry_deliveries(stage, RetryDeliveries("team"), Caller())
        assert (retried.retried, retried.too_late) == (1, [])
        (delivery,) = await finished(stage)
        assert delivery.status == "delivered"
        assert place.ids == ["bers:alert-engine/t-1"] * 2
        with pytest.raises(Refused, match="failed no delivery"):
            await desk.retry_deliveries(stage, RetryDeliveries("team", "t-9"), Caller())


async def test_one_that_hangs_does_not_hold_up_the_alerts_of_others(tmp_path: Path) -> None:
    place, stuck = Place(), anyio.Event()

    async def take(notice: Notice) -> Taken:
        place.sent.append(notice)
        if notice.events[0].subject == "a-1":
            await stuck.wait()
        return YES

    place.take = take  # type: ignore[method-assign]
    async with telling(tmp_path, place) as stage:
        await write(stage, alert(1))
        await reaches(lambda: len(place.sent) == 1)
        for number in range(2, 20):
            await write(stage, alert(number, subject=f"a-{number}"))
        await reaches(lambda: len(place.sent) == 19)
        stuck.set()
        assert all(one.status == "delivered" for one in await finished(stage))


async def test_when_a_place_answers_again_all_that_waits_for_it_is_sent_at_once(tmp_path: Path) -> None:
    place = Place(OSError("down"), OSError("down"))
    async with telling(tmp_path, place, {"retries": {"initial": "1h"}}) as stage:
        await write(stage, alert(1), alert(2, subject="a-2"))
        await reaches(lambda: len(place.sent) == 2)
        await write(stage, alert(3, subject="a-3"))
        assert [one.status for one in await finished(stage)] == ["delivered"] * 3


async def test_gone_disables_a_channel_until_it_is_reset_and_what_it_is_to_be_told_waits(tmp_path: Path) -> None:
    place = Place(NotTaken("answered 410", status=410, gone=True))
    for restarted in range(2):
        async with telling(tmp_path, place) as stage:
            await write(stage, alert(1 + restarted, subject=f"a-{restarted}"))
            await reaches(lambda: len(place.sent) == 1)
            while (await desk.list_channels(stage, Nothing(), Caller()))[0].state != "disabled":
                await anyio.sleep(0.005)
            assert "channel 'team' is disabled until it is changed or reset" in (await stage.check()).message
            assert [one.status for one in await listed(stage)] == ["waiting"] * (1 + restarted)
            if restarted:
                report = await desk.reset_channel(stage, NameChannel("team"), Caller())
                assert report.state != "disabled"
                await finished(stage)
    assert sorted(place.told) == [("a-0 firing",), ("a-0 firing",), ("a-1 firing",)]


async def test_gone_is_forgotten_when_the_channel_is_changed(tmp_path: Path) -> None:
    place = Place(NotTaken("answered 410", status=410, gone=True))
    async with telling(tmp_path, place) as stage:
        await write(stage, alert(1))
        while (await desk.list_channels(stage, Nothing(), Caller()))[0].state != "disabled":
            await anyio.sleep(0.005)
    async with telling(tmp_path, place, {"timeout": "9s"}) as stage:
        assert [one.status for one in await finished(stage)] == ["delivered"]


async def test_who_asks_to_be_left_alone_is_left_alone_with_everything(tmp_path: Path) -> None:
    clock = VirtualClock()
    place = Place(NotTaken("answered 429", status=429, again=True, wait=300.0))
    async with telling(tmp_path, place, clock=clock) as stage:
        await write(stage, alert(1))
        while not (await listed(stage))[0].attempts:
            await anyio.sleep(0.005)
        await write(stage, alert(2, subject="a-2"))
        await clock.advance(299)
        assert len(place.sent) == 1
        await clock.advance(2)
        await finished(stage)
    assert len(place.sent) == 3


async def test_who_waits_for_the_same_place_does_not_come_back_at_one_moment(tmp_path: Path) -> None:
    clock = VirtualClock()
    place = Place(*[NotTaken("answered 500", status=500, again=True) for _ in range(6)])
    async with telling(tmp_path, place, {"retries": {"initial": "1m", "max": "1h"}}, clock=clock) as stage:
        await write(stage, *(alert(number, subject=f"a-{number}") for number in range(1, 7)))
        while not all(one.attempts for one in await listed(stage)):
            await anyio.sleep(0.005)
        waits = {(one.next_attempt or 0) - int(clock.time() * 1000) for one in await listed(stage)}
        assert len(waits) > 1 and all(44_000 <= wait <= 60_001 for wait in waits)


async def test_a_receiver_that_was_down_for_two_days_is_told_all_the_same(tmp_path: Path) -> None:
    clock = VirtualClock()
    place = Place()
    place.decide = lambda _: OSError("down") if clock.monotonic() < 2 * 86400 else None
    async with telling(tmp_path, place, {"retries": {}}, clock=clock) as stage:
        await write(stage, alert(1), alert(2, "resolved"))
        while any(one.status == "waiting" for one in await listed(stage)):
            await clock.suspend(300)
            await anyio.lowlevel.checkpoint()
        assert [one.status for one in await listed(stage)] == ["delivered"] * 2
    assert 100 < len(place.sent) < 900, "every five minutes or so, and not each second"


async def test_after_three_days_a_notification_is_given_up(tmp_path: Path) -> None:
    clock = VirtualClock()
    place = Place()
    place.decide = lambda _: OSError("down")
    async with telling(tmp_path, place, {"retries": {"max": "1h"}}, clock=clock) as stage:
        await write(stage, alert(1))
        while (one := (await listed(stage))[0]).status == "waiting":
            if one.attempts == len(place.sent):  # Time stands still until an attempt is written down.
                await clock.suspend(1800)
            await anyio.sleep(0.002)
        assert 3 * 86400 <= clock.monotonic() < 3 * 86400 + 2 * 3600 + 1800


# Several in one


async def test_a_clock_that_is_set_forward_makes_nobody_give_up(tmp_path: Path) -> None:
    clock = VirtualClock()
    place = Place(OSError("down"), OSError("down"), OSError("down"))
    async with telling(tmp_path, place, {"retries": {"initial": "1s", "max": "1s"}}, clock=clock) as stage:
        await write(stage, alert(1))
        await reaches(lambda: len(place.sent) == 1)
        clock.step(30 * 86_400)
        for attempt in (2, 3, 4):
            while len(place.sent) < attempt:
                await clock.advance(1)
        assert [one.status for one in await finished(stage)] == ["delivered"]


async def test_what_was_told_to_somebody_who_hears_of_no_end_is_forgotten_in_its_time(tmp_path: Path) -> None:
    place = Place()
    async with telling(tmp_path, place, {"events": ["alert.firing"]}) as stage:
        await write(stage, alert(1))
        await write(stage, alert(2, "resolved"))
        assert [one.type for one in await finished(stage)] == ["alert.firing"]
        await stage.ledger.forget(stage.context.clock.time() + 60)
        kept = await stage.context.state.run(
            lambda connection: connection.execute("SELECT count(*) FROM notifications_told").fetchone()
        )
        assert kept == (0,)


async def test_several_events_are_told_in_one_notification(tmp_path: Path) -> None:
    clock, place = VirtualClock(), Place()
    async with telling(tmp_path, place, {"group": {"wait": "5s", "every": "1m"}}, clock=clock) as stage:
        await write(stage, alert(1), alert(2, subject="a-2"), alert(3, subject="a-3", rule="Other"))
        await clock.advance(4)
        await write(stage, alert(4, subject="a-4"))
        assert place.sent == []
        await clock.advance(1.5)
        await reaches(lambda: len(place.sent) == 2)
        assert sorted(place.told) == [("a-1 firing", "a-2 firing", "a-4 firing"), ("a-3 firing",)]
        assert {len(notice.events): notice.group for notice in place.sent} == {
            3: {"rule": "Slow", "environment": ""},
            1: {"rule": "Other", "environment": ""},
        }
        await finished(stage)
        await write(stage, alert(5, "resolved"), alert(6, "resolved", subject="a-2"))
        await clock.advance(50)
        assert len(place.sent) == 2, "a minute is not over"
        await clock.advance(10)
        await reaches(lambda: len(place.sent) == 3)
        assert place.told[2] == ("a-1 resolved", "a-2 resolved")
        assert place.sent[2].threads == dict.fromkeys(["a-1", "a-2"], "bers:alert-engine/t-1+2")


async def test_a_group_keeps_its_id_and_its_events_through_failures_and_a_restart(tmp_path: Path) -> None:
    clock = VirtualClock()
    place = Place(OSError("down"), OSError("down"), OSError("down"))
    options = {"group": {"wait": "5s", "every": "1s"}, "retries": {"initial": "10s", "max": "10s"}}
    async with telling(tmp_path, place, options, clock=clock) as stage:
        await write(stage, alert(1), alert(2, subject="a-2"))
        await clock.advance(6)
        await reaches(lambda: len(place.sent) == 1)
        while not (await listed(stage))[0].attempts:
            await anyio.sleep(0.005)
        await write(stage, alert(3, subject="a-3"))
    async with telling(tmp_path, place, options, clock=clock) as stage:
        while any(one.status == "waiting" for one in await listed(stage)):
            await clock.advance(1)
    by_id: dict[str, set[tuple[str, ...]]] = {}
    for notice, told in zip(place.sent, place.told, strict=True):
        by_id.setdefault(notice.id, set()).add(told)
    assert by_id == {
        "bers:alert-engine/t-1+1": {("a-1 firing", "a-2 firing")},
        "bers:alert-engine/t-3": {("a-3 firing",)},
    }


async def test_of_one_alert_a_notification_tells_one_thing(tmp_path: Path) -> None:
    clock, place = VirtualClock(), Place()
    async with telling(tmp_path, place, {"group": {"wait": "5s", "every": "10s"}}, clock=clock) as stage:
        await write(stage, alert(1), alert(2, "resolved"), alert(3, subject="a-2"))
        await clock.advance(6)
        await reaches(lambda: len(place.sent) == 1)
        await finished_but(stage, 1)
        await clock.advance(11)
        await finished(stage)
    assert place.told == [("a-1 firing", "a-2 firing"), ("a-1 resolved",)]


async def finished_but(stage: Notifier[Any], left: int) -> None:
    while sum(one.status == "waiting" for one in await listed(stage)) > left:
        await anyio.sleep(0.005)


async def test_a_storm_is_told_in_notifications_of_a_bounded_size(tmp_path: Path) -> None:
    clock, place = VirtualClock(), Place()
    async with telling(tmp_path, place, {"group": {"by": [], "most": 100}}, clock=clock) as stage:
        await write(stage, *(alert(number, subject=f"a-{number}") for number in range(1, 1001)))
        await clock.advance(6)
        while len(place.sent) < 10:
            await anyio.sleep(0.005)
    assert [len(told) for told in place.told] == [100] * 10
    assert len({told for each in place.told for told in each}) == 1000


# A test, and what is told of it


async def test_a_test_is_sent_past_the_outbox_and_its_failure_is_told(tmp_path: Path) -> None:
    place = Place(None, NotTaken("answered 403: no such room", status=403))
    async with telling(tmp_path, place) as stage:
        report = await desk.test_channel(stage, NameChannel("team"), Caller())
        assert (report.taken, report.status, place.sent[0].id) == (True, 200, report.id)
        assert "This is a test of channel team" in report.sent
        report = await desk.test_channel(stage, NameChannel("team"), Caller())
        assert (report.taken, report.status, report.answer) == (False, 403, "answered 403: no such room")
        assert await listed(stage) == []
        with pytest.raises(Refused, match="unknown channel 'tem'; did you mean 'team'"):
            await desk.test_channel(stage, NameChannel("tem"), Caller())


async def test_what_an_older_version_wrote_down_is_told(tmp_path: Path) -> None:
    import msgspec

    state = Database(tmp_path / "state.db")
    rows: Sequence[tuple[int, Event, str]] = [
        (1, alert(1, severity="critical"), "delivered"),
        (2, alert(2, subject="a-2"), "waiting"),
        (3, alert(3, "resolved", subject="a-2"), "waiting"),
    ]

    def fill(connection: Any) -> None:
        connection.execute(
            "CREATE TABLE webhook_deliveries (number INTEGER PRIMARY KEY, sink, channel, id, subject, type, event,"
            " status, attempts, created, next, failing_since, finished, answer, error)"
        )
        for number, event, status in rows:
            connection.execute(
                "INSERT INTO webhook_deliveries"
                " VALUES (?, 'listed', 'team', ?, ?, ?, ?, ?, 0, 1, 1, NULL, 1, NULL, '')",
                (number, f"old-{number}", event.subject, event.type, msgspec.msgpack.encode(event), status),
            )

    await state.run(fill)
    state.close()
    place = Place()
    async with telling(tmp_path, place, {"severities": ["critical"]}) as stage:
        await write(stage, alert(4, "resolved"))
        await finished(stage)
    assert sorted(told for (told,) in place.told) == ["a-1 resolved", "a-2 firing", "a-2 resolved"]


# The promise

Step = tuple[str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), st.integers(0, 4)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("refilter"), st.integers(0, 3)),
    ),
    min_size=1,
    max_size=25,
)
FILTERS: list[dict[str, Any]] = [{}, {"severities": ["critical"]}, {"labels": {"rule": "Other"}}, {"contact": "second"}]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, seed=st.integers(0, 2**32), grouped=st.booleans())
async def test_whoever_was_told_firing_is_told_resolved_in_order_whatever_fails(
    steps: list[Step], seed: int, grouped: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A receiver fails at random, the sink is restarted in between, and filters change under it."""
    folder, random, place = tmp_path_factory.mktemp("promise"), Random(seed), Place()
    taken: list[tuple[str, str, str]] = []

    def decide(notice: Notice) -> Exception | None:
        lost = random.random()
        if lost < 0.3:
            return OSError("down")
        taken.extend((notice.id, event.subject, event.type) for event in notice.events)
        return OSError("the answer was lost") if lost < 0.5 else None

    place.decide = decide
    chosen, firing, number = 0, set[int](), 0
    wanted: dict[str, list[str]] = {}
    knows: set[int] = set()
    group = {"group": {"by": ["rule"], "wait": "0s", "every": "0s"}} if grouped else {}
    left = [*steps, *(("flip", alert_number) for alert_number in range(5)), ("restart", 0)]
    while left:
        retries = {"initial": "1ms", "max": "3ms"}
        async with telling(folder, place, {**FILTERS[chosen], **group, "retries": retries}) as stage:
            while left:
                what, which = left.pop(0)
                if what == "restart":
                    break
                if what == "refilter":
                    chosen = which
                    break
                number += 1
                kind = "resolved" if which in firing else "firing"
                firing ^= {which}
                if chosen == 0 and kind == "firing":
                    knows.add(which)
                if which in knows:
                    wanted.setdefault(f"a-{which}", []).append(f"alert.{kind}")
                    knows -= {which} if kind == "resolved" else set()
                await write(stage, alert(number, kind, f"a-{which}"))
            if not left:
                await finished(stage)
    told: dict[str, list[str]] = {}
    seen: set[tuple[str, str]] = set()
    for id, subject, kind in taken:  # Twice with the same id is once for whoever looks at ids.
        if (id, subject) not in seen:
            seen.add((id, subject))
            told.setdefault(subject, []).append(kind)
    assert told == wanted
