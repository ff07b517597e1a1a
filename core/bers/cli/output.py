"""What commands print: tables and colour for a terminal, plain columns for a pipe, JSON where it was asked for."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from bers import plain

_RAW = re.compile(r"[^\n -~]")
_COLOURS = {
    **dict.fromkeys(("healthy", "ok", "resolved"), "green"),
    **dict.fromkeys(("degraded", "warning", "unknown", "starting", "acknowledged", "half_open"), "yellow"),
    **dict.fromkeys(("unhealthy", "failing", "quarantined", "active", "error", "critical", "open"), "red"),
}


def as_json(data: Any) -> None:
    """Print plain values as JSON, indented for a terminal."""
    import msgspec

    encoded = msgspec.json.encode(data)
    click.echo(escaped(msgspec.json.format(encoded, indent=2).decode()) if sys.stdout.isatty() else encoded)


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows: with lines and colour on a terminal, as tab-separated columns elsewhere."""
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(_text(cell) for cell in row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for n, header in enumerate(headers):  # What a row is about stays in one piece, and nothing is cut off.
        drawn.add_column(header, no_wrap=not n, overflow="fold")
    for row in rows:
        drawn.add_row(*(coloured(_text(cell)) for cell in row))
    Console().print("", drawn, sep="\n")


def facts(pairs: Mapping[str, Any]) -> None:
    """Print names and values, one a line."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        click.echo(f"{name:{width}}  {click.style(_text(value), fg=_COLOURS.get(_text(value)))}")


def budget(availability: Mapping[str, Any]) -> str:
    """What is left of the error budget, for people."""
    spent, gaps = availability["spentMinutes"], availability["gapCount"]
    whole = f"{availability['leftMinutes']:g} of {availability['budgetMinutes']:g} minutes left"
    days = availability["periodMs"] / 86_400_000
    return f"{whole} in {days:g} days; {spent:g} spent in {gaps} gap{'' if gaps == 1 else 's'}"


def moment(milliseconds: float | None) -> str:
    """A time since 1970 as the clock on the wall shows it here; nothing for none."""
    if milliseconds is None:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def printable(text: str) -> str:
    """The text on one line, without what would move the cursor or ring the bell: it came from outside."""
    return plain.printable(text)


def escaped(text: str) -> str:
    """JSON that a terminal shows: what would move the cursor stands there as JSON escapes it."""
    return _RAW.sub(lambda found: json.dumps(found[0])[1:-1] if not found[0].isprintable() else found[0], text)


def _text(value: Any) -> str:
    return "" if value is None else printable(str(value))


def coloured(text: str) -> str:
    """The text as rich draws it: in the colour of what it says, where it says how something is."""
    from rich.markup import escape

    colour = _COLOURS.get(text)
    return f"[{colour}]{text}[/]" if colour else escape(text)
