// When this node was there at all, against what was promised.

import { ask } from "../../api";
import { byId, h, renew } from "../../dom";
import { formatted, localText, moment, span } from "../../format";
import { strip } from "../../strip";

interface Availability {
  percent: number | null;
  target: number | null;
  since: number | null;
  periodMs: number;
  budgetMinutes: number | null;
  leftMinutes: number | null;
  gapCount: number;
  gaps: { from: number; to: number; reason?: string }[];
}

/** When this node was there at all: a gap is drawn as one, and what was before its first start as nothing. */
export async function availability(): Promise<void> {
  const now = Date.now();
  const found = await ask<Availability>("availability", { window: "30d" });
  const since = Math.max(found.since ?? now, now - found.periodMs);
  const there = { status: "healthy", from: since, to: now, says: `there since ${localText(new Date(since))}` };
  const gaps = found.gaps.map((gap) => ({ status: "unhealthy", from: gap.from, to: gap.to, says: `away for ${span(gap.to - gap.from)} from ${localText(new Date(gap.from))}` }));
  const left = found.leftMinutes === null ? "" : `, ${formatted(found.leftMinutes)} of ${formatted(found.budgetMinutes)} min are left of the budget`;
  const says = `${formatted(found.percent, "%")} with a target of ${formatted(found.target, "%")}${left}; ${found.gapCount} gaps`;
  renew(
    byId("availability"),
    h("p", {}, says),
    strip(says, [there, ...gaps], since, now),
    h("p", { class: "quiet" }, "From ", moment(since)),
    gaps.length ? h("ul", { class: "quiet" }, ...gaps.slice(-10).reverse().map((gap) => h("li", {}, gap.says))) : "",
  );
}
