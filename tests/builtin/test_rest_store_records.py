"""Event details, page by page: all of them, each once, whatever comes meanwhile."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bers import Batch, Event, as_cdevent
from bers.testing import VirtualClock
from bers_builtin.sinks.rest_store import details
from bers_builtin.sinks.rest_store.answers import AskRecords
from tests.builtin.test_rest_store_answers import CALLER, NOW, opened


async def test_pages_hold_every_record_once_while_others_come(tmp_path: Path) -> None:
    rng = random.Random(3)
    events = [
        Event(f"e-{n}", rng.choice(["ci", "ci/a", "ci\0b"]), rng.choice(["build.started", "build.finished"]),
              NOW - rng.choice([5.0, 5.5, rng.random() * 60]))
        for n in range(200)
    ]  # fmt: skip
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await store.write(Batch(events, (), "metrics", 0, 1))
        await store.commit()
        found, after = list[str](), ""
        for end in range(2, 60):
            reply = await store.records(AskRecords(type="build.*", limit=9, after=after), CALLER)
            found += [record["id"] for record in reply.data]
            newer = Event(f"later-{end}", "ci", "build.started", NOW)
            await store.write(Batch([newer], (), "metrics", 0, end))
            await store.commit()
            if (after := reply.beside["next"] or "") == "":
                break
        assert sorted(found) == sorted(event.id for event in events)
        times = {event.id: event.time for event in events}
        assert [times[id] for id in found] == sorted(times.values(), reverse=True)


@given(
    st.floats(allow_nan=False), st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.characters(exclude_categories=["Cs"])),
)  # fmt: skip
def test_a_place_is_read_back_as_it_was(time: float, source: str, id: str) -> None:
    assert details.place(details.as_text((time, source, id))) == (time, source, id)


async def test_records_are_told_as_cdevents_to_whoever_asks_for_them(tmp_path: Path) -> None:
    event = Event("e-1", "/ci", "build.finished", NOW - 5, "b-1", outcome="failure", data={"password": "hunter-22"})
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await store.write(Batch([event], (), "metrics", 0, 1))
        await store.commit()
        (told,) = (await store.records(AskRecords(format="cdevents"), CALLER)).data
    assert told == as_cdevent(event)
    assert told["context"]["type"] == "dev.cdevents.build.finished.0.3.0"
    assert "hunter-22" not in str(told)
