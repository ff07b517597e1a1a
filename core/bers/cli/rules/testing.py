"""`bers rules test`: the tests of a file, with the engine itself and time that only they let pass."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import anyio
import click

from bers import plugins
from bers.cli import output
from bers.cli.rules.files import json_option, of_options, options_of, part, plain, printable, ruled_by, spec_of
from bers.config.convert import MISSING, convert
from bers.config.located import read
from bers.errors import BersError, ConfigError, Fault


class _Told(NamedTuple):
    """How one test came out."""

    file: str
    name: str
    seconds: float
    faults: Sequence[Fault]


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--junit", type=click.Path(path_type=Path), help="Write the results to a file, as JUnit's XML.")
@json_option
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
            {"file": one.file, "name": one.name, "ok": not one.faults, "faults": [*map(plain, one.faults)]}
            for one in told
        ])  # fmt: skip
    else:
        for one in failed:
            for fault in one.faults:
                click.echo(f"{click.style('failed', fg='red')} {output.printable(one.name)}", err=True)
                click.echo(printable(str(fault)), err=True)
        click.echo(f"{len(told) - len(failed)} passed, {len(failed)} failed")
    if failed:
        sys.exit(1)


async def _run(file: Path) -> list[_Told]:
    """Run every test of a file; raise ConfigError where it cannot be read."""
    document, catalogue = read(file), plugins.load()
    kinds, spec = part("rehearsal.rule_tests"), spec_of(catalogue)
    own = {name: one for name, one in document.value.items() if name not in options_of(spec)}
    suite = convert(document, own, kinds.RuleTests, ())
    if suite is MISSING or document.faults:
        raise ConfigError(document.faults)
    given = [name for name in document.value if name in options_of(spec)]
    if suite.config and given:
        message = f"`config` names a file that has the rules, and {given[0]!r} stands here; remove one of them"
        raise ConfigError([document.fault((given[0],), message)])
    if suite.config:
        ruled = ruled_by(file.parent / suite.config)
    else:
        # The rules of this file alone are tested, unless it says otherwise.
        ruled = of_options(document, {"defaults": False} | {name: document.value[name] for name in given}, catalogue)
    told: list[_Told] = []
    for n, test in enumerate(suite.tests):
        began = time.perf_counter()
        run = part("rehearsal.rule_test_run").RuleTestRun(
            test, ruled.config, ruled.metrics, suite.environment, float(suite.interval)
        )
        faults = [document.fault(("tests", n, *miss.steps), miss.message) for miss in await run.run()]
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
                failure.text = printable(str(fault))
    try:
        path.write_bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))
    except OSError as exc:
        raise BersError(f"{path} cannot be written: {exc.strerror}; name a file in a folder that there is") from exc
