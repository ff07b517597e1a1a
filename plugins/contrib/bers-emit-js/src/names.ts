/** Addresses of servers by their names, without a wait that nobody can end. */

import { type LookupFunction } from 'node:net';
import { lookup, Resolver } from 'node:dns';
import { readFileSync } from 'node:fs';

const HOSTS = '/etc/hosts';

/**
 * Looks names up as the system does, once it is clear that some name server answers.
 *
 * Where none does, the system's own look-up goes on for up to a minute, and Node cannot end before it: so one question is
 * asked first that can be called off, after so many seconds.
 */
export function within(seconds: number): LookupFunction {
  return (name, options, callback) => {
    if (process.platform === 'win32' || needsNobody(name)) {
      lookup(name, options, callback);
      return;
    }
    const resolver = new Resolver({ timeout: seconds * 1000, tries: 1 });
    const timer = setTimeout(() => resolver.cancel(), seconds * 1000);
    resolver.resolve4(name, (error) => {
      clearTimeout(timer);
      // Any other answer, also that there is no such name, says that somebody answers.
      const silent = error?.code === 'ETIMEOUT' || error?.code === 'ECANCELLED';
      if (silent) callback(Object.assign(new Error(`no name server answers for ${name}`), { code: error.code }), '');
      else lookup(name, options, callback);
    });
  };
}

/** Whether the system knows the name without a name server. */
function needsNobody(name: string): boolean {
  if (/(^|\.)(localhost|local)\.?$/i.test(name)) return true;
  try {
    const lines = readFileSync(HOSTS, 'utf8').split('\n');
    return lines.some((line) => line.replace(/#.*/, '').split(/\s+/).slice(1).includes(name));
  } catch {
    return false;
  }
}
