"""What operators were promised about figures, reports, exports and deletion, asked of a server in a process."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import time
from typing import Any

import pytest

from tests.acceptance.conftest import Operator, needs

DAY = 86_400_000
SUMMARY = {
    "type", "title", "unit", "description", "target", "current", "average", "min", "max", "p50", "p95", "p99", "count",
    "trend", "healthStatus", "lastUpdated", "periodMs",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def builds(server: Operator) -> None:
    for n, environment in enumerate(["production", "staging"] * 10):
        server.emit(
            {
                "type": "build-completed",
                "id": f"q-{n}",
                "source": "/ci",
                "duration": 900 + n,
                "environment": environment,
            }
        )
    server.until("metrics/build_performance", lambda data: data["count"] == 20)


def test_c020_c047_c048_every_field_that_was_promised_is_there(server: Operator) -> None:
    every = server.data("metrics", "metrics")
    assert all(set(one) == SUMMARY for one in every.values())
    build = server.data("metrics/build_performance?step=1m", "metrics")
    assert set(build) == SUMMARY | {
        "from", "to", "widthMs", "tier", "stepMs", "fields", "lineFields", "seriesCount", "series",
        "overall",
    }  # fmt: skip
    assert (build["current"], build["unit"], build["target"], build["healthStatus"]) == (919, "ms", 30_000, "healthy")
    assert (build["min"], build["max"], build["average"]) == (900, 919, 909.5)
    assert build["p50"] <= build["p95"] <= build["p99"] <= build["max"]
    assert build["fields"] == ["start", "count", "average", "min", "max", "p95"]
    assert build["from"] % build["widthMs"] == build["to"] % build["widthMs"] == build["stepMs"] % 1000 == 0


@pytest.mark.parametrize(("period", "milliseconds"), [("5m", 300_000), ("7d", 7 * DAY), ("604800000", 7 * DAY)])
def test_a5_any_way_to_write_a_period_is_echoed_in_milliseconds(
    period: str, milliseconds: int, server: Operator
) -> None:
    for path in ("metrics/build_performance", "metrics/report"):
        assert server.data(f"{path}?period={period}", "metrics")["periodMs"] == milliseconds
    assert all(one["periodMs"] == milliseconds for one in server.data(f"metrics?period={period}").values())


def test_c132_a6_a_month_is_reported_with_the_tier_and_the_coverage_of_each_metric(server: Operator) -> None:
    report = server.data("metrics/report?period=30d", "metrics")
    assert report["periodMs"] == 30 * DAY
    build = report["metrics"]["build_performance"]
    assert (build["tier"], build["widthMs"], build["count"]) == ("long-term", 3_600_000, 20)
    assert 0 < build["coverage"] < 1
    assert build["previous"]["complete"] is False
    assert server.data("metrics/report?period=5m")["metrics"]["build_performance"]["tier"] == "realtime"


def test_c054_b5_a_recommendation_names_metric_figure_threshold_and_step(server: Operator) -> None:
    server.emit({"type": "coverage.measured", "id": "q-c", "source": "/ci", "measures": {"coverage.lines": 12.5}})
    server.until("metrics/test_coverage", lambda data: data["count"])
    advice = {one["metric"]: one for one in server.data("metrics/report")["recommendations"]}
    one = advice["test_coverage"]
    assert (one["value"], one["threshold"], one["kind"], one["unit"]) == (12.5, 95, "missed", "%")
    assert "12.5 %" in one["message"]
    assert "Validation Framework Integration" in one["step"]


def test_a11_static_routes_come_before_a_metric_of_any_name(server: Operator) -> None:
    assert "baselines" in server.data("metrics/report", "metrics")
    assert isinstance(server.data("metrics/current", "metrics")["build_performance"], list)
    for path in ("metrics/restart", "metrics/clear-cache"):
        reply = server.get(path)
        assert (reply.status_code, reply.headers["allow"]) == (405, "POST")


def test_a32_ratios_are_per_cent_in_rest_and_ratios_for_prometheus(server: Operator) -> None:
    told = server.until("metrics/current", lambda data: data["system_disk_usage"])["system_disk_usage"][0]["value"]
    assert 1 < told <= 100
    text = server.get("/metrics", "metrics").text
    (line,) = re.findall(r"^bers_system_disk_usage_ratio (\S+)$", text, re.MULTILINE)
    assert 0.01 < float(line) <= 1
    assert server.get("/metrics", "health").status_code == 404


def test_b13_prometheus_reads_both_ports_and_both_formats(server: Operator) -> None:
    for surface in ("metrics", "control"):
        assert 'bers_build_total{environment="production"' in server.get("/metrics", surface).text.replace(
            'outcome="success",environment="production"', 'environment="production",outcome="success"'
        )


@needs("promtool")
def test_promtool_has_nothing_to_say(server: Operator) -> None:
    text = server.get("/metrics", "metrics").text
    done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=True)
    assert done.stdout + done.stderr == ""


def test_any_query_is_a_file_without_an_envelope(server: Operator) -> None:
    reply = server.get("metrics/build_performance?format=csv&by=environment&step=5m", "metrics")
    rows = list(csv.DictReader(io.StringIO(reply.text, newline="")))
    assert {row["label_environment"] for row in rows} == {"production", "staging"}
    assert sum(int(row["count"]) for row in rows) == 20
    assert all(899 < float(row["average_ms"]) < 920 for row in rows)
    lines = [json.loads(line) for line in server.get("metrics/report?period=30d&format=ndjson").text.splitlines()]
    assert {"build_performance", "test_coverage"} <= {line["type"] for line in lines}


def test_the_command_line_writes_tables_and_files(server: Operator) -> None:
    rows = list(csv.DictReader(io.StringIO(server.bers("metrics", "build_performance", "--by", "", "--csv").stdout)))
    assert sum(int(row["count"]) for row in rows) == 20
    lines = server.bers("metrics", "--ndjson").stdout.splitlines()
    assert "build_performance" in {json.loads(line)["type"] for line in lines}
    table = server.bers("metrics", "build_performance", "--fields", "count,max", "--by", "environment").stdout
    assert "environment=staging" in table
    assert "build_performance\thealthy\t20\t919 ms" in server.bers("metrics").stdout
    assert json.loads(server.bers("metrics", "build_performance", "--json").stdout)["count"] == 20
    failed = server.bers("metrics", "nope", "--csv", check=False)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "unknown metric 'nope'" in failed.stderr
    failed = server.bers("metrics", "--by", "environment", check=False)
    assert (failed.returncode, "say of which TYPE" in failed.stderr) == (2, True)


def test_a12_deleting_is_a_command_of_its_own_and_written_down(server: Operator) -> None:
    server.emit({"type": "deployment-completed", "id": "q-d", "source": "/ci", "duration": 60_000})
    server.until("metrics/deployment_performance", lambda data: data["count"] == 1)
    assert server.post("metrics/clear-cache").status_code == 200
    assert server.data("metrics/deployment_performance")["count"] == 1, "a cache is not data"
    time.sleep(1.1)  # Of the wall clock: what is deleted has to lie in the past by a window.
    before = round(time.time() * 1000)
    assert delete(server, before, "metrics").status_code == 405
    reply = delete(server, before)
    assert reply.status_code == 200, reply.text
    assert reply.json()["data"]["windows"] >= 4
    found = server.data("metrics/deployment_performance?period=30d")
    assert (found["count"], found["current"], found["series"]) == (0, None, [])
    assert server.data("metrics/build_performance")["count"] == 20
    (entry,) = (one for one in server.data("audit") if one["action"].startswith("DELETE"))
    assert entry["action"] == f"DELETE /api/monitoring/metrics/deployment_performance?before={before}"
    assert delete(server, before + DAY).status_code == 422


def delete(server: Operator, before: int, surface: str = "control") -> Any:
    import httpx2

    return httpx2.delete(server.url(f"metrics/deployment_performance?before={before}", surface), timeout=10)
