"""What a start would refuse of a place that is to be told, `bers check` says before, all of it, with its place."""

from __future__ import annotations

import pytest

from bers import ConfigError, config, plugins
from bers.config.located import parse

FILE = """\
version: 1
sources: {build: {}}
sinks:
  alert-engine: {}
  heartbeat: {url: "http://127.0.0.1:9/x"}
  webhooks:
    channels:
      - {name: a, url: "http://127.0.0.1:9/x"}
      - {name: b, url: "https://x.example/", secrets: [whsec_x]}
      - {name: c, url: "https://x.example/", template: "{{ oops"}
      - {name: d, url: "https://x.example/", headers: {webhook-id: x}}
  email:
    channels: [{name: a, host: 10.0.0.1, sender: a@example.org, to: [b@example.org]}]
  command:
    channels: [{name: p, command: ["true"]}, {name: p, command: ["true"]}]
pipelines:
  alerts: {sources: [build], sinks: [alert-engine]}
  notify: {sources: [alert-engine], sinks: [webhooks, email, command, heartbeat]}
"""


def test_all_that_a_start_would_refuse_is_told_before() -> None:
    with pytest.raises(ConfigError) as error:
        config.plan(parse(FILE, "pipelines.yaml"), plugins.load(installed=False), environ={})
    faults = [str(fault) for fault in error.value.faults]
    internal = "is an internal address; set allow_internal: true if that is meant"
    key = "what follows 'whsec_' in secrets[0] is no base64; make one with `echo whsec_$(openssl rand -base64 32)`"
    template = "the template cannot be read, line 1: unexpected end of template, expected 'end of print statement'."
    header = "header 'webhook-id' is set by us; leave it out"
    assert faults == [
        f"pipelines.yaml:5:15: sinks.heartbeat.url: 127.0.0.1 {internal}",
        f"pipelines.yaml:8:19: sinks.webhooks.channels[0].url: channel 'a': 127.0.0.1 {internal}",
        f"pipelines.yaml:9:46: sinks.webhooks.channels[1].secrets: channel 'b': {key}",
        f"pipelines.yaml:10:46: sinks.webhooks.channels[2].template: channel 'c': {template}",
        f"pipelines.yaml:11:46: sinks.webhooks.channels[3].headers: channel 'd': {header}",
        f"pipelines.yaml:13:26: sinks.email.channels[0].host: channel 'a': 10.0.0.1 {internal}",
        "pipelines.yaml:15:47: sinks.command.channels[1].name: two channels are named 'p'; rename one",
    ]
