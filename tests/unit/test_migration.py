"""Old files are brought up to date with their comments and the order of their lines, and only once."""

import pytest

from bers import ConfigError, plugins
from bers.config import plan
from bers.config.located import parse
from bers.config.migration import migrate
from bers.config.runbook import KEYS

OLD = """\
# The monitoring of team widget.

# where
environment: staging
# our ports
deployment:
  # the page
  dashboardPort: 8080   # as everybody knows
  logLevel: debug
  dataDir: "/var/lib/#bers"
performance:
  targets: {configurationResolution: 75, testCoverage: 90}  # agreed in May
  # thin
  optimization:
    sampling:
      rate: 0.5  # half
monitoring:
  metricsGranularity: 2000  # ms
  retentionPolicies:
    realtime: 300
# at the top
rateLimiting: {maxAlerts: 5}
sinks:
  alert-engine: {}  # rules
  dashboard:
sources:
  machine: {use: system-resources}
processors:
  sampling: {adaptive: true}
  retention:   # kept
    short_term: 60m
# The end.
"""

NEW = """\
# The monitoring of team widget.

version: 1
# where
environment: staging
sinks:
  # at the top
  alert-engine: {rate_limiting: {max_alerts: 5}}  # rules
  dashboard:
sources:
  # ms
  machine: {use: system-resources, interval: 2s}
processors:
  # thin
  # half
  sampling: {adaptive: true, rate: 0.5}
  retention:   # kept
    short_term: 60m
    realtime: 5m
  windows:
    use: aggregation
    window: 2s
# the page
server:
  control: 8080  # as everybody knows
log:
  level: debug
# our ports
data_dir: "/var/lib/#bers"
metrics:
  configuration_resolution_time:
    target: 75ms
  test_coverage:
    target: 90%  # agreed in May
# The end.
"""

CATALOGUE = plugins.load(installed=False)


def test_an_old_file_becomes_a_new_one_with_every_comment() -> None:
    migrated = migrate(OLD, "old.yaml")
    assert migrated.text == NEW
    comments = [line[line.index("# ") :] for line in OLD.splitlines() if "# " in line]
    assert all(comment in migrated.text for comment in comments)
    assert migrated.changes[:2] == (
        ["version: 1 is added", "deployment.dashboardPort: 8080 is server.control: 8080 now"]
    )


def test_what_is_up_to_date_is_left_as_it_is() -> None:
    assert migrate(NEW, "new.yaml").text == NEW
    assert migrate(NEW, "new.yaml").changes == []


def test_the_result_is_a_configuration_that_means_the_same() -> None:
    found = plan(parse(migrate(OLD, "old.yaml").text, "old.yaml"), CATALOGUE, environ={})
    assert (found.settings.environment, found.settings.server.control) == ("staging", 8080)
    assert found.metrics["test_coverage"].target == 90


@pytest.mark.parametrize("key", [key for key in KEYS if key != "environment"])
def test_a_file_of_old_keys_alone_gets_the_stages_that_they_are_about(key: str) -> None:
    said = {
        "deployment": "{dashboardPort: 8080}",
        "performance": "{optimization: {sampling: {rate: 0.5}}}",
        "monitoring": "{metricsGranularity: 2000, dashboardRefreshInterval: 7000}",
        "alerting": "{deduplication: {window: 60000}}",
        "deduplication": "{enabled: false}",
        "rateLimiting": "{maxAlerts: 3, window: 1000}",
    }
    migrated = migrate(f"{key}: {said[key]}  # ours\n", "old.yaml")
    found = plan(parse(migrated.text, "old.yaml"), CATALOGUE, environ={})
    assert len(found.pipelines) == 5 and not found.warnings
    assert migrate(migrated.text, "old.yaml").changes == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sources: {}\n", "version: 1\nsources: {}\n"),
        ("# A.\n\n# b\nsources: {}\n", "# A.\n\nversion: 1\n# b\nsources: {}\n"),
        ("# b\nsources: {}", "version: 1\n# b\nsources: {}\n"),
        ("{sources: {}}\n", "{version: 1, sources: {}}\n"),
        ("---\nsources: {}\n", "---\nversion: 1\nsources: {}\n"),
        ("version: 0  # old\nsources: {}\n", "version: 1  # old\nsources: {}\n"),
        ("version: '1'\nsources: {}\n", "version: 1\nsources: {}\n"),
        ("", "version: 1\n"),
        ("# nothing yet\n", "# nothing yet\nversion: 1\n"),
        ("version: 1\ndeployment:  # empty\n", None),
    ],
)
def test_the_version_is_added(text: str, expected: str | None) -> None:
    migrated = migrate(text, "x.yaml")
    if expected is not None:
        assert migrated.text == expected
    assert parse(migrated.text, "x.yaml").value["version"] == 1
    assert "deployment" not in parse(migrated.text, "x.yaml").value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 2", "x.yaml:1:1: version: this bers knows versions up to 1; install a newer one"),
        ("a: [", "x.yaml:1:5: $: not YAML: "),
        (
            "deployment:\n  dashbordPort: 1\nsources: {}",
            "x.yaml:2:3: deployment.dashbordPort: no version knows this key; remove it, or write what it is to mean",
        ),
        (
            "deployment: {dashboardPort: 8080}\nserver: {control: 8081}\nsources: {}",
            "x.yaml:1:14: deployment.dashboardPort: server.control is there as well; remove one of them",
        ),
        (
            "monitoring: {metricsGranularity: often}\nsources: {}",
            "x.yaml:1:14: monitoring.metricsGranularity: often is no number; write one, and migrate again",
        ),
        ("rateLimiting: {maxAlerts: [1]}\nsources: {}", "x.yaml:1:16: rateLimiting.maxAlerts: expected one value"),
        ("deployment: here\nsources: {}", "x.yaml:1:1: deployment: expected keys with values"),
        (
            "deployment: {host: x}\nserver: 5\nsources: {}",
            "x.yaml:1:14: deployment.host: it belongs to server.host, where something else stands",
        ),
    ],
)
def test_what_only_its_writer_can_decide_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as info:
        migrate(text, "x.yaml")
    assert str(info.value).startswith(message)
