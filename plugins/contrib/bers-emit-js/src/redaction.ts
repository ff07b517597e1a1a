/** Secrets never leave the machine: known values, what has the shape or the name of one, and credentials in URLs. */

export const MASK = '***';
const VARIABLE = /TOKEN|SECRET|PASSWD|PASSWORD|PASSPHRASE|KEY|CREDENTIAL/;
/** Variables that are named like a secret, and hold a step of a build, an id, or the place of a secret. */
const PUBLIC = /(_KEY_ID|_FILE|_PATH|_DIR|_URL|_STEP_KEY|_GROUP_KEY)$/;
/** Values that keep nothing secret, and without which no text would mean anything any more. */
const WORDS = new Set(['production', 'development', 'disabled', 'undefined']);
const SHORTEST = 8; // A shorter value is more likely a word that texts contain by chance.
/** The end of a field's name: where a word begins, and which words tell a secret. */
const FIELD = [
  /(?:^|[_.-])(?:token|secret|passw(?:or)?d|pwd|passphrase|(?:api|private|access)[_-]?key|credential|authorization|cookie)s?$/i,
  /(?<=[a-z0-9])(?:Token|Secret|Passw(?:or)?d|Pwd|Passphrase|(?:Api|Private|Access)[_-]?[Kk]ey|Credential|Authorization|Cookie)s?$/,
];
/** What has to be in a text before it is searched, and what is searched. None looks at a character again and again. */
const SHAPES: ReadonlyArray<readonly [readonly string[], RegExp, string]> = [
  [['://'], /:\/\/[^/\s?#]*@/g, `://${MASK}@`],
  [
    ['gh', 'glpat-', 'xox', 'AKIA', 'npm_', 'bers_'],
    new RegExp(
      '\\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\\w{20,}|glpat-[\\w-]{16,}|xox[abeprs]-[\\w-]{10,}' +
        '|AKIA[A-Z0-9]{16}\\b|npm_[A-Za-z0-9]{30,}|bers_[0-9a-f]{8}_[0-9a-f]{16,})',
      'g',
    ),
    MASK,
  ],
  [['eyJ'], /(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*/g, MASK], // A token of three parts: a JWT.
  [['earer ', 'EARER '], /(?<=bearer )[A-Za-z0-9._~+/-]{8,}=*/gi, MASK],
  [['='], /((?:token|secret|credential|passw(?:or)?d|pwd|api[_-]?key)s?=)[^\s&"'#;,)\]}]{4,}/gi, `$1${MASK}`],
  [
    ['-----BEGIN'],
    /-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|$)/gs,
    MASK,
  ],
];

export type Redact = (text: string) => string;

/** What replaces the secrets that the environment holds now, and `more`, and whatever looks like one. */
export function redaction(environ: Readonly<Record<string, string | undefined>>, ...more: string[]): Redact {
  const named = Object.entries(environ).flatMap(([name, value]) =>
    value && VARIABLE.test(name.toUpperCase()) && !PUBLIC.test(name.toUpperCase()) ? [value] : [],
  );
  const values = new Set([...named, ...more].filter((value) => value.length >= SHORTEST && !WORDS.has(value.toLowerCase())));
  // The longest first: one secret may be part of another.
  const secrets = [...values].sort((one, other) => other.length - one.length);
  return (text) => {
    for (const secret of secrets) if (text.includes(secret)) text = text.replaceAll(secret, MASK);
    if (text.length < SHORTEST) return text;
    for (const [hints, pattern, mask] of SHAPES) {
      if (hints.some((hint) => text.includes(hint))) text = text.replace(pattern, mask);
    }
    return text;
  };
}

/** Whether what a field of this name holds is nobody's business: `password`, `apiKey`. */
export function isSecret(name: string): boolean {
  return FIELD.some((pattern) => pattern.test(name));
}
