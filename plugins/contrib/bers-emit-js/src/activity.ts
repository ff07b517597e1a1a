/** What takes time in a tool, a build or a run of tests: its beginning and its end, each told once. */

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { emitter, type Emitter, type Options as EmitterOptions, processEmitter } from './emitter.js';
import type { Fields, Outcome } from './event.js';
import { Around, inTest } from './parts.js';

/** What the plugins and reporters may be told; all of it may be left out. */
export interface Options extends EmitterOptions {
  /** What is built or tested; default: the name in `package.json`. */
  readonly name?: string | undefined;
  /** The environment that it is for. */
  readonly environment?: string | undefined;
}

const KINDS = { build: 'build', testsuiterun: 'suite' } as const;

/** Of how many parts of phases it is told when they began. */
const MOST_PARTS = 200;

/** What somebody stops a process with, by number. */
const STOPPING: Readonly<Record<number, string>> = { 1: 'SIGHUP', 2: 'SIGINT', 3: 'SIGQUIT', 15: 'SIGTERM' };

/** Who did not answer in time: nobody waits for them again. */
const silent = new WeakSet<object>();

/** What is needed of an emitter. */
type Sender = Pick<Emitter, 'emit' | 'flush' | 'shown' | 'url'>;

/** The emitter that the environment describes, whenever it is asked. */
const shared: Sender = {
  emit: (type, fields) => processEmitter().emit(type, fields),
  flush: (deadline) => processEmitter().flush(deadline),
  shown: (type, fields) => processEmitter().shown(type, fields),
  get url() {
    return processEmitter().url;
  },
};

/** What one plugin or reporter has to do with the server; `safely` is around all of it. */
export class Reports {
  #emitter: Sender | undefined;
  #warned = false;
  readonly #tested = inTest(process.env);

  /** `warn` is the tool's own way to say something. */
  constructor(
    private readonly kind: keyof typeof KINDS,
    private readonly options: Options,
    private readonly warn: (text: string) => void,
  ) {}

  /** Do our part of a hook: what goes wrong is said once, and is no fault of the tool's. */
  async safely(work: () => unknown): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!this.#warned) this.warn(`@bers/emit: this ${this.kind} is not reported in full: ${String(error)}`);
      this.#warned = true;
    }
  }

  /**
   * Begin now, or when `performance.now()` was `since`. `folder` is where its `package.json` lies; name and environment
   * are those that the tool knows, for those who told none.
   */
  begin(folder: string, known: Begun = {}): Activity {
    const { BERS_PARENT: parent, BERS_CHAIN: chain } = process.env;
    const environment = this.options.environment ?? known.environment;
    const name = [this.options.name || known.name || projectName(folder), known.part].filter(Boolean).join('/');
    const subject = `${name}/${randomBytes(6).toString('hex')}`;
    const emitter = this.#reporter();
    const around = known.apart || this.#tested ? undefined : Around.of(this.kind, emitter.url, process.env);
    const above = around?.subject ?? parent;
    const fields: Fields = {
      subject,
      chain: around?.chain || chain || parent || subject,
      labels: { [KINDS[this.kind]]: name },
      ...(environment ? { environment } : {}),
    };
    const since = known.since ?? performance.now();
    return new Activity(this.kind, fields, above ? { parent: above } : {}, emitter, since, around);
  }

  /** Wait until the events are delivered: for as long as the end of a process may be held up, and in vain only once. */
  async leave(): Promise<void> {
    const emitter = this.#reporter();
    if (silent.has(emitter)) return;
    if (!(await emitter.flush())) silent.add(emitter);
  }

  #reporter(): Sender {
    if (this.#emitter) return this.#emitter;
    const { url, token, spool, source, budget } = this.options;
    const own = [url, token, spool, source, budget].some((option) => option !== undefined);
    return (this.#emitter = own ? emitter({ url, token, spool, source, budget }) : shared);
  }
}

/** What a tool knows of what begins. */
export interface Begun {
  readonly since?: number | undefined;
  readonly name?: string | undefined;
  readonly environment?: string | undefined;
  /** Which part of it, where it has several. */
  readonly part?: string | undefined;
  /** Whether it is one of many that follow from changes: each is told by itself, inside of a run, too. */
  readonly apart?: boolean | undefined;
}

/** A build or a run of tests that is under way. */
export class Activity {
  ended = false;
  /** Whether anybody listens: else nothing needs to be found out. */
  readonly told: boolean;
  readonly #phases = new Map<string, number>();
  /** Each part of a phase: when it began, in milliseconds since 1970, and how long it took. */
  readonly #timeline: { readonly phase: string; readonly start: number; readonly ms: number }[] = [];

  constructor(
    private readonly kind: string,
    private readonly fields: Fields,
    private readonly data: Readonly<Record<string, unknown>>,
    private readonly emitter: Sender,
    private readonly since: number,
    private readonly around?: Around,
  ) {
    const time = new Date(Date.now() - (performance.now() - since));
    this.told = around !== undefined || emitter.emit(`${kind}.started`, { ...fields, time, data });
    // Before the emitter's own listener, which closes the spool.
    if (this.told) process.prependOnceListener('exit', this.#cutShort);
  }

  /** A phase has taken so many milliseconds more, up to now. */
  phase(name: string, milliseconds: number): void {
    this.#phases.set(name, (this.#phases.get(name) ?? 0) + milliseconds);
    if (this.#timeline.length < MOST_PARTS) this.#timeline.push({ phase: name, start: Date.now() - milliseconds, ms: milliseconds });
  }

  /** It ended when `performance.now()` was `at`; a second end is none. */
  finish(outcome: Outcome, more: Fields & { data?: Readonly<Record<string, unknown>> } = {}, at = performance.now()): void {
    if (this.ended) return;
    this.ended = true;
    process.off('exit', this.#cutShort);
    const phases = [...this.#phases].map(([name, took]) => [`phase.${name}`, took] as const);
    this.#end({
      ...this.fields,
      ...more,
      outcome,
      time: new Date(Date.now() - (performance.now() - at)),
      duration_ms: at - this.since,
      measures: { ...Object.fromEntries(phases), ...more.measures },
      data: { ...this.data, ...(this.#timeline.length > 0 ? { timeline: this.#timeline } : {}), ...more.data },
    });
  }

  /** Let the run around us tell it; where that was killed, this is its end, and where it has ended, one of our own. */
  #end(fields: Fields & { data: Readonly<Record<string, unknown>> }): void {
    const type = `${this.kind}.finished`;
    const told = this.around?.tell(this.emitter.shown(type, fields)) ?? 'gone';
    if (told === 'gone') this.emitter.emit(type, fields);
    if (told !== 'left') return;
    const { subject, name } = this.around!;
    const { parent: _, ...data } = fields.data;
    const labels = Object.fromEntries(Object.entries(fields.labels ?? {}).map(([label, own]) => [label, name || own]));
    this.emitter.emit(type, { ...fields, subject, labels, data });
  }

  /** The process ends before the tool has said how it went. */
  readonly #cutShort = (code: number): void => {
    const signal = STOPPING[code - 128];
    if (signal) this.finish('cancel', { reason: `stopped by ${signal}` });
    else this.finish(code ? 'failure' : 'error', { reason: `the process ended with exit code ${code} before it was done` });
  };
}

/** An error in the words of its tool, without its colours and its stack; the first of many speaks for all. */
export function reason(errors: readonly unknown[]): string {
  const [first] = errors;
  const text = first instanceof Error ? first.message : String((first as { message?: unknown } | undefined)?.message ?? first);
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
  return text.replace(/\u001b\[[\d;]*m/g, '').replace(/\n\s+at .*/g, '').trim().slice(0, 2000) + more;
}

function projectName(folder: string): string {
  try {
    const { name } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { name?: unknown };
    if (typeof name === 'string' && name) return name;
  } catch {
    // There is none, or it is none of JSON's: the folder has a name too.
  }
  return basename(folder) || 'unknown';
}
