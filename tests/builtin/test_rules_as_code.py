"""Rules as code: files of tests that pass and fail, faults that are located, and what machines are told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from bers.cli import cli
from bers.errors import BersError

RULES = """\
rules:
  - {name: Slow, metric: configuration_resolution_time, above: 100ms, for: 60s}
"""
SERIES = """configuration_resolution_time{cached="false"}"""


def bers(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(cli, list(map(str, arguments)))
    if isinstance(result.exception, BersError):
        raise result.exception
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def write(path: Path, text: str) -> Path:
    path.write_text(dedent(text), encoding="utf-8")
    return path


def suite(folder: Path, test: str, head: str = RULES) -> Path:
    """A file with one test."""
    return write(folder / "slow.yaml", head + "tests:\n  - name: it\n" + "".join(
        f"    {line}\n" for line in dedent(test).strip().splitlines()
    ))  # fmt: skip


def test_a_file_of_tests_that_pass(tmp_path: Path) -> None:
    done = bers("rules", "test", suite(tmp_path, f"""
        series:
          - {{series: '{SERIES}', values: 101x61 99}}
        alerts:
          - {{at: 59s, rule: Slow, status: pending, value: 101}}
          - {{at: 60s, rule: Slow, status: active, labels: {{cached: "false"}}, severity: warning, reason: breach}}
          - {{at: 62s, rule: Slow, status: none}}
          - {{at: 63s, rule: Slow, status: resolved}}
        notifications:
          - {{at: 60s, rule: Slow, type: firing, reason: breach}}
          - {{at: 62s, rule: Slow, type: resolved, labels: {{cached: "false"}}, reason: recovered}}
    """))  # fmt: skip
    assert (done.exit_code, done.stdout) == (0, "1 passed, 0 failed\n")


def test_c070_for_59_s_never_for_61_s_once_and_a_dip_starts_anew(tmp_path: Path) -> None:
    head = "defaults: true\n"
    rule = "Configuration Resolution Slow"
    for values, told in (
        ("101x59 99", 0),
        ("101x61", 1),
        ("100x300", 0),
        ("101x30 100 101x59", 0),
        ("101x30 1 101x61", 1),
    ):
        expected = f"[{{at: 60s, rule: {rule}, type: firing}}]" if told else "[]"
        if values.startswith("101x30 1 "):
            expected = f"[{{at: 92s, rule: {rule}, type: firing}}]"
        test = f"series: [{{series: '{SERIES}', values: {values}}}]\nnotifications: {expected}\nuntil: 10m"
        done = bers("rules", "test", suite(tmp_path, test, head))
        assert done.exit_code == 0, done.output


def test_what_came_otherwise_is_shown_beside_what_was_expected(tmp_path: Path) -> None:
    file = suite(tmp_path, f"""
        series: [{{series: '{SERIES}', values: 101x61 99}}]
        alerts:
          - {{at: 59s, rule: Slow, status: active}}
          - {{at: 61s, rule: Slow, status: none}}
          - {{at: 63s, rule: Slow, status: pending}}
        notifications:
          - {{at: 61s, rule: Slow, type: firing}}
    """)  # fmt: skip
    done = bers("rules", "test", file)
    assert done.exit_code == 1
    assert done.stdout.endswith("0 passed, 1 failed\n")
    why = "(breach: configuration resolution time is 101 ms, above 100 ms for 1m)"
    assert done.stderr == dedent(f"""\
        failed it
        {file}:7:9: tests[0].alerts[0]: at 59s, rule 'Slow':
          expected  active
          got       pending {{cached="false"}}, value 101: waits, 59s of 1m
        failed it
        {file}:8:9: tests[0].alerts[1]: at 61s, rule 'Slow':
          expected  nothing
          got       active {{cached="false"}}, value 101 {why}
        failed it
        {file}:9:9: tests[0].alerts[2]: at 63s, rule 'Slow':
          expected  pending
          got       no alert
        failed it
        {file}:11:9: tests[0].notifications[0]: it was not told:
          expected  at 61s, firing 'Slow'
          got       at 60s, firing 'Slow' {{cached="false"}} {why}
          got       at 62s, resolved 'Slow' {{cached="false"}} (recovered: what it watches is good again)
    """)  # fmt: skip


def test_times_are_exact_to_the_millisecond(tmp_path: Path) -> None:
    head = "rules: [{name: Slow, metric: configuration_resolution_time, above: 100ms, for: 1500ms}]\n"
    test = f"""
        interval: 100ms
        series: [{{series: '{SERIES}', values: 101x20}}]
        notifications: [{{at: AT, rule: Slow, type: firing}}]
    """
    assert bers("rules", "test", suite(tmp_path, test.replace("AT", "1500ms"), head)).exit_code == 0
    for wrong in ("1499ms", "1501ms"):
        assert bers("rules", "test", suite(tmp_path, test.replace("AT", wrong), head)).exit_code == 1


def test_every_alert_of_a_rule_that_is_named_has_to_be_named(tmp_path: Path) -> None:
    test = f"""
        series:
          - {{series: '{SERIES}', values: 101x60}}
          - {{series: '{SERIES.replace("false", "true")}', values: 101x60}}
        alerts: [{{at: 60s, rule: Slow, status: active, labels: {{cached: "true"}}}}]
    """
    done = bers("rules", "test", suite(tmp_path, test))
    assert done.exit_code == 1
    assert '  expected  nothing more\n  got       active {cached="false"}' in done.stderr


def test_events_and_operators_and_silence_in_between(tmp_path: Path) -> None:
    head = """\
rules:
  - name: Broken
    event: build.finished
    outcome: failure
    clears: {event: build.finished, outcome: success}
"""
    done = bers("rules", "test", suite(tmp_path, """
        events:
          - {at: 1s, type: build.finished, outcome: failure, service: web, reason: no space left}
          - {at: 1s, type: build.finished, outcome: failure, service: api, environment: staging}
          - {at: 90s, type: build.finished, outcome: success, service: web}
          - {at: 95s, type: build.finished, outcome: failure, service: web, late: 10m}
        actions:
          - {at: 30s, acknowledge: Broken, labels: {environment: production, service: web}, operator: anna}
          - {at: 40s, resolve: Broken, labels: {environment: staging, service: api}, notes: it was the disk}
        alerts:
          - {at: 1s, rule: Broken, status: active, labels: {environment: production, service: web}}
          - {at: 1s, rule: Broken, status: active, labels: {environment: staging, service: api}}
          - {at: 30s, rule: Broken, status: acknowledged, labels: {environment: production, service: web}}
          - {at: 30s, rule: Broken, status: active}
          - {at: 100s, rule: Broken, status: none}
        notifications:
          - {at: 1s, rule: Broken, type: firing, labels: {environment: production, service: web}}
          - {at: 1s, rule: Broken, type: firing, labels: {environment: staging, service: api}}
          - {at: 30s, rule: Broken, type: acknowledged}
          - {at: 40s, rule: Broken, type: resolved, reason: by_hand}
          - {at: 90s, rule: Broken, type: resolved, reason: recovered}
    """, head))  # fmt: skip
    assert done.exit_code == 0, done.output


def test_a_silence_holds_back_what_was_not_told_until_it_is_over(tmp_path: Path) -> None:
    head = "rules: [{name: Broken, event: build.finished, outcome: failure}]\n"
    test = """
        events:
          - {at: 10s, type: build.finished, outcome: failure, service: web}
          - {at: 20s, type: build.finished, outcome: failure, service: api}
        actions:
          - {at: 0s, silence: ["rule=Broken", "labels.service=web"], for: 60s}
        alerts:
          - {at: 10s, rule: Broken, status: suppressed, reason: silence}
          - {at: 60s, rule: Broken, status: active, labels: {environment: production, service: web}}
          - {at: 60s, rule: Broken, status: active, labels: {environment: production, service: api}}
        notifications:
          - {at: 10s, rule: Broken, type: suppressed, reason: silence}
          - {at: 20s, rule: Broken, type: firing, labels: {environment: production, service: api}}
          - {at: 60s, rule: Broken, type: firing, labels: {environment: production, service: web}}
    """
    done = bers("rules", "test", suite(tmp_path, test, head))
    assert done.exit_code == 0, done.output
    done = bers("rules", "test", suite(tmp_path, test.replace("rule=Broken", "ruel=Broken"), head))
    assert "tests[0].actions[0].silence: unknown field 'ruel'; did you mean 'rule'" in done.stderr


def test_an_action_that_finds_nothing_fails_its_test(tmp_path: Path) -> None:
    test = "actions: [{at: 5s, acknowledge: Slow}]\nnotifications: []"
    done = bers("rules", "test", suite(tmp_path, test))
    assert done.exit_code == 1
    assert "tests[0].actions[0]: at 5s, no alert of rule 'Slow' fires" in done.stderr


def test_a_test_knows_its_time_of_day(tmp_path: Path) -> None:
    test = "start: 2026-03-29T00:59:59Z\nevents: [{at: 1s, type: build.finished}]\nnotifications: []"
    assert bers("rules", "test", suite(tmp_path, test)).exit_code == 0
    done = bers("rules", "test", suite(tmp_path, test.replace("59Z", "59")))
    assert done.exit_code == 1
    assert "tests[0].start:" in done.stderr


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (
            "alerts: [{at: 1s, rule: Slwo, status: none}]",
            "6:23: tests[0].alerts[0].rule: unknown rule 'Slwo'; did you mean",
        ),
        ("series: [{series: que, values: 1x}]\nnotifications: []", "6:28: tests[0].series[0].values: '1x' is no value"),
        (
            "series: [{series: que, values: 1}]\nnotifications: []",
            "6:15: tests[0].series[0].series: unknown metric 'que'",
        ),
        ("alerts: [{at: 1, rule: Slow, status: none}]", "6:15: tests[0].alerts[0].at: 1 has no unit"),
        ("alerts: [{at: 1s, rule: Slow, status: fires}]", "6:35: tests[0].alerts[0].status: unknown value 'fires'"),
        ("series: []", "tests[0]: it expects nothing; give `alerts`"),
        ("actions: [{at: 1s}]\nnotifications: []", "tests[0].actions[0]: an action is one of"),
        ("alarms: []\nnotifications: []", "6:5: tests[0].alarms: unknown key 'alarms'; did you mean 'alerts'?"),
    ],
)
def test_a_fault_of_a_file_is_located(tmp_path: Path, test: str, said: str) -> None:
    file = write(tmp_path / "t.yaml", RULES + "# nothing\ntests:\n  - name: it\n    " + test.replace("\n", "\n    "))
    done = bers("rules", "test", file)
    assert done.exit_code == 1
    assert said in done.stderr


def test_a_fault_of_a_rule_is_located_too(tmp_path: Path) -> None:
    file = suite(tmp_path, "notifications: []", RULES.replace("100ms", "100"))
    done = bers("rules", "test", file)
    assert f"{file}:2:57: rules[0].above: rule 'Slow': '100' has no unit" in done.stderr


def test_tests_may_name_the_file_that_has_the_rules(tmp_path: Path) -> None:
    write(tmp_path / "pipelines.yaml", """\
        version: 1
        metrics: {configuration_resolution_time: {target: 10ms}}
        sources: {environment-resolver: {fallback: production}}
        sinks: {alerts: {use: alert-engine}}
        pipelines: {alerts: {sources: [environment-resolver], sinks: [alerts]}}
    """)  # fmt: skip
    (tmp_path / "tests").mkdir()
    rule = "Configuration Resolution Slow"
    test = f"""
        series: [{{series: '{SERIES}', values: 11x60}}]
        alerts: [{{at: 60s, rule: {rule}, status: active}}]
    """
    done = bers("rules", "test", suite(tmp_path / "tests", test, "config: ../pipelines.yaml\n"))
    assert done.exit_code == 0, done.output
    done = bers("rules", "test", suite(tmp_path / "tests", test, f"config: ../pipelines.yaml\n{RULES}"))
    assert "rules: `config` names a file that has the rules, and 'rules' stands here; remove one" in done.stderr


def test_junit_and_json_say_the_same(tmp_path: Path) -> None:
    good = suite(tmp_path, "alerts: [{at: 1s, rule: Slow, status: none}]")
    bad = write(
        tmp_path / "bad.yaml", RULES + "tests:\n  - {name: b, alerts: [{at: 1s, rule: Slow, status: active}]}\n"
    )
    missing = tmp_path / "missing.yaml"
    done = bers("rules", "test", good, bad, missing, "--junit", tmp_path / "junit.xml", "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert [(one["name"], one["ok"]) for one in told] == [("it", True), ("b", False), ("the file", False)]
    assert told[1]["faults"][0]["line"] == 4
    assert "cannot be read" in told[2]["faults"][0]["message"]
    suites = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert [(one.get("tests"), one.get("failures")) for one in suites] == [("1", "0"), ("1", "1"), ("1", "1")]
    (failure,) = suites[1].iter("failure")
    assert (failure.get("message") or "").startswith("at 1s, rule 'Slow':")
    assert "got       no alert" in (failure.text or "")


def test_check_reads_rules_alone_and_whole_configurations(tmp_path: Path) -> None:
    alone = write(tmp_path / "rules.yaml", RULES)
    done = bers("rules", "check", alone)
    assert re.search(r"1 rules of its own, [1-9]\d that come with us; nothing wrong", done.stdout)
    broken = write(tmp_path / "broken.yaml", RULES.replace("configuration_", "configuraton_") + "extra: 1\n")
    done = bers("rules", "check", broken, "--json")
    assert done.exit_code == 1
    faults = json.loads(done.stdout)["faults"]
    assert any("extra" in fault["path"] for fault in faults)
    broken = write(tmp_path / "broken.yaml", RULES.replace("configuration_", "configuraton_"))
    done = bers("rules", "check", broken)
    assert f"{broken}:2:18: rules[0].metric: unknown metric 'configuraton_resolution_time'; did you mean" in done.stderr


def test_check_says_which_rules_can_never_fire(tmp_path: Path) -> None:
    whole = write(tmp_path / "pipelines.yaml", """\
        version: 1
        sinks: {alert-engine: {defaults: false, rules: [{name: Memory, metric: system_memory_usage, above: 80%}]}}
        pipelines: {alerts: {sources: [unmapped], sinks: [alert-engine]}}
    """)  # fmt: skip
    said = "no stage here measures 'system_memory_usage', so rule 'Memory' can never fire"
    done = bers("rules", "check", whole)
    assert done.exit_code == 0
    assert f"hint: {whole}:2:64: sinks.alert-engine.rules[0].metric: {said}" in done.stderr
    assert f"warning: sinks.alert-engine.rules[0].metric: {said}" in bers("check", "-c", whole).stderr
    measured = whole.read_text().replace("sinks:", "sources: {host: {use: system-resources}}\nsinks:")
    whole.write_text(measured.replace("[unmapped]", "[host]"))
    assert "can never fire" not in bers("rules", "check", whole).stderr
