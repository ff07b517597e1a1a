// Whether this server was there at all, and what is left of the time that it may be away.

import { ask } from "./api";
import { byId, renew, show } from "./dom";
import { bothTexts, formatted, span } from "./format";
import { type Stretch, strip } from "./strip";

interface Availability {
  percent: number | null;
  target: number | null;
  since: number | null;
  periodMs: number;
  budgetMinutes: number | null;
  leftMinutes: number | null;
  gapCount: number;
  gaps: { from: number; to: number }[];
}

/** A month of it: what was answered, when that begins and ends, and when the server was there and away. */
export interface Month extends Availability {
  from: number;
  to: number;
  there: Stretch;
  away: Stretch[];
}

export async function month(): Promise<Month> {
  const to = Date.now();
  const one = await ask<Availability>("availability", { window: "30d" });
  const from = Math.max(one.since ?? to, to - one.periodMs);
  const there = { status: "healthy", from, to, says: `there since ${bothTexts(new Date(from))}` };
  const away = one.gaps.map((gap) => ({ status: "unhealthy", ...gap, says: `away for ${span(gap.to - gap.from)} from ${bothTexts(new Date(gap.from))}` }));
  return { ...one, from, to, there, away };
}

/** A gap is drawn as one, and what was before the first start as nothing. */
export const drawnMonth = (label: string, { from, to, there, away }: Month): SVGElement => strip(label, [there, ...away], from, to);

export async function availability(): Promise<void> {
  const one = await month();
  const met = one.percent === null || one.target === null ? null : one.percent >= one.target;
  const status = byId("availability-status");
  show(byId("available"), formatted(one.percent, "%"));
  status.dataset.status = met === null ? "unknown" : met ? "healthy" : "unhealthy";
  show(status, met === null ? "no data" : met ? "on target" : "off target");
  const isKnown = one.leftMinutes !== null && one.budgetMinutes !== null;
  show(byId("budget"), isKnown ? `${formatted(one.leftMinutes)} of ${formatted(one.budgetMinutes)} min left at ${formatted(one.target, "%")}` : "");
  const away = one.gapCount === 1 ? "away once" : one.gapCount ? `away ${one.gapCount} times` : "never away";
  renew(byId("availability-strip"), drawnMonth(`${away} since ${bothTexts(new Date(one.from))}`, one));
}
