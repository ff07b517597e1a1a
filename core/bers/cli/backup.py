"""`bers backup`: one file of everything, made while the server runs, and put back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bers.backup.create import Wanted, create, default_name
from bers.backup.manifest import Manifest
from bers.backup.restore import restore
from bers.backup.verify import Report, verify
from bers.cli import output
from bers.cli.groups import Group
from bers.cli.reading import CONFIG, config_option, kept, read
from bers.clock import SystemClock
from bers.errors import BersError, ConfigError

_quiet = click.option("--quiet", "-q", is_flag=True, help="Tell nothing of how far it is.")
_json = click.option("--json", "json_", is_flag=True, help="Print what the backup holds as JSON.")
_file = click.argument("file", type=click.Path(path_type=Path))


@click.group(cls=Group)
def backup() -> None:
    """Make, verify and restore backups: one file with everything that a node keeps, as it was at one instant."""


@backup.command("create")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--logs", is_flag=True, help="Add the log files.")
@_json
@_quiet
@config_option
def create_(file: Path | None, logs: bool, json_: bool, quiet: bool, config: Path | None) -> None:
    """Make a backup, whether the server runs, was stopped or was killed.

    FILE ends in .tar, .tar.gz or .tar.zst; where it is not said, it is backups/bers-TIME.tar.gz. Everything that was
    acknowledged before is in it. It holds hashes of keys and what was measured: only this user may read it. Files that
    pipelines.yaml takes secrets from are not in it. Exit code 1: it was made, and what it holds was damaged before.
    """
    clock, data_dir = SystemClock(), kept(config)
    at, environment, folder = _settings(config)
    wanted = Wanted(data_dir, at, environment, folder if logs else None)
    with _Progress(quiet) as tell:
        target = file or default_name(clock)
        made = create(wanted, target, clock, tell)
    if json_:
        output.as_json(_plain(made) | {"file": str(target)})
    else:
        output.facts({"file": target, "size": f"{target.stat().st_size} bytes", **_told(made)})
        _list_left_out(made)
    for note in made.notes:
        click.echo(f"damaged before: {output.printable(note)}", err=True)
    if made.notes:
        sys.exit(1)


@backup.command("verify")
@_file
@_json
@_quiet
def verify_(file: Path, json_: bool, quiet: bool) -> None:
    """Look whether a backup is whole and good, and say what is in it; no server is needed.

    Every checksum is compared, every database and every frame of the journal is checked. It is unpacked in the folder
    for temporary files, which TMPDIR names. Exit code 1: it is damaged; 2: it is no backup, or was cut off.
    """
    _must_exist(file)
    with _Progress(quiet) as tell:
        report = verify(file, tell)
    said = report.manifest
    if json_:
        found = {"ok": report.ok, "changed": report.changed, "damaged": report.damaged, "remarks": report.remarks}
        output.as_json({"file": str(file), **found, "manifest": _plain(said)})
    else:
        output.facts({"file": file, **_told(said), "result": "good" if report.ok else "damaged"})
        rows = [[one.database, one.sink, one.reader, one.position] for one in said.positions]
        output.table(["database", "sink", "pipeline", "position"], rows)
        _list_left_out(said)
    _complain(report)
    if not report.ok:
        sys.exit(1)


@backup.command("restore")
@_file
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Where to; the data directory of the configuration if not said."
)
@click.option("--force", is_flag=True, help="Move aside what is there now; nothing is deleted.")
@click.option(
    "--with-config",
    is_flag=True,
    help="Put its pipelines.yaml into place, too. Look at it first: probes may run commands.",
)
@click.option("--damaged", "damaged_too", is_flag=True, help="Restore it though its data was damaged when it was made.")
@_quiet
@config_option
def restore_(
    file: Path,
    data_dir: Path | None,
    force: bool,
    with_config: bool,
    damaged_too: bool,
    quiet: bool,
    config: Path | None,
) -> None:
    """Put a backup into the place of the data directory, whole or not at all; the server has to be stopped.

    It is verified before anything is moved. What came after it was made is not in it: emitters that still have events
    hand them in again. Exit code 1: the backup is damaged, and nothing was changed.
    """
    _must_exist(file)
    at = config or Path(CONFIG)
    with _Progress(quiet) as tell:
        done = restore(
            file,
            data_dir or kept(config),
            SystemClock(),
            force=force,
            damaged_too=damaged_too,
            config=at if with_config else None,
            tell=tell,
        )
    told: dict[str, Any] = {"restored": done.data_dir, **_told(done.report.manifest)}
    told |= {"moved aside": done.aside} if done.aside else {}
    told |= {"configuration": done.config} if done.config else {}
    told |= {"configuration before": done.config_aside} if done.config_aside else {}
    output.facts(told)
    _complain(done.report)
    if not with_config and any(one.kind == "configuration" for one in done.report.manifest.members):
        click.echo(f"its configuration was not put in place; `--with-config` writes it to {at}", err=True)


def _settings(config: Path | None) -> tuple[Path | None, str, Path]:
    """The file of the configuration, what it watches and where it logs; a backup is made of one with faults, too."""
    at = config or (Path(CONFIG) if Path(CONFIG).exists() else None)
    try:
        settings = read(config).settings
    except ConfigError as error:
        click.echo(f"the configuration has faults, and is kept as it is: {error.faults[0]}", err=True)
        return at, "", Path("logs")
    return at, settings.environment, Path(settings.log.folder)


def _must_exist(file: Path) -> None:
    if not file.is_file():
        raise BersError(f"{file} is not there; name the file of a backup, as in `ls backups/`")


def _told(made: Manifest) -> dict[str, Any]:
    span = made.journal
    reach = f"positions {span.start} to {span.end}" if span else "none"
    newest = f", the newest of {output.moment(span.newest * 1000)}" if span and span.newest else ""
    kinds = [member.kind for member in made.members]
    return {
        "made": made.created,
        "by": f"bers {made.bers}",
        "environment": made.environment,
        "beside": "a server that ran" if made.running else "no server",
        "journal": reach + newest,
        "holds": f"databases {kinds.count('database')}, files of the journal {kinds.count('journal')}, "
        f"others {len(kinds) - kinds.count('database') - kinds.count('journal')}; "
        f"{sum(member.size for member in made.members)} bytes",
    }


def _list_left_out(made: Manifest) -> None:
    for one in made.left_out:
        click.echo(output.printable(f"left out: {one.name}: {one.why}"), err=True)


def _complain(report: Report) -> None:
    for text in (*report.changed, *report.damaged):
        click.echo(f"damaged: {output.printable(text)}", err=True)
    for text in report.remarks:
        click.echo(f"note: {output.printable(text)}", err=True)


def _plain(made: Manifest) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(made)
    return plain


class _Progress:
    """One line on stderr that says what is under way; in a pipe, a line for each file."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty()

    def __enter__(self) -> Callable[[str], None]:
        return self._tell

    def __exit__(self, *_: object) -> None:
        if self._live and not self._quiet:
            click.echo("\r\x1b[K", nl=False, err=True)

    def _tell(self, text: str) -> None:
        if self._quiet:
            return
        if self._live:
            click.echo(f"\r\x1b[K{output.printable(text)}", nl=False, err=True)
        elif " pages" not in text:
            click.echo(output.printable(text), err=True)
