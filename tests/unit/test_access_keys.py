"""Keys and sessions: random, kept as hashes, ended when they are to end, and looked up anew every second."""

import re
import sqlite3
from functools import partial
from pathlib import Path

from bers import Database
from bers.access import keys, sessions
from bers.access.credentials import Credentials
from bers.access.keys import SCOPES, digest, id_of, make
from bers.access.settings import AccessSettings, SessionSettings
from bers.redaction import MASK, Secret, redact_text
from bers.testing import VirtualClock
from bers.units import Interval

NOW = 1_700_000_000.0


def test_a23_a_key_is_recognised_by_its_shape_and_has_256_random_bits() -> None:
    key, text = make("ci", ["ingest"], now=NOW)
    assert re.fullmatch(r"bers_[0-9a-f]{8}_[0-9a-f]{64}", text)
    assert id_of(text) == key.id
    assert len({make("ci", ["ingest"], now=NOW)[1] for _ in range(100)}) == 100


def test_a23_what_is_kept_is_a_hash(tmp_path: Path) -> None:
    key, text = make("ci", ["ingest"], now=NOW)
    state = Database(tmp_path / "state.db")
    state.run_now(partial(keys.store, key=key))
    assert state.run_now(keys.stored) == [key]
    state.close()
    secret = text.rpartition("_")[2].encode()
    assert not any(secret in path.read_bytes() for path in tmp_path.iterdir())
    assert key.hash == digest(text) and len(key.hash) == 32


def test_c155_a_key_that_gets_into_a_text_is_masked() -> None:
    _, text = make("ci", ["ingest"], now=NOW)
    assert redact_text(f"curl -H 'X-API-Key: {text}' failed") == f"curl -H 'X-API-Key: {MASK}' failed"


def test_only_the_whole_key_is_the_key() -> None:
    key, text = make("ci", ["ingest"], now=NOW)
    assert key.fits(text)
    for other in (text[:-1], text[1:], text + "0", text.upper(), "", key.hash.hex()):
        assert not key.fits(other)


def test_a_key_is_live_until_it_expires_or_is_revoked() -> None:
    key, _ = make("ci", ["ingest"], now=NOW, expires=NOW + 10)
    assert key.live(NOW) and key.live(NOW + 9.9) and not key.live(NOW + 10)
    state = Database()
    state.run_now(partial(keys.store, key=key))
    assert state.run_now(partial(keys.revoke, id=key.id, now=NOW + 1)) == key
    assert not state.run_now(keys.stored)[0].live(NOW + 2)
    assert state.run_now(partial(keys.revoke, id="00000000", now=NOW)) is None
    state.close()


async def test_a23_several_keys_live_at_once_and_each_knows_its_scopes(clock: VirtualClock) -> None:
    state = Database()
    old, old_text = make("ci", ["ingest"], now=NOW)
    new, new_text = make("ci", ["ingest", "read"], now=NOW)
    for key in (old, new):
        state.run_now(partial(keys.store, key=key))
    found = Credentials(AccessSettings(), state, clock)
    assert await found.holder(old_text) == old
    assert (await found.holder(new_text)) == new and new.scopes == {"ingest", "read"}
    assert await found.holder(f"bers_{old.id}_{new_text.rpartition('_')[2]}") is None
    assert await found.holder("") is None
    state.close()


async def test_a_key_that_is_made_or_revoked_beside_the_server_counts_within_a_second(
    tmp_path: Path, clock: VirtualClock
) -> None:
    state, beside = Database(tmp_path / "state.db"), Database(tmp_path / "state.db")
    found = Credentials(AccessSettings(), state, clock)
    key, text = make("ci", ["ingest"], now=clock.time())
    assert await found.holder(text) is None
    beside.run_now(partial(keys.store, key=key))
    await clock.advance(1)
    assert await found.holder(text) == key
    beside.run_now(partial(keys.revoke, id=key.id, now=clock.time()))
    await clock.advance(1)
    assert await found.holder(text) is None
    for one in (state, beside):
        one.close()


async def test_c111_the_key_of_the_environment_has_every_scope_and_is_kept_nowhere(
    tmp_path: Path, clock: VirtualClock
) -> None:
    state = Database(tmp_path / "state.db")
    found = Credentials(AccessSettings(enabled=True, key=Secret("your-secure-api-key")), state, clock)
    key = await found.holder("your-secure-api-key")
    assert key is not None and key.name == "environment" and key.scopes == set(SCOPES)
    assert await found.holder("your-secure-api-kex") is None
    token, _ = await found.open(key)
    state.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert digest("your-secure-api-key") not in kept, "it could be tried out"
    assert token.encode() not in kept


async def test_a_session_ends_after_its_time_whatever_is_done_meanwhile(clock: VirtualClock) -> None:
    state = Database()
    key, text = make("ada", ["read"], now=clock.time())
    state.run_now(partial(keys.store, key=key))
    found = Credentials(AccessSettings(session=SessionSettings(Interval("1h"))), state, clock)
    holder = await found.holder(text)
    assert holder is not None
    token, lasts = await found.open(holder)
    assert lasts == 3600
    for _ in range(5):
        await clock.advance(700)
        assert await found.visitor(token) == key
    await clock.advance(101)
    assert await found.visitor(token) is None
    assert await found.visitor(text) is None, "a key is no session"
    state.close()


async def test_a_session_ends_with_its_key_and_when_it_is_closed(clock: VirtualClock) -> None:
    state = Database()
    key, _ = make("ada", ["read"], now=clock.time(), expires=clock.time() + 60)
    state.run_now(partial(keys.store, key=key))
    found = Credentials(AccessSettings(), state, clock)
    (one, lasts), (two, _) = await found.open(key), await found.open(key)
    assert lasts == 60, "it does not outlive the key"
    await found.close(one)
    assert (await found.visitor(one), await found.visitor(two)) == (None, key)
    state.run_now(partial(keys.revoke, id=key.id, now=clock.time()))
    await clock.advance(1)
    assert await found.visitor(two) is None
    state.close()


async def test_a_session_survives_a_restart_and_not_another_key_in_the_environment(clock: VirtualClock) -> None:
    state = Database()
    before = Credentials(AccessSettings(key=Secret("first-secure-key")), state, clock)
    key = await before.holder("first-secure-key")
    assert key is not None
    token, _ = await before.open(key)
    again = Credentials(AccessSettings(key=Secret("first-secure-key")), state, clock)
    assert await again.visitor(token) == key
    other = Credentials(AccessSettings(key=Secret("other-secure-key")), state, clock)
    assert await other.visitor(token) is None
    assert await Credentials(AccessSettings(), state, clock).visitor(token) is None
    state.close()


def test_there_are_no_more_sessions_than_a_thousand(clock: VirtualClock) -> None:
    state = Database()
    key, _ = make("ada", ["read"], now=NOW)
    made = [sessions.make(key, now=NOW + n, lasts=3600)[0] for n in range(sessions.MOST + 5)]

    def work(connection: sqlite3.Connection) -> list[sessions.Session]:
        for one in made:
            sessions.store(connection, one)
        return sessions.stored(connection)

    assert {one.hash for one in state.run_now(work)} == {one.hash for one in made[5:]}
    state.close()


async def test_when_a_key_was_used_is_written_down_to_the_minute(clock: VirtualClock) -> None:
    state = Database()
    key, text = make("ci", ["ingest"], now=clock.time())
    state.run_now(partial(keys.store, key=key))
    found = Credentials(AccessSettings(), state, clock)
    await found.holder(text)
    await found.save()
    used = state.run_now(keys.stored)[0].used
    assert used == clock.time() // 60 * 60
    state.close()
