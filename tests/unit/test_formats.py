"""A plugin takes what somebody else sends: at a place of its own, proven by the request, and read into events."""

import hmac
import json
from collections.abc import AsyncGenerator, Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bers import Config, Delivery, Format, Operation, PluginError, Refused, Secret, SourceSpec, Stage, plugins
from bers.operations import Nothing
from bers.testing import check_format
from bers.testing.server import Server, serving
from tests.unit.test_web import error

KEY = b"a shared secret"
NUMBERS = count()


class BuildbarConfig(Config, frozen=True):
    """Take what Buildbar sends."""

    secret: Secret


class Buildbar(Stage[BuildbarConfig]):
    """Somebody's own: nothing but the public names."""

    def verify(self, delivery: Delivery) -> None:
        expected = hmac.new(self.config.secret.reveal().encode(), delivery.body, "sha256").hexdigest()
        if not hmac.compare_digest(delivery.headers.get("x-buildbar-signature", ""), expected):
            raise Refused("unauthenticated", "the signature is wrong")

    def decode(self, delivery: Delivery) -> Iterable[Mapping[str, Any]]:
        if delivery.query.get("fail"):
            raise FAULTS[delivery.query["fail"]]
        for one in json.loads(delivery.body)["builds"]:
            yield {
                "id": one["id"],
                "source": "https://buildbar.example",
                "type": "build.finished",
                "time": delivery.now,
                "outcome": one["result"],
                "duration_ms": one["seconds"] * 1000,
                "origin": "buildbar/build",
            }

    async def nothing(self, ask: Nothing, caller: Any) -> Nothing:
        return ask


FAULTS: Mapping[str, BaseException] = {
    "key": KeyError("builds"),
    "exit": SystemExit(3),
    "deep": RecursionError("too deep"),
    "words": RuntimeError(f"it is {KEY.decode()}"),
}

SPEC = SourceSpec(
    "buildbar",
    BuildbarConfig,
    Buildbar,
    formats=(Format("buildbar", Buildbar.decode, "What Buildbar tells of builds.", Buildbar.verify),),
)


@pytest.fixture(scope="module")
async def server(home: Path) -> AsyncGenerator[Server]:
    declared = (("sources", "buildbar"), {"secret": KEY.decode()})
    async with serving(home, changes=[declared], specs=[("source", SPEC)]) as found:
        yield found


def build(**more: Any) -> dict[str, Any]:
    return {"id": f"b-{next(NUMBERS)}", "result": "passed", "seconds": 4, **more}


async def send(server: Server, *builds: Any, key: bytes = KEY, query: str = "", headers: Mapping[str, str] = {}) -> Any:
    body = json.dumps({"builds": builds}).encode()
    signed = {"Content-Type": "application/json", "X-Buildbar-Signature": hmac.new(key, body, "sha256").hexdigest()}
    return await server.post(f"ingest/buildbar{query}", content=body, headers=signed | dict(headers))


async def test_what_a_plugin_reads_becomes_events_and_metrics(server: Server) -> None:
    good, bad = build(), build(seconds=-1)
    reply = await send(server, good, bad, good)
    assert (reply.status_code, reply.json()["data"]) == (
        202,
        {
            "accepted": 1,
            "duplicates": 1,
            "rejected": [
                {
                    "index": 1,
                    "id": bad["id"],
                    "error": "duration_ms: -1000 is negative; it is in milliseconds from start to finish",
                }
            ],
        },
    )
    await server.until("metrics/build_performance", lambda data: data["current"] == 4000)


async def test_a_wrong_signature_is_401_and_nothing_is_kept(server: Server) -> None:
    one = build()
    assert error(await send(server, one, key=b"another"), 401)["message"] == "the signature is wrong"
    large = build(note="x" * 200_000)
    assert error(await send(server, large, key=b"another"), 401)["code"] == "unauthenticated"
    assert (await send(server, one)).json()["data"]["accepted"] == 1


async def test_a_dry_run_shows_events_and_metrics_of_a_format_too(server: Server) -> None:
    one = build(result="broken")
    data = (await send(server, build(), one, query="?dry_run=1")).json()["data"]
    (event,) = data["events"]
    assert (event["type"], event["outcome"], event["origin"]) == ("build.finished", "success", "buildbar/build")
    assert data["rejected"][0]["error"].startswith("outcome 'broken' is not understood")
    written = {(one["metric"], one["value"], one["unit"]) for one in data["metrics"]}
    assert ("build_performance", 4000.0, "ms") in written
    assert ("build_success_rate", 100.0, "%") in written


async def test_a_body_that_is_none_of_the_format_is_refused(server: Server) -> None:
    for body in (b"{", b"no json"):
        signed = {"X-Buildbar-Signature": hmac.new(KEY, body, "sha256").hexdigest()}
        found = error(await server.post("ingest/buildbar", content=body, headers=signed), 400)
        assert found["message"].startswith("the body is not what buildbar sends: ")


@pytest.mark.parametrize(("fault", "said"), [
    ("key", "KeyError: 'builds'"),
    ("exit", "SystemExit: 3"),
    ("deep", "RecursionError: too deep"),
    ("words", "RuntimeError: it is ***"),
])  # fmt: skip
async def test_what_else_a_format_raises_is_told_as_the_fault_of_its_plugin_and_costs_one_request(
    fault: str, said: str, server: Server
) -> None:
    one = build()
    found = error(await send(server, one, query=f"?fail={fault}"), 500)
    assert found["message"] == f"buildbar: the format 'buildbar' failed when it read a request: {said}"
    assert found["hint"] == "its author can mend it; logs/monitoring.log says where"
    assert (await send(server, one)).json()["data"]["accepted"] == 1


async def test_what_the_verifying_of_a_format_raises_lets_nobody_in(server: Server) -> None:
    one = build()
    body = json.dumps({"builds": [one]}).encode()
    headers = {"X-Buildbar-Signature": "\u00e9".encode("latin-1")}  # Not ASCII: the comparison raises TypeError.
    reply = await server.post("ingest/buildbar", content=body, headers=headers)
    assert error(reply, 500)["message"].startswith(
        "buildbar: the format 'buildbar' failed when it verified a request: "
    )
    assert (await send(server, one)).json()["data"]["accepted"] == 1


def delivery(*builds: Any) -> Delivery:
    return signed(Delivery({}, json.dumps({"builds": builds}).encode(), "application/json", 0.0))


def signed(one: Delivery) -> Delivery:
    return one._replace(headers={"x-buildbar-signature": hmac.new(KEY, one.body, "sha256").hexdigest()})


class Careful(Buildbar):
    """The same, and it looks at what it is sent."""

    def decode(self, delivery: Delivery) -> Iterable[Mapping[str, Any]]:
        try:
            yield from super().decode(delivery)
        except (LookupError, TypeError, OverflowError, RecursionError) as exc:
            raise ValueError(f"it is no delivery of builds: {exc!r}") from exc


CAREFUL = SourceSpec(
    "buildbar", BuildbarConfig, Careful, formats=(Format("buildbar", Careful.decode, "The same.", Careful.verify),)
)


async def test_the_kit_finds_what_a_format_cannot_bear() -> None:
    with pytest.raises(AssertionError, match=r"buildbar\.decode raises TypeError.*raise ValueError or Refused"):
        await check_format(SPEC, "buildbar", delivery(build()), sign=signed, secret=KEY.decode())
    documents = await check_format(CAREFUL, "buildbar", delivery(build(), build()), sign=signed, secret=KEY.decode())
    assert [one["type"] for one in documents] == ["build.finished"] * 2


async def test_the_kit_says_where_a_good_delivery_is_not_taken() -> None:
    with pytest.raises(AssertionError, match=r"an intake would not take what buildbar says: .*is negative"):
        await check_format(CAREFUL, "buildbar", delivery(build(seconds=-1)), sign=signed, secret=KEY.decode())
    with pytest.raises(AssertionError, match="buildbar offers no format 'other', but"):
        await check_format(CAREFUL, "other", secret=KEY.decode())


async def test_another_type_an_encoding_and_too_large_a_body_are_refused_unread(server: Server) -> None:
    found = error(await send(server, headers={"Content-Type": "text/xml"}), 415)
    assert found["known"] == ["application/json"]
    assert error(await send(server, headers={"Content-Encoding": "gzip"}), 415)["code"] == "unsupported_encoding"
    found = error(await server.post("ingest/buildbar", content=b" " * (2 << 20) + b"."), 413)
    assert found["message"] == f"the body has more than {2 << 20} bytes"


async def test_what_is_taken_is_told_and_described(server: Server) -> None:
    (way,) = (await server.data("ingest/buildbar"))["ways"]
    assert (way["path"], way["contentTypes"], way["authentication"], way["encodings"]) == (
        "/api/monitoring/ingest/buildbar", ["application/json"], "request", [],
    )  # fmt: skip
    everything = await server.data("ingest")
    assert {one["path"] for one in everything["ways"]} >= {"/api/monitoring/ingest", way["path"]}
    assert everything["schema"]["required"] == ["type"]
    document = (await server.get("/openapi.json")).json()
    assert set(document["paths"]["/api/monitoring/ingest/buildbar"]) == {"get", "post"}


async def test_a_format_whose_stage_is_not_declared_says_what_to_do(home: Path) -> None:
    async with serving(home / "undeclared", specs=[("source", SPEC)]) as server:
        found = error(await send(server, build()), 503)
        assert found["message"] == "'buildbar' is not running"
        assert found["hint"].startswith("declare 'buildbar' under `sources:` in pipelines.yaml")


def test_two_plugins_cannot_take_one_format() -> None:
    thief = SourceSpec("thief", BuildbarConfig, Buildbar, formats=SPEC.formats)
    operating = SourceSpec(
        "operating",
        BuildbarConfig,
        Buildbar,
        operations=(Operation("POST", "/api/monitoring/ingest/buildbar", Buildbar.nothing, Nothing, Nothing, "No."),),
    )
    for other in (thief, operating):
        with pytest.raises(PluginError, match=r"both answer POST /api/monitoring/ingest/buildbar"):
            plugins.load(installed=False).with_specs([("source", SPEC), ("source", other)])


async def test_a_dry_run_of_many_shows_the_first_and_tells_how_many_there_are(server: Server) -> None:
    data = (await send(server, *(build() for _ in range(150)), *[build(seconds=-1)] * 120, query="?dry_run=1")).json()[
        "data"
    ]
    assert (data["total"], data["totalRejected"]) == (150, 120)
    assert [len(data[part]) for part in ("events", "fates", "rejected")] == [100] * 3


async def test_a_dry_run_of_large_events_shows_fewer(server: Server) -> None:
    event = {"type": "build.finished", "source": "/here", "data": {f"k{number}": "x" * 10_000 for number in range(10)}}
    reply = await server.post("ingest?dry_run=1", [event] * 50)
    data = reply.json()["data"]
    assert (data["total"], len(data["events"]), len(data["fates"])) == (50, 3, 3)
