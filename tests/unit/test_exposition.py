"""What Prometheus reads: both of its formats, as its own tool checks them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from bers.testing.server import Server, serving
from bers.web.exposition import OPEN, TEXT, Family, Sample, media, render

FAMILIES = [
    Family("bers_build_seconds", "gauge", 'How "long"\nit takes.', [Sample(4.2, {"environment": 'a"b\\c\nd'})]),
    Family("bers_builds", "counter", "How many.", [Sample(3)]),
    Family("bers_wait_samples_seconds", "summary", "Waits.", [
        Sample(0.25, {"quantile": "0.5"}), Sample(7.5, {}, "_sum"), Sample(30, {}, "_count"),
    ]),
    Family("bers_full_ratio", "gauge", "How full.", []),
]  # fmt: skip


def test_the_text_format_names_counters_whole() -> None:
    assert render(FAMILIES, TEXT) == (
        "# TYPE bers_build_seconds gauge\n"
        '# HELP bers_build_seconds How "long"\\nit takes.\n'
        'bers_build_seconds{environment="a\\"b\\\\c\\nd"} 4.2\n'
        "# TYPE bers_builds_total counter\n"
        "# HELP bers_builds_total How many.\n"
        "bers_builds_total 3\n"
        "# TYPE bers_wait_samples_seconds summary\n"
        "# HELP bers_wait_samples_seconds Waits.\n"
        'bers_wait_samples_seconds{quantile="0.5"} 0.25\n'
        "bers_wait_samples_seconds_sum 7.5\n"
        "bers_wait_samples_seconds_count 30\n"
        "# TYPE bers_full_ratio gauge\n"
        "# HELP bers_full_ratio How full.\n"
    )


def test_openmetrics_names_units_and_ends() -> None:
    text = render(FAMILIES, OPEN)
    assert "# TYPE bers_builds counter\n# HELP bers_builds How many.\nbers_builds_total 3\n" in text
    assert "# TYPE bers_build_seconds gauge\n# UNIT bers_build_seconds seconds\n" in text
    assert '# HELP bers_build_seconds How \\"long\\"\\nit takes.\n' in text
    assert text.endswith("# EOF\n")


PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""What Prometheus 2.42 sends."""


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html,*/*;q=0.8", TEXT),
        ("application/openmetrics-text", OPEN),
        ("application/openmetrics-text; version=1.0.0", OPEN),
        ("application/openmetrics-text;version=0.0.1", TEXT),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.9", TEXT),
        (PROMETHEUS, OPEN),
    ],
)
def test_the_format_is_the_one_that_is_liked_best(accept: str, expected: str) -> None:
    assert media(accept) == expected


@pytest.fixture(scope="module")
async def server(home: Path) -> AsyncGenerator[Server]:
    """One with a sample of everything, as far as builds, deployments and tests have it."""
    async with serving(home) as found:
        await found.emit(
            *({"type": "build-completed", "id": f"b-{n}", "source": "/ci", "duration": 1000 * n,
               "outcome": "failure" if n == 9 else "success", "environment": "production"} for n in range(1, 10)),
            {"type": "deployment-completed", "id": "d-1", "source": "/ci", "duration": 90_000,
             "environment": "staging", "outcome": "success"},
            {"type": "coverage.measured", "id": "c-1", "source": "/ci", "measures": {"coverage.lines": 95.2}},
            {"type": "build.measured", "id": "m-1", "source": "/ci", "measures": {"bundle.size": 4096}},
        )  # fmt: skip
        await found.until("metrics/build_total", lambda data: data["count"] == 9)
        await found.until("metrics/deployment_total", lambda data: data["count"] == 1)
        await found.until("metrics/process_memory_rss", lambda data: data["count"])
        yield found


async def exposed(server: Server, accept: str = "text/plain") -> str:
    reply = await server.get("/metrics", "metrics", headers={"Accept": accept})
    assert reply.headers["vary"] == "Accept"
    return reply.text


async def test_every_series_has_its_labels_and_base_units(server: Server) -> None:
    lines = (await exposed(server)).splitlines()
    assert 'bers_build_performance_seconds{environment="production"} 8' in lines
    assert 'bers_build_performance_samples_seconds_count{environment="production"} 8' in lines
    assert 'bers_build_performance_samples_seconds_sum{environment="production"} 36' in lines
    assert 'bers_build_total{outcome="success",environment="production"} 8' in lines or (
        'bers_build_total{environment="production",outcome="success"} 8' in lines
    )
    assert 'bers_deployment_success_rate_ratio{environment="staging"} 1' in lines
    (median,) = (line for line in lines if re.match(r"bers_build_performance_samples.*quantile=\"0.5\"", line))
    assert float(median.split()[-1]) == pytest.approx(4, rel=0.01)


async def test_names_are_of_one_kind_and_samples_are_never_told_twice(server: Server) -> None:
    for accept in ("text/plain", "application/openmetrics-text"):
        lines = (await exposed(server, accept)).splitlines()
        types = [line.split()[2] for line in lines if line.startswith("# TYPE")]
        samples = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
        assert len(types) == len(set(types))
        assert len(samples) == len(set(samples))
        for line in lines:
            if line.startswith("# UNIT"):
                assert line.split()[2].endswith("_" + line.split()[3])


async def test_promtool_finds_nothing_to_say(server: Server) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("not installed here: promtool")
    text = await exposed(server)
    done = await anyio.run_process([program, "check", "metrics"], input=text.encode(), stderr=subprocess.STDOUT)
    assert done.stdout.decode() == ""


async def test_what_is_old_is_not_told_as_current(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bers.web.prometheus.STALE", -1.0)
    text = await exposed(server)
    assert "\nbers_build_performance_seconds{" not in text
    assert "\nbers_build_performance_samples_seconds_count{" in text
    assert "\nbers_build_total{" in text
