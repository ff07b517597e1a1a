"""Whoever shows no key costs little until he is believed: a few bodies, a share of memory, some wrong proofs."""

import hmac
import json
from pathlib import Path

import anyio
import pytest

from bers import Refused
from bers.access.settings import RateSettings
from bers.testing import VirtualClock
from bers.testing.server import serving
from bers.web.strangers import AT_ONCE, SHARE, Strangers
from tests.unit.test_formats import KEY, SPEC
from tests.unit.test_web import error

SLOW = {"per_second": 0.01, "burst": 5}
RATE = RateSettings(per_second=10, burst=3)
MANY = 1 << 30


def wrong(strangers: Strangers, name: str, reason: str = "unauthenticated") -> str:
    """Why somebody was refused who is wrong."""
    try:
        with strangers.visit(name):
            raise Refused("unauthenticated" if reason == "unauthenticated" else "invalid", "no")
    except Refused as refused:
        return refused.reason


async def test_wrong_signatures_of_one_address_are_counted_and_those_of_others_are_not() -> None:
    clock = VirtualClock()
    strangers = Strangers(clock, RATE, MANY)
    assert [wrong(strangers, "a") for _ in range(4)] == ["unauthenticated"] * 3 + ["rate_limited"]
    assert wrong(strangers, "b") == "unauthenticated"
    await clock.advance(0.11)
    assert [wrong(strangers, "a") for _ in range(2)] == ["unauthenticated", "rate_limited"]


def test_what_is_signed_and_refused_for_something_else_is_not_counted() -> None:
    strangers = Strangers(VirtualClock(), RATE, MANY)
    assert {wrong(strangers, "a", "invalid") for _ in range(20)} == {"invalid"}


def test_bodies_that_nobody_believes_have_a_share_of_memory() -> None:
    strangers = Strangers(VirtualClock(), RATE, 800 * SHARE)
    with strangers.visit("a") as first, strangers.visit("b") as second:
        first.grow(500)
        second.grow(300)
        with pytest.raises(Refused, match="no room now"):
            second.grow(301)
        first.believe()
        first.grow(10_000)  # It is counted elsewhere now.
        second.grow(800)
    with strangers.visit("c") as third:
        third.grow(800)


def test_one_address_has_a_few_at_once_and_who_is_believed_makes_room() -> None:
    strangers = Strangers(VirtualClock(), RATE, MANY)
    visits = [strangers.visit("a") for _ in range(AT_ONCE)]
    begun = [visit.__enter__() for visit in visits]
    with pytest.raises(Refused, match="at once"), strangers.visit("a"):
        pass
    with strangers.visit("b"):
        pass
    begun[0].believe()
    with strangers.visit("a"):
        pass


async def test_whoever_sends_wrong_signatures_is_told_to_wait_and_key_holders_are_not(home: Path) -> None:
    changes = [(("sources", "buildbar"), {"secret": KEY.decode()}), (("access", "rate"), SLOW)]
    async with serving(home, changes=changes, specs=[("source", SPEC)]) as server:
        body = json.dumps({"builds": []}).encode()
        headers = {"Content-Type": "application/json", "X-Buildbar-Signature": "wrong"}
        replies = [await server.post("ingest/buildbar", content=body, headers=headers) for _ in range(8)]
        assert [reply.status_code for reply in replies] == [401] * 5 + [429] * 3
        assert error(replies[-1], 429)["message"] == "too many wrong signatures came from this address"
        assert 60 <= int(replies[-1].headers["retry-after"]) <= 100
        event = {"type": "build.started", "id": "mine", "source": "/here"}
        assert (await server.post("ingest", json=event)).status_code == 202


async def test_a_stranger_who_is_slow_takes_what_he_has_sent_and_no_multiple_of_it(home: Path) -> None:
    declared = (("sources", "buildbar"), {"secret": KEY.decode()})
    async with serving(home, changes=[declared], specs=[("source", SPEC)]) as server:
        async with await anyio.connect_tcp("127.0.0.1", server.node.ports["control"]) as stream:
            head = "POST /api/monitoring/ingest/buildbar HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
            await stream.send((head + "Content-Type: application/json\r\n\r\n").encode() + b"x")
            with anyio.fail_after(30):
                while server.node.supervisor.memory.promised == 0:
                    await anyio.sleep(0.01)
            assert server.node.supervisor.memory.promised == 1_000_000
        signed = {"Content-Type": "application/json",
                  "X-Buildbar-Signature": hmac.new(KEY, b'{"builds": []}', "sha256").hexdigest()}  # fmt: skip
        assert (await server.post("ingest/buildbar", content=b'{"builds": []}', headers=signed)).status_code == 202
