/** How a run of tests went: counts, and the names of a few that one wants to know first. */

import type { Outcome } from './event.js';

const MAX_NAMED = 20;
const MAX_NAME = 300;

/** What may become of a test; `errored` is also a file that could not be run. */
export type Status = 'passed' | 'failed' | 'errored' | 'skipped';

export class Suite {
  readonly #counts: Record<Status | 'flaky', number> = { passed: 0, failed: 0, errored: 0, skipped: 0, flaky: 0 };
  readonly #failed: string[] = [];
  readonly #flaky: string[] = [];
  #slowest: { name: string; ms: number }[] = [];

  /** Count a test, or a file; `flaky` is one that failed and passed when it was tried again. */
  add(status: Status, name: string, milliseconds = 0, flaky = false): void {
    const called = name.slice(0, MAX_NAME);
    this.#counts[status] += 1;
    if ((status === 'failed' || status === 'errored') && this.#failed.length < MAX_NAMED) this.#failed.push(called);
    if (flaky) {
      this.#counts.flaky += 1;
      if (this.#flaky.length < MAX_NAMED) this.#flaky.push(called);
    }
    if (milliseconds > 0) this.#slowest.push({ name: called, ms: Math.round(milliseconds * 1000) / 1000 });
    if (this.#slowest.length > 50 * MAX_NAMED) this.#slowest = this.#slow();
  }

  get bad(): number {
    return this.#counts.failed + this.#counts.errored;
  }

  get total(): number {
    const { passed, failed, errored, skipped } = this.#counts;
    return passed + failed + errored + skipped;
  }

  /** What the end of the run says; `asTold` is what the runner itself makes of it, where that is more than the counts. */
  end(asTold?: { outcome: Outcome; reason?: string | undefined }): { outcome: Outcome; reason?: string; measures: Record<string, number>; data: Record<string, unknown> } {
    const executed = this.total - this.#counts.skipped;
    const none = this.total === 0;
    const counted = this.bad > 0
      ? { outcome: 'failure' as const, reason: `${this.bad} of ${executed} tests did not pass` }
      : none ? { outcome: 'error' as const, reason: 'no tests ran' } : { outcome: 'success' as const };
    const { outcome, reason } = asTold ?? counted;
    const said = reason ?? counted.reason;
    return {
      outcome,
      ...(said && outcome !== 'success' ? { reason: said } : {}),
      measures: none ? {} : {
        'tests.total': this.total,
        ...Object.fromEntries(Object.entries(this.#counts).map(([name, count]) => [`tests.${name}`, count])),
      },
      data: {
        ...(this.#failed.length > 0 ? { failed: this.#failed } : {}),
        ...(this.#flaky.length > 0 ? { flaky: this.#flaky } : {}),
        ...(this.#slowest.length > 0 ? { slowest: this.#slow() } : {}),
      },
    };
  }

  #slow(): { name: string; ms: number }[] {
    return [...this.#slowest].sort((one, other) => other.ms - one.ms).slice(0, MAX_NAMED);
  }
}
