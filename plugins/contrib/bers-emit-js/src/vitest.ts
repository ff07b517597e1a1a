/** The reporter for vitest: each run of the tests, and each further one while it watches, reports itself. */

import { relative } from 'node:path';
import type { Reporter, SerializedError, TestModule, TestRunEndReason, Vitest } from 'vitest/node';
import { type Activity, type Options, reason as worded, Reports } from './activity.js';
import { type Status, Suite } from './suite.js';

export type { Options } from './activity.js';

const STATUS: Readonly<Record<string, Status>> = { passed: 'passed', failed: 'failed' };

export default class BersReporter implements Reporter {
  readonly #options: Options;
  #vitest: Vitest | undefined;
  #reports: Reports | undefined;
  #run: Activity | undefined;
  #since: number | undefined;

  constructor(options: Options = {}) {
    this.#options = options;
  }

  onInit(vitest: Vitest): void {
    this.#since = performance.now();
    this.#vitest = vitest;
    this.#reports = new Reports('testsuiterun', this.#options, (text) => vitest.logger.warn(text));
  }

  onTestRunStart(): void {
    void this.#reports?.safely(() => {
      const { name, root, watch } = this.#vitest!.config;
      this.#run = this.#reports!.begin(root, { name, since: this.#since, apart: watch });
      this.#since = undefined; // The next run begins when it begins.
    });
  }

  async onTestRunEnd(modules: readonly TestModule[], errors: readonly SerializedError[], end: TestRunEndReason): Promise<void> {
    await this.#reports?.safely(async () => {
      const at = performance.now();
      const suite = new Suite();
      for (const module of modules) count(module, suite, this.#vitest!.config.root);
      const { outcome, ...more } = suite.end(told(suite, errors, end));
      this.#run?.finish(outcome, more, at);
      if (!this.#vitest!.config.watch) await this.#reports!.leave();
    });
  }
}

/** What vitest makes of the run where it is not what the counts say. */
function told(suite: Suite, errors: readonly SerializedError[], end: TestRunEndReason): Parameters<Suite['end']>[0] {
  if (end === 'interrupted') return { outcome: 'cancel', reason: 'the run was interrupted' };
  if (errors.length > 0 && suite.bad === 0) return { outcome: 'failure', reason: worded(errors) };
  if (end === 'passed') return { outcome: 'success' }; // Also without any test, where that is allowed.
  return suite.bad > 0 || suite.total === 0 ? undefined : { outcome: 'failure', reason: 'vitest says that the run failed' };
}

function count(module: TestModule, suite: Suite, folder: string): void {
  let failed = false;
  for (const test of module.children.allTests()) {
    const { state } = test.result();
    const found = test.diagnostic();
    failed ||= state === 'failed';
    suite.add(STATUS[state] ?? 'skipped', test.fullName, found?.duration, found?.flaky);
  }
  // The file itself could not be run, or what is around its tests failed.
  if (module.state() === 'failed' && !failed) suite.add('errored', relative(folder, module.moduleId));
}
