"""`bers top`: what every stage does at this moment."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from bers.cli import client, output
from bers.units import format_duration

if TYPE_CHECKING:
    from rich.console import RenderableType

_FIGURES = ("in/s", "out/s", "errors/s", "dropped/s", "queue", "age", "p99", "CPU %")
_COUNTED = ("taken", "out", "errors", "dropped")


class Row(NamedTuple):
    """One place, as it is shown. Rates are per second, times in milliseconds, CPU in per cent of one core."""

    place: str
    state: str
    taken: float
    out: float
    errors: float
    dropped: float
    queue: int
    age: float
    p99: float
    cpu: float
    error: str


_SORTS: Mapping[str, Callable[[Row], Any]] = {
    "in": lambda row: -row.taken,
    "out": lambda row: -row.out,
    "errors": lambda row: -row.errors,
    "dropped": lambda row: -row.dropped,
    "queue": lambda row: -row.queue,
    "age": lambda row: -row.age,
    "p99": lambda row: -row.p99,
    "cpu": lambda row: -row.cpu,
    "name": lambda row: row.place,
}


@click.command()
@click.option(
    "--sort", type=click.Choice([*_SORTS]), help="What comes first; the order in which events pass, if not said."
)
@click.option("--interval", type=click.FloatRange(0.2, 60), default=1.0, help="Seconds between two readings.")
@click.option("--once", is_flag=True, help="Show one reading, and end; so it is in a pipe.")
@click.option("--json", "json_", is_flag=True, help="Print one reading as JSON.")
@click.option("--url", help="The server; that of this directory where not said.")
def top(sort: str | None, interval: float, once: bool, json_: bool, url: str | None) -> None:
    """Watch what every stage does: rates, errors, queues, times and CPU. Ctrl-C ends it.

    Of a pipeline, the queue is what it has yet to read, and the age how long ago the last event came that it read. p99
    is of single calls, in the last one to two minutes. CPU is what a stage took of the thread that runs it all; what
    threads and tasks of its own took is in "other".
    """
    before: dict[str, Any] = client.ask("GET", "pipelines", url=url)
    if not json_ and not once and sys.stdout.isatty():
        _watch(before, sort, interval, url)
        return
    time.sleep(interval)
    now: dict[str, Any] = client.ask("GET", "pipelines", url=url)
    found = rows(before, now, sort)
    if json_:
        output.as_json({"process": now["process"], "unaccounted": now["unaccounted"], "stages": _plain(found)})
        return
    tty = sys.stdout.isatty()
    for line in _headlines(now):
        click.echo(line, err=not tty)
    headers = ["place", "state", *_FIGURES, "error"]
    output.table(headers, [_cells(row) if tty else _columns(row) for row in found])


def rows(before: Mapping[str, Any], now: Mapping[str, Any], sort: str | None = None) -> list[Row]:
    """What happened between two readings, place by place."""
    seconds = (now["monotonic"] - before["monotonic"]) / 1000
    earlier = {one["id"]: one for one in before["nodes"]}
    found = [_row(one, earlier.get(one["id"]), seconds) for one in now["nodes"] if one["kind"] != "bus"]
    return sorted(found, key=_SORTS[sort]) if sort else found


def _row(node: Mapping[str, Any], before: Mapping[str, Any] | None, seconds: float) -> Row:
    new, old = _counted(node), _counted(before) if before else None
    # A server that was started anew counts from the start.
    usable = old is not None and seconds > 0 and all(a >= b for a, b in zip(new, old, strict=True))
    each = [(a - b) / seconds for a, b in zip(new, old, strict=True)] if usable and old else [0.0] * len(new)
    taken, out, errors, dropped, cpu = each
    return Row(
        node["id"],
        node["state"] or "",
        taken,
        out,
        errors,
        dropped,
        node["lag"] if node["lag"] is not None else node["queued"],
        node["queueAge"] or 0.0,
        node["p99"] or 0.0,
        cpu * 100,
        node["error"] or "" if node["state"] not in (None, "ok") else "",
    )


def _counted(node: Mapping[str, Any]) -> list[float]:
    counts: Mapping[str, Any] = node["counters"] or {}
    figures = [_total(counts.get(name, 0)) for name in _COUNTED]
    return [*figures, float(counts.get("cpu", 0.0))]


def _total(value: Any) -> float:
    return float(sum(value.values()) if isinstance(value, dict) else value)  # pyright: ignore


def _plain(found: Sequence[Row]) -> list[dict[str, Any]]:
    return [
        {name: round(value, 3) if isinstance(value, float) else value for name, value in row._asdict().items()}
        for row in found
    ]


def _headlines(now: Mapping[str, Any]) -> list[str]:
    process = now["process"]
    uptime, journal = format_duration(process["uptime"] // 1000), f"{process['journal'] * 100:.1f} % full"
    lines = [f"up {uptime}, CPU {process['cpu']:.1f} % (other {process['other']:.1f} %), journal {journal}"]
    if gaps := now["unaccounted"]:
        lost = ", ".join(f"{place}: {gap}" for place, gap in gaps.items())
        lines.append(f"records are unaccounted for, which is a fault of ours: {lost}")
    return lines


def _cells(row: Row) -> list[str]:
    return [
        row.place,
        row.state,
        *(_rate(one) for one in (row.taken, row.out, row.errors, row.dropped)),
        str(row.queue) if row.queue else "",
        _time(row.age),
        _time(row.p99),
        f"{row.cpu:.1f}" if row.cpu >= 0.05 else "",
        row.error.partition("\n")[0][:60],
    ]


def _columns(row: Row) -> list[str]:
    """The same for programs: bare numbers, times in milliseconds."""
    return [f"{value:.3f}" if isinstance(value, float) else output.printable(str(value)) for value in row]


def _rate(value: float) -> str:
    return "" if value < 0.05 else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _time(milliseconds: float) -> str:
    if not milliseconds:
        return ""
    if milliseconds < 1:
        return f"{milliseconds * 1000:.0f} us"
    return f"{milliseconds:.3g} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.3g} s"


def _watch(before: dict[str, Any], sort: str | None, interval: float, url: str | None) -> None:
    from rich.live import Live

    try:
        with Live(_screen(before, rows(before, before, sort)), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                try:
                    now: dict[str, Any] = client.ask("GET", "pipelines", url=url)
                except client.Unreachable as gone:
                    live.update(str(gone), refresh=True)
                    continue
                live.update(_screen(now, rows(before, now, sort)), refresh=True)
                before = now
    except KeyboardInterrupt:
        pass


def _screen(now: Mapping[str, Any], found: Sequence[Row]) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    drawn.add_column("place", no_wrap=True)
    drawn.add_column("state", no_wrap=True)
    for name in _FIGURES:
        drawn.add_column(name, justify="right", no_wrap=True)
    for row in found:
        place, state, *figures, error = map(escape, _cells(row))
        bad = "red" if row.errors or row.dropped or error else ""
        drawn.add_row(place, output.coloured(state), *figures, style=bad)
        if error:
            drawn.add_row(f"  {error}", style="red")
    lines = [Text(line, style="bold" if not number else "bold red") for number, line in enumerate(_headlines(now))]
    return Group(*lines, drawn)
