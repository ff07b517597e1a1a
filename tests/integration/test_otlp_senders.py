"""OpenTelemetry's own senders deliver into a real server: what a program measured is there to be asked for."""

import shutil
from functools import partial
from pathlib import Path

import pytest
from anyio import run_process, to_thread
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from bers.testing.server import Server, serving

HERE = Path(__file__).parent
NODE_MODULES = HERE.parents[1] / "plugins" / "contrib" / "bers-emit-js" / "node_modules"
TEXT = """\
version: 1
metrics:
  request_total: {unit: "{request}", description: Requests that were answered.}
  queue_length: {unit: "{job}", description: Jobs that wait.}
  answer_time: {unit: ms, description: Time to an answer., labels: [http_route]}
sources:
  build: {}
  deployment: {}
  otlp:
    metrics:
      - {name: requests, metric: request_total}
      - {name: http.server.request.duration, metric: answer_time}
processors: {windows: {use: aggregation}}
sinks: {store: {use: rest-store, delivery: {required: true}}}
pipelines: {metrics: {sources: [build, deployment, otlp], processors: [windows], sinks: [store]}}
"""


def python_sender(url: str, kind: Compression) -> None:
    """What a Python program says with OpenTelemetry's own SDK, in protobuf."""
    resource = Resource({"service.name": "widget", "deployment.environment.name": "staging"})
    exporter = OTLPMetricExporter(f"{url}/v1/metrics", compression=kind)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    exponential = View(instrument_name="http.*", aggregation=ExponentialBucketHistogramAggregation())
    metrics = MeterProvider([reader], resource, views=[exponential])
    meter = metrics.get_meter("ci")
    runs = meter.create_histogram("cicd.pipeline.run.duration", unit="s")
    requests = meter.create_counter("requests")
    answers = meter.create_histogram("http.server.request.duration", unit="s")
    said = {"cicd.pipeline.result": "success", "cicd.pipeline.run.state": "executing"}
    runs.record(4.2, said)
    requests.add(3)
    for number in range(1, 101):
        answers.record(number / 100, {"http.route": "/a"})
    metrics.force_flush()
    runs.record(6.3, said)
    requests.add(9)
    answers.record(1.0, {"http.route": "/a"})
    meter.create_gauge("queue.length").set(7)
    metrics.force_flush()
    metrics.shutdown()  # It tells once more what it told before.
    logs = LoggerProvider(resource)
    logs.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(f"{url}/v1/logs", compression=kind)))
    logs.get_logger("ci").emit(
        event_name="deployment.finished",
        attributes={"deployment.id": "d-1", "deployment.status": "succeeded", "duration_ms": 900},
    )
    logs.shutdown()


async def check_what_both_say(server: Server) -> None:
    builds = await server.until("metrics/build_performance", lambda one: one["current"] == 6300)
    assert (builds["average"], builds["min"], builds["max"]) == (5250, 4200, 6300)
    sums = {"build_total": [2], "request_total": [12]}
    await server.until(
        "metrics/current", lambda one: {name: [series["sum"] for series in one[name]] for name in sums} == sums
    )
    await server.until("metrics/queue_length", lambda one: one["current"] == 7)
    deployments = await server.until("metrics/deployment_performance", lambda one: one["current"] is not None)
    assert deployments["current"] == 900


@pytest.mark.parametrize("kind", [Compression.NoCompression, Compression.Gzip])
async def test_pythons_sdk_delivers_in_protobuf(tmp_path: Path, kind: Compression) -> None:
    async with serving(tmp_path, TEXT) as server:
        await to_thread.run_sync(partial(python_sender, server.url("/").rstrip("/"), kind))
        await check_what_both_say(server)
        answers = await server.data("metrics/answer_time")
        assert (answers["min"], answers["max"]) == (10, 1000)
        assert answers["average"] == pytest.approx((50.5 * 10 * 100 + 1000) / 101)
        assert answers["p95"] == pytest.approx(950, rel=0.05)


@pytest.mark.skipif(not shutil.which("node"), reason="there is no Node.js here")
@pytest.mark.skipif(
    not (NODE_MODULES / "@opentelemetry" / "sdk-metrics").exists(),
    reason="`npm ci` in plugins/contrib/bers-emit-js brings OpenTelemetry's SDK for Node",
)
async def test_nodes_sdk_delivers_in_json(tmp_path: Path) -> None:
    script = tmp_path / "sender.mjs"
    script.write_bytes((HERE / "otlp_sender.mjs").read_bytes())
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)  # Node looks for modules beside the script.
    async with serving(tmp_path, TEXT) as server:
        said = await run_process(["node", str(script), server.url("/").rstrip("/")], check=False)
        assert said.stdout == b"said\n", said.stderr.decode()
        await check_what_both_say(server)
