"""Options of builtin stages that are wrong: each is named with its place and its remedy, as `bers check` prints it."""

import pytest

from bers import ConfigError, plugins
from bers.config import plan
from bers.config.located import parse

CATALOGUE = plugins.load(installed=False)

BROKEN = [
    ("c085", "enviroment: production", "1:1: enviroment: unknown key 'enviroment'; did you mean 'environment'?"),
    ("c086", "server: {contrl: 3003}", "1:10: server.contrl: unknown key 'contrl'; did you mean 'control'?"),
    ("c087", "log: {levl: info}", "1:7: log.levl: unknown key 'levl'; did you mean 'level'?"),
    (
        "c088",
        "metrics: {configuration_resolution_tim: {target: 75ms}}",
        (
            "1:11: metrics.configuration_resolution_tim: unknown metric 'configuration_resolution_tim'; "
            "did you mean 'configuration_resolution_time'?"
        ),
    ),
    (
        "c089",
        "sources: {host: {use: system-resources, intervall: 1s}}",
        "1:41: sources.host.intervall: unknown key 'intervall'; did you mean 'interval'?",
    ),
    (
        "c090",
        "processors: {retention: {real_time: 300s}}",
        "1:26: processors.retention.real_time: unknown key 'real_time'; did you mean 'realtime'?",
    ),
    (
        "c091",
        "processors: {retention: {shortterm: 60m}}",
        "1:26: processors.retention.shortterm: unknown key 'shortterm'; did you mean 'short_term'?",
    ),
    (
        "c092",
        "processors: {sampling: {adaptve: true}}",
        "1:25: processors.sampling.adaptve: unknown key 'adaptve'; did you mean 'adaptive'?",
    ),
    ("c093", "processors: {sampling: {rate: 1.5}}", "1:25: processors.sampling.rate: is out of range; write at most 1"),
    (
        "c094",
        "processors: {sampling: {threshold_triger: 1s}}",
        "1:25: processors.sampling.threshold_triger: unknown key 'threshold_triger'; did you mean 'threshold_trigger'?",
    ),
    (
        "c095",
        "sinks: {dashboard: {refresh: 5}}",
        "1:21: sinks.dashboard.refresh: 5 has no unit; write it as in '1s'",
    ),
    (
        "c096",
        "sinks: {alert-engine: {deduplication: {enable: true}}}",
        "1:40: sinks.alert-engine.deduplication.enable: unknown key 'enable'; did you mean 'enabled'?",
    ),
    (
        "c097",
        "sinks: {alert-engine: {deduplication: {window: 300000}}}",
        "1:40: sinks.alert-engine.deduplication.window: 300000 has no unit; write it as in '1s'",
    ),
    (
        "c098",
        "sinks: {alert-engine: {rate_limiting: {maxAlerts: 10}}}",
        "1:40: sinks.alert-engine.rate_limiting.maxAlerts: unknown key 'maxAlerts'; did you mean 'max_alerts'?",
    ),
    (
        "c099",
        "sinks: {alert-engine: {rate_limiting: {windw: 5m}}}",
        "1:40: sinks.alert-engine.rate_limiting.windw: unknown key 'windw'; did you mean 'window'?",
    ),
    (
        "a probe without its address",
        "sources: {providers: {probes: [{provider: db, kind: http}]}}",
        "1:32: sources.providers.probes[0].url: a probe of kind 'http' needs it",
    ),
    (
        "a probe of where credentials are",
        "sources: {providers: {probes: [{provider: db, kind: http, url: 'http://169.254.169.254/'}]}}",
        (
            "1:59: sources.providers.probes[0].url: 169.254.169.254 is an address where machines keep their "
            "credentials; name another place"
        ),
    ),
    (
        "a channel without a name",
        "sinks: {webhooks: {channels: [{url: 'https://x.example/'}]}}",
        "1:31: sinks.webhooks.channels[0]: key 'name' is missing; add it",
    ),
]


@pytest.mark.parametrize(("text", "message"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_an_option_that_is_wrong_is_named_with_its_place_and_its_remedy(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as info:
        plan(parse(text, "pipelines.yaml"), CATALOGUE, environ={})
    assert len(info.value.faults) == 1
    assert str(info.value).startswith(f"pipelines.yaml:{message}")
