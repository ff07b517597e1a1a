// A rule as text: its keys are read and written line by line, so that what somebody wrote around them stays.

const KEY = /^(\s*(?:-\s+)?)([\w]+):(?:\s+(.*))?$/;
const PLAIN = /^[\w.%/+-][\w .%/+-]*$/;

interface Line {
  at: number;
  value: string;
  /** What stands behind it. */
  comment: string;
}

/** How far in the keys of the rule stand: it may be an entry of a list, as in a file. */
function depth(lines: readonly string[]): number {
  const first = lines.find((line) => line.trim() && !line.trim().startsWith("#")) ?? "";
  return KEY.exec(first)?.[1]?.length ?? 0;
}

function find(lines: readonly string[], key: string): Line | null {
  const deep = depth(lines);
  for (const [at, line] of lines.entries()) {
    const found = KEY.exec(line);
    if (found?.[2] !== key || found[1]?.length !== deep) continue;
    const [, value = "", comment = ""] = /^("[^"]*"|'[^']*'|[^#]*?)(\s+#.*)?$/.exec(found[3] ?? "") ?? [];
    return { at, value: value.trim().replace(/^(["'])(.*)\1$/, "$2"), comment };
  }
  return null;
}

export const valueOf = (text: string, key: string): string => find(text.split("\n"), key)?.value ?? "";

/** The text with another value; a key without one is left out, and one that is not there yet comes last. */
export function withValue(text: string, key: string, value: string): string {
  const lines = text.replace(/\n+$/, "").split("\n");
  const deep = depth(lines);
  const known = find(lines, key);
  const written = PLAIN.test(value) ? value : JSON.stringify(value);
  if (known) {
    const before = /^\s*(?:-\s+)?/.exec(lines[known.at] ?? "")?.[0] ?? "";
    if (value) lines[known.at] = `${before}${key}: ${written}${known.comment}`;
    else lines.splice(known.at, 1);
  } else if (value) lines.push(`${" ".repeat(deep)}${key}: ${written}`);
  return `${lines.join("\n")}\n`;
}

/** The rule as an entry of `rules:`, with sentences before it. */
export function entry(text: string, says: readonly string[]): string {
  const lines = text.replace(/\n+$/, "").split("\n");
  const isEntry = lines.some((line) => /^\s*-\s+\w+:/.test(line) && (KEY.exec(line)?.[1]?.length ?? -1) === depth(lines));
  const first = lines.findIndex((line) => line.trim() && !line.trim().startsWith("#"));
  const item = isEntry ? lines : lines.map((line, at) => (at < first || !line ? line : `${at === first ? "- " : "  "}${line}`));
  return `${[...says.map((one) => `# ${one}`), ...item].join("\n")}\n`;
}

/** Where a line and a column, both from 1, lie in the text. */
export function offsetOf(text: string, line: number, column: number): number {
  const before = text.split("\n").slice(0, line - 1);
  return Math.min(text.length, before.reduce((sum, one) => sum + one.length + 1, 0) + column - 1);
}
