/** The sender: hands over what its process spooled, then what dead processes left, and keeps no process alive. */

import { type Delivery, Later, Unreachable } from './delivery.js';
import * as folders from './folder.js';
import type { Store } from './spool.js';

const LINGER_MS = 50; // Events that come together travel together.
const ADOPT_EVERY_MS = 30_000;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 60_000;

/** What a sender asks of the emitter that it works for. */
export interface Owner {
  /** What the process itself has to send. */
  stores(): readonly Store[];
  /** Files that are the process's own. */
  own(): ReadonlySet<string>;
  /** Hears of events that had to go. */
  lost(count: number): void;
}

/** Sends in the background; tries again later, and ever later, while the server does not answer. */
export class Sender {
  /** Why nothing can be delivered now; empty when all goes well. */
  error = '';
  /** Why the server last refused something for good. */
  refusal = '';
  /** How many events the server refused for good. */
  refused = 0;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #stopped = false;
  #failures = 0;
  #held = false;
  #unreachable = false;
  #failed = 0;
  #next = 0;
  #adopted = -ADOPT_EVERY_MS;

  constructor(private readonly delivery: Delivery, private readonly folder: string, private readonly owner: Owner) {}

  /** There is something to send. */
  wake(): void {
    if (this.#timer || this.#running || this.#stopped) return;
    const wait = Math.max(LINGER_MS, this.#next - performance.now());
    this.#timer = setTimeout(() => void this.#try(false), wait).unref();
  }

  /** Try now; return when all is answered, when no more can be done now, or when the seconds are over. */
  async flush(seconds: number): Promise<void> {
    const end = performance.now() + seconds * 1000;
    for (let tried = false; !this.#stopped && performance.now() < end; ) {
      if (!this.#running) {
        if (tried && (this.#failures === 0 || this.#unreachable)) return;
        if (tried || this.#held) {
          if (this.#next > end) return;
          await until(this.#next, undefined);
        }
        void this.#try(true);
        tried = true;
      }
      await until(end, this.#running);
    }
  }

  /** Whether nobody answered so lately that one more attempt is not worth a wait. */
  hopeless(seconds: number): boolean {
    return this.#unreachable && performance.now() - this.#failed < seconds * 1000;
  }

  /** Send no more. A request on its way is not waited for: its events keep their ids. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.delivery.close();
  }

  #try(asked: boolean): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    return (this.#running ??= this.#attempt(asked).finally(() => {
      this.#running = undefined;
      this.delivery.close();
      if (this.#failures > 0 || this.owner.stores().some((store) => !store.empty)) this.wake();
    }));
  }

  async #attempt(asked: boolean): Promise<void> {
    try {
      await this.#sendAll(asked);
      [this.#failures, this.#held, this.#unreachable, this.#next, this.error] = [0, false, false, 0, ''];
    } catch (error) {
      // Nobody answers, or the disk fails: both may pass.
      const after = error instanceof Later ? error.after : undefined;
      this.error = error instanceof Later || error instanceof Unreachable ? error.message : String(error);
      this.#failures += 1;
      this.#held = after !== undefined;
      this.#unreachable = !(error instanceof Later);
      this.#failed = performance.now();
      const backOff = Math.min(FIRST_RETRY_MS * 2 ** (this.#failures - 1), LAST_RETRY_MS);
      // Those who failed together do not come back together.
      this.#next = this.#failed + (after === undefined ? backOff * (0.8 + 0.4 * Math.random()) : after * 1000);
    }
  }

  async #sendAll(asked: boolean): Promise<void> {
    await this.#sendOwn();
    if (!asked && performance.now() - this.#adopted < ADOPT_EVERY_MS) return;
    this.#adopted = performance.now();
    const lost = await folders.prune(this.folder);
    if (lost > 0) this.owner.lost(lost);
    for await (const orphan of folders.orphans(this.folder, this.owner.own())) {
      try {
        await this.#drain(orphan, true);
      } finally {
        orphan.close();
      }
      await this.#sendOwn();
    }
  }

  async #sendOwn(): Promise<void> {
    for (const store of this.owner.stores()) await this.#drain(store, false);
  }

  async #drain(store: Store, check: boolean): Promise<void> {
    while (!this.#stopped) {
      const lines = store.batch();
      if (lines.length === 0) return;
      const bad = check ? lines.filter((line) => !isObject(line)) : [];
      const good = check ? lines.filter((line) => !bad.includes(line)) : lines;
      const refused = good.length > 0 ? await this.delivery.post(good) : [];
      this.#bury([
        ...refused.map(([index, reason]) => [good[index]!, reason] as const),
        ...bad.map((line) => [line, 'not a JSON object'] as const),
      ]);
      store.done();
    }
  }

  #bury(refused: ReadonlyArray<readonly [Buffer, string]>): void {
    if (refused.length === 0) return;
    this.refused += refused.length;
    this.refusal = refused[0]![1];
    try {
      folders.bury(this.folder, refused);
    } catch {
      this.owner.lost(refused.length);
    }
  }
}

/** Wait for something, at most until a moment; this wait alone keeps the process alive. */
async function until(moment: number, something: Promise<void> | undefined): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, Math.max(0, moment - performance.now()));
  });
  await (something ? Promise.race([something, over]) : over);
  clearTimeout(timer);
}

/** Whether the line is sound: a file that a crash of the machine has cut must not spoil a batch. */
function isObject(line: Buffer): boolean {
  try {
    const found: unknown = JSON.parse(line.toString());
    return typeof found === 'object' && found !== null && !Array.isArray(found);
  } catch {
    return false;
  }
}
