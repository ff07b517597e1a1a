/** Delivery of one batch to the intake, over HTTP, and what its answer means. */

import * as http from 'node:http';
import * as https from 'node:https';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import * as names from './names.js';

export const PATH = '/api/monitoring/ingest';
const PATIENCE_MS = 5000;
const GZIP_FROM = 4096;
const LONGEST_ANSWER = 8 * 1024 * 1024;
const LONGEST_WAIT_S = 3600;
/**
 * What is wrong with the events themselves. Anything else speaks of the key, the address, or the server: that is mended
 * some day, and then they are welcome.
 */
const FATAL = new Set([400, 413, 415, 422]);
const RETRIED = new Set([408, 429]);

/** Nobody answered: more attempts now would only cost time. */
export class Unreachable extends Error {}

/** Somebody answered, and will not take events: the key or the address is wrong. */
export class Denied extends Unreachable {}

/** The server answered that the events come again later; after so many seconds, where it named them. */
export class Later extends Error {
  constructor(reason: string, readonly after: number | undefined) {
    super(reason);
  }
}

/** An event that was refused for good: its place in the batch, and why. */
export type Refusal = readonly [index: number, reason: string];

interface Answer {
  readonly status: number;
  readonly reason: string;
  readonly retryAfter: string | undefined;
  readonly body: unknown;
}

/** The way to the intake. Nothing of it keeps the process alive, once the connection is made. */
export class Delivery {
  #agent: http.Agent | undefined;
  #request: http.ClientRequest | undefined;

  /** `connecting` is how many seconds a connection may take: that long it can hold up the end of the process. */
  constructor(private readonly url: string, private readonly token: string, private readonly connecting: number) {}

  /**
   * Hand the events over; return those refused for good. Throw Unreachable or Later.
   *
   * A batch that is too large for whoever is in between is halved, until only an event that is too large by itself is
   * refused.
   */
  async post(lines: readonly Buffer[]): Promise<Refusal[]> {
    const answer = await this.#exchange(lines);
    if (answer.status !== 413 || lines.length === 1) return refusals(answer, lines.length);
    const half = Math.ceil(lines.length / 2);
    const first = await this.post(lines.slice(0, half));
    const second = await this.post(lines.slice(half));
    return [...first, ...second.map(([index, reason]) => [half + index, reason] as const)];
  }

  /** End a request that is waited for, and the connection. */
  close(): void {
    this.#request?.destroy(new Error('given up'));
    this.#agent?.destroy();
    this.#request = this.#agent = undefined;
  }

  async #exchange(lines: readonly Buffer[]): Promise<Answer> {
    const plain = Buffer.from(`[${lines.map((line) => line.toString()).join(',')}]`);
    const packed = plain.length > GZIP_FROM;
    const headers: http.OutgoingHttpHeaders = { 'Content-Type': 'application/json' };
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    if (packed) headers['Content-Encoding'] = 'gzip';
    try {
      return await this.#ask(headers, packed ? await promisify(gzip)(plain) : plain);
    } catch (error) {
      this.close();
      throw new Unreachable(`${publicAddress(this.url)}: ${error instanceof Error ? error.message || error.name : String(error)}`);
    }
  }

  #ask(headers: http.OutgoingHttpHeaders, body: Buffer): Promise<Answer> {
    const url = new URL(this.url);
    const { request, Agent } = url.protocol === 'https:' ? https : http;
    url.pathname = url.pathname.replace(/\/+$/, '') + PATH;
    const agent = (this.#agent ??= new Agent({ keepAlive: true, maxSockets: 1 }));
    headers['Content-Length'] = body.length;
    return new Promise((resolve, reject) => {
      const asked = request(url, { method: 'POST', headers, agent, lookup: names.within(this.connecting) });
      const give = (seconds: number, what: string): NodeJS.Timeout =>
        setTimeout(() => asked.destroy(new Error(`no ${what} within ${seconds} s`)), seconds * 1000).unref();
      const connecting = give(this.connecting, 'connection');
      const answering = give(PATIENCE_MS / 1000, 'answer');
      this.#request = asked;
      asked.once('socket', (socket) => {
        socket.unref();
        if (!socket.connecting) clearTimeout(connecting);
        else socket.once(url.protocol === 'https:' ? 'secureConnect' : 'connect', () => clearTimeout(connecting));
      });
      asked.once('error', reject);
      asked.once('close', () => {
        clearTimeout(connecting);
        clearTimeout(answering);
        reject(new Error('the connection was closed'));
      });
      asked.once('response', (response) => {
        let size = 0;
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => {
          if ((size += chunk.length) <= LONGEST_ANSWER) chunks.push(chunk);
          else asked.destroy(new Error('the answer is too long'));
        });
        response.once('error', reject);
        response.once('end', () => resolve({
          status: response.statusCode ?? 0,
          reason: `${response.statusCode} ${response.statusMessage}`,
          retryAfter: response.headers['retry-after'],
          body: json(Buffer.concat(chunks).toString()),
        }));
      });
      asked.end(body);
    });
  }
}

/** An address without the name and the password in it, for all to read. */
function publicAddress(url: string): string {
  return url.replace(/^([a-z]+:\/\/)[^/]*@/i, '$1');
}

function refusals(answer: Answer, count: number): Refusal[] {
  const { status, reason, body } = answer;
  if (status === 202 || (status >= 200 && status < 300 && of(body, 'success') === true)) {
    return rejected(of(body, 'data'), count);
  }
  const detail = of(of(body, 'error'), 'message');
  const why = typeof detail === 'string' && detail ? `${reason}: ${detail}` : reason;
  if (FATAL.has(status)) {
    const told = details(of(of(body, 'error'), 'details'));
    return Array.from({ length: count }, (_, index) => [index, told.has(index) ? `${why}: ${told.get(index)}` : why]);
  }
  if (status >= 400 && status < 500 && !RETRIED.has(status)) throw new Denied(why);
  // A redirect or another server's 200 (a proxy's login page) is no receipt: the events stay.
  throw new Later(why, retryAfter(answer.retryAfter));
}

function rejected(data: unknown, count: number): Refusal[] {
  const list = of(data, 'rejected');
  return (Array.isArray(list) ? list : []).flatMap((one: unknown) => {
    const index = of(one, 'index');
    const whole = typeof index === 'number' && Number.isInteger(index) && index >= 0 && index < count;
    return whole ? [[index, String(of(one, 'error') ?? 'rejected')] as const] : [];
  });
}

/** What was told of single events, by their index. */
function details(list: unknown): Map<number, string> {
  const told = (Array.isArray(list) ? list : []).map((one: unknown) => {
    return [/^\[(\d+)\]$/.exec(String(of(one, 'path')))?.[1], String(of(one, 'message'))] as const;
  });
  return new Map(told.flatMap(([index, message]) => (index === undefined ? [] : [[Number(index), message]])));
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function of(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}

/** Seconds, out of a number of seconds or a date; undefined for anything else. */
function retryAfter(value: string | undefined): number | undefined {
  if (!value) return undefined;
  const seconds = /^\s*[\d.]+\s*$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? undefined : Math.min(Math.max(seconds, 0), LONGEST_WAIT_S);
}
