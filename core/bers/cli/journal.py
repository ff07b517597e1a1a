"""`bers journal`: what the files of the bus hold, read beside a server or without one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from bers.all_positions import held_positions
from bers.cli import output
from bers.cli.groups import Group
from bers.cli.reading import config_option, kept, read
from bers.errors import BersError, ConfigError
from bers.filters import Filter
from bers.inspection import Segment, events_of, examine_all, gaps
from bers.patterns import TooMuchWork
from bers.positions import on_the_bus
from bers.records import Event
from bers.redaction import Redactor
from bers.segments import segment_files

_json = click.option("--json", "json_", is_flag=True, help="Print it as JSON, with times in milliseconds since 1970.")


@click.group(cls=Group)
def journal() -> None:
    """Look into the journal: offline, or beside a server that runs; nothing is changed."""


@journal.command()
@_json
@config_option
def inspect(json_: bool, config: Path | None) -> None:
    """Say which files there are, what they reach over, and how far each reader is behind."""
    data_dir, segments = _read(config)
    end = segments[-1].end if segments else 0
    readers = [held for held in held_positions(data_dir) if on_the_bus(held.reader)]
    if json_:
        output.as_json(
            {
                "start": segments[0].start if segments else 0,
                "end": end,
                "size": sum(one.size for one in segments),
                "segments": [_described(one) for one in segments],
                "readers": [
                    {"database": database, "sink": sink, "pipeline": reader, "position": at, "lag": max(0, end - at)}
                    for database, sink, reader, at in readers
                ],
            }
        )
        return
    rows = [
        [one.path.name, one.start, one.end, one.frames, one.events, one.size, *map(_moment, (one.oldest, one.newest))]
        for one in segments
    ]
    output.table(["file", "from", "to", "frames", "events", "bytes", "oldest", "newest"], rows)
    lags = [[held.sink, held.reader, held.database, held.position, max(0, end - held.position)] for held in readers]
    output.table(["sink", "pipeline", "database", "position", "behind"], lags)
    if not segments:
        click.echo(f"no journal in {data_dir}", err=True)


@journal.command()
@_json
@config_option
def verify(json_: bool, config: Path | None) -> None:
    """Compare the checksum of every frame; exit code 1 where something is damaged or missing.

    An append that was cut short by a kill is no damage: nobody was told that its events are safe.
    """
    data_dir, segments = _read(config)
    missing = gaps(segments)
    damage = [one for segment in segments for one in segment.damage]
    torn = segments[-1].torn if segments else 0
    if json_:
        output.as_json(
            {
                "ok": not (damage or missing),
                "start": segments[0].start if segments else 0,
                "end": segments[-1].end if segments else 0,
                "frames": sum(one.frames for one in segments),
                "events": sum(one.events for one in segments),
                "tornBytes": torn,
                "damaged": [
                    {"file": one.file, "firstByte": one.first_byte, "endByte": one.end_byte, "start": one.start,
                     "end": one.end}
                    for one in damage
                ],
                "missing": [{"start": one.start, "end": one.end} for one in missing],
            }
        )  # fmt: skip
    else:
        _say(data_dir, segments, [*map(str, damage), *map(str, missing)], torn)
    if damage or missing:
        sys.exit(1)


@journal.command()
@click.option("--from", "from_", type=click.IntRange(0), default=0, help="The position after which to begin.")
@click.option("--to", type=click.IntRange(0), help="The position up to which to go.")
@click.option("--since", type=click.DateTime(), help="Only what was taken in at that local time or later.")
@click.option("--until", type=click.DateTime(), help="Only what was taken in before that local time.")
@click.option("--type", "types", multiple=True, help="Only events of this type; `build.*` is all of a kind.")
@click.option(
    "--where", default="", help="Conditions joined by `and`: FIELD, one of = != > >= < <= ~ (matches) !~, and a value."
)
@click.option("--limit", type=click.IntRange(0), default=0, help="End after so many events; 0 is never.")
@config_option
def export(
    from_: int,
    to: int | None,
    since: datetime | None,
    until: datetime | None,
    types: tuple[str, ...],
    where: str,
    limit: int,
    config: Path | None,
) -> None:
    """Print events as they lie in the journal, oldest first, one JSON object a line; secrets are masked.

    `seq` is the position after an event. What is damaged is left out: `bers journal verify` names it.
    """
    import msgspec

    wanted, redactor, encode = Filter(where), _redactor(config), msgspec.json.Encoder(enc_hook=str).encode
    shown = skipped = 0
    for event in _events(kept(config), from_, to):
        if (since and event.received < since.timestamp()) or (until and event.received >= until.timestamp()):
            continue
        if types and not any(fnmatchcase(event.type, pattern) for pattern in types):
            continue
        masked = redactor.event(event)
        try:
            if where and not wanted.holds(masked):
                continue
        except TooMuchWork:
            skipped += 1
            continue
        if not _print(encode(masked).decode()):
            return
        shown += 1
        if shown == limit:
            break
    if skipped:
        click.echo(f"{skipped} events were skipped: the filter's patterns take too long over them", err=True)


def _read(config: Path | None) -> tuple[Path, list[Segment]]:
    data_dir = kept(config)
    folder = data_dir / "journal"
    try:
        return data_dir, examine_all(folder)
    except OSError as exc:
        raise BersError(f"{exc.filename or folder}: {exc.strerror}; see that this user may read it") from exc


def _events(data_dir: Path, after: int, to: int | None) -> Iterator[Event]:
    files = segment_files(data_dir / "journal")
    for n, path in enumerate(files):
        if n + 1 < len(files) and int(files[n + 1].stem) <= after:
            continue
        with suppress(FileNotFoundError):  # A server that runs has given it up meanwhile.
            for position, event in events_of(path, after):
                if to is not None and position > to:
                    return
                yield event


def _redactor(config: Path | None) -> Redactor:
    try:
        return read(config).redactor
    except ConfigError:  # What lies there was masked when it came in.
        return Redactor()


def _say(data_dir: Path, segments: list[Segment], wrong: list[str], torn: int) -> None:
    for text in wrong:
        click.echo(output.printable(text))
    if torn:
        click.echo(f"{segments[-1].path.name}: {torn} bytes of an append that was not finished; a start cuts them off")
    if not segments:
        click.echo(f"no journal in {data_dir}")
    elif not wrong:
        events = sum(one.events for one in segments)
        click.echo(
            f"good: {events} events in {len(segments)} files, positions {segments[0].start} to {segments[-1].end}"
        )


def _described(one: Segment) -> dict[str, Any]:
    return {
        "file": one.path.name, "start": one.start, "end": one.end, "frames": one.frames, "events": one.events,
        "size": one.size, "oldest": _milliseconds(one.oldest), "newest": _milliseconds(one.newest),
        "tornBytes": one.torn, "damaged": bool(one.damage),
    }  # fmt: skip


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)


def _print(text: str) -> bool:
    """Print a line; False where nobody reads any more, as behind `| head`."""
    try:
        click.echo(output.escaped(text) if sys.stdout.isatty() else text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end.
        return False
    return True


def _moment(seconds: float | None) -> str:
    return output.moment(None if seconds is None else seconds * 1000)
