/** The reporter for jest: each run of the tests, and each further one while it watches, reports itself. */

import { relative } from 'node:path';
import type { AggregatedResult, Config, Reporter, TestContext } from '@jest/reporters';
import { type Activity, type Options, Reports } from './activity.js';
import { type Status, Suite } from './suite.js';

export type { Options } from './activity.js';

/** `pending`, `skipped`, `todo` and `disabled` are all tests that did not run. */
const STATUS: Readonly<Record<string, Status>> = { passed: 'passed', failed: 'failed' };

export default class BersReporter implements Pick<Reporter, 'onRunStart' | 'onRunComplete'> {
  readonly #folder: string;
  readonly #watching: boolean;
  readonly #reports: Reports;
  #run: Activity | undefined;

  constructor(config: Config.GlobalConfig, options: Options = {}) {
    this.#folder = config.rootDir;
    this.#watching = config.watch || config.watchAll;
    this.#reports = new Reports('testsuiterun', options, console.warn);
  }

  onRunStart({ startTime }: AggregatedResult): void {
    void this.#reports.safely(() => {
      const since = performance.now() - Math.max(0, Date.now() - startTime);
      this.#run = this.#reports.begin(this.#folder, { since, apart: this.#watching });
    });
  }

  async onRunComplete(_: Set<TestContext>, results: AggregatedResult): Promise<void> {
    await this.#reports.safely(async () => {
      const at = performance.now();
      const suite = new Suite();
      for (const file of results.testResults) {
        for (const test of file.testResults) {
          const status = STATUS[test.status] ?? 'skipped';
          const again = status === 'passed' && (test.invocations ?? 1) > 1;
          suite.add(status, test.fullName, test.duration ?? 0, again);
        }
        // The file itself could not be run, or what is around its tests failed.
        const failed = file.testResults.some(({ status }) => status === 'failed');
        if (!failed && (file.testExecError || file.failureMessage)) {
          suite.add('errored', relative(this.#folder, file.testFilePath));
        }
      }
      const { outcome, ...more } = suite.end(told(results, suite));
      this.#run?.finish(outcome, more, at);
      if (!this.#watching) await this.#reports.leave();
    });
  }
}

/** What jest makes of the run where it is not what the counts say; `success` it sets only later. */
function told(results: AggregatedResult, suite: Suite): Parameters<Suite['end']>[0] {
  if (results.wasInterrupted) return { outcome: 'cancel', reason: 'the run was interrupted' };
  if (suite.bad === 0 && results.snapshot.failure) return { outcome: 'failure', reason: 'snapshots are obsolete' };
  return undefined;
}
