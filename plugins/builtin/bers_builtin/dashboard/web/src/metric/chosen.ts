// What of a metric is looked at, and over which time, as the address says it.

const MINUTE = 60_000;
const RANGES: Record<string, number> = { "5m": 5, "15m": 15, "1h": 60, "6h": 360, "24h": 1440, "7d": 10_080, "30d": 43_200 };
const SHORTEST = 10_000;
const LONGEST = 400 * 1440 * MINUTE;

export interface Chosen {
  name: string;
  range: string;
  from: number | null;
  to: number | null;
  labels: string;
  /** A label of which each value has a line; `*` for a line of every series, and nothing for all in one. */
  by: string;
  before: boolean;
}

export type Bounds = [from: number, to: number];

export function read(): Chosen {
  const asked = new URLSearchParams(location.search);
  const number = (name: string) => (asked.has(name) ? Number(asked.get(name)) : null);
  return {
    name: decodeURIComponent(location.pathname.split("/")[2] ?? "") || "build_performance",
    range: asked.get("range") ?? (asked.has("from") ? "" : "1h"),
    from: number("from"),
    to: number("to"),
    labels: asked.get("labels") ?? "",
    by: asked.get("by") ?? "",
    before: asked.get("before") === "1",
  };
}

export function address(chosen: Chosen): string {
  const asked = new URLSearchParams();
  if (chosen.range) asked.set("range", chosen.range);
  else if (chosen.from !== null && chosen.to !== null) {
    asked.set("from", String(chosen.from));
    asked.set("to", String(chosen.to));
  }
  if (chosen.labels) asked.set("labels", chosen.labels);
  if (chosen.by) asked.set("by", chosen.by);
  if (chosen.before) asked.set("before", "1");
  return `/metric/${encodeURIComponent(chosen.name)}?${asked}`;
}

export function bounds(chosen: Chosen): Bounds {
  if (chosen.from !== null && chosen.to !== null) return [chosen.from, chosen.to];
  const now = Date.now();
  return [now - (RANGES[chosen.range] ?? 60) * MINUTE, now];
}

/** The same time, moved by a share of itself; nobody looks into the future. */
export function moved([from, to]: Bounds, share: number): Bounds {
  const by = Math.min((to - from) * share, Date.now() - to);
  return [from + by, to + by];
}

/** More of the time or less, around its middle. */
export function zoomed([from, to]: Bounds, factor: number): Bounds {
  const long = Math.min(Math.max((to - from) * factor, SHORTEST), LONGEST);
  const end = Math.min(Date.now(), (from + to + long) / 2);
  return [end - long, end];
}

/** How series are told apart, as REST is asked for it. */
export function fieldsOf({ labels, by }: Chosen): Record<string, string> {
  return { ...(labels ? { labels } : {}), ...(by === "*" ? {} : { by }) };
}
