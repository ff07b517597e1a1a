import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import anyio
import pytest

from bers import Batch, Caller, ConfigError, Context, Database, Event, Refused, Secret
from bers.notifications import desk
from bers.notifications.desk import ListDeliveries
from bers.notifications.ledger import Delivery
from bers.notifications.notifier import Notifier
from bers.targets import is_internal
from bers.testing import check_spec, step
from bers.testing.endpoint import Endpoint
from bers_builtin.sinks.webhooks import WEBHOOKS

QUICK = {"attempts": 6, "initial": "20ms", "max": "100ms"}


@dataclass
class Received:
    headers: dict[str, str]
    body: Any

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class Receiver(Endpoint):
    """Who is told."""

    @property
    def received(self) -> list[Received]:
        return [Received(one.headers, json.loads(one.body)) for one in self.requests]

    @property
    def ids(self) -> list[str]:
        return [one.id for one in self.received]

    async def has(self, requests: int) -> bool:
        return len(self.requests) >= requests


def receiver(*answers: str) -> AbstractAsyncContextManager[Receiver]:
    return Receiver(answers=list(answers)).serving()


def alert(number: int, kind: str = "firing", subject: str = "a-1", severity: str = "error", **data: Any) -> Event:
    return Event(
        f"t-{number}",
        "bers:alert-engine",
        f"alert.{kind}",
        1_700_000_000.0 + number,
        subject=subject,
        data={"severity": severity, "title": "Build Performance Degraded", **data},
        seq=number,
    )


@asynccontextmanager
async def telling(
    folder: Path, channels: Sequence[dict[str, Any]], context: Context | None = None, **options: Any
) -> AsyncGenerator[Notifier[Any]]:
    state = Database(folder / "state.db")
    lent = context or Context("webhooks", data_dir=folder)
    try:
        full = Context("webhooks", data_dir=folder, state=state, own_addresses=lent.own_addresses)
        async with step(WEBHOOKS, context=full, channels=channels, **options).open() as stage:
            assert isinstance(stage, Notifier)
            await stage.position("notify", 0, begin=0)
            yield stage
    finally:
        state.close()


async def write(stage: Notifier[Any], *events: Event) -> None:
    await stage.write(Batch(list(events), reader="notify", end=events[-1].seq))


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    while not await holds():
        await anyio.sleep(0.01)


async def tried(stage: Notifier[Any]) -> bool:
    return any(one.attempts for one in await listed(stage))


async def listed(stage: Notifier[Any], **ask: Any) -> list[Delivery]:
    return await desk.list_deliveries(stage, ListDeliveries(**ask), Caller())


async def finished(stage: Notifier[Any]) -> list[Delivery]:
    """Every delivery, oldest first, once none waits."""

    async def done() -> bool:
        return all(one.status != "waiting" for one in await listed(stage))

    await until(done)
    return (await listed(stage))[::-1]


def channel(there: Receiver, name: str = "pager", **more: Any) -> dict[str, Any]:
    return {"name": name, "url": there.url, "allow_internal": True, "retries": QUICK, **more}


async def test_spec_keeps_its_promises() -> None:
    await check_spec(WEBHOOKS)


async def test_an_alert_is_told_as_a_cloudevent(tmp_path: Path) -> None:
    async with receiver() as there, telling(tmp_path, [channel(there)]) as stage:
        await write(stage, alert(1, api_key="hunter2"))
        (delivery,) = await finished(stage)
        assert (delivery.status, delivery.attempts, delivery.last_status) == ("delivered", 1, 204)
        (seen,) = there.received
        assert seen.headers["content-type"] == "application/cloudevents+json"
        assert seen.headers["webhook-id"] == seen.headers["idempotency-key"] == "bers:alert-engine/t-1"
        assert seen.headers["host"] == f"127.0.0.1:{there.port}"
        assert (seen.body["type"], seen.body["subject"]) == ("io.bers.alert.firing.v1", "a-1")
        assert seen.body["data"]["data"]["api_key"] == "***"


async def test_who_fails_twice_gets_the_same_id_three_times(tmp_path: Path) -> None:
    async with receiver("500 Oops", "close") as there, telling(tmp_path, [channel(there)]) as stage:
        await write(stage, alert(1))
        (delivery,) = await finished(stage)
        assert (delivery.status, delivery.attempts) == ("delivered", 3)
        assert there.ids == ["bers:alert-engine/t-1"] * 3


async def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    async with receiver(*["503 Busy"] * 4) as there:
        many = {"attempts": 20, "initial": "20ms", "max": "50ms"}
        async with telling(tmp_path, [channel(there, retries=many)]) as stage:
            await write(stage, *(alert(number, subject=f"a-{number}") for number in range(1, 4)))
            await until(partial(there.has, 2))
        async with telling(tmp_path, [channel(there, retries=many)]) as stage:
            assert await stage.position("notify", 0, begin=0) == 3
            deliveries = await finished(stage)
        assert [one.status for one in deliveries] == ["delivered"] * 3
        assert set(there.ids) == {f"bers:alert-engine/t-{number}" for number in (1, 2, 3)}
        assert sum(one.attempts for one in deliveries) >= 7 - 3, "attempts before the restart count"


async def test_a_receiver_that_was_down_for_a_restart_is_told_everything(tmp_path: Path) -> None:
    async with receiver() as there:
        port = there.port
    down = {"name": "pager", "url": f"http://127.0.0.1:{port}/", "allow_internal": True, "retries": QUICK}
    async with telling(tmp_path, [down]) as stage:
        await write(stage, alert(1), alert(2, "resolved"))
        await until(partial(tried, stage))
        resolved, firing = await listed(stage)
        assert not resolved.attempts
        assert firing.attempts, "resolved waits for firing"
    async with receiver() as back, telling(tmp_path, [channel(back)]) as stage:
        await finished(stage)
        assert back.ids == ["bers:alert-engine/t-1", "bers:alert-engine/t-2"]


async def test_of_one_alert_nothing_overtakes(tmp_path: Path) -> None:
    async with receiver(*["500 Oops"] * 2) as there, telling(tmp_path, [channel(there)]) as stage:
        await write(stage, alert(1), alert(2, "acknowledged"), alert(3, "resolved"), alert(4, subject="a-2"))
        await finished(stage)
        told = [seen.body["type"] for seen in there.received if seen.body["subject"] == "a-1"]
        assert list(dict.fromkeys(told)) == [
            f"io.bers.alert.{kind}.v1" for kind in ("firing", "acknowledged", "resolved")
        ]
        assert told[-2:] == ["io.bers.alert.acknowledged.v1", "io.bers.alert.resolved.v1"]


async def test_what_is_given_up_lets_the_next_go_on(tmp_path: Path) -> None:
    async with receiver("400 Bad Request") as there, telling(tmp_path, [channel(there)]) as stage:
        await write(stage, alert(1), alert(2, "resolved"))
        assert [one.status for one in await finished(stage)] == ["failed", "delivered"]
        assert len(there.received) == 2, "400 is not tried again"


@pytest.mark.parametrize("answer", ["400 Bad Request", "404 Not Found", "302 Found"])
async def test_what_will_never_be_taken_is_not_tried_again(tmp_path: Path, answer: str) -> None:
    async with receiver(answer) as there, telling(tmp_path, [channel(there)]) as stage:
        await write(stage, alert(1))
        (delivery,) = await finished(stage)
        assert (delivery.status, delivery.attempts, delivery.last_status) == ("failed", 1, int(answer[:3]))
        assert delivery.last_error.startswith(f"answered {answer[:3]}")


async def test_410_disables_the_channel_and_what_it_is_to_be_told_waits(tmp_path: Path) -> None:
    async with receiver("410 Gone") as there, telling(tmp_path, [channel(there)]) as stage:
        await write(stage, alert(1))
        await until(partial(tried, stage))
        while not (finding := await stage.check()).details["channels"]["pager"]["disabledSince"]:
            await anyio.sleep(0.005)
        assert finding.status == "degraded"
        assert [one.status for one in await listed(stage)] == ["waiting"]


async def test_retry_after_is_honoured(tmp_path: Path) -> None:
    async with receiver("429 Slow Down\r\nretry-after: 1") as there, telling(tmp_path, [channel(there)]) as stage:
        await write(stage, alert(1))
        started = anyio.current_time()
        (delivery,) = await finished(stage)
        assert (delivery.status, delivery.attempts) == ("delivered", 2)
        assert anyio.current_time() - started >= 1.0


async def test_who_hangs_is_left_and_tried_again(tmp_path: Path) -> None:
    async with receiver("hang") as there, telling(tmp_path, [channel(there, timeout="100ms")]) as stage:
        await write(stage, alert(1))
        (delivery,) = await finished(stage)
        assert (delivery.status, delivery.attempts) == ("delivered", 2)


async def test_a_dead_channel_holds_up_no_other_and_no_journal(tmp_path: Path) -> None:
    async with receiver("hang", "hang") as dead, receiver() as alive:
        channels = [channel(dead, "dead", timeout="5s"), channel(alive, "alive")]
        async with telling(tmp_path, channels) as stage:
            await write(stage, alert(1), alert(2, subject="a-2"))
            await until(partial(alive.has, 2))
            assert await stage.position("notify", 0, begin=0) == 2
            assert [one.status for one in await listed(stage, channel="dead")] == ["waiting"] * 2


async def test_given_up_after_the_last_attempt_and_the_check_says_so(tmp_path: Path) -> None:
    async with receiver(*["500 Oops"] * 9) as there:
        async with telling(tmp_path, [channel(there, retries={"attempts": 2, "initial": "10ms"})]) as stage:
            await write(stage, alert(1))
            (delivery,) = await finished(stage)
            assert (delivery.status, delivery.attempts) == ("failed", 2)
            finding = await stage.check()
            assert finding.status == "degraded"
            assert "1 deliveries were given up: answered 500" in finding.message
            assert finding.details["channels"]["pager"]["givenUp"] == 1


async def test_the_check_is_degraded_while_a_delivery_fails_for_long(tmp_path: Path) -> None:
    slow = {"attempts": 5, "initial": "1h"}
    async with receiver("500 Oops") as there:
        async with telling(tmp_path, [channel(there, retries=slow)], patience="0s") as stage:
            assert (await stage.check()).status == "healthy"
            await write(stage, alert(1))
            await until(partial(tried, stage))
            finding = await stage.check()
            assert (finding.status, finding.details["channels"]["pager"]["waiting"]) == ("degraded", 1)


async def test_a7_without_a_channel_the_check_is_healthy(tmp_path: Path) -> None:
    async with telling(tmp_path, []) as stage:
        finding = await stage.check()
        assert (finding.status, finding.details["configured"]) == ("healthy", 0)


async def test_events_and_severities_select_but_who_was_told_firing_is_told_resolved(tmp_path: Path) -> None:
    async with receiver() as there, telling(tmp_path, [channel(there, severities=["critical"])]) as stage:
        await write(
            stage,
            alert(1, severity="critical"),
            alert(2, subject="a-2", severity="warning"),
            alert(3, "suppressed", subject="a-3", severity="critical"),
            alert(4, "resolved", severity="warning"),
            alert(5, "resolved", subject="a-2", severity="warning"),
        )
        await finished(stage)
        assert there.ids == ["bers:alert-engine/t-1", "bers:alert-engine/t-4"]


async def test_a_template_makes_the_body(tmp_path: Path) -> None:
    template = (
        '{"text": {{ ("%s: %s" % (event.type, event.data.title)) | tojson }}, "env": {{ event.environment | tojson }}}'
    )
    async with receiver() as there, telling(tmp_path, [channel(there, template=template)]) as stage:
        await write(stage, alert(1, title='say "hi"\n'))
        await finished(stage)
        assert there.received[0].body == {"text": 'alert.firing: say "hi"\n', "env": None}
        assert there.received[0].headers["content-type"] == "application/json"


async def test_a_template_that_makes_no_json_is_told_as_the_error(tmp_path: Path) -> None:
    broken = channel(Receiver(port=1), template="{{ event.data.nothing }}", retries={"attempts": 1})
    async with telling(tmp_path, [broken]) as stage:
        await write(stage, alert(1))
        (delivery,) = await finished(stage)
        assert delivery.status == "failed"
        assert "the template does not make JSON of alert.firing" in delivery.last_error


async def test_a_template_reaches_nothing_but_the_event(tmp_path: Path) -> None:
    evil = channel(
        Receiver(port=1), template="{{ event.__class__.__mro__ | string | tojson }}", retries={"attempts": 1}
    )
    async with telling(tmp_path, [evil]) as stage:
        await write(stage, alert(1))
        (delivery,) = await finished(stage)
        assert "unsafe" in delivery.last_error


async def test_secrets_in_headers_reach_the_receiver_and_nobody_else(tmp_path: Path) -> None:
    headers = {"Authorization": Secret("Bearer t0ps3cret-value")}
    async with (
        receiver("401 No t0ps3cret-value") as there,
        telling(tmp_path, [channel(there, headers=headers)]) as stage,
    ):
        await write(stage, alert(1))
        (delivery,) = await finished(stage)
        assert there.received[0].headers["authorization"] == "Bearer t0ps3cret-value"
        assert "t0ps3cret" not in delivery.last_error
        assert "t0ps3cret" not in repr(stage.config)


async def test_a_receiver_that_says_nonsense_costs_an_attempt_and_learns_nothing(tmp_path: Path) -> None:
    async with (
        receiver("404 Cannot POST /services/T0001/abcdSECRETxyz123") as there,
        telling(tmp_path, [channel(there) | {"url": f"{there.url}/services/abcdSECRETxyz123"}]) as stage,
    ):
        await write(stage, alert(1))
        (delivery,) = await finished(stage)
        assert "abcdSECRETxyz123" not in delivery.last_error


async def test_the_same_event_read_again_is_told_once(tmp_path: Path) -> None:
    async with receiver() as there, telling(tmp_path, [channel(there)]) as stage:
        await write(stage, alert(1))
        await stage.write(Batch([alert(1)], reader="notify", end=2))
        await finished(stage)
        assert len(there.received) == 1


async def test_a_batch_without_news_moves_the_position(tmp_path: Path) -> None:
    async with telling(tmp_path, []) as stage:
        for end in range(1, 50):
            await stage.write(Batch([], reader="notify", end=end))
        assert await stage.position("notify", 0, begin=0) == 49
        await stage.write(Batch([], reader="notify", end=50))
    async with telling(tmp_path, []) as stage:
        assert await stage.position("notify", 0, begin=0) == 50


async def test_deliveries_are_listed_by_status_and_channel(tmp_path: Path) -> None:
    async with receiver("404 Not Found") as one, receiver() as two:
        async with telling(tmp_path, [channel(one, "one"), channel(two, "two")]) as stage:
            await write(stage, alert(1))
            await finished(stage)
            assert [each.channel for each in await listed(stage, status="failed")] == ["one"]
            assert [each.status for each in await listed(stage, channel="two")] == ["delivered"]
            with pytest.raises(Refused, match="unknown channel 'three'"):
                await listed(stage, channel="three")


async def test_a_name_that_leads_inside_is_not_asked(tmp_path: Path) -> None:
    outside = {"name": "pager", "url": "https://ip6-localhost/hook", "retries": {"attempts": 1}}
    async with receiver() as there, telling(tmp_path, [outside]) as stage:
        await write(stage, alert(1))
        (delivery,) = await finished(stage)
        assert delivery.status == "failed"
        assert there.received == []


REFUSED = [
    ("/api/monitoring/alerts", False, "not absolute"),
    ("ftp://example.org/", False, "not absolute"),
    ("https://user:pw@example.org/", False, "credentials"),
    ("http://example.org/hook", False, "http can be read"),
    ("http://93.184.216.34/", True, "http can be read"),
    ("http://127.0.0.1:3003/api/monitoring/alerts", True, "this monitoring itself"),
    ("http://localhost:3003/", True, "this monitoring itself"),
    ("http://127.1:3003/", True, "this monitoring itself"),
    ("http://[::1]:3003/", True, "this monitoring itself"),
    ("http://[::ffff:127.0.0.1]:3003/", True, "this monitoring itself"),
    ("http://0.0.0.0:3003/", True, "this monitoring itself"),
    ("https://localhost/", False, "internal address"),
    ("https://10.1.2.3/", False, "internal address"),
    ("https://169.254.169.254/latest/", True, "where machines keep their credentials"),
    ("https://[::ffff:100.100.100.200]/", True, "where machines keep their credentials"),
    ("https://0x7f000001/", False, "internal address"),
    ("https://example.org:99999/", False, "cannot be read"),
    ("https://exämple.org/", False, "percent-encode"),
]


@pytest.mark.parametrize(("url", "internal", "fault"), REFUSED)
async def test_a29_where_a_notification_must_not_go(url: str, internal: bool, fault: str) -> None:
    context = Context("webhooks", own_addresses=[("127.0.0.1", 3003)])
    with pytest.raises(ConfigError, match=fault) as refusal:
        async with step(
            WEBHOOKS, context=context, channels=[{"name": "pager", "url": url, "allow_internal": internal}]
        ).open():
            pass
    assert str(refusal.value).startswith("sinks.webhooks.channels[0].url: channel 'pager': ")


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"template": "{{ event."}, r"channels\[0\].template: .* cannot be read"),
        ({"headers": {"webhook-id": "x"}}, "is set by us"),
        ({"headers": {"X-A": "b\r\nX-C: d"}}, "no header can have"),
        ({"headers": {"bad name": "x"}}, "cannot name a header"),
    ],
)
async def test_what_cannot_work_is_said_at_the_start(more: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        async with step(WEBHOOKS, channels=[{"name": "pager", "url": "https://example.org/", **more}]).open():
            pass


async def test_two_channels_of_one_name_are_refused() -> None:
    twice: Iterable[dict[str, Any]] = [{"name": "pager", "url": "https://example.org/"}] * 2
    with pytest.raises(ConfigError, match=r"channels\[1\].name: two channels are named 'pager'"):
        async with step(WEBHOOKS, channels=twice).open():
            pass


@pytest.mark.parametrize(
    ("address", "internal"),
    [
        *(
            (address, True)
            for address in ("10.0.0.1", "127.0.0.1", "100.64.0.1", "169.254.1.1", "0.0.0.0", "224.0.0.1")
        ),
        *(
            (address, True)
            for address in ("::1", "fe80::1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::")
        ),
        *((address, False) for address in ("93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34")),
    ],
)
def test_what_an_internal_address_is(address: str, internal: bool) -> None:
    assert is_internal(ip_address(address)) is internal
