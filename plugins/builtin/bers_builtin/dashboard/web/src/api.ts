// What REST is asked, and what it answers: see docs/reference/rest.md.

const API = "/api/monitoring/";
const PATIENCE = 10_000; // Milliseconds.

/** The server did not answer at all. */
export class Unreachable extends Error {}

export class Refused extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly hint: string | undefined,
    readonly details: readonly { path?: string; message: string }[] = [],
  ) {
    super(message);
  }
}

export interface Envelope<T> {
  success: boolean;
  data: T;
  meta?: Record<string, unknown>;
  /** What to ask for as `after`, to be told what comes next. */
  next?: string | null;
  error?: { message: string; hint?: string; details?: { path?: string; message: string }[] };
}

/** A text as it stands in a condition of `where`. */
export const quoted = (text: string): string => `"${text.replace(/["\\]/g, "\\$&")}"`;

export async function ask<T>(path: string, fields: Record<string, string | number> = {}): Promise<T> {
  return (await envelope<T>(path, fields)).data;
}

/** The whole answer, with what stands beside its data. */
export async function envelope<T>(path: string, fields: Record<string, string | number> = {}): Promise<Envelope<T>> {
  const query = new URLSearchParams(Object.entries(fields).map(([name, value]) => [name, String(value)]));
  return read<T>(await send(API + path + (query.size ? `?${query}` : ""), { headers: { accept: "application/json" } }));
}

/** Change something, or ask something that takes many words; some answers take longer than others. */
export async function tell<T>(method: "POST" | "DELETE", path: string, body: unknown = {}, patience = PATIENCE): Promise<T> {
  const headers = { accept: "application/json", "content-type": "application/json" };
  return (await read<T>(await send(API + path, { method, headers, body: JSON.stringify(body) }, patience))).data;
}

/** What is told for as long as somebody listens, as text that comes piece by piece. */
export async function stream(path: string, fields: Record<string, string>, signal: AbortSignal): Promise<ReadableStreamDefaultReader<string>> {
  const reply = await send(`${API}${path}?${new URLSearchParams(fields)}`, { signal });
  if (!reply.ok || !reply.body) await read(reply);
  return reply.body!.pipeThrough(new TextDecoderStream()).getReader();
}

async function send(url: string, init: RequestInit, patience = PATIENCE): Promise<Response> {
  const reply = await fetch(url, { signal: AbortSignal.timeout(patience), ...init }).catch((fault: Error) => {
    throw new Unreachable(fault.message);
  });
  if (reply.status === 401) location.reload();
  return reply;
}

async function read<T>(reply: Response): Promise<Envelope<T>> {
  // A server that waits for its disk answers 503, with a full report of its health.
  const body = (await reply.json().catch((fault: Error) => {
    // The time may be over while the body is still on its way.
    throw fault instanceof SyntaxError ? fault : new Unreachable(fault.message);
  })) as Envelope<T>;
  if (body.success) return body;
  throw new Refused(body.error?.message ?? `answered ${reply.status}`, reply.status, body.error?.hint, body.error?.details);
}

export interface Summary {
  type: string;
  title: string;
  unit: string;
  description: string;
  target: number | null;
  current: number | null;
  average: number | null;
  p50: number | null;
  p95: number | null;
  p99: number | null;
  count: number;
  trend: string;
  healthStatus: string;
  lastUpdated: number | null;
}

export type Point = [start: number, ...values: (number | null)[]];

export interface Series {
  labels: Record<string, string>;
  current: number | null;
  count: number;
  points: Point[];
}

export interface MetricAnswer extends Summary {
  from: number;
  to: number;
  stepMs: number;
  tier: string;
  fields: string[];
  seriesCount: number;
  series: Series[];
  overall: Point[];
}

export interface Alert {
  id: string;
  ruleId: string;
  rule: string;
  severity: string;
  status: string;
  title: string;
  message: string;
  timestamp: number;
  firedAt: number;
  value: number | null;
  threshold: number | null;
  unit: string;
  count: number;
  labels: Record<string, string>;
  suppressedBy: { reason: string; id: string; until: number | null } | null;
  flapping: boolean;
  reason: { sentence: string };
  acknowledgment: { operator: string; notes: string; timestamp: number; expires?: number | null } | null;
  resolution: { operator: string; notes: string; timestamp: number } | null;
  annotations: Record<string, string>;
  metadata?: Record<string, string>;
}

export interface Check {
  name: string;
  status: string;
  message: string;
  remediation: string | null;
  error?: string | null;
  timestamp: number;
  breaker: { state: string; failures: number; openedAt: number | null; nextAttempt: number | null } | null;
}

export interface HealthReport {
  overallStatus: string;
  version: string;
  uptime: number;
  environment: string;
  checks: Check[];
}

/** An event as the stream and the records have it. */
export interface CloudEvent {
  id: string;
  source: string;
  type: string;
  time: string;
  subject?: string;
  data?: Facts;
}

export interface Facts {
  outcome?: string;
  reason?: string;
  duration_ms?: number;
  environment?: string;
  service?: string;
  version?: string;
  measures?: Record<string, number>;
  labels?: Record<string, string>;
  data?: Record<string, unknown>;
}

/** The details of an event, as they are stored. */
export interface Stored extends Facts {
  id: string;
  source: string;
  type: string;
  subject?: string;
  timestamp: number;
  seq?: number;
}
