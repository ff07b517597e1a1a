// The lines of a metric's chart, and what they are called.

import type { MetricAnswer, Point, Series } from "../api";
import { columns, type Line } from "../chart";
import { labelled } from "../format";

export const FIELDS = ["average", "min", "max", "p50", "p95", "p99"];
export const MOST_LINES = 40;
const COLOURS = 8;

interface Drawing {
  lines: Line[];
  /** All columns by time, the time first. */
  data: (number | null)[][];
  bands: [number, number][];
}

/** One line between its percentiles where all are one, else a line for each; and that of the time before. */
export function drawing(now: MetricAnswer, then: MetricAnswer | null, isWhole: boolean): Drawing {
  const lines: Line[] = [];
  const sets: (readonly (number | null)[])[][] = [];
  if (isWhole) {
    // Between what 50 % and 95 % stay below, and above that, lighter, what 99 % do.
    const whole = columns(now.overall, FIELDS.length + 1, now.stepMs);
    sets.push([whole[0] ?? [], whole[2] ?? [], whole[5] ?? [], whole[6] ?? [], whole[7] ?? []]);
    lines.push({ label: "average", colour: 1, width: 2 }, ...["p50", "p95", "p99"].map((label) => ({ label, colour: 1, bound: true })));
  } else {
    now.series.slice(0, MOST_LINES).forEach((series, at) => {
      const found = columns(series.points, 1, now.stepMs);
      sets.push([found[0] ?? [], found[1] ?? []]);
      lines.push({ label: named(series.labels), colour: (at % COLOURS) + 1, width: now.series.length > COLOURS ? 1 : 2 });
    });
  }
  if (then) {
    const later = then.overall.map(([start, ...rest]) => [start + (now.from - then.from), ...rest] as Point);
    const found = columns(later, FIELDS.length + 1, then.stepMs);
    sets.push([found[0] ?? [], found[2] ?? []]);
    lines.push({ label: "the period before", colour: 0, width: 1 });
  }
  return { lines, data: merged(sets), bands: isWhole ? [[3, 2], [4, 3]] : [] };
}

const named = (labels: Series["labels"]): string => labelled(labels).join(", ") || "without labels";

/** Columns with times of their own, over all of their times together. */
function merged(sets: readonly (readonly (readonly (number | null)[])[])[]): (number | null)[][] {
  const times = [...new Set(sets.flatMap((set) => set[0] as number[]))].sort((a, b) => a - b);
  const at = new Map(times.map((time, index) => [time, index]));
  const found: (number | null | undefined)[][] = [times];
  for (const [own = [], ...values] of sets) {
    for (const column of values) {
      // What is undefined has no value at another line's time, and is no gap.
      const filled = Array<number | null | undefined>(times.length).fill(undefined);
      own.forEach((time, index) => (filled[at.get(time as number) ?? 0] = column[index] ?? null));
      found.push(filled);
    }
  }
  return found as (number | null)[][];
}
