"""What the docs show is true: their files are written, their commands are run, and what they print comes out."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from shlex import quote
from typing import Any

import httpx2

from bers import Caller, Context, Database, Event, Nothing
from bers.testing import check_spec, feed, run_pipeline, run_receive, run_source, step
from tests.acceptance.conftest import needs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

PORTS = {"everything": "3003", "health reads": "3001", "metrics reads": "3002"}
"""The ports that the tutorials name, by what the server says of each when it starts."""

CHANGES = re.compile(r"/ingest|-X POST|bers (run|emit|stop)|alerts (ack|resolve)|^(rm|mkdir|cd|echo) ", re.MULTILINE)
"""Commands that must not be run twice. All others are asked again until they answer what they should."""

SECONDS = 8.0
"""How long an answer may be on its way."""


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, the comment and the name of a file that stand before it."""

    language: str
    about: str
    path: str
    text: str


def blocks(name: str) -> Sequence[Block]:
    fence = re.compile(r"(?:^`([^`\n]+)`:\n\n)?(?:^<!-- (.*) -->\n)?^```(\w+)\n((?s:.*?))^```$", re.MULTILINE)
    text = (DOCS / name).read_text(encoding="utf-8")
    found = fence.findall(text)
    assert text.count("\n```") == 2 * len(found), f"{name} has a block that is not understood"
    return [Block(language, about, path, text) for path, about, language, text in found]


def comes_out(wanted: str, said: str) -> str | None:
    """What follows in ``said`` after the wanted lines, which come in this order; None if one is missing."""
    rest = said
    for line in filter(str.strip, wanted.splitlines()):
        words = r"\s+".join(re.escape(word) for word in line.split()).replace(r"\.\.\.", ".*")
        match = re.search(rf"^\s*{words}\s*?$\n?", rest, re.MULTILINE)
        if not match:
            return None
        rest = rest[match.end() :]
    return rest


@dataclass
class Reader:
    """Somebody who follows a tutorial: types its commands, and looks at what comes out."""

    folder: Path
    environ: Mapping[str, str]
    shell: subprocess.Popen[str]
    started: dict[str, str] = field(default_factory=dict[str, str])
    """What stands for a command that goes on, where it is not the command itself."""
    terminals: dict[str, tuple[subprocess.Popen[bytes], Path]] = field(
        default_factory=dict[str, tuple[subprocess.Popen[bytes], Path]]
    )
    read: dict[str, int] = field(default_factory=dict[str, int])
    """How much of each terminal's output was told of already."""
    ports: dict[str, str] = field(default_factory=dict[str, str])
    last: str = ""
    said: str = ""

    def follow(self, block: Block) -> None:
        terminal = block.about.removeprefix("terminal ")
        if block.path:
            path = self.folder / block.path
            path.parent.mkdir(parents=True, exist_ok=True)
            # Our own ports are free ones; the reader's are those of the tutorial.
            own = "server: {health: 0, metrics: 0, control: 0}\n" if path.name == "pipelines.yaml" else ""
            path.write_text(block.text + own, encoding="utf-8")
        elif block.language == "sh":
            if terminal:
                self.open(terminal, self.here(block.text))
            else:
                self.last, self.said = block.text, self.type(block.text)
        elif terminal:
            self.look_at(terminal, self.here(block.text))
        else:
            self.expect(self.here(block.text))

    def type(self, text: str) -> str:
        """Type commands into the shell; what they print."""
        assert self.shell.stdin and self.shell.stdout
        self.shell.stdin.write(f"{self.here(text)}\necho '<done>'\n")
        self.shell.stdin.flush()
        lines: list[str] = []
        for line in self.shell.stdout:
            if line == "<done>\n":
                return "".join(lines)
            lines.append(line)
        raise AssertionError(f"the shell ended: {''.join(lines)}")

    def expect(self, wanted: str) -> None:
        """The last command prints this, at once or, where it only asks, when it is asked again."""

        def answered() -> bool:
            if comes_out(wanted, self.said) is not None:
                return True
            if not CHANGES.search(self.last):
                self.said = self.type(self.last)
            return False

        until(answered, lambda: f"{self.last}\nprinted\n{self.said}\nrather than\n{wanted}")

    def open(self, terminal: str, command: str) -> None:
        """Run a command that goes on, in a terminal of its own, until it says something."""
        said = self.folder / f"terminal-{terminal}"
        with said.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self.started.get(command.strip(), command)}"],
                cwd=self.type("pwd").strip(),
                env=self.environ,
                stdout=file,
                stderr=file,
            )
        self.terminals[terminal], self.read[terminal] = (process, said), 0
        until(lambda: said.stat().st_size > 0, lambda: f"{command} says nothing")
        if terminal == "1":
            greeting = re.compile(r"http://127\.0\.0\.1:(\d+)  (\w+(?: \w+)?)")
            until(lambda: len(greeting.findall(said.read_text())) == len(PORTS), said.read_text)
            self.ports = {PORTS[what]: port for port, what in greeting.findall(said.read_text())}

    def look_at(self, terminal: str, wanted: str) -> None:
        """What goes on in a terminal has said this by now, since we looked there last."""
        _, said = self.terminals[terminal]

        def is_there() -> bool:
            text = said.read_text(encoding="utf-8")
            rest = comes_out(wanted, text[self.read[terminal] :])
            if rest is not None:
                self.read[terminal] = len(text) - len(rest)
            return rest is not None

        until(is_there, lambda: f"terminal {terminal} says\n{said.read_text()}\nrather than\n{wanted}")

    def here(self, text: str) -> str:
        """The text with the ports of the server that runs here."""
        return re.sub("300[123]", lambda match: self.ports.get(match[0], match[0]), text)

    def close(self) -> None:
        assert self.shell.stdin and self.shell.stdout
        for process, _ in self.terminals.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process, _ in self.terminals.values():
            try:
                process.wait(15)
            finally:
                process.kill()
        self.shell.stdin.close()
        self.shell.stdout.close()
        self.shell.wait(5)


def until(good: Callable[[], bool], said: Callable[[], str]) -> None:
    deadline = time.monotonic() + SECONDS
    while not good():
        assert time.monotonic() < deadline, said()
        time.sleep(0.05)


@contextmanager
def reading(folder: Path, **variables: str) -> Generator[Reader]:
    """A reader in a folder of their own, who has done nothing with us yet."""
    foreign = re.compile(r"BERS_|PYTEST|NODE_ENV|PICASSO_ENV|BUILD_ENV|PYTHONPATH|CI$")
    environ = {name: value for name, value in os.environ.items() if not foreign.match(name)}
    environ |= {"XDG_STATE_HOME": str(folder / "state"), **variables}
    shell = subprocess.Popen(
        ["bash"],
        cwd=folder,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    reader = Reader(folder, environ, shell)
    try:
        yield reader
    finally:
        reader.close()


@needs("bash", "curl", "jq")
def test_the_first_steps_lead_where_they_say(tmp_path: Path) -> None:
    assert "start: .venv/.ready" in (makefile := (ROOT / "Makefile").read_text()) and "@$(BIN)/bers start\n" in makefile
    (tmp_path / ".venv").symlink_to(sys.prefix)
    ports = "\nserver: {health: 0, metrics: 0, control: 0}\n"
    (tmp_path / "pipelines.yaml").write_text((ROOT / "pipelines.yaml").read_text() + ports)
    with reading(tmp_path) as reader:
        reader.started["make start"] = ".venv/bin/bers start"
        page = ""
        for block in blocks("tutorial/first-steps.md"):
            if "build.log" in block.text:
                page = httpx2.get(f"http://127.0.0.1:{reader.ports['3003']}/").text
            reader.follow(block)
        assert reader.terminals["1"][0].wait(10) == 0
    assert "chat-1" in page and "930 ms" in page and "chat-widget/" in page


@needs("bash", "curl", "jq")
def test_the_first_plugin_works_as_it_is_written(tmp_path: Path) -> None:
    with reading(
        tmp_path,
        PATH=f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}",
        PYTHONPATH=f"{tmp_path / 'site'}{os.pathsep}{tmp_path / 'team-stages/src'}",
    ) as reader:
        reader.type(f"pip() {{ python -c {quote(INSTALL)} {quote(str(tmp_path / 'site'))}; }}")
        for block in blocks("tutorial/first-plugin.md"):
            if block.about == "faulty":
                path = tmp_path / "team-stages/pipelines.yaml"
                right = path.read_text()
                path.write_text(right.replace("interval: 1s", "intervall: 1s"))
                said = reader.type("bers check")
                path.write_text(right)
                assert comes_out(block.text, said) is not None, said
            else:
                reader.follow(block)
        assert "stopped process" in reader.type("bers stop")


INSTALL = """
import pathlib, sys, tomllib
project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]
info = pathlib.Path(sys.argv[1]) / "team_stages-0.1.0.dist-info"
info.mkdir(parents=True, exist_ok=True)
(info / "METADATA").write_text("Metadata-Version: 2.1\\nName: team-stages\\nVersion: 0.1.0\\n")
points = [f"{name} = {module}" for name, module in project["entry-points"]["bers"].items()]
(info / "entry_points.txt").write_text("\\n".join(["[bers]", *points, ""]))
"""
"""What `pip install -e .` leaves behind, as far as entry points go: a test changes no environment and asks no index."""


async def test_the_source_of_the_recipe_joins_two_halves_in_any_order(tmp_path: Path) -> None:
    spec = recipe("review", tmp_path).REVIEW
    await check_spec(spec)
    halves = [Event("1", "ci", "review.requested", 10.0, "R1"), Event("2", "ci", "review.finished", 70.0, "R1")]
    for order in (halves, halves[::-1]):
        *_, measured = await run_receive(spec, order)
        assert (measured.type, measured.measures) == ("review.measured", {"review_time": 60_000})


async def test_the_durable_sink_of_the_recipe_counts_each_event_once_through_a_restart(tmp_path: Path) -> None:
    spec = recipe("tally", tmp_path).TALLY
    context = Context("tally", state=Database(tmp_path / "state.db"))
    await check_spec(spec, context=context)
    bus = await feed([Event("1", "ci", "x.y", 0.0)], [Event("2", "ci", "x.y", 0.0), Event("3", "ci", "x.z", 0.0)])
    for until_position in (1, 3, 3):
        await run_pipeline(bus, sinks=[step(spec, context=context)], until=until_position)
    async with step(spec, context=context).open() as stage:
        counts = await stage.list_counts(Nothing(), Caller())
        assert [(one.event_type, one.count) for one in counts] == [("x.y", 2), ("x.z", 1)]
        assert (await stage.look()).details == {"types": 2}
    context.state.close()


async def test_the_sink_of_the_recipe_that_is_a_source_tells_each_discovery_once(tmp_path: Path) -> None:
    module = recipe("discovery", tmp_path)
    context = Context("discovery", state=Database(tmp_path / "state.db"))
    bus = await feed([Event("1", "ci", "x.y", 0.0), Event("2", "ci", "x.y", 0.0), Event("3", "ci", "x.z", 1.0)])
    await run_pipeline(bus, sinks=[step(module.DISCOVERY, context=context)])
    first, second = await run_source(module.DISCOVERED, count=2, context=context)
    assert [first.id, second.id] == ["found-1", "found-2"]
    (again,) = await run_source(module.DISCOVERED, context=context)
    assert again == second, "the last was told, and then we were stopped before that was written down"
    context.state.close()


def recipe(name: str, folder: Path) -> Any:
    """A module of the recipe, as it stands in the text."""
    (block,) = [block for block in blocks("how-to/write-a-plugin.md") if block.path == f"{name}.py"]
    path = folder / block.path
    path.write_text(block.text, encoding="utf-8")
    spec = spec_from_file_location(f"recipe_{name}", path)
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
