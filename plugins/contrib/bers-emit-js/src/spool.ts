/**
 * The spool: one file per process that keeps its events until the server has them, whatever happens to the process.
 *
 * It is the format of the Python package `bers_emit`: a header of fixed size, which tells how far the file has been
 * sent, then one event per line. Its owner holds a lock on it while alive; whoever gets the lock after that may send
 * what is left.
 */

import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { basename, join } from 'node:path';
import { lock, lockNow } from './lock.js';

export const SUFFIX = '.ndjson';
export const MAX_BYTES = 16 * 1024 * 1024;
export const BATCH_BYTES = 512 * 1024;
export const BATCH_EVENTS = 500;
const HEADER = /^\{"bers_spool": 1, "sent": +(\d+)\}\n$/;
const START = header(0).length;
const LINE_END = 10;

/** Where events wait, oldest first. */
export interface Store {
  readonly name: string;
  readonly empty: boolean;
  /** The next events to send, without their line ends. */
  batch(): Buffer[];
  /** The last batch has been answered: it is never sent again. */
  done(): void;
}

/** The spool takes no more until some of it has been sent. */
export class Full extends Error {}

/** A name that no other process has or had: it is the first part of every id in the file. */
export function newName(): string {
  const nanoseconds = BigInt(Date.now()) * 1_000_000n + (process.hrtime.bigint() % 1_000_000n);
  return `${process.pid}-${nanoseconds}-${randomBytes(4).toString('hex')}`;
}

/** A spool file whose lock we hold. */
export class Spool implements Store {
  readonly name: string;
  #fd: number;
  #appender = -1;
  #sent: number;
  #taken: number;
  #size: number;
  #orphanEnd: number | undefined;

  private constructor(readonly path: string, fd: number, sent: number, orphanEnd?: number) {
    this.name = basename(path).slice(0, -SUFFIX.length);
    this.#fd = fd;
    this.#sent = this.#taken = this.#size = sent;
    this.#orphanEnd = orphanEnd;
  }

  /** Open a file of our own for events; throw where the disk refuses, or where files cannot be locked. */
  static create(folder: string, name: string): Spool {
    fs.mkdirSync(folder, { mode: 0o700, recursive: true });
    const path = join(folder, name + SUFFIX);
    const hidden = join(folder, `.${name}`);
    const fd = fs.openSync(hidden, 'wx+', 0o600);
    try {
      if (!lockNow(fd)) throw new Error('this system has no file locks');
      fs.writeSync(fd, header(START), 0, 'latin1');
      fs.renameSync(hidden, path); // Seen only once it is locked: nobody takes it for an orphan.
      const spool = new Spool(path, fd, START);
      const { O_WRONLY, O_APPEND, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
      const appender = fs.openSync(path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK);
      if (fs.fstatSync(appender).ino !== fs.fstatSync(fd).ino) {
        fs.closeSync(appender);
        throw new Error('somebody has put another file in the place of the spool');
      }
      spool.#appender = appender;
      return spool;
    } catch (error) {
      fs.closeSync(fd);
      for (const left of [hidden, path]) fs.rmSync(left, { force: true });
      throw error;
    }
  }

  /** Leave events that nobody owns: whoever emits next sends them. */
  static leave(folder: string, name: string, lines: readonly Buffer[]): void {
    fs.mkdirSync(folder, { mode: 0o700, recursive: true });
    const hidden = join(folder, `.${name}`);
    fs.writeFileSync(hidden, Buffer.concat([Buffer.from(header(START)), ...lines]), { mode: 0o600, flag: 'wx' });
    fs.renameSync(hidden, join(folder, name + SUFFIX));
  }

  /** Take over a file that its owner has left; undefined where it lives, is gone, or is no spool. */
  static async adopt(path: string): Promise<Spool | undefined> {
    let fd: number;
    try {
      fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK);
    } catch {
      return undefined;
    }
    try {
      if (fs.fstatSync(fd).isFile() && (await lock(fd))) {
        const found = fs.fstatSync(fd);
        const sent = HEADER.exec(read(fd, START, 0).toString('latin1'))?.[1];
        // Without a link it was sent and removed while we opened it.
        if (sent !== undefined && found.nlink > 0) {
          const end = lastLine(fd, found.size);
          return new Spool(path, fd, START <= Number(sent) && Number(sent) <= end ? Number(sent) : START, end);
        }
      }
    } catch {
      // It cannot be read: somebody else may have more luck.
    }
    fs.closeSync(fd);
    return undefined;
  }

  /** Write one event in one call; throw Full, or what the disk says where it refuses. */
  append(line: Buffer): void {
    if (this.#size + line.length > MAX_BYTES) throw new Full(`${this.path} has reached ${MAX_BYTES} bytes`);
    const written = fs.writeSync(this.#appender, line);
    if (written !== line.length) {
      fs.ftruncateSync(this.#fd, fs.fstatSync(this.#fd).size - written); // Half a line would spoil the next.
      throw new Error('no space for an event');
    }
    this.#size += written;
  }

  batch(): Buffer[] {
    while (this.#fd >= 0) {
      const chunk = read(this.#fd, Math.min(BATCH_BYTES, this.#end() - this.#sent), this.#sent);
      const lines = wholeLines(chunk, BATCH_EVENTS);
      if (lines.length > 0 || chunk.length === 0) {
        this.#taken = this.#sent + lines.reduce((bytes, line) => bytes + line.length + 1, 0);
        return lines;
      }
      this.#sent += chunk.length; // No emitter writes so long a line: the disk lost something.
    }
    return [];
  }

  done(): void {
    if (this.#fd < 0) return;
    this.#sent = this.#taken;
    if (this.#sent < this.#end()) {
      this.#tellSent();
    } else {
      this.#sent = this.#size = START;
      this.#tellSent(); // First: a kill in between repeats events and loses none.
      fs.ftruncateSync(this.#fd, START);
      this.#orphanEnd = undefined;
    }
  }

  get empty(): boolean {
    return this.#fd < 0 || this.#sent >= this.#end();
  }

  /** How many events are left to send. */
  waiting(): number {
    let count = 0;
    for (const byte of read(this.#fd, Math.max(0, this.#end() - this.#sent), this.#sent)) {
      if (byte === LINE_END) count += 1;
    }
    return count;
  }

  /** Let go of the file: what is left in it is for others; an empty one is removed. */
  close(): void {
    if (this.#fd >= 0 && this.empty) fs.rmSync(this.path, { force: true });
    this.#letGo();
  }

  /** Give up what is left. */
  remove(): void {
    fs.rmSync(this.path, { force: true });
    this.#letGo();
  }

  #end(): number {
    return this.#orphanEnd ?? fs.fstatSync(this.#fd).size;
  }

  #tellSent(): void {
    fs.writeSync(this.#fd, header(this.#sent), 0, 'latin1');
  }

  #letGo(): void {
    for (const fd of [this.#appender, this.#fd]) if (fd >= 0) fs.closeSync(fd);
    this.#fd = this.#appender = -1;
  }
}

/** The whole lines of a piece of a file, at most so many, without their ends. */
export function wholeLines(chunk: Buffer, most = Infinity): Buffer[] {
  const lines: Buffer[] = [];
  for (let at = 0, end = 0; lines.length < most && (end = chunk.indexOf(LINE_END, at)) >= 0; at = end + 1) {
    lines.push(chunk.subarray(at, end));
  }
  return lines;
}

function header(sent: number): string {
  return `{"bers_spool": 1, "sent": ${String(sent).padStart(16)}}\n`;
}

function read(fd: number, bytes: number, at: number): Buffer {
  const buffer = Buffer.allocUnsafe(Math.max(0, bytes));
  return buffer.subarray(0, fs.readSync(fd, buffer, 0, buffer.length, at));
}

/** Where the last whole line ends: a kill may have cut the one after it. */
function lastLine(fd: number, size: number): number {
  const start = Math.max(0, size - BATCH_BYTES);
  return start + read(fd, BATCH_BYTES, start).lastIndexOf(LINE_END) + 1;
}
