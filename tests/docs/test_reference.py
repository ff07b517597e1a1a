"""The reference says what the code does: all of it, and nothing else."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest

import bers
from bers import config, hookspecs, plugins, schemas
from bers.cli import cli
from bers.config.runbook import KEYS
from bers.plain import as_object
from bers.supervisor import Supervisor
from bers.web import api, dead_letters
from tests.docs import generate
from tests.docs.writers import events, stages
from tests.docs.writers.cli import commands
from tests.docs.writers.pipelines import SAMPLES

BUILTIN = Path(config.__file__).parents[3] / "plugins" / "builtin" / "bers_builtin"


def read(path: str) -> str:
    return (generate.REFERENCE / path).read_text(encoding="utf-8")


def first_cells(text: str) -> set[str]:
    """What stands in backquotes at the beginning of each row of each table."""
    return set(re.findall(r"^\| `([^`]+)`", text, re.MULTILINE))


def test_the_reference_is_as_generated() -> None:
    wanted = dict(generate.pages())
    found = {
        str(path.relative_to(generate.REFERENCE)): path.read_text(encoding="utf-8")
        for path in generate.REFERENCE.rglob("*.md")
    }
    differ = sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))
    assert not differ, f"docs/reference/ is not what the code says: {', '.join(differ)}; run `make docs`"


@pytest.mark.parametrize(("kind", "spec"), stages.own(), ids=lambda one: getattr(one, "name", one))
def test_every_option_is_documented(kind: plugins.Kind, spec: bers.SourceSpec[Any]) -> None:
    documented = first_cells(read(f"plugins/{stages.FOLDERS[kind]}/{spec.name}.md"))
    wanted = {option.name for option in schemas.options(spec.config)}
    assert wanted <= documented
    assert all(option.description for option in schemas.options(spec.config))


def test_every_key_at_the_top_is_documented() -> None:
    documented = first_cells(read("pipelines.md"))
    assert {option.name for option in schemas.options(config.Settings)} <= documented
    assert {"use", "delivery", "primary", "sources", "processors", "sinks", "pipelines"} <= documented


def test_every_key_of_the_runbooks_dictionary_is_documented() -> None:
    def leaves(keys: Mapping[str, Any], prefix: str = "") -> set[str]:
        below = [leaves(found, f"{prefix}{key}.") for key, value in keys.items() if (found := as_object(value))]
        return {prefix + key for key, value in keys.items() if not as_object(value)}.union(*below)

    short = {f"{name}.{key}" for name in ("deduplication", "rateLimiting") for key in KEYS[name]}
    assert leaves(KEYS) - short == set(SAMPLES)
    assert set(SAMPLES) <= first_cells(read("pipelines.md"))


async def test_every_endpoint_is_documented(tmp_path: Path) -> None:
    document = config.shipped()
    document.put(("data_dir",), str(tmp_path))
    node = Supervisor(config.plan(document, plugins.load(installed=False), environ={}))
    api.offer(node.directory, api.Api(node, {}))
    dead_letters.offer(node.directory, node)
    answered = {f"{route.method} {route.path}" for route in node.directory.routes}
    assert answered == set(re.findall(r"^### `(\w+ /\S*)`$", read("rest.md"), re.MULTILINE))


def test_every_metric_is_documented() -> None:
    metrics = plugins.load(installed=False).metrics()
    documented = first_cells(read("metrics.md"))
    assert {name for name in documented if not name.startswith("bers_")} == set(metrics)
    assert all(f"`{metric.prometheus}`" in read("metrics.md") for metric in metrics.values())


def test_every_command_is_documented() -> None:
    headings = re.findall(r"^##+ (bers .+)$", read("cli.md"), re.MULTILINE)
    assert headings == [name for name, _ in commands()]
    assert {name.split()[1] for name in headings} >= set(cli.list_commands(click.Context(cli))) & {"start", "env"}


def test_every_hook_and_public_name_is_documented() -> None:
    text = read("hooks.md")
    hooks = {name for name in vars(hookspecs) if name.startswith("bers_")}
    assert {name.removesuffix("()") for name in first_cells(text) if name.startswith("bers_")} == hooks
    names = {re.split(r"\W", head)[0] for head in re.findall(r"^#### `(.+)`$", text, re.MULTILINE)}
    assert names == set(bers.__all__) - {"__version__"}


def test_every_event_type_of_the_sources_is_documented() -> None:
    kinds = {claim.partition(".")[0] for claim in events.claims()} - {"alert"}
    pattern = re.compile(rf'"((?:{"|".join(kinds)})\.[a-z]+)"')
    read_or_told = {
        type
        for path in (BUILTIN / "sources").rglob("*.py")
        if path.name != "conventions.py"  # It has names of attributes, which look like types.
        for type in pattern.findall(path.read_text(encoding="utf-8"))
    }
    assert read_or_told == set(events.TYPES)


def test_every_frame_of_the_stream_is_documented() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (BUILTIN / "sinks" / "sse").glob("*.py"))
    named = set(re.findall(r'Frame\(\s*[^"()]*(?:\(\))?[^"()]*"([a-z_]+)"', sources))
    returned = set(re.findall(r'return "([a-z_]+)"', sources))
    assert named | returned <= set(events.FRAMES)
    assert {"connected", "ping", "gap", "performance_metrics"} <= named
