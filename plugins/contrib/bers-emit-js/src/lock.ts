/** Locks on spool files: those of flock(2), so that the Python emitter and this one see each other's. */

import { spawn, spawnSync } from 'node:child_process';

const BUSY = 1;
const PATIENCE_MS = 5000;

/**
 * Node has no flock, but a lock belongs to the open file and not to the process: a program that inherits our file
 * locks it, ends, and the lock is ours until we close the file or die. Each of these locks its file 3, or ends with 1.
 */
const PROGRAMS: ReadonlyArray<readonly [string, ...string[]]> = [
  ['flock', '-n', '3'],
  ['perl', '-e', 'open(F, "+<&=", 3) or exit 2; flock(F, 6) or exit 1'],
  ['python3', '-c', 'import fcntl,sys\ntry: fcntl.flock(3, 6)\nexcept BlockingIOError: sys.exit(1)'],
];

/** Lock an open file at once; false where somebody else holds it, or where this system has no such locks. */
export function lockNow(fd: number): boolean {
  for (const [program, ...words] of PROGRAMS) {
    const { status } = spawnSync(program, words, {
      stdio: ['ignore', 'ignore', 'ignore', fd],
      timeout: PATIENCE_MS,
      windowsHide: true,
    });
    if (status === 0) return true;
    if (status === BUSY) return false;
  }
  return false;
}

/** The same without holding anybody up. */
export async function lock(fd: number): Promise<boolean> {
  for (const [program, ...words] of PROGRAMS) {
    const status = await ended(program, words, fd);
    if (status === 0) return true;
    if (status === BUSY) return false;
  }
  return false;
}

function ended(program: string, words: string[], fd: number): Promise<number | null> {
  return new Promise((resolve) => {
    try {
      const child = spawn(program, words, {
        stdio: ['ignore', 'ignore', 'ignore', fd],
        timeout: PATIENCE_MS,
        windowsHide: true,
      });
      child.unref();
      child.once('error', () => resolve(null));
      child.once('exit', resolve);
    } catch {
      resolve(null);
    }
  });
}
