/** Where events come from: the CI system that runs us, else this host; and what each event says of that. */

import { hostname } from 'node:os';
import { type Environ, type Part, project, read, type System, SYSTEMS } from './ci_systems.js';
import type { Fields } from './event.js';

/** Of each part: what names it, and what of ours holds even where an event names another one. */
const IDENTITIES = [
  ['vcs', 'revision', ['repository']],
  ['run', 'id', ['system']],
] as const;

/** The default source of an event: `/ci/SYSTEM/PROJECT` in CI, else `/host/NAME`. */
export function source(environ: Environ): string {
  const found = system(environ);
  if (!found) return `/host/${quoted(hostname()) || 'unknown'}`;
  const name = project(found, environ);
  // An id of CodeBuild is PROJECT:UUID, and a source outlives one build.
  return `/ci/${found.name}/${quoted(found.name === 'codebuild' ? name.split(':')[0]! : name) || 'unknown'}`;
}

/** Whether a CI system runs us: most of them set CI, the others something of their own. */
export function inCi(environ: Environ): boolean {
  return isSet(environ.CI) || system(environ) !== undefined;
}

/** What the environment adds to each event: the commit, the run, the chain and the trace that it belongs to. */
export class Surroundings {
  readonly #fields: Part = {};
  readonly #parts: { vcs: Part; run: Part } | undefined;

  constructor(environ: Environ) {
    const found = system(environ);
    this.#parts = found && read(found, environ);
    const chain = environ.BERS_CHAIN || environ.BERS_PARENT;
    if (chain) this.#fields.chain = chain;
    const trace = environ.TRACEPARENT ?? '';
    if (/^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(trace)) this.#fields.traceparent = trace;
  }

  /** The event with what it does not say itself; where it names another commit or run, ours says nothing of that. */
  complete(fields: Fields): Fields {
    const completed: Part = { ...fields };
    for (const [name, value] of Object.entries(this.#fields)) completed[name] ??= value;
    if (!this.#parts) return completed;
    for (const [name, identity, shared] of IDENTITIES) {
      const given = completed[name];
      let ours = this.#parts[name];
      if (given === undefined || given === null) {
        if (Object.keys(ours).length > 0) completed[name] = ours;
      } else if (typeof given === 'object') {
        const said = Object.fromEntries(Object.entries(given).filter(([, of]) => of !== undefined && of !== null));
        const other = said[identity] !== undefined && said[identity] !== ours[identity];
        if (other) ours = Object.fromEntries(Object.entries(ours).filter(([key]) => (shared as readonly string[]).includes(key)));
        completed[name] = { ...ours, ...said };
      }
    }
    return completed;
  }
}

function system(environ: Environ): System | undefined {
  return SYSTEMS.find(({ marker }) => isSet(environ[marker]));
}

function isSet(value: string | undefined): boolean {
  return !['', '0', 'false', 'no'].includes((value ?? '').toLowerCase());
}

/** Percent-encode what a URI reference cannot hold. */
function quoted(text: string): string {
  const encoded = (found: string): string =>
    [...Buffer.from(found)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('');
  return text.replace(/[^A-Za-z0-9._~/-]/gu, encoded);
}
