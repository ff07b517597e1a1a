"""Plugins are found, checked and listed; a broken one costs nothing until it is asked for."""

from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import bers
from bers import ConfigError, Context, Database, Panel, PluginError, plugins
from bers.stages import AnySpec
from bers.testing import check_spec

CATALOGUE = plugins.load(installed=False)
NEEDED = {"github": {"secrets": ["a secret"]}, "gitlab": {"secrets": ["a secret"]}}
"""Options without which a stage is not opened."""


@pytest.mark.parametrize(("kind", "spec"), CATALOGUE.all(), ids=lambda one: getattr(one, "name", one))
async def test_every_stage_keeps_its_promises(kind: str, spec: AnySpec, tmp_path: Path) -> None:
    state = Database(tmp_path / "state.db")
    context = Context(spec.name, tmp_path, metrics=CATALOGUE.metrics(), state=state)
    await check_spec(spec, context=context, **NEEDED.get(spec.name, {}))
    state.close()


def test_the_builtin_stages_are_those_of_the_design() -> None:
    assert list(CATALOGUE.specs["source"]) == [
        "alert-engine",
        "build",
        "deployment",
        "environment-resolver",
        "github",
        "gitlab",
        "heartbeats",
        "otlp",
        "providers",
        "self-monitoring",
        "spool",
        "system-resources",
        "validation",
    ]
    assert list(CATALOGUE.specs["processor"]) == ["aggregation", "retention", "sampling"]
    assert list(CATALOGUE.specs["sink"]) == [
        "alert-engine",
        "command",
        "dashboard",
        "email",
        "heartbeat",
        "rest-store",
        "sse",
        "webhooks",
    ]


def test_public_names_are_sorted_and_there() -> None:
    assert bers.__all__ == ["__version__", *sorted(bers.__all__[1:])]
    assert all(hasattr(bers, name) for name in bers.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = bers.Nonsense


def broken(name: str, value: str) -> object:
    def entry_points(*, group: str) -> list[EntryPoint]:
        return [EntryPoint(name, value, group)]

    return entry_points


def test_a_broken_plugin_is_named_when_its_stage_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "entry_points", broken("kafka", "no_such_module"))
    with pytest.raises(ConfigError) as info:
        plugins.load().find("sink", "kafka", path="sinks.kafka.use")
    assert str(info.value) == (
        "sinks.kafka.use: unknown sink 'kafka'; known: alert-engine, command, dashboard, email, heartbeat, rest-store, "
        "sse, webhooks; "
        "plugin 'kafka' could not be loaded: No module named 'no_such_module'"
    )


BROKEN = {
    "again": "there is a source named 'build' already; choose another name",
    "nothing": "it offers no stage; is `@hookimpl` or `return` missing at one of bers_sources, bers_processors",
    "bare": "bers_sources returned SourceSpec; return a list of specs",
    "mixed": "bers_sources returned a list with a str in it; return specs alone",
    "raises": "boom",
    "mistyped": "unknown hook 'bers_source' in plugin",
}


@pytest.mark.parametrize(("name", "why"), BROKEN.items())
def test_a_plugin_that_is_broken_costs_nothing_but_itself(name: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "entry_points", broken(name, f"tests.unit.test_plugins:{name.upper()}"))
    catalogue = plugins.load()
    assert why in str(catalogue.failed[name])
    assert catalogue.specs == CATALOGUE.specs


def offering(answer: object, hook: str = "bers_sources") -> object:
    """A plugin whose hook returns an answer."""

    def implementation() -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    implementation.__name__ = hook
    return type("Plugin", (), {hook: staticmethod(bers.hookimpl(implementation))})


AGAIN = offering([CATALOGUE.specs["source"]["build"]])
NOTHING = offering([])
BARE = offering(CATALOGUE.specs["source"]["build"])
MIXED = offering(["build"])
RAISES = offering(RuntimeError("boom"))
MISTYPED = offering([], "bers_source")


def test_two_panels_of_one_name_are_refused_and_so_is_a_name_that_is_no_address() -> None:
    panel = Panel("weather", "runs", "Weather", bytes)
    one, other = (
        replace(CATALOGUE.specs["sink"]["sse"], name=name, operations=(), panels=[panel]) for name in ("one", "other")
    )
    with pytest.raises(PluginError, match="'one' and 'other' both have a panel 'weather'"):
        plugins.load(installed=False).with_specs([("sink", one), ("sink", other)])
    with pytest.raises(PluginError, match="lower-case-with-hyphens"):
        Panel("../weather", "runs", "Weather", bytes)
