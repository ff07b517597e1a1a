/** The parts of a run: inside of `bers-emit run` of the same kind, what we find is told by that, as one event with it. */

import { closeSync, constants, fstatSync, openSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import { lockNow } from './lock.js';

const VARIABLES = { build: 'BERS_BUILD_RUN', testsuiterun: 'BERS_TEST_RUN' } as const;
/** Whatever is started in a test is what is tested, and no part of the run that the test belongs to. */
const IN_TESTS = ['PYTEST_CURRENT_TEST', 'VITEST_POOL_ID', 'JEST_WORKER_ID'];

/** What became of a part: the run has it, or was killed before it could, or has ended, or cannot be told. */
export type Told = 'taken' | 'left' | 'gone';

/** Whether we are run by a test. It is to be asked at the beginning: jest says so of itself when its tests run. */
export function inTest(environ: NodeJS.ProcessEnv): boolean {
  return IN_TESTS.some((name) => environ[name] !== undefined);
}

/** A run around us. It holds the lock of the file that it has given us, and waits for what is appended. */
export class Around {
  private constructor(
    private readonly path: string,
    readonly subject: string,
    readonly name: string,
    readonly chain: string,
  ) {}

  /** The run of our kind that the environment names, if it is told to the same server. */
  static of(kind: keyof typeof VARIABLES, url: string, environ: NodeJS.ProcessEnv): Around | undefined {
    const path = environ[VARIABLES[kind]];
    if (!path) return undefined;
    try {
      const head = JSON.parse(readFileSync(path, 'utf8').split('\n', 1)[0]!) as Record<string, unknown>;
      const { subject, name, chain } = head;
      if (head.url !== url || typeof subject !== 'string' || typeof name !== 'string') return undefined;
      closeSync(openSync(path, 'r+')); // What cannot be written to takes nothing.
      return new Around(path, subject, name, typeof chain === 'string' ? chain : subject);
    } catch {
      return undefined;
    }
  }

  /** Hand in what we found, in one write. */
  tell(line: Uint8Array): Told {
    let descriptor: number;
    try {
      descriptor = openSync(this.path, constants.O_RDWR | constants.O_APPEND | (constants.O_NOFOLLOW ?? 0));
    } catch {
      return 'gone';
    }
    try {
      if (lockNow(descriptor)) {
        if (fstatSync(descriptor).nlink === 0) return 'gone';
        unlinkSync(this.path); // The next one is an event of its own.
        return 'left';
      }
      // A part that was cut off by a full disk spoils no other.
      const whole = Buffer.concat([Buffer.from('\n'), line]);
      return writeSync(descriptor, whole) === whole.length && fstatSync(descriptor).nlink > 0 ? 'taken' : 'gone';
    } catch {
      return 'gone';
    } finally {
      closeSync(descriptor);
    }
  }
}
