"""Plugins are found, checked and listed; a broken one costs nothing until it is asked for."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import bers
from bers import ConfigError, Context, Database, plugins
from bers.errors import PluginError
from bers.stages import AnySpec
from bers.testing import check_spec

CATALOGUE = plugins.load(installed=False)


@pytest.mark.parametrize(("kind", "spec"), CATALOGUE.all(), ids=lambda one: getattr(one, "name", one))
async def test_every_stage_keeps_its_promises(kind: str, spec: AnySpec, tmp_path: Path) -> None:
    state = Database(tmp_path / "state.db")
    context = Context(spec.name, tmp_path, metrics=CATALOGUE.metrics(), state=state)
    await check_spec(spec, context=context)
    state.close()


def test_the_builtin_stages_are_those_of_the_design() -> None:
    assert list(CATALOGUE.specs["source"]) == [
        "alert-engine",
        "build",
        "deployment",
        "environment-resolver",
        "providers",
        "system-resources",
        "validation",
    ]
    assert list(CATALOGUE.specs["processor"]) == ["aggregation", "retention", "sampling"]
    assert list(CATALOGUE.specs["sink"]) == ["alert-engine", "dashboard", "rest-store", "sse", "webhooks"]


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
        "sinks.kafka.use: unknown sink 'kafka'; known: alert-engine, dashboard, rest-store, sse, webhooks; "
        "plugin 'kafka' could not be loaded: No module named 'no_such_module'"
    )


def test_two_plugins_may_not_offer_one_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "BUILTIN_PLUGINS", ("bers_builtin.sources.build",))
    monkeypatch.setattr(plugins, "entry_points", broken("again", "tests.unit.test_plugins:Again"))
    with pytest.raises(PluginError, match="two plugins offer a source named 'build'"):
        plugins.load()


class Again:
    """A plugin that offers a stage which is there already."""

    @staticmethod
    @bers.hookimpl
    def bers_sources() -> list[AnySpec]:
        return [CATALOGUE.specs["source"]["build"]]
