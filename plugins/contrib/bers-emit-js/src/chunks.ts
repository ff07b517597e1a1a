/** What rollup and rolldown call their chunks and assets, as the files of a build. */

import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { normalised, type Output } from './bundle.js';

/** What of both is looked at; `viteMetadata` is what vite adds. */
export interface File {
  readonly type: 'chunk' | 'asset';
  readonly fileName: string;
  readonly isEntry?: boolean;
  readonly imports?: readonly string[];
  readonly preliminaryFileName?: string;
  readonly viteMetadata?: { readonly importedCss?: ReadonlySet<string> };
  readonly code?: string;
  readonly source?: string | Uint8Array;
}

/** `folder` is where they were written to; without one they are still in memory. */
export function outputs(files: readonly File[], folder?: string): Output[] {
  const initial = loaded(files);
  return files.map((file) => ({
    name: file.fileName,
    normalised: file.type === 'chunk' ? withoutHash(file) : normalised(file.fileName),
    entry: file.isEntry,
    initial: initial.has(file.fileName),
    read: () => (folder === undefined ? file.code ?? file.source ?? '' : readFile(resolve(folder, file.fileName))),
  }));
}

/** A chunk says where its hash will be. */
function withoutHash({ fileName, preliminaryFileName = fileName }: File): string {
  return preliminaryFileName.replace(/!~\{\w+\}~/g, '*');
}

/** What entries need before anything happens. */
function loaded(files: readonly File[]): ReadonlySet<string> {
  const named = new Map(files.map((file) => [file.fileName, file]));
  const found = new Set<string>();
  const load = (name: string) => {
    if (found.has(name)) return;
    found.add(name);
    for (const needed of named.get(name)?.imports ?? []) load(needed);
    for (const style of named.get(name)?.viteMetadata?.importedCss ?? []) load(style);
  };
  for (const file of files) if (file.isEntry) load(file.fileName);
  return found;
}
