"""`bers rules`: rules as code, checked, tested and tried out on what was recorded; and the rules of a server."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import click

from bers import plugins
from bers.catalog import Catalog
from bers.cli import client, output
from bers.cli.start import CONFIG, config_option
from bers.clock import SystemClock
from bers.config import Plan, load, plan, shipped
from bers.config.convert import MISSING, convert
from bers.config.located import Document, Steps, read, steps_of
from bers.config.substitution import substitute
from bers.errors import BersError, ConfigError, Fault, leaves
from bers.plain import as_object
from bers.stages import AnySpec
from bers.units import format_duration, period

ENGINE = "alert-engine"
_json = click.option("--json", "json_", is_flag=True, help="Print it as JSON.")


@click.group()
def rules() -> None:
    """Check rules, test them, and try them out on what was recorded."""


@dataclass(frozen=True)
class Ruled:
    """The options of an alert engine, from whichever file has them."""

    document: Document
    steps: Steps
    """Where in the file they stand."""
    config: Any
    metrics: Catalog
    value: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The options as they were written."""
    hints: Sequence[Fault] = ()

    def fault(self, path: str, message: str) -> Fault:
        return self.document.fault((*self.steps, *steps_of(path)), message)


@rules.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@_json
def check(file: Path | None, json_: bool) -> None:
    """Say everything that is wrong with the rules of FILE. Exit code 1 where something is.

    FILE is a pipelines.yaml, or has the options of an alert engine alone, as in `rules: [...]`; ./pipelines.yaml, or
    else the shipped one, where it is not said. Hints tell of rules that can never fire.
    """
    try:
        ruled = _ruled(file)
    except ConfigError as error:
        _say_faults(error.faults, json_)
        sys.exit(1)
    if json_:
        output.as_json({"ok": True, "faults": [], "hints": [_plain(one) for one in ruled.hints]})
        return
    for hint in ruled.hints:
        click.echo(f"hint: {hint}", err=True)
    watches = _part("watches").Watches(ruled.config, ruled.metrics).by_id.values()
    own = sum(not watch.default for watch in watches)
    click.echo(f"{ruled.document.name}: {own} rules of its own, {len(watches) - own} that come with us; nothing wrong")


@rules.command("list")
@_json
@click.option("--url", help="The server; that of this directory where not said.")
def list_(json_: bool, url: str | None) -> None:
    """The rules of a server that runs, and what each makes of things now."""
    found: list[dict[str, Any]] = client.ask("GET", "alerts/rules", url=url)
    if json_:
        output.as_json(found)
        return
    columns = ["name", "severity", "state", "type", "condition", "alerts", "hint"]
    rows = [[one.get(column) for column in columns] for one in found]
    output.table(["rule", "severity", "state", "watches", "condition", "alerts", "hint"], rows)


class _Told(NamedTuple):
    """How one test came out."""

    file: str
    name: str
    seconds: float
    faults: Sequence[Fault]


@rules.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--junit", type=click.Path(path_type=Path), help="Write the results to a file, as JUnit's XML.")
@_json
def test(files: tuple[Path, ...], junit: Path | None, json_: bool) -> None:
    """Run the tests in FILES, with the engine itself and time that only they let pass.

    Exit code 1 where something came otherwise than a test expects, or a file is wrong.
    """
    told: list[_Told] = []
    for file in files:
        try:
            told += anyio.run(_run, file)
        except ConfigError as error:
            told.append(_Told(str(file), "the file", 0.0, error.faults))
    failed = [one for one in told if one.faults]
    if junit:
        _write_junit(junit, told)
    if json_:
        output.as_json([
            {"file": one.file, "name": one.name, "ok": not one.faults, "faults": [*map(_plain, one.faults)]}
            for one in told
        ])  # fmt: skip
    else:
        for one in failed:
            for fault in one.faults:
                click.echo(f"{click.style('failed', fg='red')} {output.printable(one.name)}", err=True)
                click.echo(_printable(str(fault)), err=True)
        click.echo(f"{len(told) - len(failed)} passed, {len(failed)} failed")
    if failed:
        sys.exit(1)


async def _run(file: Path) -> list[_Told]:
    """Run every test of a file; raise ConfigError where it cannot be read."""
    document, catalogue = read(file), plugins.load()
    kinds, spec = _part("rehearsal.rule_tests"), _spec(catalogue)
    own = {name: one for name, one in document.value.items() if name not in _options(spec)}
    suite = convert(document, own, kinds.RuleTests, ())
    if suite is MISSING or document.faults:
        raise ConfigError(document.faults)
    given = [name for name in document.value if name in _options(spec)]
    if suite.config and given:
        message = f"`config` names a file that has the rules, and {given[0]!r} stands here; remove one of them"
        raise ConfigError([document.fault((given[0],), message)])
    if suite.config:
        ruled = _ruled(file.parent / suite.config)
    else:
        # The rules of this file alone are tested, unless it says otherwise.
        ruled = _of_options(document, {"defaults": False} | {name: document.value[name] for name in given}, catalogue)
    told: list[_Told] = []
    for n, test in enumerate(suite.tests):
        began = time.perf_counter()
        trial = _part("rehearsal.trial").Trial(
            test, ruled.config, ruled.metrics, suite.environment, float(suite.interval)
        )
        faults = [document.fault(("tests", n, *miss.steps), miss.message) for miss in await trial.run()]
        told.append(_Told(str(file), test.name, time.perf_counter() - began, faults))
    return told


def _write_junit(path: Path, told: Sequence[_Told]) -> None:
    from xml.etree import ElementTree

    root = ElementTree.Element("testsuites")
    for file in dict.fromkeys(one.file for one in told):
        tests = [one for one in told if one.file == file]
        suite = ElementTree.SubElement(
            root, "testsuite", name=file, tests=str(len(tests)), failures=str(sum(bool(one.faults) for one in tests)),
            errors="0", skipped="0", time=f"{sum(one.seconds for one in tests):.3f}",
        )  # fmt: skip
        for one in tests:
            name = "".join(c for c in one.name if c.isprintable())
            case = ElementTree.SubElement(suite, "testcase", classname=file, name=name, time=f"{one.seconds:.3f}")
            for fault in one.faults:
                failure = ElementTree.SubElement(case, "failure", message=fault.message.partition("\n")[0])
                failure.text = _printable(str(fault))
    try:
        path.write_bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))
    except OSError as exc:
        raise BersError(f"{path} cannot be written: {exc.strerror}; name a file in a folder that there is") from exc


@rules.command()
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
@_json
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
    ruled = _ruled(file) if file else None
    if data_dir:
        from bers.cli.start import read as read_plan

        try:
            found = anyio.run(_offline, data_dir, read_plan(config), ruled, begin, end)
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

    own = _of_plan(plan)
    engine, key = ruled or own, str(own.steps[-1])
    given = [one for one in plan.pipelines.values() if key in one.sinks]
    sources = {source for one in given for source in one.sources}
    recorded = OnDisk(data_dir / "journal", lambda event_type: plan.owners.of(event_type) in sources)
    backtest, done = _part("rehearsal.backtest"), _part("rehearsal.backtesting").done
    async with copies(data_dir, plan, until) as (ask, state):
        try:
            did = await state.run(lambda connection: done(connection, key, since))
        except sqlite3.OperationalError:
            did = []  # No alert engine was ever at work there.
        rehearsal = backtest.Rehearsal(engine.config, plan.metrics, since, until, clock=SystemClock(), within=inf)
        found = await rehearsal.run(backtest.Source(recorded, ask, did))
    return msgspec.to_builtins(found, enc_hook=encode)


# Where rules are read from


def _ruled(file: Path | None) -> Ruled:
    """The rules of a file; raise ConfigError with everything that is wrong with them."""
    path = file or (Path(CONFIG) if Path(CONFIG).exists() else None)
    document, catalogue = read(path) if path else shipped(), plugins.load()
    if document.value.keys() <= _options(_spec(catalogue)) and document.value:
        substitute(document)
        return _of_options(document, document.value, catalogue)
    return _of_plan(load(path, catalogue) if path else plan(document, catalogue))


def _of_options(document: Document, options: Mapping[str, Any], catalogue: plugins.Catalogue) -> Ruled:
    """What stands at the top of a file that has the options of an alert engine alone."""
    spec, metrics = _spec(catalogue), catalogue.metrics()
    config = convert(document, options, spec.config, ())
    if config is MISSING or document.faults:
        raise ConfigError(document.faults)
    try:
        _verify(spec, config, metrics)
    except ConfigError as error:
        raise ConfigError([document.fault(steps_of(one.path), one.message) for one in error.faults]) from None
    return Ruled(document, (), config, metrics, options)


def _of_plan(found: Plan) -> Ruled:
    """The rules of a whole configuration."""
    engines = [one for one in found.stages.sinks.values() if one.spec.name == ENGINE]
    if not engines:
        raise ConfigError([Fault("sinks", f"there is no alert engine; declare {ENGINE!r} under `sinks:`", found.name)])
    chosen = next((one for one in engines if one.primary), engines[0])
    steps: Steps = ("sinks", chosen.key)
    document = Document(found.name, None, dict(found.places))
    hints = [document.fault(at, message) for at, message in found.hints if at[: len(steps)] == steps]
    return Ruled(document, steps, chosen.config, found.metrics, _written(found, chosen.key), hints)


def _written(found: Plan, key: str) -> dict[str, Any]:
    """What a file says of a stage, without what is not the stage's own."""
    sinks = as_object((read(found.path) if found.path else shipped()).value["sinks"]) or {}
    value = as_object(sinks[key]) or {}
    return {name: one for name, one in value.items() if name not in ("use", "delivery", "primary")}


def _verify(spec: AnySpec, config: Any, metrics: Catalog) -> None:
    if spec.verify:
        spec.verify(config, metrics)


def _spec(catalogue: plugins.Catalogue) -> AnySpec:
    return catalogue.find("sink", ENGINE, path="sinks")


def _options(spec: AnySpec) -> frozenset[str]:
    import msgspec

    return frozenset(one.encode_name for one in msgspec.structs.fields(spec.config))


def _part(name: str) -> Any:
    """A module of the alert engine: core knows no plugin but by name."""
    return import_module(f"bers_builtin.sinks.alert_engine.{name}")


# What is printed


def _say_faults(faults: Sequence[Fault], json_: bool) -> None:
    if json_:
        output.as_json({"ok": False, "faults": [_plain(one) for one in faults], "hints": []})
    else:
        click.echo("\n".join(_printable(str(one)) for one in faults), err=True)


def _say_backtest(found: Mapping[str, Any]) -> None:
    for part in found["stretches"]:
        between = f"{_local(part['from'])} to {_local(part['to'])}"
        if part["fedWith"] == "events":
            click.echo(f"{between}: {part['events']} events of the journal, each as it came")
        else:
            wide = ", ".join(format_duration(width / 1000) for width in part["widthMs"])
            windows = f"{part['windows']} windows of {wide}" if part["windows"] else "no windows"
            click.echo(f"{between}: {windows} and {part['events']} records of the store")
        for sentence in part["cannotShow"]:
            click.echo(output.printable(f"  {sentence}"))
    rows = [
        [
            rule["name"], ", ".join(one["labels"].values()), word, _local(one["from"]),
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
        click.echo(output.printable(f"stopped at {_local(found['reached'])}: {found['stopped']}"), err=True)


def _changed(one: Mapping[str, Any]) -> str:
    by = format_duration(abs(round(one["byMs"] / 1000)))
    return f"{one['change']} by {by}" if one["change"] in ("longer", "shorter") else one["change"]


def _local(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _plain(fault: Fault) -> dict[str, str | int | None]:
    file, line, column = fault.position
    return {"file": file, "line": line, "column": column, "path": fault.path, "message": fault.message}


def _printable(text: str) -> str:
    return "\n".join(output.printable(line) for line in text.split("\n"))
