/** The plugin for webpack: each build, and each rebuild while it watches, reports itself. */

import { join } from 'node:path';
import type { Compiler, Module, Stats } from 'webpack';
import { type Activity, type Options, reason, Reports } from './activity.js';
import { type Bundle, bundle, normalised, type Output } from './bundle.js';

export type { Options } from './activity.js';

/** After everybody else: what they do belongs to the build, and may fail it. */
const LAST = { name: 'bers', stage: Number.MAX_SAFE_INTEGER };
const FIRST = { name: 'bers', stage: -Number.MAX_SAFE_INTEGER };

export class BersPlugin {
  constructor(private readonly options: Options = {}) {}

  apply(compiler: Compiler): void {
    const { hooks } = compiler;
    const logger = compiler.getInfrastructureLogger('bers');
    const reports = new Reports('build', this.options, (text) => logger.warn(text));
    let build: Activity | undefined;
    let mark = 0;

    const begin = () => {
      // A change in the midst of a build lets it begin again without an end.
      if (build?.ended !== false) build = reports.begin(compiler.context, { apart: compiler.watchMode });
    };
    const phase = (name: string) => () => void reports.safely(() => {
      build?.phase(name, performance.now() - mark);
      mark = performance.now();
    });
    const start = () => {
      mark = performance.now();
    };

    hooks.beforeRun.tap(FIRST, () => void reports.safely(begin));
    hooks.watchRun.tap(FIRST, () => void reports.safely(begin));
    hooks.make.tap(FIRST, start);
    hooks.finishMake.tap(LAST, phase('make'));
    hooks.afterCompile.tap(LAST, phase('seal'));
    hooks.emit.tap(FIRST, start);
    hooks.afterEmit.tap(LAST, phase('emit'));
    hooks.failed.tap(LAST, (error) => void reports.safely(() => build?.finish('failure', { reason: reason([error]) })));
    hooks.done.tapPromise(LAST, (stats) => reports.safely(async () => {
      const at = performance.now();
      const { errors } = stats.compilation;
      if (stats.hasErrors()) build?.finish('failure', { reason: reason(errors) }, at);
      let found: Bundle | undefined;
      if (build?.told && !build.ended) await reports.safely(async () => (found = await bundle(outputs(stats))));
      build?.finish('success', { ...found, measures: { ...found?.measures, ...cached(stats) } }, at);
      if (!compiler.watchMode) await reports.leave();
    }));
    // Only here can be waited after an error that was fatal.
    hooks.shutdown.tapPromise(LAST, () => reports.safely(() => build && reports.leave()));
  }
}

export default BersPlugin;

/** The share of modules that did not have to be built. Told only where something may be in the cache already. */
function cached({ compilation }: Stats): Record<string, number> {
  const { cache } = compilation.compiler.options;
  if (typeof cache !== 'object' || cache.type !== 'filesystem') return {};
  // Modules that were joined may be among the others, and in the one that they became.
  const all = [...compilation.modules].flatMap((module) => ('modules' in module ? [...(module.modules as Iterable<Module>)] : [module]));
  const files = [...new Set(all)].filter((module) => 'resource' in module); // Others are never built.
  const spared = files.filter((module) => !compilation.builtModules.has(module));
  return files.length > 0 ? { 'cache.hit_rate': (100 * spared.length) / files.length } : {};
}

function outputs({ compilation }: Stats): Output[] {
  const entrypoints = [...compilation.entrypoints.values()];
  const initial = new Set(entrypoints.flatMap((entry) => entry.getFiles()));
  const entries = new Set(entrypoints.flatMap((entry) => [...entry.getEntrypointChunk().files]));
  const { outputFileSystem, outputPath } = compilation.compiler;
  return compilation.getAssets().filter(({ info }) => !info.development).map(({ name, info }) => {
    const file = name.replace(/\?.*$/, '');
    const { contenthash, chunkhash, fullhash } = info;
    return {
      name: file,
      normalised: normalised(file, [contenthash, chunkhash, fullhash].flat().filter((hash) => typeof hash === 'string')),
      entry: entries.has(name),
      initial: initial.has(name),
      read: () => new Promise<Buffer | string>((done, failed) => {
        // Where it was written to: a development server keeps it in memory.
        outputFileSystem!.readFile(join(outputPath, file), (error, content) => (error ? failed(error) : done(content!)));
      }),
    };
  });
}
