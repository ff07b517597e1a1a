/** The emitter: takes events, keeps them before it sends them, and never fails or holds up its caller. */

import * as context from './context.js';
import { Delivery } from './delivery.js';
import { seconds } from './durations.js';
import { encode, type Fields } from './event.js';
import { defaultFolder } from './folder.js';
import { redaction, type Redact } from './redaction.js';
import { Ring } from './ring.js';
import { Sender } from './sender.js';
import { Full, newName, Spool, type Store } from './spool.js';

/** What an emitter is made of; all of it defaults to the environment's. */
export interface Options {
  /** The server; without one the emitter is inert. */
  readonly url?: string | undefined;
  /** The key, sent as a bearer token. The environment's goes to the environment's server alone. */
  readonly token?: string | undefined;
  /** The folder where events wait. */
  readonly spool?: string | undefined;
  /** Where events come from. */
  readonly source?: string | undefined;
  /** Seconds that the end of the process may be held up. */
  readonly budget?: number | undefined;
}

/**
 * Hands events to one server.
 *
 * It is inert without a URL and where the environment says `BERS_EMIT=off`: no file, no request, and `emit` returns
 * false. No method throws.
 */
export class Emitter {
  readonly url: string;
  readonly folder: string;
  readonly source: string;
  readonly budget: number;
  /** How many events had to go: too large, no room, too old. A report follows the next event that finds room. */
  dropped = 0;
  readonly #token: string;
  readonly #redact: Redact;
  readonly #surroundings: context.Surroundings;
  #told = 0;
  #refused = 0;
  #error = '';
  #name = '';
  #count = 0;
  #opened = false;
  #vain = false;
  #ring!: Ring;
  #spool: Spool | undefined;
  #sender!: Sender;

  constructor(options: Options = {}) {
    const environ = process.env;
    const off = ['off', '0', 'false', 'no'].includes((environ.BERS_EMIT ?? '').toLowerCase());
    const url = options.url ?? environ.BERS_EMIT_URL ?? '';
    this.url = off ? '' : url.replace(/\/+$/, '');
    this.folder = options.spool ?? defaultFolder(environ);
    this.source = options.source ?? context.source(environ);
    this.budget = options.budget ?? budget(environ);
    this.#token = options.token ?? (url === environ.BERS_EMIT_URL ? environ.BERS_EMIT_TOKEN : undefined) ?? '';
    this.#redact = redaction(environ, this.#token);
    this.#surroundings = new context.Surroundings(this.url ? environ : {});
    this.#begin();
  }

  /**
   * Keep an event and send it soon; false says that it was not kept. Costs microseconds, and never throws.
   *
   * Fields are those of the event, and the runbook's own: `{duration, environment, phases, successRate, ...}`. In a CI
   * system `vcs` and `run` are filled in, as far as they are not given.
   */
  emit(type: string, fields: Fields = {}): boolean {
    if (!this.url || typeof type !== 'string' || !type) return false;
    const before = this.dropped;
    let kept: boolean;
    try {
      kept = this.#keep(type, fields);
    } catch {
      // Whatever is wrong with an event, the caller's work goes on.
      this.dropped += 1;
      return false;
    }
    // Where this one took the place of another there is no room for a report.
    if (kept && before > this.#told && this.dropped === before) {
      const lost = before - this.#told;
      this.#told = before;
      this.emit('emitter.report', { measures: { dropped: lost } });
    }
    return kept;
  }

  /** An event as it would be sent, redacted and completed, with an id that is not counted. */
  shown(type: string, fields: Fields): Buffer {
    return encode(type, `${this.#name}-0`, this.source, this.#surroundings.complete(fields), this.#redact);
  }

  /** Send now, for at most so many seconds (default: the budget); true says that all of ours is answered. */
  async flush(deadline: number = this.budget): Promise<boolean> {
    if (!this.url) return false;
    try {
      await this.#sender.flush(deadline);
      this.#vain = !this.#empty();
      return !this.#vain;
    } catch {
      return false; // The disk fails: what it has, it has.
    }
  }

  /** Flush within the budget; what cannot be sent stays in the spool for whoever emits next. */
  async close(): Promise<boolean> {
    const answered = this.#opened ? await this.flush() : true;
    this.#part();
    return answered;
  }

  /** How many of our events the server refused for good; they lie in the folder's `dead`. */
  get refused(): number {
    return this.#refused + this.#sender.refused;
  }

  /** Why nothing can be delivered, else why the server last refused something; empty when all goes well. */
  get error(): string {
    return this.#sender.error || this.#sender.refusal || this.#error;
  }

  #keep(type: string, fields: Fields): boolean {
    if (!this.#opened) this.#open();
    if (this.#vain && this.#empty()) this.#vain = false; // All of it came through later: the server is back.
    const id = `${this.#name}-${this.#count++}`;
    const line = encode(type, id, this.source, this.#surroundings.complete(fields), this.#redact);
    try {
      if (!this.#spool) throw new Error('the disk refused the spool');
      this.#spool.append(line);
    } catch (error) {
      if (error instanceof Full) {
        this.dropped += 1;
        return false;
      }
      this.dropped += this.#ring.append(line);
    }
    this.#sender.wake();
    return true;
  }

  #open(): void {
    this.#opened = true;
    process.on('beforeExit', this.#beforeExit);
    process.on('exit', this.#atExit);
    try {
      this.#spool = Spool.create(this.folder, this.#name);
    } catch {
      // The ring takes what the disk does not.
    }
  }

  /** The program has no more to do: give the server the budget. It does not come to this after process.exit(). */
  readonly #beforeExit = (): void => {
    // What was tried in vain is not tried once more: the process would come back here for ever. Nor is what somebody
    // has already waited for: the budget is for the whole end of the process.
    if (!this.#empty() && !this.#vain && !this.#sender.hopeless(this.budget)) void this.close();
  };

  readonly #atExit = (): void => this.#part();

  #part(): void {
    try {
      process.off('beforeExit', this.#beforeExit);
      process.off('exit', this.#atExit);
      this.#sender.stop();
      this.#spool?.close();
      if (!this.#ring.empty) Spool.leave(this.folder, newName(), this.#ring.take());
    } catch {
      // The disk fails to the last: what memory had is gone with the process.
    }
    this.#refused = this.refused;
    this.#error = this.error;
    this.#begin();
  }

  /** A name, numbers, a spool and a sender of its own; the latter two when they are needed. */
  #begin(): void {
    this.#opened = false;
    this.#name = newName();
    this.#count = 0;
    this.#ring = new Ring(this.#name);
    this.#spool = undefined;
    this.#sender = new Sender(new Delivery(this.url, this.#token, Math.max(this.budget, 0.5)), this.folder, {
      stores: () => this.#stores(),
      own: () => new Set(this.#spool ? [this.#spool.path] : []),
      lost: (count) => (this.dropped += count),
    });
  }

  #stores(): readonly Store[] {
    return this.#spool ? [this.#spool, this.#ring] : [this.#ring];
  }

  #empty(): boolean {
    try {
      return this.#stores().every((store) => store.empty);
    } catch {
      return false;
    }
  }
}

const processEmitters = new Map<string, Emitter>();

/** The emitter that BERS_EMIT_URL, BERS_EMIT_TOKEN and BERS_EMIT_SPOOL describe now: one for the whole process. */
export function processEmitter(): Emitter {
  const { BERS_EMIT_URL, BERS_EMIT_TOKEN, BERS_EMIT_SPOOL } = process.env;
  const key = JSON.stringify([BERS_EMIT_URL, BERS_EMIT_TOKEN, BERS_EMIT_SPOOL]);
  let found = processEmitters.get(key);
  if (!found) processEmitters.set(key, (found = new Emitter()));
  return found;
}

/** An emitter of one's own. Without options it is what the environment describes. */
export function emitter(options: Options = {}): Emitter {
  return new Emitter(options);
}

/** Keep an event and send it soon, to the server that the environment names: `Emitter.emit`. */
export function emit(type: string, fields: Fields = {}): boolean {
  return processEmitter().emit(type, fields);
}

/** Send now what `emit` kept: `Emitter.flush`. */
export function flush(deadline?: number): Promise<boolean> {
  return processEmitter().flush(deadline);
}

/** Seconds that the end of a process may be held up. */
function budget(environ: NodeJS.ProcessEnv): number {
  return seconds(environ.BERS_EMIT_BUDGET ?? '') ?? (context.inCi(environ) ? 3 : 1);
}
