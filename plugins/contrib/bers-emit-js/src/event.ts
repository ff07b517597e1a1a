/** An event as one line of JSON, out of whatever the caller handed in. */

import { isSecret, MASK, type Redact } from './redaction.js';

export const MAX_BYTES = 256 * 1024; // The intake takes no larger event.
const MAX_NODES = 20_000; // Bounds the time of a call, whatever somebody hands in.
const MAX_DEPTH = 16;
const MAX_LABELS = 20;
/** Fields that are text, and the longest that the intake takes. */
const TEXTS: Readonly<Record<string, number>> = {
  id: 256, subject: 1024, source: 1024, outcome: 200, reason: 4096, environment: 1024, service: 1024, version: 1024,
  artifact: 1024, chain: 1024, traceparent: 1024,
};

export type Outcome = 'success' | 'failure' | 'error' | 'cancel' | 'timeout' | 'skip';

/** What an event may say besides its type. Other fields are kept with the event's data. */
export interface Fields {
  readonly id?: string;
  readonly source?: string;
  readonly time?: Date | string | number;
  readonly subject?: string;
  readonly environment?: string;
  readonly outcome?: Outcome | (string & {});
  readonly reason?: string;
  readonly duration_ms?: number;
  readonly service?: string;
  readonly version?: string;
  readonly artifact?: string;
  readonly chain?: string;
  readonly traceparent?: string;
  readonly measures?: Readonly<Record<string, number>>;
  readonly labels?: Readonly<Record<string, string>>;
  /** The commit: `{revision, repository, ref, committed_at, ...}`. In a CI system it is filled in. */
  readonly vcs?: Readonly<Record<string, unknown>>;
  /** The run of a CI system: `{id, attempt, pipeline, job, url, ...}`. There it is filled in. */
  readonly run?: Readonly<Record<string, unknown>>;
  readonly data?: unknown;
  readonly [name: string]: unknown;
}

/** The event is larger than the intake takes, even without its data. */
export class TooLarge extends Error {}

/** The event as one line. `id` and `source` are for an event whose fields name none. */
export function encode(type: string, id: string, source: string, fields: Fields, redact: Redact): Buffer {
  const cleaned = new Cleaning(redact);
  const event: Record<string, unknown> = { id, source, type };
  for (const [name, value] of cleaned.pairs(fields)) {
    if (value === null || value === undefined || name === 'type' || name === '__proto__') continue;
    const known = isSecret(name) ? MASK : field(name, value, cleaned);
    if (known !== undefined && known !== '') event[name in TEXTS ? name : cleaned.text(name, 200)] = known;
  }
  event.time ??= new Date().toISOString();
  let line = Buffer.from(`${JSON.stringify(event)}\n`);
  if (line.length > MAX_BYTES && 'data' in event) {
    event.data = { dropped: `the event had ${line.length} bytes, the intake takes ${MAX_BYTES}` };
    line = Buffer.from(`${JSON.stringify(event)}\n`);
  }
  if (line.length > MAX_BYTES) throw new TooLarge(`the event has ${line.length} bytes; the intake takes ${MAX_BYTES}`);
  return line;
}

function field(name: string, value: unknown, cleaned: Cleaning): unknown {
  const limit = Object.hasOwn(TEXTS, name) ? TEXTS[name] : undefined;
  if (limit !== undefined) return cleaned.text(value, limit);
  switch (name) {
    case 'measures': {
      const measured = cleaned.pairs(value).flatMap(([key, of]) => {
        const number = finite(of);
        return number === undefined ? [] : [[cleaned.text(key, 200), number] as const];
      });
      return measured.length > 0 ? Object.fromEntries(measured) : undefined;
    }
    case 'labels': {
      const labels = cleaned.pairs(value).slice(0, MAX_LABELS);
      const texts = labels.map(([key, of]) => [cleaned.text(key, 200), cleaned.text(of, 200)] as const);
      return texts.length > 0 ? Object.fromEntries(texts) : undefined;
    }
    case 'duration_ms': {
      const duration = finite(value);
      return duration !== undefined && duration >= 0 ? duration : undefined;
    }
    case 'time':
      return moment(value, cleaned);
    default:
      return cleaned.value(value);
  }
}

/** A time as RFC 3339, out of a Date, seconds since 1970 or text; undefined where there is no such moment. */
function moment(value: unknown, cleaned: Cleaning): string | undefined {
  if (typeof value === 'string') return cleaned.text(value, 64);
  const date = value instanceof Date ? value : new Date(typeof value === 'number' ? value * 1000 : NaN);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}

function finite(value: unknown): number | undefined {
  try {
    const number = typeof value === 'string' && value.trim() === '' ? NaN : Number(value);
    return value !== null && Number.isFinite(number) ? number : undefined;
  } catch {
    return undefined; // A symbol, or an object whose own valueOf throws.
  }
}

/** Turns the values of one event into JSON's own, redacted and bounded. */
class Cleaning {
  #left = MAX_NODES;

  constructor(private readonly redact: Redact) {}

  /** Any value as text: never an error, never a lone surrogate. */
  text(value: unknown, limit: number): string {
    let text: string;
    try {
      text = typeof value === 'string' ? value : String(value);
    } catch {
      text = `<${typeof value}>`;
    }
    // Cut twice: a secret at the edge is found before it is halved.
    text = this.redact(text.slice(0, limit + 4096)).slice(0, limit);
    return /^[\x00-\x7f]*$/.test(text) ? text : Buffer.from(text).toString();
  }

  value(value: unknown, depth = 0): unknown {
    this.#left -= 1;
    if (this.#left < 0 || depth > MAX_DEPTH) return '...';
    if (value === null || value === undefined) return null;
    switch (typeof value) {
      case 'boolean':
        return value;
      case 'number':
        return Number.isFinite(value) ? value : null;
      case 'bigint':
        return Number(value);
      case 'object':
        return this.#object(value, depth);
      default:
        return this.text(value, MAX_BYTES);
    }
  }

  /** The pairs of an object or a map, as many as an event may have; of anything else none. */
  pairs(value: unknown): Array<[string, unknown]> {
    if (typeof value !== 'object' || value === null) return [];
    const found: Array<[string, unknown]> = [];
    try {
      if (value instanceof Map) {
        for (const [key, of] of value) if (found.push([this.text(key, 1024), of]) >= MAX_NODES) break;
      } else {
        for (const key of Object.keys(value)) {
          if (found.length >= MAX_NODES) break;
          found.push([key, gotten(value, key)]);
        }
      }
    } catch {
      // A proxy that refuses: what it told so far has to do.
    }
    return found;
  }

  #object(value: object, depth: number): unknown {
    try {
      if (Array.isArray(value) || value instanceof Set) {
        const items: unknown[] = [];
        for (const item of value) {
          if (this.#left <= 0) break;
          items.push(this.value(item, depth + 1));
        }
        return items;
      }
      if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
      if (value instanceof Error) return this.text(value, MAX_BYTES);
      if (ArrayBuffer.isView(value)) return this.text(Buffer.from(value.buffer, value.byteOffset, value.byteLength), MAX_BYTES);
      if (value instanceof URL || value instanceof RegExp) return this.text(value, MAX_BYTES);
    } catch {
      return '<object>';
    }
    return Object.fromEntries(
      this.pairs(value).map(([key, of]) => {
        const name = this.text(key, 1024);
        const hidden = of !== null && of !== undefined && isSecret(name);
        return [name, hidden ? MASK : this.value(of, depth + 1)];
      }),
    );
  }
}

function gotten(value: object, key: string): unknown {
  try {
    return (value as Record<string, unknown>)[key];
  } catch {
    return undefined; // A getter that throws.
  }
}
