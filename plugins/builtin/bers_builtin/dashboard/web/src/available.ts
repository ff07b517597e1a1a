// Whether this server was there at all, and what is left of the time that it may be away.

import { ask } from "./api";
import { byId, renew, show } from "./dom";
import { bothTexts, formatted, span } from "./format";
import { strip } from "./strip";

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

export async function availability(): Promise<void> {
  const now = Date.now();
  const one = await ask<Availability>("availability", { window: "30d" });
  const since = Math.max(one.since ?? now, now - one.periodMs);
  const met = one.percent === null || one.target === null ? null : one.percent >= one.target;
  const status = byId("availability-status");
  show(byId("available"), formatted(one.percent, "%"));
  status.dataset.status = met === null ? "unknown" : met ? "healthy" : "unhealthy";
  show(status, met === null ? "no data" : met ? "on target" : "off target");
  show(byId("budget"), `${formatted(one.leftMinutes)} of ${formatted(one.budgetMinutes)} min left at ${formatted(one.target, "%")}`);
  const away = one.gapCount === 1 ? "away once" : one.gapCount ? `away ${one.gapCount} times` : "never away";
  const there = { status: "healthy", from: since, to: now, says: `there since ${bothTexts(new Date(since))}` };
  const gaps = one.gaps.map((gap) => ({ status: "unhealthy", from: gap.from, to: gap.to, says: `away for ${span(gap.to - gap.from)} from ${bothTexts(new Date(gap.from))}` }));
  renew(byId("availability-strip"), strip(`${away} since ${bothTexts(new Date(since))}`, [there, ...gaps], since, now));
}
