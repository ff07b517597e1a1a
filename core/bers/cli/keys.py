"""`bers keys`: who may ask this node, and for what."""

from __future__ import annotations

import getpass
import os
import sqlite3
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from bers import lock
from bers.access.keys import SCOPES, Key, make, revoke, store, stored
from bers.audit import Audit
from bers.cli import output
from bers.cli.groups import Group
from bers.cli.reading import config_option, kept
from bers.clock import SystemClock
from bers.database import Database
from bers.errors import BersError, unknown
from bers.identity_key import identity_key
from bers.lock import unwritable
from bers.operations import Caller, Scope
from bers.units import Duration

T = TypeVar("T")

_TAKEN = ("anonymous", "bers", "environment")
"""Names that stand for others in the audit."""


class NotFound(BersError):
    """There is no such key."""

    exit_code = 1


@click.group(cls=Group)
def keys() -> None:
    """Make, list and revoke API keys. A server that runs knows of it within a second; none needs to run."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(SCOPES),
    help="What it may do; several may be given.",
)
@click.option("--expires", help="How long it is valid, as in 90d; for ever where not said.")
@click.option("--json", "json_", is_flag=True, help="Print it as JSON.")
@config_option
def create(name: str, scopes: tuple[str, ...], expires: str | None, json_: bool, config: Path | None) -> None:
    """Make a key, and print it: it is shown this once, and only its hash is kept."""
    if not name.strip() or not name.isprintable() or len(name) > 100 or name in _TAKEN:
        raise BersError(f"NAME: {name!r} cannot be the name of a key; choose another, of at most 100 characters")
    try:
        lasts = float(Duration(expires)) if expires else None
    except ValueError as exc:
        raise BersError(f"--expires: {exc}") from exc
    now = SystemClock().time()
    key, text = make(name, cast("tuple[Scope, ...]", scopes), now=now, expires=now + lasts if lasts else None)
    _change(config, partial(store, key=key), f"keys create {key.id}: {name}, {' '.join(_names(key))}")
    if json_:
        output.as_json({**_described(key), "key": text})
    else:
        click.echo(text)


@keys.command("list")
@click.option("--json", "json_", is_flag=True, help="Print them as JSON, with times in milliseconds since 1970.")
@config_option
def list_(json_: bool, config: Path | None) -> None:
    """List every key that was made, without what is secret of it."""
    found = _change(config, stored)
    if json_:
        output.as_json([_described(key) for key in found])
        return
    now = SystemClock().time()
    rows = [
        [
            key.id,
            key.name,
            " ".join(_names(key)),
            _state(key, now),
            _local(key.created),
            _local(key.expires),
            _local(key.used),
        ]
        for key in found
    ]
    output.table(["id", "name", "scopes", "state", "made", "expires", "last used"], rows)
    if not rows:
        click.echo("no keys", err=True)


@keys.command("revoke")
@click.argument("id")
@config_option
def revoke_(id: str, config: Path | None) -> None:
    """End a key for good, and every session that was opened with it. ID is the middle part of the key."""
    id = id.removeprefix("bers_").partition("_")[0]  # A whole key is understood, too.
    known = {key.id: key for key in _change(config, stored)}
    if id not in known:
        raise NotFound(unknown("key", id, known))
    _change(config, partial(revoke, id=id, now=SystemClock().time()), f"keys revoke {id}: {known[id].name}")
    click.echo(f"revoked {id} ({known[id].name})")


def _change(config: Path | None, work: Callable[[sqlite3.Connection], T], action: str = "") -> T:
    """Do something with the table, beside a server or without one; what changes it is written down, as every write."""
    data_dir = kept(config)
    try:
        database = Database(data_dir / "state.db", mends=lock.holder(data_dir) is None)
        try:
            tell = Audit(database, SystemClock(), key=partial(identity_key, data_dir)).row(
                Caller(_user(), "command line"), action, "done"
            )

            def both(connection: sqlite3.Connection) -> T:
                result = work(connection)
                if action:
                    tell(connection)
                return result

            return database.run_now(both)
        finally:
            database.close()
    except OSError as exc:
        raise unwritable(data_dir, exc) from exc
    except sqlite3.Error as exc:
        raise BersError(f"{data_dir / 'state.db'}: {exc}; see that this user may write there, and try again") from exc


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # In a container a user may have no name.
        return f"user {os.getuid()}"


def _described(key: Key) -> dict[str, Any]:
    times = {"created": key.created, "expires": key.expires, "lastUsed": key.used, "revoked": key.revoked}
    told = {name: None if at is None else int(at * 1000) for name, at in times.items()}
    return {"id": key.id, "name": key.name, "scopes": _names(key), "state": _state(key, SystemClock().time()), **told}


def _names(key: Key) -> list[Scope]:
    return [one for one in SCOPES if one in key.scopes]


def _state(key: Key, now: float) -> str:
    return "revoked" if key.revoked is not None else "ok" if key.live(now) else "expired"


def _local(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
