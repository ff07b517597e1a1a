/** The bridge from a page to BERS Monitoring: hears what is dispatched on `window`, and hands it to the server. */

/** The events that tools which build, validate and deploy in a page dispatch. */
export const EVENTS = [
  'build-started', 'build-completed', 'build-failed',
  'validation-started', 'validation-completed', 'validation-failed',
  'deployment-started', 'deployment-completed', 'deployment-failed',
] as const;

export type EventName = (typeof EVENTS)[number];

/** What such an event tells. Durations are in milliseconds, rates and coverage in percent. */
export interface Detail {
  readonly duration?: number;
  readonly phases?: Readonly<Record<string, number>>;
  readonly environment?: string;
  readonly successRate?: number;
  readonly coverage?: number;
  /** Joins the events of one build: started and completed. */
  readonly correlationId?: string;
  readonly [name: string]: unknown;
}

export interface BridgeOptions {
  /** The server: `http://monitoring.example:3003`. */
  readonly url: string;
  /** A key with the scope `ingest` and no other: whoever reads the page has it. */
  readonly key?: string;
  /** Where events come from; `/page/HOST` unless it is said. */
  readonly source?: string;
  /** Names to listen to besides the nine of `EVENTS`. */
  readonly events?: readonly string[];
}

/** What can be listened to: a window, any other EventTarget, or an EventEmitter of Node. */
export type Origin =
  | { addEventListener(name: string, listener: (event: Event) => void): void;
      removeEventListener(name: string, listener: (event: Event) => void): void }
  | { on(name: string, listener: (detail: unknown) => void): unknown;
      off(name: string, listener: (detail: unknown) => void): unknown };

/** What takes events: a bridge, or the emitter of Node. */
export interface Taker {
  emit(type: string, detail: Detail): unknown;
}

const PATH = '/api/monitoring/ingest';
const KEPT = 'bers-emit'; // The name in localStorage.
const MOST_EVENTS = 100; // That wait, in memory and in localStorage.
const MOST_BYTES = 60_000; // Of a batch: browsers let requests that outlive a page have 64 KiB together.
const LARGEST_EVENT = 256 * 1024; // The intake takes no larger one.
const LINGER_MS = 50; // Events that come together travel together.
const PATIENCE_MS = 10_000;
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 60_000;

/**
 * Hand every event of the page to the server, from now on. Never throws.
 *
 * What cannot be sent waits in localStorage, and is sent by the next page of this site that has a bridge.
 */
export function bridge(page: Origin & EventTarget, options: BridgeOptions): Bridge {
  return new Bridge(page, options);
}

/** Dispatch an event that a bridge hears: on `window`, unless another target is named. */
export function dispatch(name: EventName | (string & {}), detail: Detail = {}, target: EventTarget = globalThis as never): void {
  // Node 18 has no CustomEvent.
  const known = typeof CustomEvent === 'function';
  target.dispatchEvent(known ? new CustomEvent(name, { detail }) : Object.assign(new Event(name), { detail }));
}

/** Hand on what is dispatched somewhere: an EventTarget's `detail`, or the first argument of an EventEmitter's event. */
export function attach(origin: Origin, taker: Taker, names: readonly string[] = EVENTS): () => void {
  const undo = names.map((name) => {
    const take = (detail: unknown): void => {
      try {
        taker.emit(name, typeof detail === 'object' && detail !== null ? (detail as Detail) : {});
      } catch {
        // Whoever dispatches has done nothing wrong.
      }
    };
    if ('addEventListener' in origin) {
      const hear = (event: Event): void => take((event as CustomEvent<unknown>).detail);
      origin.addEventListener(name, hear);
      return () => origin.removeEventListener(name, hear);
    }
    origin.on(name, take);
    return () => void origin.off(name, take);
  });
  return () => undo.forEach((one) => one());
}

/** Sends what it is given; tries again later, and ever later, while the server does not answer. */
export class Bridge implements Taker {
  /** How many events had to go: no room, too large, or refused for good. */
  dropped = 0;
  readonly #page: EventTarget;
  readonly #url: string;
  readonly #key: string;
  readonly #source: string;
  readonly #name = newName();
  readonly #undo: Array<() => void> = [];
  #count = 0;
  #waiting: string[];
  #sending: string[] = [];
  #running: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #next = 0;
  #stored: boolean;
  #warned = false;
  #stopped = false;

  constructor(page: Origin & EventTarget, options: BridgeOptions) {
    const url = String(options.url).replace(/\/+$/, '');
    this.#page = page;
    this.#url = url.endsWith(PATH) ? url : url + PATH;
    this.#key = options.key ?? '';
    this.#source = options.source ?? `/page/${globalThis.location?.host || 'unknown'}`;
    this.#waiting = stored();
    this.#stored = this.#waiting.length > 0;
    this.#undo.push(attach(page, this, [...EVENTS, ...(options.events ?? [])]));
    this.#hear('online', () => this.#retry());
    this.#hear('pagehide', () => this.#leave());
    this.#hear('visibilitychange', () => globalThis.document?.visibilityState === 'hidden' && this.#leave());
    if (this.#waiting.length > 0) this.#soon();
  }

  /** Keep an event and send it soon. */
  emit(type: string, detail: Detail = {}): void {
    const event = { type, id: `${this.#name}-${this.#count++}`, source: this.#source, time: new Date().toISOString() };
    const line = json({ ...event, detail }) ?? json({ ...event, detail: readable(detail) }) ?? json(event)!;
    if (bytes(line) > LARGEST_EVENT) {
      this.#drop(1, `an event of ${bytes(line)} bytes is too large`);
      return;
    }
    this.#waiting.push(line);
    this.#bound();
    this.#soon();
  }

  /** Send now; true says that the server has everything. */
  async flush(): Promise<boolean> {
    this.#next = 0;
    await (this.#running ??= this.#sendAll());
    if (this.#waiting.length > 0 && this.#failures === 0) await (this.#running ??= this.#sendAll());
    return this.#waiting.length === 0;
  }

  /** Listen no more. What waits is kept for the next page. */
  stop(): void {
    this.#leave();
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#undo.forEach((one) => one());
  }

  /** How many events the server has not answered yet. */
  get waiting(): number {
    return this.#sending.length + this.#waiting.length;
  }

  #hear(name: string, listener: () => void): void {
    this.#page.addEventListener(name, listener);
    this.#undo.push(() => this.#page.removeEventListener(name, listener));
  }

  #soon(): void {
    if (this.#timer !== undefined || this.#running || this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#running ??= this.#sendAll();
    }, Math.max(LINGER_MS, this.#next - Date.now()));
    (this.#timer as { unref?: () => void }).unref?.(); // In Node it would keep the process alive.
  }

  #retry(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#next = 0;
    if (this.#waiting.length > 0) this.#soon();
  }

  async #sendAll(): Promise<void> {
    try {
      while (this.#waiting.length > 0 && !this.#stopped) {
        this.#sending = this.#waiting.splice(0, fitting(this.#waiting, MOST_BYTES));
        await this.#post(this.#sending);
        this.#forget(this.#sending);
        this.#sending = [];
        this.#failures = this.#next = 0;
      }
    } catch (error) {
      this.#waiting.unshift(...this.#sending);
      this.#sending = [];
      this.#bound();
      this.#store(this.#waiting);
      const after = error instanceof Later ? error.afterMs : 0;
      const backOff = Math.min(FIRST_RETRY_MS * 2 ** this.#failures++, LAST_RETRY_MS) * (0.8 + 0.4 * Math.random());
      this.#next = Date.now() + (after || backOff);
    }
    this.#running = undefined;
    if (this.#waiting.length > 0) this.#soon();
  }

  /** Hand the events over; throw where they have to come again. */
  async #post(lines: readonly string[]): Promise<void> {
    const body = `[${lines.join(',')}]`;
    const giveUp = new AbortController();
    const timer = setTimeout(() => giveUp.abort(), PATIENCE_MS);
    try {
      const answer = await fetch(this.#url, { ...this.#request(body), signal: giveUp.signal });
      if (answer.status >= 400 && answer.status < 500 && answer.status !== 408 && answer.status !== 429) {
        this.#drop(lines.length, `the server answers ${answer.status} ${await answer.text()}`);
        return;
      }
      if (!answer.ok) throw new Later(1000 * Number(answer.headers.get('retry-after') ?? 0));
      const { data } = (await answer.json()) as { data: { rejected: unknown[] } };
      if (data.rejected.length > 0) this.#drop(data.rejected.length, JSON.stringify(data.rejected[0]));
    } finally {
      clearTimeout(timer);
    }
  }

  #request(body: string): RequestInit {
    const headers: Record<string, string> = { 'content-type': 'application/json' };
    if (this.#key) headers.authorization = `Bearer ${this.#key}`;
    const request: RequestInit = { method: 'POST', headers, body, credentials: 'omit', cache: 'no-store' };
    return bytes(body) <= MOST_BYTES + 2 ? { ...request, keepalive: true } : request;
  }

  /** The page goes, perhaps for good: send what may outlive it, and keep all that was not answered. */
  #leave(): void {
    if (this.waiting === 0 || this.#stopped) return;
    const left = MOST_BYTES - bytes(this.#sending.join(','));
    const lines = this.#waiting.slice(0, fitting(this.#waiting, left, 0));
    this.#store([...this.#sending, ...this.#waiting]);
    if (lines.length === 0) return;
    const body = `[${lines.join(',')}]`;
    if (typeof Request === 'function' && 'keepalive' in Request.prototype) {
      fetch(this.#url, this.#request(body)).then((answer) => answer.ok && this.#answered(lines), () => undefined);
    } else if (!this.#key) {
      // A beacon has no headers, so it cannot carry a key; and a form is what needs no question beforehand.
      navigator.sendBeacon(this.#url, new Blob([body], { type: 'application/x-www-form-urlencoded' }));
    }
  }

  #answered(lines: readonly string[]): void {
    this.#waiting = this.#waiting.filter((line) => !lines.includes(line));
    this.#forget(lines);
  }

  #bound(): void {
    const excess = this.#waiting.length - MOST_EVENTS;
    if (excess > 0) this.#drop(this.#waiting.splice(0, excess).length, 'too many events wait for the server');
  }

  #drop(count: number, why: string): void {
    this.dropped += count;
    if (!this.#warned) console.warn(`bers-emit: ${count} events are not reported: ${why}`);
    this.#warned = true;
  }

  #store(lines: readonly string[]): void {
    keep([...new Set([...stored(), ...lines])]);
    this.#stored = true;
  }

  #forget(lines: readonly string[]): void {
    if (!this.#stored) return;
    const left = stored().filter((line) => !lines.includes(line));
    keep(left);
    this.#stored = left.length > 0;
  }
}

/** The server says that the events come again later; after so many milliseconds, where it said when. */
class Later extends Error {
  constructor(readonly afterMs: number) {
    super('later');
  }
}

/** How many of the lines, from the first one, have so many bytes together; at least `least`. */
function fitting(lines: readonly string[], most: number, least = 1): number {
  let count = 0;
  for (let size = 0; count < lines.length && count < MOST_EVENTS; count += 1) {
    size += bytes(lines[count]!) + 1;
    if (size > most) break;
  }
  return Math.max(count, Math.min(least, lines.length));
}

function bytes(text: string): number {
  return new TextEncoder().encode(text).length;
}

/** A name that no other page has or had: it is the first part of every id. */
function newName(): string {
  return `page-${Date.now()}-${Math.random().toString(36).slice(2)}${Math.random().toString(36).slice(2)}`;
}

function json(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch {
    return undefined; // It refers to itself, or holds what JSON does not know.
  }
}

/** What of a detail can be told. */
function readable(detail: Detail): Detail {
  return Object.fromEntries(Object.entries(detail).filter(([, value]) => json(value) !== undefined));
}

/** What no server has answered yet, of this page and of those before it. */
function stored(): string[] {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(KEPT) ?? '[]');
    return Array.isArray(found) ? found.filter((line): line is string => typeof line === 'string') : [];
  } catch {
    return []; // Not ours, or a page that may store nothing.
  }
}

/** Keep the last of the lines, as many as there is room for. */
function keep(lines: string[]): void {
  const last = lines.slice(-MOST_EVENTS);
  while (last.length > 0 && bytes(last.join('')) > MOST_BYTES) last.shift();
  try {
    if (last.length > 0) localStorage.setItem(KEPT, JSON.stringify(last));
    else localStorage.removeItem(KEPT);
  } catch {
    // No room, or no storage: memory has them as long as the page lives.
  }
}
