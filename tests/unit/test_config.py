"""pipelines.yaml: every fault is named with its place and its remedy, all of them at once."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from bers import (
    Batch,
    Check,
    Config,
    ConfigError,
    DurableSpec,
    Emit,
    Finding,
    Interval,
    Metric,
    ProcessorSpec,
    Secret,
    SinkSpec,
    Size,
    SourceSpec,
    Stage,
)
from bers.config import Plan, Settings, load, plan, shipped
from bers.config.located import parse, read
from bers.plugins import Catalogue
from bers.plugins import load as load_plugins


class NoConfig(Config, frozen=True):
    """Nothing to configure."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule."""

    name: Annotated[str, Meta(description="What it is called.")]
    above: Annotated[float, Meta(description="The limit.")] = 1.0

    def __post_init__(self) -> None:
        if self.above < 0:
            raise ValueError("above: must not be negative; write 0 or more")


class SomeConfig(Config, frozen=True):
    """Some of everything."""

    every: Annotated[Interval, Meta(description="How often.")] = Interval("1s")
    room: Annotated[Size, Meta(description="How much.")] = Size("1MiB")
    key: Annotated[Secret | None, Meta(description="A key.")] = None
    name: Annotated[str, Meta(description="A name.")] = ""
    share: Annotated[float, Meta(description="A share.", ge=0, le=1)] = 1.0
    rules: Annotated[tuple[Rule, ...], Meta(description="Rules.", max_length=3)] = ()
    by_name: Annotated[dict[str, Rule], Meta(description="Rules by name.")] = {}

    def __post_init__(self) -> None:
        names = [rule.name for rule in self.rules]
        if len(set(names)) < len(names):
            raise ValueError("rules[1].name: two rules have one name; rename one")


class Nobody(Stage[Any]):
    async def run(self, emit: Emit) -> None:
        pass

    async def process(self, batch: Batch) -> Batch:
        return batch

    async def write(self, batch: Batch) -> None:
        pass

    async def position(self, reader: str, partition: int, *, begin: int) -> int:
        return begin

    async def look(self) -> Finding:
        return Finding("healthy", "well")


METRICS = (Metric("speed", "ms", "How fast.", target=100.0), Metric("share", "%", "How much."))
CATALOGUE = Catalogue(
    {
        "source": {
            "build": SourceSpec("build", NoConfig, Nobody, claims=("build.*",), metrics=METRICS),
            "other-build": SourceSpec("other-build", NoConfig, Nobody, claims=("build.*",)),
            "host": SourceSpec("host", SomeConfig, Nobody),
            "engine-too": SourceSpec("engine-too", NoConfig, Nobody, claims=("note.*",)),
            "engine": SourceSpec("engine", NoConfig, Nobody, claims=("alert.*",)),
        },
        "processor": {
            "aggregation": ProcessorSpec("aggregation", NoConfig, Nobody),
            "sampling": ProcessorSpec("sampling", NoConfig, Nobody),
        },
        "sink": {
            "store": DurableSpec("store", NoConfig, Nobody, checks=(Check("store", Nobody.look),)),
            "engine": DurableSpec("engine", NoConfig, Nobody),
            "engine-too": DurableSpec("engine-too", NoConfig, Nobody),
            "file": SinkSpec("file", SomeConfig, Nobody),
        },
    }
)


def planned(text: str, environ: Mapping[str, str] | None = None) -> Plan:
    return plan(parse(text, "pipelines.yaml"), CATALOGUE, environ=environ or {})


def refused(text: str, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as info:
        planned(text, environ)
    return str(info.value)


ENVIRON = {"FILE_KEY": "k-0815-4711", "FILE_TOKEN": "hunter2hunter2", "PORT_TEXT": "many"}

TOP = [*Settings.__struct_fields__, "sources", "processors", "sinks", "pipelines"]
"""Every key that the file may begin a line with."""


def broken() -> Iterator[Any]:
    """Every case of broken_pipelines.txt: what it is called, the file, and after `!!` what is said about it."""
    lines = Path(__file__).with_name("broken_pipelines.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    cases = "".join(line for line in lines if not line.startswith("## ")).strip("\n")  # Headings are for readers.
    for case in cases.removeprefix("== ").split("\n== "):
        title, *lines = case.rstrip("\n").split("\n")
        text = "\n".join(line for line in lines if not line.startswith("!! "))
        said = "\n".join(line.removeprefix("!! ") for line in lines if line.startswith("!! "))
        yield pytest.param(text, said.replace("{every top-level key}", ", ".join(sorted(TOP))), id=title)


@pytest.mark.parametrize(("text", "message"), list(broken()))
def test_a_fault_is_named_with_its_place_and_remedy(text: str, message: str) -> None:
    assert refused(text, ENVIRON) == message


def test_a_control_character_is_refused() -> None:
    assert refused("environment: \x00") == (
        "pipelines.yaml: $: not YAML: unacceptable character #x0000: "
        'special characters are not allowed in "<unicode string>", position 13'
    )


def test_every_fault_is_named_at_once_in_the_order_of_the_file() -> None:
    text = """\
version: 3
sources:
  host: {every: 5, evry: 5s}
  biuld: {}
server: {control: -1}
sinks:
  file:
    share: 2
    rules: [{name: a, above: -1}, {above: 1}]
"""
    assert [line.split(": ")[:2] for line in refused(text).splitlines()] == [
        ["pipelines.yaml:1:1", "version"],
        ["pipelines.yaml:3:10", "sources.host.every"],
        ["pipelines.yaml:3:20", "sources.host.evry"],
        ["pipelines.yaml:4:3", "sources.biuld"],
        ["pipelines.yaml:5:10", "server.control"],
        ["pipelines.yaml:8:5", "sinks.file.share"],
        ["pipelines.yaml:9:23", "sinks.file.rules[0].above"],
        ["pipelines.yaml:9:35", "sinks.file.rules[1]"],
    ]


def test_an_alias_of_aliases_is_refused_rather_than_spelled_out() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    with pytest.raises(ConfigError, match=r"more than 100000 values, aliases spelled out$"):
        parse("\n".join(lines), "pipelines.yaml")
    with pytest.raises(ConfigError, match=r"more than 100000 values|nested more than 32 levels"):
        planned("a: &a [*a, *a]")


@pytest.mark.parametrize("text", ["[" * 5000, "a: " + "{a: " * 3000, "\n".join(" " * n + "a:" for n in range(900))])
def test_what_is_nested_too_deep_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"nested more than 32 levels deep|not YAML"):
        planned(text)


def test_a_file_has_a_largest_size() -> None:
    assert refused("#" * ((1 << 20) + 1)) == "pipelines.yaml: $: the file has more than 1048576 characters"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("NO", "NO"),
        ("10:30", "10:30"),
        ("2026-11-23", "2026-11-23"),
        ("0777", 777),
        ("1_000", "1_000"),
        ("-5", -5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("~", None),
        ("null", None),
        ("Null", None),
        ("true", True),
        ("FALSE", False),
        ("'true'", "true"),
        ('"5"', "5"),
        ("100ms", "100ms"),
        ("=", "="),
    ],
)
def test_plain_text_means_what_yaml_1_2_says(text: str, value: object) -> None:
    found = parse(f"a: {text}", "pipelines.yaml").value["a"]
    assert (found, type(found)) == (value, type(value))


def test_references_are_replaced_in_parsed_text_only(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hunter2\n")
    text = f"""\
environment: ${{env:WHERE}}-${{env:SIDE:-left}}
sinks:
  file:
    key: ${{file:{tmp_path}/key}}
    name: "${{env:EVIL}}"
    rules:
      - name: ${{env:NOTHING:-}}
"""
    found = planned(text, {"WHERE": "here", "EVIL": "x\nsinks: {}: ["})
    config = found.stages.sinks["file"].config
    assert isinstance(config, SomeConfig)
    assert found.settings.environment == "here-left"
    assert (config.name, config.rules) == ("x\nsinks: {}: [", (Rule(""),))
    assert config.key is not None
    assert config.key.reveal() == "hunter2"
    assert "hunter2" not in repr(config)


def test_what_was_substituted_is_not_substituted_again() -> None:
    assert planned("environment: ${env:A}", {"A": "${env:B}", "B": "b"}).settings.environment == "${env:B}"


def test_a_missing_reference_is_named_once_however_often_it_stands_there() -> None:
    assert refused("environment: ${env:A}\ndata_dir: ${env:A}").splitlines() == [
        "pipelines.yaml:1:1: environment: environment variable 'A' is not set; set it, or write ${env:A:-default}",
        "pipelines.yaml:2:1: data_dir: environment variable 'A' is not set; set it, or write ${env:A:-default}",
    ]


def test_an_empty_file_is_a_node_that_does_nothing() -> None:
    for text in ("", "# nothing\n", "sources:\nsinks:\npipelines:\n"):
        found = planned(text)
        assert (found.stages.emitting, found.pipelines, found.warnings) == ({}, {}, [])
        assert found.settings.server.control == 3003


def test_a_stage_is_known_by_its_key_and_uses_what_it_says() -> None:
    found = planned("sources:\n  mine: {use: host, every: 5s, primary: true}\nsinks:\n  file: {delivery: {queue: 5}}")
    mine, file = found.stages.sources["mine"], found.stages.sinks["file"]
    assert (mine.key, mine.spec.name, mine.primary) == ("mine", "host", True)
    assert isinstance(mine.config, SomeConfig)
    assert mine.config.every == Interval("5s")
    assert (file.delivery.queue, file.delivery.required, file.primary) == (5, False, False)


def test_a_sink_that_is_a_source_too_may_feed_another_pipeline() -> None:
    found = planned(
        "sinks: {engine: {}, file: {}}\npipelines:\n  a: {sources: [unmapped], sinks: [engine]}\n"
        "  b: {sources: [engine], sinks: [file]}"
    )
    assert list(found.stages.emitting) == ["engine"]
    assert (found.owners.of("alert.fired"), found.owners.of("build.started")) == ("engine", "unmapped")
    assert found.warnings == []


def test_a_target_replaces_that_of_the_metric() -> None:
    found = planned("metrics: {speed: {target: 0.075s}}")
    assert (found.metrics["speed"].target, found.metrics["share"].target) == (75.0, None)


def test_a_metric_of_ones_own_has_a_unit_and_stands_beside_the_others() -> None:
    found = planned("metrics: {queue_wait: {unit: ms, target: 2s, labels: [route], description: How long it waits.}}")
    assert found.metrics["queue_wait"] == Metric("queue_wait", "ms", "How long it waits.", 2000.0, labels=("route",))
    assert found.metrics["speed"].unit == "ms"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{wait: {target: 1s}}", "unknown metric 'wait'"),
        ("{wait: {unit: minutes}}", "'minutes' is no unit; write ms, s, By"),
        ("{speed: {unit: s}}", "'speed' is declared by a stage, in ms; choose another name, or remove `unit`"),
        ("{speed: {labels: [a]}}", "a metric of your own has a unit; add `unit`, or remove this"),
        ("{Wait: {unit: s}}", "'Wait' cannot name a metric"),
        ("{wait: {unit: s, target: 5%}}", "'5%' is not understood; expected a duration"),
        ("{wait: {unit: s}, wait_time: {unit: ms}}", "would both be 'bers_wait_seconds' in Prometheus"),
    ],
)
def test_a_metric_that_cannot_be_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(f"metrics: {text}")
    assert fault in str(caught.value)


def test_what_is_allowed_and_probably_not_meant_is_a_warning() -> None:
    text = """\
sources: {build: {}, host: {}}
processors: {sampling: {}, aggregation: {}}
sinks: {store: {}, file: {}}
pipelines:
  a: {sources: [build], processors: [sampling, aggregation], sinks: [store]}
"""
    assert planned(text).warnings == [
        "pipelines.a.processors: sampling stands before aggregation; put it behind, so that figures see all",
        "sources.host: no pipeline names it",
        "sinks.file: no pipeline names it",
    ]


def test_two_configurations_are_told_apart_and_a_comment_is_no_difference() -> None:
    one, same, other = planned("version: 1"), planned("# why\nversion:   1"), planned("version: 1\nstop_within: 5s")
    assert one.digest == same.digest != other.digest


def test_changes_are_laid_over_the_file_and_keep_what_they_do_not_name(tmp_path: Path) -> None:
    path = tmp_path / "pipelines.yaml"
    path.write_text("server: {control: 1, health: 2}\nlog:\n")
    changes: list[tuple[tuple[str | int, ...], Any]] = [(("server", "control"), 0), (("log", "level"), "debug")]
    found = load(path, CATALOGUE, changes=changes, environ={})
    assert (found.settings.server.control, found.settings.server.health) == (0, 2)
    assert (found.settings.log.level, found.path) == ("debug", path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "$: cannot be read: No such file or directory; name a file that this user may read"),
        (b"environment: \xff", "$: is not UTF-8 at byte 13; save it as UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pipelines.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as info:
        read(path)
    assert str(info.value) == f"{path}: {message}"


def test_the_shipped_configuration_is_the_one_in_the_root_and_has_no_fault() -> None:
    root = Path(__file__).parents[2] / "pipelines.yaml"
    found = plan(shipped(), load_plugins(installed=False), environ={})
    assert found.digest == load(root, load_plugins(installed=False), environ={}).digest
    assert found.warnings == []
    assert found.settings.server.control == 3003


def test_a_budget_of_memory_that_is_too_small_is_refused_with_the_least_there_may_be() -> None:
    document = parse("intake: {memory: 64MiB}", "pipelines.yaml")
    with pytest.raises(ConfigError, match=r"intake\.memory: 64MiB is too little for this process; write at least"):
        plan(document, load_plugins(installed=False))


def test_a_stage_of_a_plugin_that_could_not_be_loaded_says_why() -> None:
    broken = Catalogue(CATALOGUE.specs, {"attic": ImportError("No module named 'shelf'")})
    with pytest.raises(ConfigError) as info:
        plan(parse("sinks: {attic: {}}", "pipelines.yaml"), broken, environ={})
    assert str(info.value) == (
        "pipelines.yaml:1:9: sinks.attic: unknown sink 'attic'; known: engine, engine-too, file, store; "
        "plugin 'attic' could not be loaded: No module named 'shelf'"
    )


def test_the_redactor_knows_what_came_from_elsewhere_and_is_secret_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-file\n")
    text = f"""\
environment: ${{env:WHERE}}
server: {{control: "${{env:PORT:-3001}}"}}
sinks:
  token-sink: {{use: file, name: plain-name, key: literal-secret}}
  file: {{name: "${{env:API_TOKEN}}", key: "${{file:{tmp_path / "key"}}}"}}
"""
    environ = {
        "WHERE": "production",
        "API_TOKEN": "by-its-variable",
        "OTHER_PASSWORD": "not-mentioned",
        "PWD": "/srv/monitoring",
        "PORT": "30010",
    }
    redactor = planned(text, environ).redactor
    for secret in ("literal-secret", "by-its-variable", "from-a-file", "not-mentioned"):
        assert redactor.text(f"<{secret}>") == "<***>"
    for plain in ("production", "/srv/monitoring", "plain-name", "30010", "3001", "file"):
        assert redactor.text(f"<{plain}>") == f"<{plain}>"
