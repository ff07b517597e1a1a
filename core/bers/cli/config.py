"""`bers config`: what a configuration amounts to."""

from __future__ import annotations

import os
import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from bers.cli import output
from bers.cli.groups import Group
from bers.cli.reading import CONFIG, config_option, read
from bers.config import Declared, Plan
from bers.config.located import text_of
from bers.errors import ConfigError


@click.group(cls=Group)
def config() -> None:
    """Show the whole configuration, or bring an old file up to date."""


@config.command()
@config_option
@click.option("--json", "json_", is_flag=True, help="Print it as JSON.")
def show(config: Path | None, json_: bool) -> None:
    """Print what the configuration amounts to: every option of every stage, defaults included, without secrets."""
    import yaml

    plan = read(config)
    effective = plan.redactor.value(_effective(plan))
    if json_:
        output.as_json(effective)
    else:
        click.echo(yaml.safe_dump(effective, sort_keys=False, allow_unicode=True, width=120), nl=False)


@config.command()
@config_option
@click.option("--write", is_flag=True, help="Change the file, and keep the old one beside it.")
def migrate(config: Path | None, write: bool) -> None:
    """Bring an old file up to date, with its comments: print it, or change it.

    Says each change on stderr. Exit code 1 where the result has faults, which are named.
    """
    from bers import plugins
    from bers.config import plan
    from bers.config.located import parse
    from bers.config.migration import migrate as migrated

    path = config or Path(CONFIG)
    text = text_of(path)
    result = migrated(text, str(path))
    for change in result.changes:
        click.echo(change, err=True)
    if not write:
        click.echo(result.text, nl=False)
    elif result.changes:
        kept = _replace(path, result.text)
        click.echo(f"{path} is changed; {kept} is as it was", err=True)
    else:
        click.echo(f"{path} is up to date", err=True)
    try:
        plan(parse(result.text, str(path)), plugins.load(), path=path)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


def _replace(path: Path, text: str) -> Path:
    """Put a text in the place of a file, at once and with its rights; return where the old one is."""
    kept = path.with_name(f"{path.name}.{datetime.now():%Y%m%d-%H%M%S}.bak")
    shutil.copy2(path, kept)
    whole = path.resolve()  # A link stays one.
    new = whole.with_name(f".{whole.name}.new")
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(whole, new)
        new.replace(whole)
    finally:
        new.unlink(missing_ok=True)
    return kept


def _effective(plan: Plan) -> dict[str, Any]:
    stages = plan.stages
    kinds = (("sources", stages.sources), ("processors", stages.processors), ("sinks", stages.sinks))
    return {
        **_plain(plan.settings),
        **{kind: {key: _stage(one, kind) for key, one in declared.items()} for kind, declared in kinds},
        "pipelines": {name: _plain(pipeline) for name, pipeline in plan.pipelines.items()},
    }


def _stage(declared: Declared, kind: str) -> dict[str, Any]:
    fed = {"delivery": _plain(declared.delivery)} if kind == "sinks" else {}
    return {"use": declared.spec.name, **_plain(declared.config), "primary": declared.primary, **fed}


def _plain(value: Any) -> Any:
    import msgspec

    from bers.schemas import encode

    # Through JSON: it alone asks the hook about texts and numbers of a type of ours.
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=encode))
