"""Every figure of builds, tests and deployments: from an event over HTTP to REST, Prometheus and the reference."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import ROOT, Operator, configuration, operating

REFERENCE = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")

BUILT: Mapping[str, Any] = {
    "type": "build.finished", "outcome": "success", "duration_ms": 941, "environment": "staging",
    "labels": {"tool": "npm"},
    "measures": {
        "phase.bundle": 412, "queue": 70, "dependencies.resolve": 733, "dependencies.install": 2200,
        "bundle.raw": 412_331, "bundle.gzip": 99_100, "bundle.brotli": 88_000, "bundle.initial": 51_000,
        "bundle.assets": 12, "cache.hit_rate": 61.5,
    },
    "data": {"assets": [{"name": "js/index-B3vZRz9l.js", "raw": 400_000, "gzip": 95_000, "brotli": 85_000}]},
}  # fmt: skip
TESTED: Mapping[str, Any] = {
    "type": "testsuiterun.finished", "outcome": "failure", "duration_ms": 12_345, "labels": {"suite": "unit"},
    "measures": {
        "tests.total": 210, "tests.failed": 1, "tests.skipped": 10, "tests.flaky": 3,
        "coverage.lines": 95.2, "coverage.branches": 81, "coverage.functions": 90, "coverage.statements": 94,
    },
}  # fmt: skip
DEPLOYED: Mapping[str, Any] = {
    "type": "deployment.finished", "outcome": "success", "environment": "production", "duration_ms": 94_000,
    "time": "2026-11-23T10:00:00Z", "vcs": {"committed_at": "2026-11-23T09:00:00Z"},
}  # fmt: skip
VALIDATED: Mapping[str, Any] = {"type": "deployment.validated", "outcome": "success", "duration_ms": 31_000}
COMPARED: Mapping[str, Any] = {"type": "validation.environment", "outcome": "failure", "environment": "staging"}
ROLLED_BACK: Mapping[str, Any] = {
    "type": "deployment.rolledback", "environment": "production", "duration_ms": 45_000,
}  # fmt: skip

MEASURES: Mapping[str, tuple[Mapping[str, Any], str, Mapping[str, str], float, str, float | None]] = {
    "c161_performance": (BUILT, "build_performance", {"environment": "staging"}, 941, "ms", 30_000),
    "c161_phase": (BUILT, "build_phase_time", {"phase": "bundle"}, 412, "ms", None),
    "c161_queue": (BUILT, "build_queue_time", {}, 70, "ms", None),
    "c160_completion": (BUILT, "build_total", {"environment": "staging", "outcome": "success"}, 1, "{build}", None),
    "c161_success": (BUILT, "build_success_rate", {}, 100, "%", None),
    "c161_cache": (BUILT, "build_cache_hit_rate", {}, 61.5, "%", 60),
    "c162_resolve": (BUILT, "dependency_resolution_time", {"tool": "npm"}, 733, "ms", None),
    "c162_install": (BUILT, "dependency_install_time", {"tool": "npm"}, 2200, "ms", None),
    "c163_raw": (BUILT, "bundle_size_total", {"kind": "raw"}, 412_331, "By", None),
    "c163_gzip": (BUILT, "bundle_size_total", {"kind": "gzip"}, 99_100, "By", None),
    "c163_brotli": (BUILT, "bundle_size_total", {"kind": "brotli"}, 88_000, "By", None),
    "c163_initial": (BUILT, "bundle_initial_size", {}, 51_000, "By", None),
    "c163_files": (BUILT, "bundle_asset_count", {}, 12, "{asset}", None),
    "c163_asset": (BUILT, "bundle_asset_size", {"asset": "js/index-*.js", "kind": "gzip"}, 95_000, "By", None),
    "c165_time": (TESTED, "test_suite_duration", {"suite": "unit"}, 12_345, "ms", None),
    "c166_failures": (TESTED, "test_failure_rate", {"suite": "unit"}, 0.5, "%", 1),
    "c166_flaky": (TESTED, "test_flaky_count", {"suite": "unit"}, 3, "{test}", None),
    "c166_passed": (TESTED, "test_count", {"status": "passed", "suite": "unit"}, 199, "{test}", None),
    "c167_lines": (TESTED, "test_coverage", {"kind": "lines", "suite": "unit"}, 95.2, "%", 95),
    "c167_branches": (TESTED, "test_coverage", {"kind": "branches", "suite": "unit"}, 81, "%", 95),
    "c167_functions": (TESTED, "test_coverage", {"kind": "functions", "suite": "unit"}, 90, "%", 95),
    "c167_statements": (TESTED, "test_coverage", {"kind": "statements", "suite": "unit"}, 94, "%", 95),
    "c168_agreement": (COMPARED, "cross_environment_validation", {"environment": "staging"}, 0, "%", None),
    "c169_time": (DEPLOYED, "deployment_performance", {"environment": "production"}, 94_000, "ms", 300_000),
    "c169_completion": (
        DEPLOYED, "deployment_total", {"environment": "production", "outcome": "success"}, 1, "{deployment}", None,
    ),
    "c171_success": (DEPLOYED, "deployment_success_rate", {"environment": "production"}, 100, "%", None),
    "c171_lead": (DEPLOYED, "deployment_lead_time", {}, 3_600_000, "ms", None),
    "c170_success": (VALIDATED, "staging_validation_success", {}, 100, "%", None),
    "c170_time": (VALIDATED, "staging_validation_duration", {}, 31_000, "ms", None),
    "c172_total": (ROLLED_BACK, "deployment_rollback_total", {"environment": "production"}, 1, "{rollback}", None),
    "c172_recovery": (ROLLED_BACK, "deployment_recovery_time", {"environment": "production"}, 45_000, "ms", None),
}  # fmt: skip
"""What is sent; the metric, the labels, value and unit that it leads to, and the target."""


@pytest.fixture(scope="module")
def told(server: Operator) -> Operator:
    """The server, when all of it was told, each twice."""
    for n, event in enumerate((BUILT, TESTED, DEPLOYED, VALIDATED, COMPARED, ROLLED_BACK)):
        now = {key: value for key, value in event.items() if key != "time"}
        if "vcs" in event:  # An hour before, as it is in the table, but of today.
            moment = time.time()
            now |= {"time": moment, "vcs": {"committed_at": moment - 3600}}
        whole = {**now, "id": f"told-{n}", "source": "/ci", "subject": f"told-{n}"}
        server.emit(whole)
        assert server.post("ingest", [whole]).json()["data"]["duplicates"] == 1
    return server


@pytest.mark.parametrize("name", MEASURES)
def test_c160_c173_each_figure_has_its_unit_its_labels_and_its_target(name: str, told: Operator) -> None:
    _, metric, labels, value, unit, target = MEASURES[name]

    def found(data: Any) -> bool:
        return [one["current"] for one in data["series"] if one["labels"] == labels] == [pytest.approx(value)]

    data = told.until(f"metrics/{metric}?period=5m", found)
    assert data["unit"] == unit
    assert data["target"] == target


@pytest.mark.parametrize("metric", sorted({metric for _, metric, *_ in MEASURES.values()}))
def test_c160_c173_each_metric_is_in_the_reference_and_in_prometheus(metric: str, told: Operator) -> None:
    [row] = re.findall(rf"^\| `{metric}` \|.*$", REFERENCE, re.MULTILINE)
    exposed = row.split("|")[5].strip().strip("`")
    told.until(f"metrics/{metric}", lambda data: data["current"] is not None)
    assert re.search(rf"^{exposed}(\{{| )", told.get("/metrics").text, re.MULTILINE), exposed


def test_c160_c169_what_has_begun_and_not_ended_is_counted(told: Operator) -> None:
    for kind in ("build", "deployment"):
        told.emit({"type": f"{kind}.started", "id": f"{kind}/begins", "source": "/ci", "subject": f"{kind}-now"})
        told.until(f"metrics/{kind}_active", lambda data: data["current"] == 1)
        told.emit({"type": f"{kind}.finished", "id": f"{kind}/ends", "source": "/ci", "subject": f"{kind}-now"})
        ended = told.until(f"metrics/{kind}_active", lambda data: data["current"] == 0)
        assert ended["max"] == 1


def test_c168_drift_is_told_by_deployments_and_measured_by_pair(told: Operator) -> None:
    for environment, keys in (("staging", ["API", "DEBUG"]), ("production", ["API"])):
        told.emit({"type": "environment.modified", "id": f"e-{environment}", "source": "/cd", "service": "chat",
                   "environment": environment, "data": {"keys": keys}})  # fmt: skip
    data = told.until("metrics/environment_drift_count?period=5m", lambda data: data["current"] == 1)
    assert [one["labels"] for one in data["series"]] == [{"pair": "production/staging"}]


def test_c168_drift_between_a_projects_files_is_measured_and_is_bad_for_production(tmp_path: Path) -> None:
    (tmp_path / ".env.staging").write_text("API=https://a.example\nDEBUG=1\n")
    (tmp_path / ".env.production").write_text("API=https://b.example\n")
    configuration(
        tmp_path, **{"{fallback: production}": "{fallback: production, compare: [staging, production], interval: 1s}"}
    )
    with operating(tmp_path) as server:
        server.until("metrics/environment_drift_count", lambda data: data["current"] == 1)
        server.until("metrics/cross_environment_validation", lambda data: data["current"] == 0)
        assert server.data("environment-resolver")["drift"] == {
            "production/staging": {"production": ["DEBUG"], "staging": []}
        }
        check = server.until("health/configuration-validity?always=true", lambda data: data["status"] == "unhealthy")
        assert "which production lacks" in check["message"]


def test_what_nobody_measured_is_absent_and_not_nought(server: Operator) -> None:
    server.emit({"type": "testsuiterun.finished", "id": "bare", "source": "/ci", "labels": {"suite": "bare"}})
    server.emit({"type": "build.finished", "id": "bare-build", "source": "/ci", "environment": "bare"})
    server.until("metrics/build_total?period=5m", lambda data: {"environment": "bare"} in _labels(data))
    for metric in ("test_failure_rate", "test_flaky_count", "test_coverage", "build_performance", "test_count"):
        data = server.data(f"metrics/{metric}?period=5m")
        assert not [one for one in _labels(data) if "bare" in one.values()]


def _labels(data: Any) -> list[dict[str, str]]:
    return [one["labels"] for one in data["series"]]
