"""`bers rules backtest`: rules over what was recorded, on a server or in a directory, beside what did fire."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Any

import anyio
import click

from bers.cli import client, output
from bers.cli.reading import config_option, read
from bers.cli.rules.files import Ruled, json_option, of_plan, part, ruled_by
from bers.clock import SystemClock
from bers.config import Plan
from bers.errors import BersError, leaves
from bers.units import format_duration, period


@click.command()
@click.option("--since", default="7d", show_default=True, help="Its start: how long before its end, or a local time.")
@click.option("--until", help="Its end: how long ago, as in 1d, or a local time; now where it is not said.")
@click.option(
    "--rules",
    "file",
    type=click.Path(path_type=Path),
    help="The file with the rules; those of the server where it is not said.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Read this directory, without a server; nothing in it is changed.",
)
@json_option
@config_option
@click.option("--url", help="The server; that of this directory where not said.")
def backtest(
    since: str,
    until: str | None,
    file: Path | None,
    data_dir: Path | None,
    json_: bool,
    config: Path | None,
    url: str | None,
) -> None:
    """Run rules over what was recorded, and say what would have fired, beside what did.

    The events of the journal are read as far as it reaches, and before that the windows and records of the store. For
    each part it is said what that cannot show. Exit code 1 where it was stopped before its end.
    """
    end = time.time() if until is None else _moment(until, time.time(), "until")
    begin = _moment(since, end, "since")
    ruled = ruled_by(file) if file else None
    if data_dir:
        try:
            found = anyio.run(_offline, data_dir, read(config), ruled, begin, end)
        except* BersError as group:
            raise leaves(group)[0] from None
    else:
        asked = {"since": int(begin * 1000), "until": int(end * 1000), "config": ruled.value if ruled else None}
        found = client.ask("POST", "alerts/backtest", asked, url=url, within=90)
    if json_:
        output.as_json(found)
    else:
        _say_backtest(found)
    if found["stopped"]:
        sys.exit(1)


def _moment(text: str, end: float, name: str) -> float:
    """A time that is told by how long ago it was, or as itself; in seconds since 1970."""
    try:
        return end - period(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise BersError(f"--{name}: {text!r} is no time; write 7d, or 2026-01-31T08:00") from None


async def _offline(data_dir: Path, plan: Plan, ruled: Ruled | None, since: float, until: float) -> Any:
    """The same over a directory: copies of its databases are asked, by the stages that would answer."""
    import msgspec

    from bers.offline import copies
    from bers.recorded import OnDisk
    from bers.schemas import encode

    own = of_plan(plan)
    engine, key = ruled or own, str(own.steps[-1])
    given = [one for one in plan.pipelines.values() if key in one.sinks]
    sources = {source for one in given for source in one.sources}
    recorded = OnDisk(data_dir / "journal", lambda event_type: plan.owners.of(event_type) in sources)
    backtest, done = part("rehearsal.backtest"), part("rehearsal.backtesting").done
    async with copies(data_dir, plan, until) as (ask, state):
        try:
            did = await state.run(lambda connection: done(connection, key, since))
        except sqlite3.OperationalError:
            did = []  # No alert engine was ever at work there.
        rehearsal = backtest.Rehearsal(engine.config, plan.metrics, since, until, clock=SystemClock(), within=inf)
        found = await rehearsal.run(backtest.Source(recorded, ask, did))
    return msgspec.to_builtins(found, enc_hook=encode)


def _say_backtest(found: Mapping[str, Any]) -> None:
    for stretch in found["stretches"]:
        between = f"{output.moment(stretch['from'])} to {output.moment(stretch['to'])}"
        if stretch["fedWith"] == "events":
            click.echo(f"{between}: {stretch['events']} events of the journal, each as it came")
        else:
            wide = ", ".join(format_duration(width / 1000) for width in stretch["widthMs"])
            windows = f"{stretch['windows']} windows of {wide}" if stretch["windows"] else "no windows"
            click.echo(f"{between}: {windows} and {stretch['events']} records of the store")
        for sentence in stretch["cannotShow"]:
            click.echo(output.printable(f"  {sentence}"))
    rows = [
        [
            rule["name"], ", ".join(one["labels"].values()), word, output.moment(one["from"]),
            format_duration(round(one["durationMs"] / 1000)) + ("" if one["to"] else ", still fires"),
            one["told"], _changed(one), one["message"],
        ]
        for rule in found["rules"]
        for word in ("would", "did")
        for one in rule[word]
        if word == "would" or one["change"] == "gone"
    ]  # fmt: skip
    output.table(["rule", "of", "", "fired", "for", "told", "compared", "why"], rows)
    would, did = (sum(len(rule[word]) for rule in found["rules"]) for word in ("would", "did"))
    counts = found["changes"]
    click.echo(
        f"{would} would have fired, {did} did: "
        + ", ".join(f"{counts.get(change, 0)} {change}" for change in ("same", "new", "gone", "longer", "shorter"))
    )
    if found["silent"]:
        click.echo(output.printable(f"silent: {', '.join(found['silent'])}"))
    if found["stopped"]:
        click.echo(output.printable(f"stopped at {output.moment(found['reached'])}: {found['stopped']}"), err=True)


def _changed(one: Mapping[str, Any]) -> str:
    by = format_duration(abs(round(one["byMs"] / 1000)))
    return f"{one['change']} by {by}" if one["change"] in ("longer", "shorter") else one["change"]
