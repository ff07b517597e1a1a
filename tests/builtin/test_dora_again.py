"""DORA's figures when they are asked for again: what is remembered and what is new come to what all of it comes to."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import msgspec
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bers import Batch, Caller, Context, Event, Outcome
from bers.testing import VirtualClock, step
from bers_builtin.sinks.rest_store import REST_STORE, RestStore, details
from bers_builtin.sinks.rest_store.dora import asking
from bers_builtin.sinks.rest_store.dora.answers import AskDora, DoraAnswer
from bers_builtin.sinks.rest_store.dora.asking import Dora
from tests.builtin.test_dora import DAY, HOUR, NOW, deployed, happened, records

ASKED = [
    AskDora(),
    AskDora(period="7d"),
    AskDora(period="19d", step="1w"),
    AskDora(service="chat"),
    AskDora(environment="staging"),
    AskDora(environment="prod-eu", service="web"),
]


@asynccontextmanager
async def opened(folder: Path, clock: VirtualClock, **options: object) -> AsyncGenerator[RestStore]:
    context = Context("store", data_dir=folder, clock=clock)
    async with step(REST_STORE, context=context, lasting_keep="40d", **options).open() as store:
        assert isinstance(store, RestStore)
        await store.position("metrics", 0, begin=0)
        yield store


async def keep(store: RestStore, events: Sequence[Event]) -> None:
    await store.write(Batch(events, (), "metrics", 0, store._ends["metrics", 0] + 1))  # pyright: ignore[reportPrivateUsage]
    await store.commit()


async def anew(store: RestStore, ask: AskDora) -> DoraAnswer:
    """The answer of somebody who knows nothing yet."""
    return await Dora(store._database, store.config, store.context).answer(ask)  # pyright: ignore[reportPrivateUsage]


def merged(number: int, at: float, revision: str, committed: float) -> Event:
    event = deployed(at, id=f"m{number}", type="change.merged", revision=revision, committed=committed)
    return msgspec.structs.replace(event, outcome=None)


@st.composite
def days(draw: st.DrawFn) -> list[list[Event]]:
    """What is told in a few portions: of the past, of the future, some of it again, in any order."""
    told = draw(records())
    for number in range(draw(st.integers(0, 5))):
        subject = draw(st.sampled_from(["x", "y", "z"]))
        if draw(st.booleans()):
            at = draw(st.integers(-4, 60)) * 12 * HOUR
            told.append(merged(number, at, subject, at + draw(st.integers(-5, 50)) * HOUR))
        else:
            lost = happened(draw(st.integers(1, 60)) * 12 * HOUR, "deployment.lost", subject=subject)
            told.append(msgspec.structs.replace(lost, id=f"l{number}", source="/cd"))
    shift = draw(st.lists(st.sampled_from([0.0, 3 * DAY, -10 * DAY]), min_size=len(told), max_size=len(told)))
    told = [msgspec.structs.replace(one, time=one.time + by) for one, by in zip(told, shift, strict=True)]
    told = draw(st.permutations(told))
    again = draw(st.lists(st.sampled_from(told), max_size=4)) if told else []
    cuts = sorted(draw(st.lists(st.integers(0, len(told)), min_size=3, max_size=3)))
    return [told[: cuts[0]], told[cuts[0] : cuts[1]] + again, told[cuts[1] : cuts[2]], told[cuts[2] :] + again]


@settings(max_examples=30, derandomize=True, phases=[Phase.generate, Phase.shrink])
@given(
    days(),
    st.lists(st.sampled_from([0.0, 1.0, 12 * HOUR, DAY, 9 * DAY, 20 * DAY]), min_size=4, max_size=4),
    st.booleans(),
)
async def test_what_is_remembered_and_what_is_new_come_to_what_all_comes_to(
    told: list[list[Event]], steps: list[float], sweeps: bool
) -> None:
    """Late, early, reordered, repeated, and deleted when their time is over: it is as if nothing had been known."""
    with TemporaryDirectory() as folder:
        clock = VirtualClock(NOW)
        async with opened(Path(folder), clock, commit_every="365d", fold_every="365d") as store:
            for some, seconds in zip(told, steps, strict=True):
                await keep(store, some)
                for ask in ASKED:
                    assert await store.dora(ask, Caller()) == await anew(store, ask)
                clock.step(seconds)
                if sweeps:
                    await store.sweep()
                for ask in ASKED:
                    assert await store.dora(ask, Caller()) == await anew(store, ask)


def a_year(chance: random.Random, deployments: int) -> list[Event]:
    """Deployments of some services with everything that may come of them, a fifth of all told days late."""
    told: list[Event] = []
    outcomes: Sequence[Outcome | None] = ["success", "success", "success", "success", "failure", "cancel", None]
    for n in range(deployments):
        ago = DAY * 60 * (1 - n / deployments)
        service = chance.choice(["chat", "web", "shop", None])
        revision = f"r{chance.randrange(deployments)}"
        told.append(
            deployed(
                ago, chance.choice(outcomes), id=f"d{n}", service=service,
                revision=revision, committed=ago + HOUR * chance.randrange(1, 99) if chance.random() < 0.6 else None,
                kind=chance.choice(["", "", "", "hotfix", "rollback"]), version=f"1.{n}",
                data={"cause": f"i{chance.randrange(n + 1)}"} if chance.random() < 0.1 else {},
            )
        )  # fmt: skip
        if chance.random() < 0.3:
            told.append(merged(n, ago + HOUR, revision, ago + 2 * HOUR))
        if chance.random() < 0.2:
            cause = f"d{chance.randrange(n + 1)}" if chance.random() < 0.5 else ""
            told.append(
                happened(ago - HOUR, "incident.detected", subject=f"i{n}", service=service, data={"cause": cause},
                         environment=chance.choice(["production", None]))
            )  # fmt: skip
            over = ago - HOUR * chance.randrange(2, 40)
            told.append(happened(over, "incident.resolved", subject=f"i{n}", service=service))
        if chance.random() < 0.1:
            told.append(happened(ago - HOUR / 2, "service.rolledback", subject=f"b{n}", service=service))
    return sorted(told, key=lambda one: one.time + (chance.random() * 10 * DAY if chance.random() < 0.2 else 0))


@pytest.mark.parametrize("seed", range(3))
async def test_a_long_history_that_is_followed_is_the_one_that_is_read(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    told, clock = a_year(chance, 400), VirtualClock(NOW - 60 * DAY)
    async with opened(tmp_path, clock, commit_every="365d", fold_every="365d") as store:
        while told:
            some, told = told[:30], told[30:]
            clock.step(max(0.0, some[-1].time + HOUR - clock.time()))
            await keep(store, some)
            if chance.random() < 0.3:
                await store.sweep()
            for ask in (AskDora(period="19d"), AskDora(period="30d", environment="production", service="chat")):
                assert await store.dora(ask, Caller()) == await anew(store, ask)
        assert (await store.dora(AskDora(period="19d"), Caller())).counts.failed > 10


async def test_what_is_new_is_read_alone_and_what_nobody_asks_for_is_let_go_of(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock, commit_every="365d", fold_every="365d") as store:
        await keep(store, [deployed(DAY, id="a"), deployed(2 * DAY, id="b")])
        assert (await store.dora(AskDora(), Caller())).counts.deployments == 2
        statements: list[str] = []

        def listen(connection: sqlite3.Connection) -> None:
            connection.set_trace_callback(statements.append)

        await store._database.read(listen)  # pyright: ignore[reportPrivateUsage]
        await keep(store, [deployed(3 * DAY, id="c"), deployed(3 * DAY, id="c")])
        assert (await store.dora(AskDora(), Caller())).counts.deployments == 3
        whole = [one for one in statements if "* FROM events" in one]
        assert [("id = 'c'" in one, "FROM events WHERE source" in one) for one in whole] == [(True, True)]
        statements.clear()
        await clock.advance(asking.IDLE + 1)
        await store.sweep()
        assert (await store.dora(AskDora(), Caller())).counts.deployments == 3
        assert any("ORDER BY time, rowid" in one for one in statements)


async def test_records_that_had_to_go_early_count_no_more(tmp_path: Path) -> None:
    """The cap takes the details of lasting events when nothing else is left."""
    async with opened(tmp_path, VirtualClock(NOW), commit_every="365d", fold_every="365d", max_bytes="150kB") as store:
        await keep(store, [deployed(DAY * (20 - n / 50), id=f"d{n}", data={"log": "x" * 300}) for n in range(900)])
        whole = (await store.dora(AskDora(), Caller())).counts.deployments
        await store.sweep()
        rest = (await store.dora(AskDora(), Caller())).counts.deployments
        assert 0 < rest < whole == 900
        assert await store.dora(AskDora(), Caller()) == await anew(store, AskDora())


async def test_too_many_to_remember_are_read_each_time(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW), commit_every="365d", fold_every="365d") as store:
        few = Dora(store._database, store.config, store.context, kept=5)  # pyright: ignore[reportPrivateUsage]
        for n in range(8):
            some = [deployed(HOUR * (n + 1), id=f"d{n}")]
            await keep(store, some)
            few.heard([details.row(one, store.config, NOW) for one in some])
            assert (await few.answer(AskDora())).counts.deployments == n + 1


async def test_an_answer_that_was_given_up_leaves_nothing_wrong(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW), commit_every="365d", fold_every="365d") as store:
        await keep(store, a_year(random.Random(1), 300))
        for steps in range(1, 40):
            await store.dora(AskDora(), Caller())
            await keep(store, [deployed(HOUR * steps, id=f"more-{steps}", revision=f"r{steps}")])
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(_give_up, scope, steps)
                    await store.dora(AskDora(), Caller())
            assert await store.dora(AskDora(), Caller()) == await anew(store, AskDora())


async def _give_up(scope: anyio.CancelScope, steps: int) -> None:
    for _ in range(steps):
        await checkpoint()
    scope.cancel()


async def test_what_an_answer_is_made_of_stays_until_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of records, and a sweep, while somebody asks."""
    monkeypatch.setattr(asking, "NEWS", 5)
    async with opened(tmp_path, VirtualClock(NOW), commit_every="365d", fold_every="365d") as store:
        await keep(store, a_year(random.Random(2), 2000))
        await store.sweep()
        told = await anew(store, AskDora())
        flood = [details.row(deployed(HOUR, id="none"), store.config, NOW)] * (asking.NEWS + 1)
        for _ in range(3):
            dora = store._dora  # pyright: ignore[reportPrivateUsage]
            dora.heard(flood)
            found: list[DoraAnswer] = []
            async with anyio.create_task_group() as group:
                group.start_soon(_ask, store, found)
                while dora._memory is None or not dora._memory._ledgers:  # pyright: ignore[reportPrivateUsage]
                    await checkpoint()
                dora.heard(flood)
                await dora.rest()  # As each sweep ends.
            assert found == [told]


async def _ask(store: RestStore, found: list[DoraAnswer]) -> None:
    found.append(await store.dora(AskDora(), Caller()))
