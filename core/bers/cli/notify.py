"""`bers notify`: who is told of alerts, whether that works, and what could not be told."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from bers.cli import client, output
from bers.cli.groups import Group
from bers.errors import BersError, unknown

PATIENCE = 60.0
"""Seconds that a test may take; a channel's own time-out ends it sooner."""

_CHANNELS = "/channels"

_url = click.option("--url", help="The server; that of this directory where not said.")
_json = click.option("--json", "json_", is_flag=True, help="Print what the server says as JSON.")
_sink = click.option("--sink", default="", help="The kind of sink, where two have a channel of that name.")


class NoSuchChannel(BersError):
    """No sink has a channel of that name."""

    exit_code = 1


@click.group(cls=Group)
def notify() -> None:
    """List channels, test them, and send again what they did not take."""


@notify.command("list")
@_json
@_url
def list_(json_: bool, url: str | None) -> None:
    """Every channel, and how it does. Exit code 1 where one fails, is disabled, or gave something up, and where a sink
    does not run, so that nobody knows its channels."""
    found, unheard = _channels(url)
    if json_:
        output.as_json(found)
    else:
        output.table(
            ["sink", "channel", "contact", "state", "waiting", "given up", "last told", "last error"],
            [
                [
                    *(one["sink"], one["name"], one["contact"], one["state"], one["waiting"], one["givenUp"]),
                    *(output.moment(one["deliveredAt"]), one["lastError"]),
                ]
                for one in found
            ],
        )
    if not found and not unheard:
        click.echo("no channels; see docs/how-to/notify.md for how to name some", err=True)
    _say(unheard)
    sys.exit(1 if unheard or any(one["state"] != "ready" or one["givenUp"] for one in found) else 0)


@notify.command()
@click.argument("channel")
@_sink
@_json
@_url
def test(channel: str, sink: str, json_: bool, url: str | None) -> None:
    """Send a test to a channel, and say what came of it. Exit code 1 where it was not taken."""
    place = _place(channel, sink, url)
    report = client.ask("POST", f"{place}/test", {"channel": channel}, url=url, within=PATIENCE)
    if json_:
        output.as_json(report)
    else:
        taken = "was told" if report["taken"] else "was NOT told"
        click.echo(f"channel {channel} of {place} {taken}, after {report['durationMs']:g} ms, as {report['id']}")
        status = "" if report["status"] is None else f"{report['status']} "
        click.echo(f"answer: {status}{output.printable(report['answer'])}".rstrip())
        click.echo("sent:")
        for line in report["sent"].splitlines():
            click.echo(f"  {output.printable(line)}")
    sys.exit(0 if report["taken"] else 1)


@notify.command()
@click.option("--channel", default="", help="Only those of this channel.")
@click.option("--status", default="", help="Only those that are so: waiting, delivered or failed.")
@click.option("--limit", default=100, show_default=True, help="The most deliveries of one sink.")
@_json
@_url
def deliveries(channel: str, status: str, limit: int, json_: bool, url: str | None) -> None:
    """Who was told of what, who is still to be told, and who could not be; newest first."""
    places = [_place(channel, "", url)] if channel else _sinks(url)
    asked = {"channel": channel, "status": status, "limit": limit}
    found, unheard = _ask_all(places, "/deliveries", asked, url)
    _say(unheard)
    found.sort(key=lambda one: -int(one["createdAt"]))
    if json_:
        output.as_json(found)
        return
    output.table(
        ["time", "channel", "status", "type", "alert", "attempts", "answer", "error", "id"],
        [
            [
                *(output.moment(one["createdAt"]), one["channel"], one["status"], one["type"], one["subject"]),
                *(one["attempts"], one["lastStatus"], one["lastError"], one["id"]),
            ]
            for one in found
        ],
    )
    if not found and not unheard:
        click.echo("no deliveries", err=True)


@notify.command()
@click.argument("channel")
@click.option("--id", "id_", default="", help="Only this delivery; all that the channel failed where not said.")
@_sink
@_url
def retry(channel: str, id_: str, sink: str, url: str | None) -> None:
    """Send again what was given up. Exit code 1 where some of it comes too late."""
    place = _place(channel, sink, url)
    done = client.ask("POST", f"{place}/deliveries/retry", {"channel": channel, "id": id_}, url=url)
    click.echo(f"{done['retried']} sent again")
    for late in done["tooLate"]:
        click.echo(f"{output.printable(late)} is too late: more of the same alert was told since", err=True)
    sys.exit(1 if done["tooLate"] else 0)


@notify.command()
@click.argument("channel")
@_sink
@_url
def reset(channel: str, sink: str, url: str | None) -> None:
    """Enable a channel again, and try at once whatever waits for it."""
    report = client.ask("POST", f"{_place(channel, sink, url)}/channels/reset", {"channel": channel}, url=url)
    click.echo(f"channel {channel} is enabled; {report['waiting']} waiting")


@notify.command("give-up")
@click.argument("channel")
@_sink
@_url
def give_up(channel: str, sink: str, url: str | None) -> None:
    """Give up what waits for a channel that is disabled, or not configured any more."""
    done = client.ask("POST", f"{_place(channel, sink, url)}/deliveries/give-up", {"channel": channel}, url=url)
    click.echo(f"{done['givenUp']} given up")


def _sinks(url: str | None) -> list[str]:
    """The kinds of sinks that tell, those of plugins too: whoever answers for channels is one."""
    document = client.whole("GET", "/openapi.json", url=url)
    paths = [path.removeprefix("/api/monitoring/") for path in document["paths"]]
    return [path.removesuffix(_CHANNELS) for path in paths if path.endswith(_CHANNELS)]


def _channels(url: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    return _ask_all(_sinks(url), _CHANNELS, {}, url)


def _ask_all(
    sinks: Sequence[str], path: str, fields: Mapping[str, Any], url: str | None
) -> tuple[list[dict[str, Any]], list[str]]:
    """What those answer that run; and of those that are declared and do not, what is to be said."""
    found: list[dict[str, Any]] = []
    silent: list[str] = []
    for sink in sinks:
        rows = _ask_if_open(f"{sink}{path}", fields, url)
        if rows is None:
            silent.append(sink)
        else:
            found += [{"sink": sink, **one} for one in rows]
    stages: list[dict[str, Any]] = client.ask("GET", "stages", url=url) if silent else []
    unheard = [
        f"sink {one['key']!r} does not run, and so its channels are not known; see `bers status` for why"
        for one in stages
        if one["kind"] == "sink" and one["use"] in silent
    ]
    return found, unheard


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line, err=True)


def _place(channel: str, sink: str, url: str | None) -> str:
    """The sink that has the channel."""
    there, unheard = _channels(url)
    found = [one["sink"] for one in there if one["name"] == channel and sink in ("", one["sink"])]
    if not found and unheard:
        raise NoSuchChannel("; ".join(unheard))
    if not found:
        raise NoSuchChannel(unknown("channel", channel, [one["name"] for one in there]))
    if len(found) > 1:
        raise click.UsageError(f"{' and '.join(found)} have a channel {channel!r} each; say which with --sink")
    return str(found[0])


def _ask_if_open(path: str, fields: Mapping[str, Any], url: str | None) -> list[dict[str, Any]] | None:
    """The answer of a sink; nothing where it is not declared, or does not run."""
    try:
        rows: list[dict[str, Any]] = client.ask("GET", path, fields, url=url)
    except client.Denied as no:
        if no.status != 503:
            raise
        return None
    return rows
