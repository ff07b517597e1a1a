/** The plugin for esbuild: each build, and each rebuild while it watches, reports itself. */

import { readFile } from 'node:fs/promises';
import { dirname, relative, resolve } from 'node:path';
import type { BuildOptions, BuildResult, Message, Plugin } from 'esbuild';
import { type Activity, type Options, reason, Reports } from './activity.js';
import { bundle, type Output } from './bundle.js';

export type { Options } from './activity.js';

/** Reports the builds that esbuild makes. It belongs at the end of `plugins`: what fails after it, it does not see. */
export function bers(options: Options = {}): Plugin {
  return {
    name: 'bers',
    setup(build) {
      const { initialOptions } = build;
      const folder = initialOptions.absWorkingDir ?? process.cwd();
      const reports = new Reports('build', options, console.warn);
      let activity: Activity | undefined;
      initialOptions.metafile = true; // Nothing else says which files there are.

      // What begins again follows from a change.
      build.onStart(() => reports.safely(() => (activity = reports.begin(folder, { apart: activity !== undefined }))));
      build.onEnd((result) => reports.safely(async () => {
        const at = performance.now();
        if (result.errors.length > 0) {
          activity?.finish('failure', { reason: reason(result.errors.map(located)) }, at);
        } else {
          let found = {};
          if (activity?.told) {
            await reports.safely(async () => (found = await bundle(outputs(result, initialOptions, folder))));
          }
          activity?.finish('success', found, at);
        }
        await reports.leave();
      }));
    },
  };
}

function located({ text, location }: Message): string {
  return location ? `${location.file}:${location.line}:${location.column}: ${text}` : text;
}

function outputs({ metafile, outputFiles }: BuildResult, options: BuildOptions, folder: string): Output[] {
  const files = metafile?.outputs ?? {};
  const asked = new Set(entryPoints(options).map((point) => relative(folder, resolve(folder, point)).replaceAll('\\', '/')));
  // Whatever is imported later is an entry point to esbuild, too.
  const later = new Set(Object.values(files).flatMap(({ imports }) =>
    imports.filter(({ kind }) => kind === 'dynamic-import').map(({ path }) => path)));
  const entries = Object.keys(files).filter((name) => {
    const point = files[name]!.entryPoint;
    return point !== undefined && (!later.has(name) || asked.has(point));
  });
  const initial = new Set<string>();
  const load = (name: string) => {
    if (initial.has(name)) return;
    initial.add(name);
    for (const { path, kind } of files[name]?.imports ?? []) if (kind === 'import-statement') load(path);
    if (files[name]?.cssBundle) load(files[name].cssBundle);
  };
  entries.forEach(load);
  const below = resolve(folder, options.outdir ?? (options.outfile ? dirname(options.outfile) : '.'));
  const inMemory = new Map(outputFiles?.map(({ path, contents }) => [path, contents]));
  return Object.keys(files).map((file) => {
    const path = resolve(folder, file);
    const name = relative(below, path).replaceAll('\\', '/');
    return {
      name,
      normalised: name.replace(/(^|[-._/])[A-Z2-7]{8}(?=\.)/g, '$1*'),
      entry: entries.includes(file),
      initial: initial.has(file),
      read: () => inMemory.get(path) ?? readFile(path),
    };
  });
}

function entryPoints({ entryPoints: points = [] }: BuildOptions): string[] {
  if (!Array.isArray(points)) return Object.values(points);
  return points.map((point) => (typeof point === 'string' ? point : point.in));
}
