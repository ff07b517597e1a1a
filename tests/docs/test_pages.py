"""What the hand-written pages show is true: links lead somewhere, examples are valid, commands and addresses exist."""

import ast
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

from bers import config, plugins
from bers.cli import cli
from bers.config.located import Document, Steps, parse
from bers.directory import Directory
from bers.errors import ConfigError
from bers.plain import as_object
from bers_builtin.sinks.rest_store import report
from tests.docs.generate import DOCS, ROOT
from tests.docs.writers.cli import EMITTER, emitter_options
from tests.docs.writers.rest import routes

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
SHELL = ("sh", "bash", "console", "yaml")
"""Languages of blocks in which commands stand; in YAML they are the steps of a CI."""


class Block(NamedTuple):
    """A block of code, and the line where it begins."""

    line: int
    language: str
    text: str


def blocks(text: str) -> Iterator[Block]:
    for match in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
        line = text[: match.start()].count("\n") + 1
        code = "\n".join(one.removeprefix(match[1]) for one in match[3].splitlines())
        yield Block(line, match[2], code)


def outside(text: str) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """What headings can be linked to as."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", outside(text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower().replace(" ", "-")
        found.add("".join(one for one in plain if one.isalnum() or one in "-_"))
    return found


def each_page() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@each_page()
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", outside(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{target}: there is no such file"
        if anchor:
            assert anchor in anchors(found.read_text(encoding="utf-8")), f"{target}: there is no such heading"


def given(name: str) -> str:
    """What somebody might have put into a variable."""
    if name.endswith("URL"):
        return "https://example.com/"
    return f"whsec_{'A' * 44}" if name.endswith("KEY") else "given"


@each_page()
def test_configurations_are_valid(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    own = [f"'{name}'" for name in re.findall(r'Spec\(\s*"([a-z-]+)"', text)]  # Stages that the page itself writes.
    for block in blocks(text):
        if block.language == "yaml" and block.text.startswith("version: 1"):
            names = re.findall(r"\$\{env:(\w+)\}", block.text)
            environ = {name: given(name) for name in names}
            document = parse(block.text, f"{page.name}, line {block.line}")
            assert not list(wrong(document, environ, own))


@each_page()
def test_python_compiles_and_imports_what_there_is(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language != "python":
            continue
        tree = compile(
            block.text, f"{page.name}, line {block.line}", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module in ("bers", "bers.testing", "bers_emit"):
                home = import_module(node.module)
                assert all(hasattr(home, one.name) for one in node.names), f"line {block.line}: {ast.unparse(node)}"


@each_page()
def test_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    shown = [line for block in blocks(text) if block.language in SHELL for line in lines(block.text)]
    shown += re.findall(r"`((?:bers|bers-emit) [^`]+)`", outside(text))
    for line in shown:
        for words in simple_commands(line):
            name = words[0].rpartition("/")[2]
            if name == "bers":
                check_bers(words[1:], line)
            elif name == "bers-emit":
                check_emitter(words[1:], line)


def test_what_a_report_recommends_is_found_in_the_guides() -> None:
    headings = [
        line for page in DOCS.glob("how-to/*.md") for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith(("#", "| "))
    ]  # fmt: skip
    for step in (*report.STEPS.values(), report.SILENT, report.ELSE):
        section = step.split(":")[0].split(",")[0]
        assert any(section in line for line in headings), f"{section}: no heading and no row of a table names it"


@each_page()
def test_addresses_are_answered(page: Path) -> None:
    directory = Directory()
    for route in routes():
        directory.add(route)
    text = page.read_text(encoding="utf-8")
    for port, path in re.findall(
        r"(?:localhost|127\.0\.0\.1|monitoring\.example):(300[123])(/[^\s\"'?#)>`|,;]*)", text
    ):
        if path.rstrip(".") in (
            "/",
            "/emit.js",
            "/login",
            "/livez",
            "/readyz",
            "/metrics",
            "/openapi.json",
            "/api/monitoring/ingest",
        ):
            continue
        found, _ = directory.match(path)
        assert found, f"{path} is not answered"
        surfaces = {route.operation.surface for route in found.values()}
        assert port not in ("3001", "3002") or {"3001": "health", "3002": "metrics"}[port] in surfaces, f"{port}{path}"


def test_recipes_fit_the_shipped_configuration() -> None:
    page = DOCS / "how-to" / "configure.md"
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "yaml" and not block.text.startswith("version: 1"):
            document = config.shipped()
            for steps, value in leaves(parse(block.text, f"{page.name}, line {block.line}").value):
                document.put(steps, value)
            assert not list(wrong(document, {}, []))


def leaves(value: Any, steps: Steps = ()) -> Iterator[tuple[Steps, Any]]:
    """Everything in a map that is no map with something in it, with the way there."""
    fields = as_object(value)
    if not fields:
        yield steps, value
        return
    for key, inner in fields.items():
        yield from leaves(inner, (*steps, key))


def wrong(document: Document, environ: Mapping[str, str], own: Sequence[str]) -> Iterator[object]:
    """The faults and warnings of a configuration, but for stages that the reader is to write."""
    try:
        yield from config.plan(document, plugins.load(installed=False), environ=environ).warnings
    except ConfigError as error:
        yield from (fault for fault in error.faults if not any(name in fault.message for name in own))


def lines(text: str) -> list[str]:
    """The commands of a block, each in one line, without the prompt and without what YAML puts before it."""
    joined = text.replace("\\\n", " ")
    return [re.sub(r"^\s*(?:\$ |- run: |run: |- )?", "", line) for line in joined.splitlines()]


def simple_commands(line: str) -> Iterator[list[str]]:
    """The words of each command of a line, as far as a shell would understand them."""
    if line.startswith("#"):
        return
    for part in re.split(r"&&|\|\||[|;]", re.sub(r"\$\(|\)", " ; ", line)):
        try:
            words = shlex.split(part, comments=True)
        except ValueError:
            continue
        while words and (re.fullmatch(r"\w+=.*", words[0]) or words[0] in ("exec", "sudo")):
            words = words[1:]
        if words:
            yield words


def check_bers(words: list[str], line: str) -> None:
    if not words or words[0].startswith("-"):
        return
    command = cli.get_command(click.Context(cli), words[0])
    assert command, f"{line}: there is no command {words[0]!r}"
    if words[0] in ("emit", "run"):
        check_options(words[1:], {name for one in emitter_options(words[0]) for name in one.names}, line)
        return
    rest = words[1:]
    while isinstance(command, click.Group) and rest and rest[0][0] not in "-[":
        assert rest[0] in command.commands, f"{line}: there is no command {rest[0]!r}"
        command, rest = command.commands[rest[0]], rest[1:]
    known = {name for one in command.params if isinstance(one, click.Option) for name in one.opts} | {"--help", "-h"}
    check_options(rest, known, line)


def check_emitter(words: list[str], line: str) -> None:
    if not words or words[0].startswith("-"):
        return
    name = words[0] if words[0] in EMITTER and words[0] != "emit" else "emit"
    check_options(words[1:], {name for one in emitter_options(name) for name in one.names}, line)


def check_options(words: list[str], known: set[str], line: str) -> None:
    for word in words:
        if word == "--":
            return
        if word.startswith("-") and word != "-" and not re.fullmatch(r"-\d.*", word):
            assert word.partition("=")[0] in known, f"{line}: there is no option {word}"
