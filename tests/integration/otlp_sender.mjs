// What a Node program says with OpenTelemetry's own SDK, to the address in the first argument.
import { AggregationTemporality, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-http'
import { BatchLogRecordProcessor, LoggerProvider } from '@opentelemetry/sdk-logs'
import { OTLPLogExporter } from '@opentelemetry/exporter-logs-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'

const url = process.argv[2]
const resource = resourceFromAttributes({ 'service.name': 'widget', 'deployment.environment.name': 'staging' })

function provider(temporalityPreference, compression) {
  const exporter = new OTLPMetricExporter({ url: `${url}/v1/metrics`, temporalityPreference, compression })
  return new MeterProvider({
    resource,
    readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })],
  })
}

const cumulative = provider(AggregationTemporality.CUMULATIVE, 'gzip')
const meter = cumulative.getMeter('ci')
const runs = meter.createHistogram('cicd.pipeline.run.duration', { unit: 's' })
const requests = meter.createCounter('requests', { unit: '{request}' })
runs.record(4.2, { 'cicd.pipeline.result': 'success', 'cicd.pipeline.run.state': 'executing' })
requests.add(3)
// Its clock has milliseconds: a start and a time that are the same say that nobody knows the start.
await new Promise((resolve) => setTimeout(resolve, 20))
await cumulative.forceFlush()
runs.record(6.3, { 'cicd.pipeline.result': 'success', 'cicd.pipeline.run.state': 'executing' })
requests.add(4)
await cumulative.forceFlush()
await cumulative.shutdown() // It tells once more what it told before.

const delta = provider(AggregationTemporality.DELTA, 'none')
delta.getMeter('ci').createGauge('queue.length').record(7)
delta.getMeter('ci').createCounter('requests', { unit: '{request}' }).add(5)
await delta.shutdown()

const exporter = new OTLPLogExporter({ url: `${url}/v1/logs` })
const logs = new LoggerProvider({ resource, processors: [new BatchLogRecordProcessor({ exporter })] })
logs.getLogger('ci').emit({
  eventName: 'deployment.finished',
  severityNumber: 9,
  attributes: { 'deployment.id': 'd-1', 'deployment.status': 'succeeded', duration_ms: 900 },
})
logs.getLogger('ci').emit({ body: 'no event' })
await logs.forceFlush()
await logs.shutdown()
console.log('said')
