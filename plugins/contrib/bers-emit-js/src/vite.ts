/** The plugin for vite: each build, and each rebuild of `vite build --watch`, reports itself. */

import { dirname, resolve } from 'node:path';
import type { Plugin, ResolvedConfig } from 'vite';
import { type Activity, type Options, reason, Reports } from './activity.js';
import { bundle, type Output } from './bundle.js';
import { outputs } from './chunks.js';

export type { Options } from './activity.js';

/** One build of one of vite's environments. */
class Build {
  readonly errors: unknown[] = [];
  rendered = 0;
  written = 0;
  /** By path: several outputs may have files in common. */
  readonly outputs = new Map<string, Output>();
  closing: Promise<void> | undefined;
  #mark = performance.now();

  constructor(readonly activity: Activity) {}

  add(folder: string, files: readonly Output[]): void {
    this.written += 1;
    for (const file of files) this.outputs.set(resolve(folder, file.name), file);
  }

  mark(): void {
    this.#mark = performance.now();
  }

  phase(name: string): void {
    this.activity.phase(name, performance.now() - this.#mark);
    this.mark();
  }
}

/** Reports the builds that vite makes; what it serves in development is none. It belongs at the end of `plugins`. */
export function bers(options: Options = {}): Plugin {
  const builds = new Map<string, Build>();
  let config: ResolvedConfig;
  let reports: Reports;
  let resolved: number | undefined;

  const begin = (environment = 'client') => {
    // With several outputs it begins once more for each, and ends once.
    if (builds.get(environment)?.activity.ended === false) return builds.get(environment)!.mark();
    const part = environment === 'client' ? undefined : environment;
    const known = { since: resolved, environment: config.mode, part, apart: Boolean(config.build.watch) };
    builds.set(environment, new Build(reports.begin(config.root, known)));
    resolved = undefined;
  };
  const during = (environment: { name: string } | undefined, work: (build: Build) => unknown) => {
    const build = builds.get(environment?.name ?? 'client');
    return reports.safely(() => build && work(build));
  };

  return {
    name: 'bers',
    apply: 'build',
    enforce: 'post',
    configResolved(found) {
      config = found;
      // One of several environments is resolved long before its turn comes.
      resolved = found.builder ? undefined : performance.now();
      reports = new Reports('build', options, (text) => found.logger.warn(text));
    },
    buildStart: {
      order: 'pre',
      handler() {
        void reports.safely(() => begin(this.environment?.name));
      },
    },
    buildEnd(error) {
      void during(this.environment, (build) => (error ? build.errors.push(error) : build.phase('transform')));
    },
    renderStart: {
      order: 'pre',
      handler() {
        void during(this.environment, (build) => {
          build.rendered += 1;
          build.mark();
        });
      },
    },
    renderError(error) {
      void during(this.environment, (build) => build.errors.push(error ?? 'it was not rendered'));
    },
    generateBundle: {
      order: 'post',
      handler(_, files) {
        void during(this.environment, (build) => {
          build.phase('render');
          if (config.build.write) return;
          build.add('', outputs(Object.values(files)));
        });
      },
    },
    writeBundle: {
      order: 'post',
      sequential: true, // After those of others: where one of them fails, this is not called.
      async handler({ dir, file }, files) {
        await during(this.environment, (build) => {
          build.phase('write');
          const folder = resolve(config.root, dir ?? (file ? dirname(file) : config.build.outDir));
          build.add(folder, outputs(Object.values(files), folder));
        });
      },
    },
    closeBundle: {
      order: 'post',
      sequential: true,
      async handler(error?: unknown) {
        await during(this.environment, (build) => {
          if (error) build.errors.push(error);
          // After an error it comes twice, and only the second is waited for.
          return (build.closing ??= close(build, reports, Boolean(config.build.watch)));
        });
      },
    },
  };
}

async function close(build: Build, reports: Reports, watching: boolean): Promise<void> {
  const { activity, errors, rendered, written } = build;
  const at = performance.now();
  if (errors.length > 0) activity.finish('failure', { reason: reason([errors[0]]) }, at);
  else if (written === 0 || written < rendered) {
    activity.finish('failure', { reason: 'it ended before everything was written' }, at);
  } else {
    let found = {};
    if (activity.told) await reports.safely(async () => (found = await bundle(build.outputs.values())));
    activity.finish('success', found, at);
  }
  if (!watching) await reports.leave();
}
