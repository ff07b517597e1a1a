// The numbers of a metric: those of the whole time, beside those of the time before, and each point as a row.

import type { MetricAnswer, Point } from "../api";
import { byId, h, renew, table } from "../dom";
import { formatted, moment, significant } from "../format";
import { FIELDS } from "./lines";

const ROWS = 200;

export function summary(now: MetricAnswer, then: MetricAnswer | null): void {
  const facts: [string, number | null, number | null][] = [
    ["Newest", now.current, null],
    ["Average", now.average, then?.average ?? null],
    ["P50", now.p50, then?.p50 ?? null],
    ["P95", now.p95, then?.p95 ?? null],
    ["P99", now.p99, then?.p99 ?? null],
    ["Target", now.target, null],
  ];
  renew(
    byId("summary"),
    ...facts.map(([name, value, before]) => h("div", {}, h("dt", {}, name), h("dd", {}, formatted(value, now.unit), change(value, before, now.unit)))),
    h("div", {}, h("dt", {}, "Samples"), h("dd", {}, formatted(now.count), change(now.count, then?.count ?? null, ""))),
  );
}

/** By how much it is another one than before. */
function change(value: number | null, before: number | null, unit: string): HTMLElement | null {
  if (value === null || before === null) return null;
  const share = before ? ((value - before) / Math.abs(before)) * 100 : 0;
  const by = before ? `${share > 0 ? "+" : share < 0 ? "−" : "±"}${significant(Math.abs(share))} %` : "";
  return h("span", { class: "quiet", attributes: { title: `before: ${formatted(before, unit)}` } }, ` ${by}`);
}

export function numbers(now: MetricAnswer): void {
  const newest = now.overall.slice(-ROWS).reverse();
  const at = (point: Point, name: string) => point[now.fields.indexOf(name)] ?? null;
  const rows = newest.map((point) => ({
    cells: [moment(point[0]), formatted(at(point, "count")), ...FIELDS.map((name) => formatted(at(point, name), now.unit))],
  }));
  const left = now.overall.length - newest.length;
  renew(
    byId("numbers"),
    rows.length ? table(`${now.title}, the newest first`, ["From", "#Samples", ...FIELDS.map((name) => `#${name}`)], rows) : h("p", { class: "none" }, "Nothing was measured in this time."),
    ...(left > 0 ? [h("p", { class: "quiet" }, `The newest ${ROWS}; ${left} more are in the download.`)] : []),
  );
}
