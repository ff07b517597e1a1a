/** The folder of spools: what dead processes left, what the server refused, and the bounds of both. */

import * as fs from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { newName, Spool, SUFFIX } from './spool.js';

export const MAX_BYTES = 128 * 1024 * 1024;
export const MAX_AGE_MS = 7 * 86_400_000;
const DEAD = 'dead';

interface File {
  readonly path: string;
  readonly modified: number;
  readonly size: number;
}

/** Where spools live unless somebody says otherwise. */
export function defaultFolder(environ: NodeJS.ProcessEnv): string {
  const state = environ.XDG_STATE_HOME || join(homedir(), '.local', 'state');
  return environ.BERS_EMIT_SPOOL || join(state, 'bers', 'spool');
}

/** What processes left that live no more, oldest first. The caller closes each. */
export async function* orphans(folder: string, except: ReadonlySet<string>): AsyncGenerator<Spool> {
  for (const { path } of files(folder)) {
    const spool = except.has(path) ? undefined : await Spool.adopt(path);
    if (spool) yield spool;
  }
}

/** Drop what is older than a week, then the oldest while the folder is over its bound; return the events lost. */
export async function prune(folder: string): Promise<number> {
  const dead = join(folder, DEAD);
  const found = [...files(folder), ...files(dead)].sort((one, other) => one.modified - other.modified);
  let total = found.reduce((bytes, file) => bytes + file.size, 0);
  let lost = 0;
  for (const { path, modified, size } of found) {
    if (total <= MAX_BYTES && modified >= Date.now() - MAX_AGE_MS) break;
    if (dirname(path) === dead) {
      fs.rmSync(path, { force: true });
      total -= size;
      continue;
    }
    const spool = await Spool.adopt(path);
    if (spool) {
      // The file of a process that lives is never taken from it.
      lost += spool.waiting();
      spool.remove();
      total -= size;
    }
  }
  return lost;
}

/** Keep events that the server refused for good, each with the reason, where nobody sends them again. */
export function bury(folder: string, refused: ReadonlyArray<readonly [Buffer, string]>): void {
  const dead = join(folder, DEAD);
  fs.mkdirSync(dead, { mode: 0o700, recursive: true });
  const text = refused.map(([line, reason]) => `${JSON.stringify({ reason, event: parsed(line) })}\n`).join('');
  const name = newName(); // A file of their own: others may take the letters of any file that they can see.
  fs.writeFileSync(join(dead, `.${name}`), text, { mode: 0o600, flag: 'wx' });
  fs.renameSync(join(dead, `.${name}`), join(dead, name + SUFFIX));
}

function files(folder: string): File[] {
  const found: File[] = [];
  let names: string[] = [];
  try {
    names = fs.readdirSync(folder).filter((name) => name.endsWith(SUFFIX));
  } catch {
    // No folder yet, or none that we may read.
  }
  for (const name of names) {
    const path = join(folder, name);
    const about = fs.lstatSync(path, { throwIfNoEntry: false }); // Somebody may finish it while we look.
    if (about?.isFile()) found.push({ path, modified: about.mtimeMs, size: about.size });
  }
  return found.sort((one, other) => one.modified - other.modified);
}

function parsed(line: Buffer): unknown {
  try {
    return JSON.parse(line.toString());
  } catch {
    return line.toString();
  }
}
