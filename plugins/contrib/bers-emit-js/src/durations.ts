/** Durations as people write them: `1.5s`, `300ms`, `2min`; a bare number is seconds. */

const UNITS: Readonly<Record<string, number>> = { '': 1, ms: 0.001, s: 1, m: 60, min: 60, h: 3600 };

/** Seconds, or undefined for what is no duration. */
export function seconds(text: string): number | undefined {
  const [, number, unit] = /^\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*$/i.exec(text) ?? [];
  const factor = unit === undefined ? undefined : UNITS[unit.toLowerCase()];
  return number === undefined || factor === undefined ? undefined : Number(number) * factor;
}
