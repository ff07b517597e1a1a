// What the alerts of a period come to: how many, how fast somebody came, and which rules only make noise.

import { ask } from "../api";
import { byId, facts, h, link, renew, table } from "../dom";
import { formatted } from "../format";
import { address, type Chosen, toRule } from "./chosen";

interface Times {
  count: number;
  meanMs: number;
  p50Ms: number;
  p95Ms: number;
}

interface Stats {
  total: number;
  bySeverity: Record<string, number>;
  byRule: Record<string, number>;
  byStatus: Record<string, number>;
  suppressedBy: Record<string, number>;
  pending: number;
  flapping: number;
  timeToAcknowledge: Times | null;
  timeToResolve: Times | null;
  noise: { rule: string; fired: number; resolvedUnattended: number; flapped: number }[];
}

const MOST_RULES = 20;

export async function statistics(chosen: Chosen, isNews: () => boolean): Promise<void> {
  const found = await ask<Stats>("alerts/stats", { period: chosen.period });
  if (!isNews()) return;
  renew(
    byId("list"),
    facts(counts(found)),
    h("h3", {}, "How long it took"),
    table("Times to acknowledge and to resolve", ["From firing to", "#How often", "#Mean", "#P50", "#P95"], [took("Acknowledged", found.timeToAcknowledge), took("Resolved", found.timeToResolve)]),
    h("h3", {}, "Rules that only make noise"),
    h("p", { class: "quiet" }, "Their alerts end by themselves before anybody takes them on. A longer ", h("code", {}, "for"), ", or another threshold, would keep them quiet: try it."),
    found.noise.length
      ? table(
          "Noisy rules",
          ["Rule", "#Fired", "#Ended by themselves", "#Flapped", ""],
          found.noise.map((one) => ({ data: { key: one.rule }, cells: [one.rule, one.fired, one.resolvedUnattended, one.flapped, link(toRule(one.rule), "Try another")] })),
        )
      : h("p", { class: "none" }, "None."),
    h("h3", {}, "Alerts by rule"),
    byRule(chosen, found),
  );
}

function counts(found: Stats): [string, number][] {
  return [
    ["Alerts", found.total],
    ...Object.entries(found.byStatus),
    ...Object.entries(found.bySeverity),
    ...Object.entries(found.suppressedBy).map(([by, count]): [string, number] => [`held back by ${by.replaceAll("_", " ")}`, count]),
    ["pending now", found.pending],
    ["flapping now", found.flapping],
  ];
}

const took = (word: string, times: Times | null) => ({
  cells: [word, times?.count ?? 0, formatted(times?.meanMs, "ms"), formatted(times?.p50Ms, "ms"), formatted(times?.p95Ms, "ms")],
});

function byRule(chosen: Chosen, found: Stats): Node {
  const rules = Object.entries(found.byRule).sort(([, a], [, b]) => b - a);
  if (rules.length === 0) return h("p", { class: "none" }, "There was none.");
  const most = Math.max(1, ...rules.map(([, count]) => count));
  const rows = rules.slice(0, MOST_RULES).map(([rule, count]) => {
    const bar = h("meter", { attributes: { min: "0", max: String(most), value: String(count), "aria-label": `${count} of at most ${most}` } });
    return { data: { key: rule }, cells: [link(address({ ...chosen, state: "history", rule, severity: "", id: null, after: "" }), rule), count, bar] };
  });
  return table("Alerts by rule", ["Rule", "#Alerts", "Share"], rows);
}
