/** Secrets never leave the machine: known values and credentials in URLs become `***`. */

const SECRET_NAME = /TOKEN|SECRET|PASSWORD|KEY/i;
const USERINFO = /:\/\/[^/\s?#]*@/g;
const SHORTEST = 8; // A shorter value is more likely a word that texts contain by chance.

export type Redact = (text: string) => string;

/** What replaces the secrets that the environment holds now, and `more` besides. */
export function redaction(environ: Readonly<Record<string, string | undefined>>, ...more: string[]): Redact {
  const named = Object.entries(environ).flatMap(([name, value]) => (SECRET_NAME.test(name) && value ? [value] : []));
  const values = new Set([...named, ...more].filter((value) => value.length >= SHORTEST));
  // The longest first: one secret may be part of another.
  const secrets = [...values].sort((one, other) => other.length - one.length);
  return (text) => {
    for (const secret of secrets) if (text.includes(secret)) text = text.replaceAll(secret, '***');
    return text.includes('://') && text.includes('@') ? text.replace(USERINFO, '://***@') : text;
  };
}
