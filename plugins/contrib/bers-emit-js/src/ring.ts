/** Where events wait when the disk refuses them: the last thousand, in memory. */

import { BATCH_BYTES, BATCH_EVENTS, type Store } from './spool.js';

export const MAX_EVENTS = 1000;

/** Takes every event; the oldest goes when there is no room. */
export class Ring implements Store {
  #lines: Buffer[] = [];
  #taken = 0;

  constructor(readonly name: string) {}

  /** Keep the event; return how many had to go. */
  append(line: Buffer): number {
    this.#lines.push(line);
    if (this.#lines.length <= MAX_EVENTS) return 0;
    this.#lines.shift();
    this.#taken = Math.max(0, this.#taken - 1);
    return 1;
  }

  batch(): Buffer[] {
    let size = 0;
    const lines = this.#lines.slice(0, BATCH_EVENTS).filter((line) => (size += line.length) <= BATCH_BYTES);
    this.#taken = lines.length;
    return lines.map((line) => line.subarray(0, -1));
  }

  done(): void {
    this.#lines.splice(0, this.#taken);
    this.#taken = 0;
  }

  /** All that waits, with line ends; nothing waits any more. */
  take(): Buffer[] {
    return this.#lines.splice(0);
  }

  get empty(): boolean {
    return this.#lines.length === 0;
  }
}
